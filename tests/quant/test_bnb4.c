/* test_bnb4.c - 4-bit weights against bitsandbytes 0.50.2 (golden data made by
 * tests/golden/make/bnb4_golden.py), every rectangle, every kernel variant, bad files. */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#include "base/filemap.h"
#include "format/safetensors.h"
#include "kernel/kernels.h"
#include "quant/bnb4.h"
#include "quant/bnb4_file.h"
#include "quant/bnb4_state.h"
#include "quant/dynamic_map.h"

static uint64_t fnv(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static void rows_of(void *arg, size_t r0, size_t r1, float *dst)
{
    nib_weight_decode(arg, r0, r1, dst);
}

/* --- golden --- */

typedef struct reader {
    const uint8_t *at, *end;
} reader;

static const void *take(reader *r, size_t bytes)
{
    const uint8_t *p = r->at;
    if ((size_t)(r->end - r->at) < bytes) {
        fprintf(stderr, "bnb4.bin ends early\n");
        exit(1);
    }
    r->at += bytes;
    return p;
}
static uint64_t take_u64(reader *r)
{
    return nib_load_le64(take(r, 8));
}

typedef struct golden {
    unsigned source, dtype, fp4, nested, blocksize;
    size_t out, in;
    char name[128];
    const void *values;
    uint64_t codes, absmax, absmax_q, nested_absmax, decoded;
    float offset;
    const char *state;
    size_t state_bytes;
} golden;

static const nib_dtype dtypes[] = { NIB_F32, NIB_F16, NIB_BF16 };

static golden take_record(reader *r)
{
    const uint8_t *h = take(r, 18);
    golden g = { .source = h[0],
                 .dtype = h[1],
                 .fp4 = h[2],
                 .nested = h[3],
                 .blocksize = nib_load_le32(h + 4),
                 .out = nib_load_le32(h + 8),
                 .in = nib_load_le32(h + 12) };
    size_t n = nib_load_le16(h + 16);
    memcpy(g.name, take(r, n), n);
    if (g.source == 0) g.values = take(r, g.out * g.in * nib_dtype_bytes(dtypes[g.dtype]));
    g.codes = take_u64(r);
    g.absmax = take_u64(r);
    g.absmax_q = take_u64(r);
    g.nested_absmax = take_u64(r);
    g.decoded = take_u64(r);
    memcpy(&g.offset, take(r, 4), 4);
    g.state_bytes = nib_load_le16(take(r, 2));
    g.state = take(r, g.state_bytes);
    return g;
}

static uint64_t hash_absmax(const float *absmax, size_t blocks)
{
    float *copy = malloc(blocks * sizeof *copy);
    uint64_t h;
    for (size_t i = 0; i < blocks; i++) copy[i] = isnan(absmax[i]) ? NAN : absmax[i];
    h = fnv(copy, blocks * sizeof *copy);
    free(copy);
    return h;
}

static uint64_t hash_decoded(const nib_weight *w)
{
    float *values = malloc(w->out * w->in * sizeof *values);
    uint64_t h;
    nib_weight_decode(w, 0, w->out, values);
    for (size_t i = 0; i < w->out * w->in; i++) values[i] += 0; /* -0 and 0 are the same */
    h = fnv(values, w->out * w->in * sizeof *values);
    free(values);
    return h;
}

/* Double quantization: the offset to one unit in the last place, all else exactly, given that
 * offset. */
static void check_nested(const golden *g, const nib_weight *plain, nib_weight *w, const char *what)
{
    size_t blocks = nib_ceil_div(g->out * g->in, g->blocksize), nested = nib_ceil_div(blocks, 256);
    float *d = malloc(blocks * sizeof *d), *scale = malloc(nested * sizeof *scale), map[256];
    uint8_t *q = malloc(blocks), *lookup = malloc(NIB_DYNAMIC_LOOKUP);
    nib_bnb4 *b = (nib_bnb4 *)w;

    CHECK(b->nested_offset == g->offset || b->nested_offset == nextafterf(g->offset, 1) ||
              b->nested_offset == nextafterf(g->offset, 0),
          "%s: offset %.9g, not %.9g", what, (double)b->nested_offset, (double)g->offset);
    nib_dynamic_map(true, map);
    nib_dynamic_lookup(map, lookup);
    for (size_t i = 0; i < blocks; i++) d[i] = ((const nib_bnb4 *)plain)->absmax[i] - g->offset;
    nib_dynamic_encode(lookup, d, blocks, 256, q, scale);
    CHECK(fnv(q, blocks) == g->absmax_q, "%s: 8-bit scales", what);
    CHECK(fnv(scale, nested * sizeof *scale) == g->nested_absmax, "%s: scales of scales", what);
    if (b->nested_offset == g->offset) {
        CHECK(fnv(b->absmax_q, blocks) == g->absmax_q, "%s: the weight's 8-bit scales", what);
        CHECK(hash_decoded(w) == g->decoded, "%s: decoded values", what);
    }
    free(d);
    free(scale);
    free(q);
    free(lookup);
}

static void check_state(const golden *g, const nib_weight *w, const char *what)
{
    nib_parts_out to;
    nib_error err;

    REQUIRE_OK(nib_bnb4_tensors(w, "m.weight", &to, &err), err);
    CHECK(to.count == (g->nested ? 6 : 4), "%s: %zu tensors", what, to.count);
    if (((const nib_bnb4 *)w)->nested_offset == g->offset)
        CHECK(to.parts[to.count - 1].bytes == g->state_bytes &&
                  memcmp(to.text, g->state, g->state_bytes) == 0,
              "%s: quant_state %s, not %.*s", what, to.text, (int)g->state_bytes, g->state);
}

static void check_golden(nib_ctx *ctx, const nib_tensors *pico, const golden *g)
{
    nib_bnb4_options options = { .fp4 = g->fp4,
                                 .blocksize = g->blocksize,
                                 .dtype = dtypes[g->dtype] };
    nib_weight *dense = NULL, *w = NULL, *nested = NULL, *direct = NULL;
    const void *values = g->values;
    void *owned = NULL;
    char what[256];
    nib_error err;

    snprintf(what, sizeof what, "%s %zux%zu %s %s block %u", g->name, g->out, g->in,
             g->fp4 ? "fp4" : "nf4", nib_dtype_name(dtypes[g->dtype]), g->blocksize);
    if (g->source == 1) {
        const nib_tensor *t = nib_tensors_find(pico, g->name);
        REQUIRE(t && t->dtype == NIB_BF16 && t->elements == g->out * g->in, "%s", what);
        owned = nib_alloc(ctx, (size_t)t->elements * 4);
        REQUIRE(owned, "no memory");
        nib_convert(owned, dtypes[g->dtype], t->data, t->dtype, (size_t)t->elements);
        values = owned;
    }
    REQUIRE_OK(nib_weight_dense(ctx, g->out, g->in, dtypes[g->dtype], values, owned, &dense, &err),
               err);
    REQUIRE_OK(nib_bnb4_encode(ctx, &options, g->out, g->in, rows_of, dense, &w, &err), err);
    CHECK(fnv(((const nib_bnb4 *)w)->codes, nib_ceil_div(g->out * g->in, 2)) == g->codes,
          "%s: codes", what);
    REQUIRE_OK(nib_bnb4_encode_weight(ctx, &options, dense, &direct, &err), err);
    CHECK(memcmp(((const nib_bnb4 *)direct)->owned, ((const nib_bnb4 *)w)->owned, w->bytes) == 0 ||
              !nib_bnb4_finite(w),
          "%s: read where it lies", what);
    CHECK(memcmp(((const nib_bnb4 *)direct)->codes, ((const nib_bnb4 *)w)->codes,
                 nib_ceil_div(g->out * g->in, 2)) == 0,
          "%s: codes, read where it lies", what);
    nib_weight_destroy(ctx, direct);
    CHECK(hash_absmax(((const nib_bnb4 *)w)->absmax,
                      nib_ceil_div(g->out * g->in, g->blocksize)) == g->absmax,
          "%s: absmax", what);
    if (g->nested) {
        options.double_quant = true;
        REQUIRE_OK(nib_bnb4_encode(ctx, &options, g->out, g->in, rows_of, dense, &nested, &err),
                   err);
        check_nested(g, w, nested, what);
    } else if (g->decoded) {
        CHECK(hash_decoded(w) == g->decoded, "%s: decoded values", what);
    }
    CHECK(nib_bnb4_finite(w) == (g->decoded != 0), "%s: finite", what);
    check_state(g, nested ? nested : w, what);
    nib_weight_destroy(ctx, nested);
    nib_weight_destroy(ctx, w);
    nib_weight_destroy(ctx, dense);
}

static void test_golden(void)
{
    static const char *const isas[] = { "ref", "avx2", "avx512" };
    char *data = NULL;
    size_t bytes, records = 0;
    nib_error err;
    nib_ctx *ctx = test_ctx(), *lowered;
    nib_tensors *pico = NULL;

    REQUIRE_OK(
        nib_file_read(ctx, test_data("tests/golden/quant/bnb4.bin"), 1 << 22, &data, &bytes, &err),
        err);
    REQUIRE_OK(nib_tensors_open(ctx, test_data("models/pico"), &pico, &err), err);
    for (size_t v = 0; v < NIB_COUNT(isas); v++) {
        reader r = { (uint8_t *)data, (uint8_t *)data + bytes };
        uint32_t cpu;
        REQUIRE(nib_cpu_from_name(isas[v], &cpu), "%s", isas[v]);
        if ((nib_cpu_detect() & cpu) != cpu) continue;
        lowered = test_ctx_threads(2, isas[v]);
        for (records = 0; r.at < r.end; records++) {
            golden g = take_record(&r);
            check_golden(lowered, pico, &g);
        }
    }
    CHECK(records > 100, "%zu records", records);
    nib_tensors_close(pico);
    nib_free(ctx, data);
}

/* --- kernels --- */

static void test_variants_equal_reference(void)
{
    uint32_t cpu = nib_cpu_detect();
    nib_kernels best = nib_kernels_for(cpu), middle = nib_kernels_for(cpu & NIB_CPU_AVX2);

    for (unsigned blocksize = 32; blocksize <= 4096; blocksize *= 2) {
        for (unsigned fp4 = 0; fp4 < 2; fp4++) {
            size_t blocks = blocksize > 512 ? 2 : 5, n = blocks * blocksize;
            const float *bounds = fp4 ? nib_fp4_bounds : nib_nf4_bounds;
            float *x = test_guarded(n * sizeof *x);
            uint8_t *want = test_guarded(n / 2), *got = test_guarded(n / 2);
            float *want_scale = test_guarded(blocks * 4), *got_scale = test_guarded(blocks * 4);

            for (size_t i = 0; i < n; i++) {
                float b = bounds[test_rand() % 15];
                unsigned kind = test_rand() % 8;
                x[i] = kind == 0   ? b
                       : kind == 1 ? nextafterf(b, 2)
                       : kind == 2 ? nextafterf(b, -2)
                                   : test_rand_float();
            }
            for (size_t b = 0; b < blocks; b++)
                x[b * blocksize + test_rand() % blocksize] = b % 2 ? 1.0f : -1.0f;
            if (blocks > 2) x[3 * blocksize] = blocksize == 64 ? NAN : INFINITY;
            memset(x + blocksize, 0, blocksize * sizeof *x);
            nib_encode4_ref(want, want_scale, x, NIB_F32, blocks, blocksize, fp4);
            for (int v = 0; v < 2; v++) {
                (v ? best : middle).encode4(got, got_scale, x, NIB_F32, blocks, blocksize, fp4);
                CHECK(memcmp(want, got, n / 2) == 0 &&
                          memcmp(want_scale, got_scale, blocks * 4) == 0,
                      "block size %u, fp4 %u, variant %d", blocksize, fp4, v);
            }
        }
    }
}

/* --- weights made by hand --- */

typedef struct made {
    nib_bnb4_parts parts;
    char state[512];
    float *absmax, *map, *nested_absmax, *nested_map;
    uint8_t *codes, *absmax_q;
    size_t elements, blocks;
} made;

static nib_part view(const char *name, nib_dtype dtype, size_t elements, const void *data)
{
    return (nib_part){ .name = name,
                            .dtype = dtype,
                            .elements = elements,
                            .bytes = elements * nib_dtype_bytes(dtype),
                            .data = data };
}

/* Random parts in guarded buffers; `shift` bytes of misalignment for the float arrays. */
static void make_parts(made *m, size_t out, size_t in, unsigned blocksize, bool nested,
                       size_t shift)
{
    size_t n = out * in, blocks = nib_ceil_div(n, blocksize), groups = nib_ceil_div(blocks, 256);
    nib_bnb4_state s = { .nested = nested,
                         .blocksize = blocksize,
                         .shape = { out, in },
                         .dtype = NIB_BF16,
                         .nested_offset = 0.03125f };
    float scale;
    size_t bytes = nib_bnb4_state_write(&s, m->state, sizeof m->state);
    uint8_t *scales = test_guarded((nested ? groups : blocks) * 4 + shift);

    m->elements = n;
    m->blocks = blocks;
    m->codes = test_guarded(nib_ceil_div(n, 2));
    m->absmax_q = test_guarded(blocks);
    m->map = test_guarded(16 * 4);
    m->nested_map = test_guarded(256 * 4);
    for (size_t i = 0; i < nib_ceil_div(n, 2); i++) m->codes[i] = (uint8_t)test_rand();
    for (size_t i = 0; i < blocks; i++) m->absmax_q[i] = (uint8_t)test_rand();
    for (size_t i = 0; i < (nested ? groups : blocks); i++) {
        scale = (test_rand_float() + 1) / 16;
        memcpy(scales + 4 * i, &scale, 4);
    }
    memcpy(m->map, nib_nf4_table, sizeof nib_nf4_table);
    nib_dynamic_map(true, m->nested_map);
    m->parts = (nib_bnb4_parts){ .weight = view("m.weight", NIB_U8, nib_ceil_div(n, 2), m->codes) };
    m->parts.absmax = nested ? view("m.weight.absmax", NIB_U8, blocks, m->absmax_q)
                             : view("m.weight.absmax", NIB_F32, blocks, scales);
    m->parts.quant_map = view("m.weight.quant_map", NIB_F32, 16, m->map);
    if (nested) {
        m->parts.nested_absmax = view("m.weight.nested_absmax", NIB_F32, groups, scales);
        m->parts.nested_quant_map = view("m.weight.nested_quant_map", NIB_F32, 256, m->nested_map);
    }
    m->parts.quant_state = view("m.weight.quant_state.bitsandbytes__nf4", NIB_U8, bytes, m->state);
}

/* One value, from the formula of formats.md 4.4. */
static float value_at(const made *m, unsigned blocksize, size_t e)
{
    unsigned byte = m->codes[e / 2], code = e % 2 ? byte & 15 : byte >> 4;
    size_t block = e / blocksize;
    float scale, group;

    if (m->parts.nested_absmax.name) {
        memcpy(&group, (const char *)m->parts.nested_absmax.data + block / 256 * 4, 4);
        scale = m->nested_map[m->absmax_q[block]] * group;
        scale += 0.03125f;
    } else {
        memcpy(&scale, (const char *)m->parts.absmax.data + block * 4, 4);
    }
    return nib_nf4_table[code] * scale;
}

static void test_rectangles(void)
{
    static const size_t shapes[][2] = { { 1, 1 },   { 3, 5 },    { 7, 64 }, { 5, 96 },
                                        { 9, 131 }, { 2, 5000 }, { 40, 33 } };

    for (size_t s = 0; s < NIB_COUNT(shapes); s++) {
        for (unsigned blocksize = 32; blocksize <= 4096; blocksize *= 8) {
            for (int nested = 0; nested < 2; nested++) {
                size_t out = shapes[s][0], in = shapes[s][1];
                nib_ctx *ctx = test_ctx_threads(1, NULL);
                nib_weight *w = NULL;
                nib_error err;
                made m;

                make_parts(&m, out, in, blocksize, nested, (size_t)nested + s % 2);
                REQUIRE_OK(nib_bnb4_open(ctx, &m.parts, &w, &err), err);
                CHECK(w->out == out && w->in == in && strcmp(w->source, "m.weight") == 0,
                      "%zux%zu %s", w->out, w->in, w->source);
                for (int i = 0; i < 12; i++) {
                    size_t r0 = test_rand() % (out + 1), r1 = r0 + test_rand() % (out - r0 + 1);
                    size_t k0 = test_rand() % (in + 1), k1 = k0 + test_rand() % (in - k0 + 1);
                    size_t ld = k1 - k0, wrong = 0;
                    float *dst = test_guarded((r1 - r0) * ld * sizeof *dst + 4);
                    dst++; /* ends at the guard */
                    w->scheme->decode_tile(w, r0, r1, k0, k1, dst, ld);
                    for (size_t r = r0; r < r1; r++)
                        for (size_t k = k0; k < k1; k++)
                            wrong +=
                                dst[(r - r0) * ld + k - k0] != value_at(&m, blocksize, r * in + k);
                    CHECK(wrong == 0, "%zux%zu block %u [%zu,%zu)x[%zu,%zu): %zu wrong", out, in,
                          blocksize, r0, r1, k0, k1, wrong);
                }
                nib_weight_destroy(ctx, w);
            }
        }
    }
}

static void test_dense(void)
{
    nib_ctx *ctx = test_ctx();
    nib_error err;

    for (size_t t = 0; t < 3; t++) {
        size_t out = 5, in = 37, bytes = nib_dtype_bytes(dtypes[t]), wrong = 0;
        uint8_t *data = test_guarded(out * in * bytes);
        float x, got[5 * 37];
        nib_weight *w = NULL;

        for (size_t i = 0; i < out * in; i++) {
            x = test_rand_float();
            nib_convert(data + i * bytes, dtypes[t], &x, NIB_F32, 1);
        }
        REQUIRE_OK(nib_weight_dense(ctx, out, in, dtypes[t], data, NULL, &w, &err), err);
        w->scheme->decode_tile(w, 1, 4, 3, 36, got, 37);
        for (size_t r = 1; r < 4; r++)
            for (size_t k = 3; k < 36; k++) {
                nib_convert(&x, NIB_F32, data + (r * in + k) * bytes, dtypes[t], 1);
                wrong += got[(r - 1) * 37 + k - 3] != x;
            }
        CHECK(wrong == 0, "%s", nib_dtype_name(dtypes[t]));
        nib_weight_destroy(ctx, w);
    }
    for (unsigned h = 0; h < 65536; h += 64) { /* every half: one row of 64 */
        uint16_t halves[64];
        float got[64], want;
        nib_weight *w = NULL;
        size_t wrong = 0;

        for (unsigned i = 0; i < 64; i++) halves[i] = (uint16_t)(h + i);
        REQUIRE_OK(nib_weight_dense(ctx, 1, 64, NIB_F16, halves, NULL, &w, &err), err);
        nib_weight_decode(w, 0, 1, got);
        for (unsigned i = 0; i < 64; i++) {
            want = nib_f16_to_f32(halves[i]);
            wrong += memcmp(&want, &got[i], sizeof want) != 0;
        }
        CHECK(wrong == 0, "float16 %04x...: %zu wrong", h, wrong);
        nib_weight_destroy(ctx, w);
    }
    CHECK(nib_weight_dense(ctx, 2, 2, NIB_I32, &err, NULL, NULL, &err) == NIB_E_UNSUPPORTED,
          "int32 taken");
}

/* --- what a reader refuses (formats.md 4.8) --- */

static void refuse(const made *m, nib_status want, const char *part_of_message)
{
    nib_ctx *ctx = test_ctx_threads(1, NULL);
    nib_weight *w = NULL;
    nib_error err = { 0 };
    nib_status got = nib_bnb4_open(ctx, &m->parts, &w, &err);

    CHECK(got == want && strstr(err.message, part_of_message), "%d '%s', expected '%s'", got,
          err.message, part_of_message);
    if (!got) nib_weight_destroy(ctx, w);
}

#define REFUSE(nested, change, status, message)                                                    \
    do {                                                                                           \
        made m;                                                                                    \
        make_parts(&m, 6, 50, 64, nested, 0);                                                      \
        change;                                                                                    \
        refuse(&m, status, message);                                                               \
    } while (0)

static void test_refuses(void)
{
    float infinite = INFINITY, minus = -1;

    REFUSE(false, m.parts.weight.bytes--, NIB_E_FORMAT, "149 bytes");
    REFUSE(false, m.parts.weight.dtype = NIB_I64, NIB_E_FORMAT, "stored as int64");
    REFUSE(false, m.parts.quant_state.name = NULL, NIB_E_FORMAT, "no quant_state");
    REFUSE(false, m.parts.quant_state.dtype = NIB_I8, NIB_E_FORMAT, "int8");
    REFUSE(false, m.parts.fp4 = true, NIB_E_FORMAT, "says nf4");
    REFUSE(false, m.parts.absmax.name = NULL, NIB_E_FORMAT, "m.weight.absmax is missing");
    REFUSE(false, m.parts.absmax.elements++, NIB_E_FORMAT, "6 values, expected 5");
    REFUSE(false, m.parts.absmax.dtype = NIB_U8, NIB_E_FORMAT, "uint8, expected float32");
    REFUSE(false, m.parts.quant_map.elements = 15, NIB_E_FORMAT, "15 values, expected 16");
    REFUSE(false, m.parts.quant_map.name = NULL, NIB_E_FORMAT, "quant_map is missing");
    REFUSE(false, m.parts.nested_absmax = m.parts.absmax, NIB_E_FORMAT, "not nested");
    REFUSE(true, m.parts.absmax.dtype = NIB_F32, NIB_E_FORMAT, "float32, expected uint8");
    REFUSE(true, m.parts.nested_absmax.name = NULL, NIB_E_FORMAT, "nested_absmax is missing");
    REFUSE(true, m.parts.nested_quant_map.name = NULL, NIB_E_FORMAT, "nested_quant_map is missing");
    REFUSE(true, m.parts.nested_quant_map.elements = 255, NIB_E_FORMAT, "255 values");
    REFUSE(false, memcpy((char *)(uintptr_t)m.parts.absmax.data + 8, &infinite, 4), NIB_E_FORMAT,
           "value 2 is inf");
    REFUSE(false, memcpy((char *)(uintptr_t)m.parts.absmax.data + 8, &minus, 4), NIB_E_FORMAT,
           "value 2 is -1");
    REFUSE(true, memcpy((char *)(uintptr_t)m.parts.nested_absmax.data, &infinite, 4), NIB_E_FORMAT,
           "is inf");
    REFUSE(false, m.map[3] = NAN, NIB_E_FORMAT, "value 3 is");
}

static void test_parts_add(void)
{
    nib_bnb4_parts parts = { .weight = view("a.weight", NIB_U8, 1, "") };
    nib_part v = view("a.weight.absmax", NIB_F32, 1, "");
    nib_error err;

    REQUIRE_OK(nib_bnb4_parts_add(&parts, &v, &err), err);
    v.name = "a.weight.quant_state.bitsandbytes__fp4";
    REQUIRE_OK(nib_bnb4_parts_add(&parts, &v, &err), err);
    CHECK(parts.fp4 && parts.absmax.name && parts.quant_state.name == v.name, "parts not in place");
    v.name = "a.weight.quant_state.bitsandbytes__nf4";
    CHECK(nib_bnb4_parts_add(&parts, &v, &err) == NIB_E_FORMAT, "a second quant_state taken");
    v.name = "a.weight.quant_state.bitsandbytes__int3";
    CHECK(nib_bnb4_parts_add(&parts, &v, &err) == NIB_E_FORMAT, "%s taken", v.name);
    v.name = "a.weight.zeros";
    CHECK(nib_bnb4_parts_add(&parts, &v, &err) == NIB_E_FORMAT, "%s taken", v.name);
}

static void test_state_text(void)
{
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "[]",
        "{\"quant_type\": \"nf4\"}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [4, 4]} "
        "x",
        "{\"quant_type\": \"nf4\", \"blocksize\": 48, \"dtype\": \"bfloat16\", \"shape\": [4, 4]}",
        "{\"quant_type\": \"nf5\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [4, 4]}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"int8\", \"shape\": [4, 4]}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 064, \"dtype\": \"float32\", \"shape\": [4, 4]}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [4]}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [4, 4, "
        "4]}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [4, -4]}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": "
        "[99999999999999999999, 4]}",
        "{\"quant_type\": \"nf4\", \"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": "
        "\"float32\", \"shape\": [4, 4]}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [4, 4], "
        "\"more\": 1}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [4, 4], "
        "\"nested_offset\": 1}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [4, 4], "
        "\"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": NaN}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [4, 4], "
        "\"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": 1e99}",
        "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [4, 4], "
        "\"nested_blocksize\": 128, \"nested_dtype\": \"float32\", \"nested_offset\": 0.5}",
    };
    static const char good[] =
        " {\"shape\":[12,7],\"nested_offset\":-1.25e-2,\"nested_dtype\":\"float32\",\n"
        "\"quant_type\":\"fp4\",\"dtype\":\"float16\",\"nested_blocksize\":256,\"blocksize\":4096}"
        " ";
    nib_bnb4_state s;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(bad); i++)
        for (size_t n = strlen(bad[i]); n + 1 > 0; n = n ? n / 2 : SIZE_MAX) { /* also cut short */
            char *copy = test_guarded(n ? n : 1);
            memcpy(copy, bad[i], n);
            CHECK(nib_bnb4_state_parse(copy, n, "x", &s, &err) != NIB_OK, "%s", bad[i]);
        }
    REQUIRE_OK(nib_bnb4_state_parse(good, strlen(good), "x", &s, &err), err);
    CHECK(s.fp4 && s.nested && s.blocksize == 4096 && s.shape[0] == 12 && s.shape[1] == 7 &&
              s.dtype == NIB_F16 && s.nested_offset == -0.0125f,
          "values of %s", good);
}

/* As repr() of Python 3 prints them. */
static void test_python_float(void)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        { 0, "0.0" },
        { -1, "-1.0" },
        { 0.1, "0.1" },
        { 1e-5, "1e-05" },
        { 1e-4, "0.0001" },
        { 1e15, "1000000000000000.0" },
        { 1e16, "1e+16" },
        { 123456.789, "123456.789" },
        { 0.12345679104328156, "0.12345679104328156" },
        { 1.7976931348623157e308, "1.7976931348623157e+308" },
        { 5e-324, "5e-324" },
        { 10000, "10000.0" },
    };
    char text[32];

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_python_float(cases[i].value, text, sizeof text);
        CHECK(strcmp(text, cases[i].text) == 0, "%s, not %s", text, cases[i].text);
    }
}

/* CRC-32 of the 1024 bytes, as PyTorch 2.13 on AVX2 makes the maps (formats.md 4.5). */
static void test_dynamic_map(void)
{
    static const uint32_t want[2] = { 0xe871278f, 0x1b137aeb };

    for (int with_sign = 0; with_sign < 2; with_sign++) {
        float map[256];
        uint32_t crc = ~0u;
        nib_dynamic_map(with_sign, map);
        for (size_t i = 0; i < sizeof map; i++) {
            crc ^= ((uint8_t *)map)[i];
            for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        CHECK(~crc == want[with_sign], "%08x", ~crc);
    }
}

static void fill_rows(void *arg, size_t r0, size_t r1, float *dst)
{
    size_t in = *(size_t *)arg;
    for (size_t i = 0; i < (r1 - r0) * in; i++) dst[i] = sinf((float)(r0 * in + i) * 0.37f);
}

static void test_threads_equal(void)
{
    static const size_t shapes[][2] = { { 300, 1000 }, { 7, 40001 }, { 2000, 96 } };

    for (size_t s = 0; s < NIB_COUNT(shapes); s++) {
        size_t out = shapes[s][0], in = shapes[s][1];
        nib_bnb4_options options = { .blocksize = 64, .double_quant = true, .dtype = NIB_F32 };
        nib_ctx *one = test_ctx_threads(1, NULL), *two = test_ctx_threads(2, NULL);
        nib_weight *a = NULL, *b = NULL;
        nib_error err;

        REQUIRE_OK(nib_bnb4_encode(one, &options, out, in, fill_rows, &in, &a, &err), err);
        REQUIRE_OK(nib_bnb4_encode(two, &options, out, in, fill_rows, &in, &b, &err), err);
        CHECK(a->bytes == b->bytes &&
                  memcmp(((const nib_bnb4 *)a)->owned, ((const nib_bnb4 *)b)->owned, a->bytes) == 0,
              "%zux%zu", out, in);
        nib_weight_destroy(one, a);
        nib_weight_destroy(two, b);
    }
}

static void test_allocation_failures(void)
{
    for (int what = 0; what < 2; what++) {
        bool succeeded = false;
        for (size_t n = 1; n < 50 && !succeeded; n++) {
            test_heap heap = { .fail_at = n };
            nib_ctx *ctx = test_ctx_heap(&heap);
            nib_bnb4_options options = { .blocksize = 64, .double_quant = true, .dtype = NIB_F32 };
            nib_weight *w = NULL;
            nib_error err;
            size_t in = 50, live = heap.live;
            nib_status status;
            made m;

            make_parts(&m, 6, 50, 64, false, 1);
            status = what ? nib_bnb4_open(ctx, &m.parts, &w, &err)
                          : nib_bnb4_encode(ctx, &options, 30, in, fill_rows, &in, &w, &err);
            succeeded = status == NIB_OK;
            CHECK(succeeded ? n > 1 : status == NIB_E_NOMEM && !w, "call %zu: status %d", n,
                  status);
            nib_weight_destroy(ctx, w);
            CHECK(heap.live == live, "call %zu: %zu blocks are left", n, heap.live - live);
        }
        CHECK(succeeded, "still failing after 50 calls");
    }
}

static void test_refuses_options(void)
{
    nib_ctx *ctx = test_ctx();
    nib_bnb4_options options = { .blocksize = 63, .dtype = NIB_F32 };
    nib_weight *w = NULL;
    nib_error err;
    size_t in = 4;

    CHECK(nib_bnb4_encode(ctx, &options, 4, 4, fill_rows, &in, &w, &err) == NIB_E_INVALID, "taken");
    options.blocksize = 64;
    CHECK(nib_bnb4_encode(ctx, &options, SIZE_MAX / 2, 4, fill_rows, &in, &w, &err) ==
              NIB_E_INVALID,
          "taken");
    CHECK(nib_bnb4_encode(ctx, &options, 0, 4, fill_rows, &in, &w, &err) == NIB_E_INVALID, "taken");
}

int main(void)
{
    static const test_case cases[] = {
        { "golden", test_golden },
        { "variants_equal_reference", test_variants_equal_reference },
        { "rectangles", test_rectangles },
        { "dense", test_dense },
        { "refuses", test_refuses },
        { "parts_add", test_parts_add },
        { "state_text", test_state_text },
        { "python_float", test_python_float },
        { "dynamic_map", test_dynamic_map },
        { "threads_equal", test_threads_equal },
        { "allocation_failures", test_allocation_failures },
        { "refuses_options", test_refuses_options },
    };
    return test_main("bnb4", cases, NIB_COUNT(cases));
}
