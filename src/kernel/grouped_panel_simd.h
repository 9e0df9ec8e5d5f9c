/* grouped_panel_simd.h - grouped integer codes into panels: the body of grouped_panel_avx2.c and
 * grouped_panel_avx512.c. */
#include "kernel/kernels.h"
#include "kernel/panel_simd.h"
#include "kernel/words.h"

/* Calls inline f(bits, awq, through, biased, ...) with constants where they matter: with bits and
 * awq shifts are numbers in the instructions; with `through` and `biased` too, for the widths that
 * files have most, nothing is asked value by value.  Where each instruction is a function
 * or is checked (builds for tests: Makefile) one body that asks is enough: it gives the same bits,
 * and all of them take a quarter of an hour to compile. */
#ifdef NIB_ONE_BODY
#define WITH_CODES(f, c, ...) f((c)->bits, (c)->awq, (c)->through, (c)->biased, c, __VA_ARGS__);
#else
#define WITH_THROUGH(f, bits, awq, biased, c, ...)                                                 \
    do {                                                                                           \
        if ((c)->through == NIB_F16) f(bits, awq, NIB_F16, biased, c, __VA_ARGS__);                \
        else f(bits, awq, (c)->through, biased, c, __VA_ARGS__);                                   \
    } while (0)
#define WITH_BITS(f, bits, c, ...)                                                                 \
    do {                                                                                           \
        if ((c)->biased) f(bits, false, (c)->through, true, c, __VA_ARGS__);                       \
        else f(bits, false, (c)->through, false, c, __VA_ARGS__);                                  \
    } while (0)
#define WITH_CODES(f, c, ...)                                                                      \
    switch ((c)->bits) {                                                                           \
    case 2: WITH_BITS(f, 2, c, __VA_ARGS__); break;                                                \
    case 3: WITH_BITS(f, 3, c, __VA_ARGS__); break;                                                \
    case 4:                                                                                        \
        if ((c)->awq) WITH_THROUGH(f, 4, true, false, c, __VA_ARGS__);                             \
        else if ((c)->biased) f(4, false, (c)->through, true, c, __VA_ARGS__);                     \
        else WITH_THROUGH(f, 4, false, false, c, __VA_ARGS__);                                     \
        break;                                                                                     \
    case 5: f(5, false, (c)->through, (c)->biased, c, __VA_ARGS__); break;                         \
    case 6: f(6, false, (c)->through, (c)->biased, c, __VA_ARGS__); break;                         \
    case 7: f(7, false, (c)->through, (c)->biased, c, __VA_ARGS__); break;                         \
    default: WITH_BITS(f, 8, c, __VA_ARGS__); break;                                               \
    }
#endif

NIB_INLINE V rounded(V x, nib_dtype through)
{
    if (through == NIB_F16) return v_round_f16(x);
    return through == NIB_BF16 ? v_round_bf16(x) : x;
}

NIB_INLINE V value(W code, V scale, V zero, nib_dtype through, bool biased)
{
    V x = w_to_floats(code);

    if (!biased) return rounded(v_mul(v_sub(x, zero), scale), through);
    return rounded(v_add(rounded(v_mul(x, scale), through), zero), through);
}

/* --- down --- */

/* Code v of 32 of each of VN streams; all but `words` is constant. */
NIB_INLINE W code_down(const W *words, unsigned bits, bool awq, unsigned v)
{
    unsigned at = v * bits, shift = awq ? (v % 8 / 2 + v % 2 * 4) * 4 : at % 32;
    W code = w_right(words[at / 32], shift);

    if (shift + bits > 32) code = w_or(code, w_left(words[at / 32 + 1], 32 - shift));
    return shift + bits == 32 ? code : w_and(code, w_set((1u << bits) - 1));
}

NIB_INLINE V of_term(const nib_grouped_codes *c, const float *from, size_t term, size_t column)
{
    return c->by_term ? v_set(from[term])
                      : v_load(from + nib_grouped_group(c, term) * NIB_PANEL + column);
}

/* 32 terms of VN columns. */
NIB_INLINE void block_down(unsigned bits, bool awq, nib_dtype through, bool biased,
                           const nib_grouped_codes *c, const uint8_t *at, size_t term,
                           size_t column, nib_pack_kind kind, void *strip)
{
    const bool one = !c->by_term && !c->groups; /* a group holds them all */
    V scale = of_term(c, c->scales, term, column), zero = of_term(c, c->zeros, term, column);
    W words[8];

#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++)
        words[i] = i < bits ? w_xor(w_load(at + i * c->next), w_set(c->flip)) : w_set(0);
#pragma GCC unroll 16
    for (unsigned v = 0; v < 32; v += 2) {
        V x[2];
#pragma GCC unroll 2
        for (unsigned i = 0; i < 2; i++) {
            if (!one) {
                scale = of_term(c, c->scales, term + v + i, column);
                zero = of_term(c, c->zeros, term + v + i, column);
            }
            x[i] = value(code_down(words, bits, awq, v + i), scale, zero, through, biased);
        }
        put_two(kind, x, strip, term + v, column % NIB_STRIP);
    }
}

NIB_INLINE void down(unsigned bits, bool awq, nib_dtype through, bool biased,
                     const nib_grouped_codes *c, size_t terms, nib_pack_kind kind, char *panel,
                     size_t strip)
{
    for (size_t n = 0; n < NIB_PANEL; n += VN) {
        const uint8_t *words = c->words + n / NIB_STRIP * c->second + n % NIB_STRIP * c->other;
        for (size_t t = 0; t < terms; t += 32)
            block_down(bits, awq, through, biased, c, words + t / 32 * bits * c->next, t, n, kind,
                       panel + n / NIB_STRIP * strip);
    }
}

void NIB_VARIANT(grouped_down)(const nib_grouped_codes *c, size_t terms, nib_pack_kind kind,
                               void *panel, size_t strip)
{
    WITH_CODES(down, c, terms, kind, panel, strip * nib_pack_value_bytes(kind))
}

/* --- across --- */

/* Codes v .. v + 3 of a stream, in the lower bits; bits and v are constant. */
NIB_INLINE uint32_t quad(const nib_grouped_codes *c, const uint8_t *stream, unsigned bits,
                         unsigned v)
{
    unsigned at = v * bits, shift = at % 32;
    const uint8_t *p = stream + at / 32 * c->next;
    uint32_t codes = (nib_word_at(p) ^ c->flip) >> shift;

    if (shift + 4 * bits > 32) codes |= (nib_word_at(p + c->next) ^ c->flip) << (32 - shift);
    return codes;
}

/* How far each lane's code lies in what code_across() puts there. */
NIB_INLINE W shifts_across(unsigned bits, bool awq)
{
    uint32_t shifts[VN];

    for (unsigned i = 0; i < VN; i++)
        shifts[i] = awq         ? (i % 8 / 2 + i % 2 * 4) * 4
                    : bits == 4 ? i % 8 * 4
                                : i % 4 * bits;
    return w_load(shifts);
}

/* Codes v .. v + VN of a stream. */
NIB_INLINE W code_across(const nib_grouped_codes *c, const uint8_t *stream, unsigned bits, W shifts,
                         unsigned v)
{
    uint32_t quads[VN / 4];

#pragma GCC unroll 4
    for (unsigned i = 0; i < VN / 4; i++) /* of 4 bits a word is eight codes */
        quads[i] = bits == 4 ? nib_word_at(stream + (v + 4 * i) / 8 * c->next) ^ c->flip
                             : quad(c, stream, bits, v + 4 * i);
    return w_and(w_right_each(w_quads(quads), shifts), w_set((1u << bits) - 1));
}

/* Terms t and, when there are two, t + 1; scales and zeros: their group's, or NULL. */
NIB_INLINE void terms_across(unsigned bits, nib_dtype through, bool biased,
                             const nib_grouped_codes *c, W shifts, const float *scales,
                             const float *zeros, size_t t, size_t count, nib_pack_kind kind,
                             char *panel, size_t strip)
{
#pragma GCC unroll 4
    for (unsigned n = 0; n < NIB_PANEL; n += VN) {
        V x[2];
        for (size_t i = 0; i < count; i++)
            x[i] = value(code_across(c, c->words + (t + i) * c->other, bits, shifts, n),
                         scales ? v_load(scales + n) : of_term(c, c->scales, t + i, n),
                         zeros ? v_load(zeros + n) : of_term(c, c->zeros, t + i, n), through,
                         biased);
        if (count == 2) put_two(kind, x, panel + n / NIB_STRIP * strip, t, n % NIB_STRIP);
        else put_one(kind, x[0], panel + n / NIB_STRIP * strip, t, n % NIB_STRIP);
    }
}

/* Terms that share a group are a run: dividing for each of them would take longer than decoding. */
NIB_INLINE void across(unsigned bits, bool awq, nib_dtype through, bool biased,
                       const nib_grouped_codes *c, size_t terms, nib_pack_kind kind,
                       char *panel, size_t strip)
{
    const W shifts = shifts_across(bits, awq);
    const bool runs = !c->by_term && !c->groups;

    for (size_t t = 0, end; t < terms; t = end) {
        const float *scales = NULL, *zeros = NULL;
        end = terms;
        if (runs) {
            size_t group = nib_grouped_group(c, t);
            scales = c->scales + group * NIB_PANEL;
            zeros = c->zeros + group * NIB_PANEL;
            end = nib_min(terms, (group + 1) * c->group - c->begun);
        }
        for (; t + 2 <= end; t += 2)
            terms_across(bits, through, biased, c, shifts, scales, zeros, t, 2, kind, panel,
                         strip);
        if (t < end)
            terms_across(bits, through, biased, c, shifts, scales, zeros, t, 1, kind, panel,
                         strip);
    }
}

void NIB_VARIANT(grouped_across)(const nib_grouped_codes *c, size_t terms, nib_pack_kind kind,
                                 void *panel, size_t strip)
{
    WITH_CODES(across, c, terms, kind, panel, strip * nib_pack_value_bytes(kind))
}
