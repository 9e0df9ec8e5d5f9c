/* grouped_pack.c - panels and tiles of grouped integers. */
#include "quant/grouped.h"

#include "kernel/gemm.h"
#include "kernel/grouped_dot.h"

enum {
    MOST_SCALES = NIB_GROUPED_SCALES,
    TURNED = 512, /* terms whose words are turned at a time */
    TURNED_WORDS = TURNED * 8 / 32
};

/* --- scales --- */

void nib_grouped_values(const nib_grouped *q, const nib_kernels *k, const void *values,
                        size_t first, size_t step, size_t count, float *to)
{
    const uint8_t *from = (const uint8_t *)values + first * nib_dtype_bytes(q->scale_type);
    uint16_t room[64];

    if (q->scale_type == NIB_F32) {
        for (size_t i = 0; i < count; i++) memcpy(to + i, from + i * step * 4, 4);
        return;
    }
    for (size_t at = 0, n; at < count; at += n) {
        const uint8_t *next = from + at * step * 2;
        n = nib_min(NIB_COUNT(room), count - at);
        if (step == 1) memcpy(room, next, n * 2);
        for (size_t i = 0; step != 1 && i < n; i++) memcpy(room + i, next + i * step * 2, 2);
        if (q->scale_type == NIB_F16) k->from_f16(n, room, to + at);
        else k->from_bf16(n, room, to + at);
    }
}

/* Of `count` outputs from o0 on. */
static void read_values(const nib_grouped *q, const nib_kernels *k, const void *values,
                        size_t group, size_t o0, size_t count, float *to)
{
    nib_grouped_values(q, k, values, group * q->scale_group + o0 * q->scale_out, q->scale_out,
                       count, to);
}

void nib_grouped_scales(const nib_grouped *q, const nib_kernels *k, size_t group, size_t o0,
                        size_t count, float *scales)
{
    read_values(q, k, q->scales, group, o0, count, scales);
}

void nib_grouped_zeros(const nib_grouped *q, const nib_kernels *k, size_t group, size_t o0,
                       size_t count, float *zeros)
{
    const uint8_t *from = q->zeros ? q->zeros + group * q->base.out + o0 : NULL;

    if (q->biases) {
        read_values(q, k, q->biases, group, o0, count, zeros);
        return;
    }
    for (size_t i = 0; i < count; i++) zeros[i] = from ? (float)from[i] : (float)q->zero;
}

typedef nib_grouped_tables tables;

/* For 32 outputs from o0 on and the groups of terms (inputs) from t0 on.  False: they do not fit,
 * or groups begin between the blocks of 32 terms. */
static bool column_tables(const nib_grouped *q, const nib_kernels *k, size_t o0, size_t t0,
                          size_t terms, nib_grouped_codes *c, tables *t)
{
    size_t first = 0, count = q->groups;

    if (q->g_idx) {
        c->groups = q->g_idx + t0;
    } else {
        if (q->groups > 1 && q->group % 32) return false;
        first = t0 / q->group;
        count = nib_ceil_div(t0 + terms, q->group) - first;
        c->group = nib_round_up(q->group, 32);
        c->begun = t0 % q->group;
        if (c->begun % 32) return false;
    }
    if (count * NIB_PANEL > MOST_SCALES) return false;
    for (size_t g = 0; g < count; g++) {
        nib_grouped_scales(q, k, first + g, o0, NIB_PANEL, t->scales + g * NIB_PANEL);
        nib_grouped_zeros(q, k, first + g, o0, NIB_PANEL, t->zeros + g * NIB_PANEL);
    }
    c->scales = t->scales;
    c->zeros = t->zeros;
    return true;
}

/* For the outputs [o0, o0 + terms) and 32 inputs of one group from i0 on. */
static bool term_tables(const nib_grouped *q, const nib_kernels *k, size_t i0, size_t o0,
                        size_t terms, nib_grouped_codes *c, tables *t)
{
    size_t group = i0 / q->group;

    if (q->g_idx || (i0 + NIB_PANEL - 1) / q->group != group || terms > MOST_SCALES) return false;
    nib_grouped_scales(q, k, group, o0, terms, t->scales);
    nib_grouped_zeros(q, k, group, o0, terms, t->zeros);
    c->by_term = true;
    c->scales = t->scales;
    c->zeros = t->zeros;
    return true;
}

/* --- panels --- */

/* From term t on. */
static void skip_terms(nib_grouped_codes *c, size_t t)
{
    if (c->by_term) {
        c->scales += t;
        c->zeros += t;
    } else if (c->groups) {
        c->groups += t;
    } else {
        c->begun += t;
    }
}

/* Streams that are 32 rows of words from `rows` on: their words are turned first, so that those of
 * 16 rows lie side by side. */
static void pack_turned(const nib_grouped *q, const nib_kernels *k, nib_grouped_codes c,
                        const uint8_t *rows, size_t terms, const nib_pack *p, char *panel)
{
    uint32_t words[TURNED_WORDS * NIB_PANEL];
    size_t strip = p->terms * NIB_STRIP, bytes = nib_pack_value_bytes(p->kind);

    c.words = (const uint8_t *)words;
    c.next = NIB_STRIP * sizeof *words;
    c.other = sizeof *words;
    for (size_t t = 0; t < terms; t += TURNED) {
        size_t some = nib_min(TURNED, terms - t), count = some * c.bits / 32;
        nib_grouped_codes piece = c;

        k->pack_transposed(count, (const uint32_t *)(const void *)(rows + t * c.bits / 8),
                           q->row_bytes / sizeof *words, words, count * NIB_STRIP);
        piece.second = count * NIB_STRIP * sizeof *words;
        skip_terms(&piece, t);
        k->grouped_down(&piece, some, p->kind, panel + t * NIB_STRIP * bytes, strip);
    }
}

static bool can_turn(const nib_grouped *q)
{
    return q->row_bytes % sizeof(uint32_t) == 0 && (uintptr_t)q->codes % sizeof(uint32_t) == 0;
}

static bool pack_forward(const nib_grouped *q, const nib_kernels *k, const nib_pack *p,
                         nib_grouped_codes *c, tables *t, void *panel)
{
    size_t strip = p->terms * NIB_STRIP;

    if (!column_tables(q, k, p->c0, p->t0, p->terms, c, t)) return false;
    if (q->order == NIB_WORDS_OUT) {
        if (p->c0 % 8) return false;
        c->words = q->codes + p->t0 * q->row_bytes + p->c0 / 8 * 4;
        c->next = 4;
        c->other = q->row_bytes;
        k->grouped_across(c, p->terms, p->kind, panel, strip);
        return true;
    }
    if (p->t0 % 32 || p->terms % 32) return false;
    if (q->order == NIB_WORDS_ROWS) {
        if (!can_turn(q)) return false;
        pack_turned(q, k, *c, q->codes + p->c0 * q->row_bytes + p->t0 * c->bits / 8, p->terms, p,
                    panel);
        return true;
    }
    c->words = q->codes + p->t0 * c->bits / 32 * q->row_bytes + p->c0 * 4;
    c->next = q->row_bytes;
    c->other = 4;
    c->second = NIB_STRIP * 4;
    k->grouped_down(c, p->terms, p->kind, panel, strip);
    return true;
}

static bool pack_backward(const nib_grouped *q, const nib_kernels *k, const nib_pack *p,
                          nib_grouped_codes *c, tables *t, void *panel)
{
    if (p->c0 % 32 || !term_tables(q, k, p->c0, p->t0, p->terms, c, t)) return false;
    if (q->order == NIB_WORDS_OUT) {
        if (p->t0 % 32 || p->terms % 32 || !can_turn(q)) return false;
        pack_turned(q, k, *c, q->codes + p->c0 * q->row_bytes + p->t0 / 8 * 4, p->terms, p, panel);
        return true;
    }
    if (p->kind == NIB_PACK_PAIRS && p->terms % 2) return false;
    if (q->order == NIB_WORDS_ROWS) {
        c->words = q->codes + p->t0 * q->row_bytes + p->c0 * c->bits / 8;
        c->next = 4;
        c->other = q->row_bytes;
    } else {
        c->words = q->codes + p->c0 * c->bits / 32 * q->row_bytes + p->t0 * 4;
        c->next = q->row_bytes;
        c->other = 4;
    }
    k->grouped_across(c, p->terms, p->kind, panel, p->terms * NIB_STRIP);
    return true;
}

bool nib_grouped_pack(const nib_weight *w, const nib_kernels *k, const nib_pack *p, void *panel)
{
    const nib_grouped *q = nib_as_grouped(w);
    nib_grouped_codes c = { .bits = nib_grouped_code_bits(q), .awq = q->order == NIB_WORDS_OUT,
                            .flip = q->flip, .through = q->scale_type, .biased = q->biases };
    tables t;

    if (q->per_word || p->c0 + NIB_PANEL > (p->backward ? w->in : w->out)) return false;
    return p->backward ? pack_backward(q, k, p, &c, &t, panel)
                       : pack_forward(q, k, p, &c, &t, panel);
}

/* --- few rows --- */

bool nib_grouped_has_dot(const nib_grouped *q, const nib_kernels *k)
{
    unsigned bits = nib_grouped_code_bits(q);

    return k->grouped_dot && nib_grouped_dot_takes(bits) && !q->per_word && !q->g_idx &&
           q->base.in % 32 == 0 && q->base.out % NIB_PANEL == 0 &&
           (q->groups == 1 || q->group % 32 == 0) && q->groups * NIB_PANEL <= MOST_SCALES &&
           (q->order != NIB_WORDS_ROWS || can_turn(q));
}

/* Words of a row side by side, 32 outputs at a time: those of a piece are turned. */
void nib_grouped_dot_rows(const nib_grouped *q, const nib_kernels *k, size_t M, const void *ready,
                          size_t ldx, size_t o0, float *sums)
{
    nib_grouped_codes c = { .bits = nib_grouped_code_bits(q), .flip = q->flip,
                            .biased = q->biases };
    uint32_t words[TURNED_WORDS * NIB_PANEL];
    size_t in = q->base.in, some;
    tables t;

    column_tables(q, k, o0, 0, in, &c, &t);
    c.words = (const uint8_t *)words;
    c.next = NIB_STRIP * sizeof *words;
    c.other = 4;
    for (size_t at = 0; at < in; at += some) {
        const nib_fixed_x x = nib_fixed_x_at(ready, in, at, ldx);
        const uint8_t *from = q->codes + o0 * q->row_bytes + at * c.bits / 8;
        nib_grouped_codes piece = c;
        size_t count = (some = nib_min(TURNED, in - at)) * c.bits / 32;
        skip_terms(&piece, at);
        k->pack_transposed(count, (const uint32_t *)(const void *)from,
                           q->row_bytes / sizeof *words, words, count * NIB_STRIP);
        piece.second = count * NIB_STRIP * sizeof *words;
        k->grouped_dot(&piece, some, M, &x, NIB_PANEL, sums);
    }
}

/* --- tiles --- */

static unsigned code_at(const nib_grouped *q, size_t o, size_t i)
{
    const uint8_t *row = q->codes + (q->order == NIB_WORDS_ROWS ? o : 0) * q->row_bytes;
    unsigned bits = q->options.bits;

    if (q->options.maker == NIB_GROUPED_INT) return row[i] ^ (q->flip & 0xff);
    if (q->order == NIB_WORDS_OUT)
        return nib_load_le32(q->codes + i * q->row_bytes + o / 8 * 4) >> nib_awq_shift(o) & 15;
    if (q->order == NIB_WORDS_DOWN)
        return nib_stream_code(q->codes + o * 4, q->row_bytes, bits, i);
    if (q->per_word)
        return nib_load_le32(row + i / q->per_word * 4) >> i % q->per_word * bits &
               ((1u << bits) - 1);
    return nib_stream_code(row, 4, bits, i);
}

static float rounded(nib_dtype type, float x)
{
    if (type == NIB_F16) return nib_f16_to_f32(nib_f32_to_f16(x));
    return type == NIB_BF16 ? nib_round_bf16(x) : x;
}

static float value_of(const nib_grouped *q, unsigned code, float scale, float zero)
{
    if (q->biases)
        return rounded(q->scale_type, rounded(q->scale_type, (float)code * scale) + zero);
    return rounded(q->scale_type, ((float)code - zero) * scale);
}

/* Value by value: what is left at the edges, and forms without a packer. */
static void decode_plain(const nib_grouped *q, size_t r0, size_t r1, size_t k0, size_t k1,
                         float *dst, size_t ld)
{
    for (size_t r = r0; r < r1; r++) {
        size_t last = SIZE_MAX;
        float scale = 0, zero = 0;
        for (size_t i = k0; i < k1; i++) {
            size_t group = q->g_idx ? (size_t)q->g_idx[i] : i / q->group;
            if (group != last) {
                nib_grouped_scales(q, &q->kernels, group, r, 1, &scale);
                nib_grouped_zeros(q, &q->kernels, group, r, 1, &zero);
                last = group;
            }
            dst[(r - r0) * ld + i - k0] = value_of(q, code_at(q, r, i), scale, zero);
        }
    }
}

enum { BLOCK = 128 }; /* columns of a tile that are decoded at a time */

/* 32 rows and up to BLOCK columns by the packer, turned back.  False: it does not pack them. */
static bool decode_packed(const nib_grouped *q, size_t r, size_t k0, size_t columns, float *dst,
                          size_t ld)
{
    float panel[BLOCK * NIB_PANEL];
    nib_pack p = { .kind = NIB_PACK_F32, .c0 = r, .t0 = k0, .terms = columns };

    if (!nib_grouped_pack(&q->base, &q->kernels, &p, panel)) return false;
    for (size_t n = 0; n < NIB_PANEL; n++)
        for (size_t t = 0; t < columns; t++)
            dst[n * ld + t] =
                panel[(n / NIB_STRIP * columns + t) * NIB_STRIP + n % NIB_STRIP];
    return true;
}

void nib_grouped_decode_tile(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1,
                             float *dst, size_t ld)
{
    const nib_grouped *q = nib_as_grouped(w);
    size_t rows, columns;

    assert(r0 <= r1 && r1 <= w->out && k0 <= k1 && k1 <= w->in);
    for (size_t r = r0; r < r1; r += rows) {
        rows = nib_min(NIB_PANEL, r1 - r);
        for (size_t i = k0; i < k1; i += columns) {
            float *to = dst + (r - r0) * ld + i - k0;
            size_t whole = (k1 - i) / 32 * 32;
            columns = nib_min(i % 32 ? nib_round_up(i, 32) - i : whole ? whole : k1 - i, k1 - i);
            columns = nib_min(columns, BLOCK - i % BLOCK);
            if (rows < NIB_PANEL || columns % 32 || r % 8 ||
                !decode_packed(q, r, i, columns, to, ld))
                decode_plain(q, r, r + rows, i, i + columns, to, ld);
        }
    }
}
