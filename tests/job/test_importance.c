/* test_importance.c - importance matrices: read of both forms, written and read again; made of
 * texts and used through the file they give the same blocks; what is none is refused.  What they
 * make of blocks, and that they are the mean squares, is held to ggml and transformers in
 * tests/interop/test_imatrix.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/filemap.h"
#include "job/importance.h"
#include "nibble/export.h"
#include "test.h"

typedef struct bytes { uint8_t at[400]; size_t count; } bytes;

static void put(bytes *b, const void *data, size_t count)
{
    memcpy(b->at + b->count, data, count);
    b->count += count;
}
static void put_count(bytes *b, int32_t n) { put(b, &n, sizeof n); }

static void put_entry(bytes *b, const char *name, int32_t calls, int32_t count, float value)
{
    put_count(b, (int32_t)strlen(name));
    put(b, name, strlen(name));
    put_count(b, calls);
    put_count(b, count);
    for (int32_t i = 0; i < count; i++) put(b, &(float){ value * (float)(i + 1) }, sizeof value);
}

static void write_file(const char *path, const bytes *b, size_t count)
{
    FILE *f = fopen(path, "wb");

    REQUIRE(f && fwrite(b->at, 1, count, f) == count && !fclose(f), "%s", path);
}

static void check_two(const nib_importances *m, const char *form)
{
    const nib_importance *q = nib_importance_of(m, "blk.0.attn_q.weight");
    const nib_importance *d = nib_importance_of(m, "blk.0.ffn_down.weight");

    CHECK(m->count == 2 && q && q->count == 3 && d && d->count == 2, "%s: %zu", form, m->count);
    CHECK(q && q->values[0] == 2 && q->values[2] == 6 && q->rows[0] == 4, "%s", form);
    CHECK(d && d->values[1] == 1, "%s", form);
    CHECK(m->chunks == 7 && m->dataset && strcmp(m->dataset, "texts") == 0, "%s: %s", form,
          m->dataset ? m->dataset : "none");
    CHECK(!nib_importance_of(m, "output.weight"), "%s", form);
}

static bytes two(void)
{
    bytes b = { .count = 0 };

    put_count(&b, 2);
    put_entry(&b, "blk.0.attn_q.weight", 4, 3, 8);
    put_entry(&b, "blk.0.ffn_down.weight", 2, 2, 1);
    put_count(&b, 7);
    put_count(&b, 5);
    put(&b, "texts", 5);
    return b;
}

static void test_forms(void)
{
    nib_ctx *ctx = test_ctx();
    nib_importances m = { 0 }, again = { 0 };
    bytes b = two();
    nib_error err;
    char old[600], new[600];

    snprintf(old, sizeof old, "%s/old.dat", test_tmpdir());
    snprintf(new, sizeof new, "%s/new.gguf", test_tmpdir());
    write_file(old, &b, b.count);
    REQUIRE_OK(nib_importances_open(ctx, old, &m, &err), err);
    check_two(&m, "old");
    REQUIRE_OK(nib_importances_write(&m, new, &err), err);
    REQUIRE_OK(nib_importances_open(ctx, new, &again, &err), err);
    check_two(&again, "new");
    nib_importances_free(&m);
    nib_importances_free(&again);
}

static void check_refused(nib_ctx *ctx, const char *path, const bytes *b, size_t count,
                          const char *says)
{
    nib_importances m = { 0 };
    nib_error err = { 0 };
    nib_status got;

    write_file(path, b, count);
    got = nib_importances_open(ctx, path, &m, &err);
    CHECK(got == NIB_E_FORMAT && strstr(err.message, says), "%s: %d, '%s'", says, got, err.message);
    nib_importances_free(&m);
}

static void test_refused(void)
{
    nib_ctx *ctx = test_ctx();
    bytes b = two(), bad = { .count = 0 };
    nib_importances m = { 0 };
    nib_error err = { 0 };
    char path[600];

    snprintf(path, sizeof path, "%s/bad", test_tmpdir());
    for (size_t cut = 4; cut < b.count - 13; cut++) /* within the entries */
        check_refused(ctx, path, &b, cut, "passes the end");
    check_refused(ctx, path, &b, 3, "no importance matrix");
    put_count(&bad, 1);
    put_entry(&bad, "blk.0.attn_q.weight", 1, 2, -1);
    check_refused(ctx, path, &bad, bad.count, "expected a mean of squares");
    bad.count = 0;
    put_count(&bad, 1);
    put_entry(&bad, "blk.0.attn_q.weight", 1, 2, NAN);
    check_refused(ctx, path, &bad, bad.count, "expected a mean of squares");
    bad.count = 0;
    put_count(&bad, INT32_MAX);
    put_entry(&bad, "x", 1, 1, 1);
    check_refused(ctx, path, &bad, bad.count, "passes the end");
    CHECK(nib_importances_open(ctx, test_data("tests/golden/gguf/llama.gguf"), &m, &err) ==
              NIB_E_FORMAT && strstr(err.message, "not imatrix"), "%s", err.message);
}

static bool same_files(nib_ctx *ctx, const char *a, const char *b)
{
    nib_tensors *t[2] = { NULL };
    nib_error err;
    bool same = !nib_tensors_open(ctx, a, &t[0], &err) && !nib_tensors_open(ctx, b, &t[1], &err);

    for (size_t i = 0; same && i < nib_tensors_count(t[0]); i++) {
        const nib_tensor *x = nib_tensors_at(t[0], i), *y = nib_tensors_find(t[1], x->name);
        same = y && x->bytes == y->bytes && memcmp(x->data, y->data, (size_t)x->bytes) == 0;
    }
    nib_tensors_close(t[0]);
    nib_tensors_close(t[1]);
    return same;
}

static void test_made(void)
{
    nib_ctx *ctx = test_ctx();
    const char *models[] = { test_data("models/pico"),
                             test_data("tests/golden/gguf/mixtral.gguf") };
    char data[600], file[600], out[600], again[600], plain[600];
    nib_export_result r;
    nib_error err = { 0 };
    FILE *f;

    snprintf(data, sizeof data, "%s/d.jsonl", test_tmpdir());
    snprintf(file, sizeof file, "%s/made.gguf", test_tmpdir());
    snprintf(out, sizeof out, "%s/out.gguf", test_tmpdir());
    snprintf(again, sizeof again, "%s/again.gguf", test_tmpdir());
    snprintf(plain, sizeof plain, "%s/plain.gguf", test_tmpdir());
    f = fopen(data, "wb");
    REQUIRE(f, "%s", data);
    fprintf(f, "{\"input_ids\": [1, 5, 9, 33, 7, 60, 4]}\n{\"input_ids\": [2, 8, 8, 11, 50]}\n");
    fclose(f);
    for (size_t i = 0; i < NIB_COUNT(models); i++) {
        nib_export_options o = { .model = models[i], .out = out, .quantize = "Q4_1",
                                 .calibration = { .data = data }, .imatrix_out = file,
                                 .overwrite = true, .no_verify = true };
        nib_export_options p = { .model = models[i], .out = plain, .quantize = "Q4_1",
                                 .overwrite = true, .no_verify = true };
        nib_export_options q = p;
        q.out = again;
        q.imatrix = file;
        REQUIRE_OK(nib_export(ctx, &o, &r, &err), err);
        REQUIRE_OK(nib_export(ctx, &p, &r, &err), err);
        REQUIRE_OK(nib_export(ctx, &q, &r, &err), err);
        CHECK(same_files(ctx, out, again), "%s: other blocks through the file", models[i]);
        CHECK(!same_files(ctx, out, plain), "%s: the importances change nothing", models[i]);
        q.model = models[!i];
        CHECK(nib_export(ctx, &q, &r, &err) == NIB_E_MISMATCH &&
              strstr(err.message, "the importances of"), "%s", err.message);
        o.imatrix = file;
        CHECK(nib_export(ctx, &o, &r, &err) == NIB_E_INVALID, "%s", err.message);
    }
}

static const test_case cases[] = {
    { "forms", test_forms }, { "refused", test_refused }, { "made", test_made },
};

int main(void) { return test_main("test_importance", cases, NIB_COUNT(cases)); }
