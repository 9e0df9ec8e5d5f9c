/* test_target.c - bits allotted matrix by matrix: the size that was asked for, a better model than
 * one width for all, and than widths by chance; interrupted while it measures, and what is
 * refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "format/json.h"
#include "nibble/inspect.h"
#include "nibble/merge.h"
#include "nibble/perplexity.h"
#include "nibble/quantize.h"
#include "test.h"

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;

    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static const nib_setting gptq[] = { { "format", "gptq" }, { "group_size", "32" },
                                    { NULL, NULL } };
static const nib_setting three_bits[] = { { "format", "gptq" }, { "group_size", "32" },
                                          { "bits", "3" }, { NULL, NULL } };

static nib_quantize_options options(const char *out, bool calibrated)
{
    nib_quantize_options o = { .model = test_data("models/pico"), .out = out, .settings = gptq };

    if (!calibrated) return o;
    o.calibration.data = test_data("models/shop.jsonl");
    o.num_calibration_samples = 24;
    return o;
}

static uint64_t file_size(const char *dir)
{
    struct stat info;

    return stat(joined(dir, "model.safetensors").s, &info) ? 0 : (uint64_t)info.st_size;
}

/* --- sizes --- */

typedef struct seen { size_t matrices, wide; double error; } seen;

static void on_matrix(void *user, const nib_matrix_report *r)
{
    seen *s = user;

    s->matrices++;
    s->wide += r->bits == 8;
    s->error += r->error;
    CHECK((r->bits == 2 || r->bits == 3 || r->bits == 4 || r->bits == 8) && r->error > 0 &&
              r->error < 1, "%s: %u bits, error %g", r->module, r->bits, r->error);
}

/* At most the target and within 2 %, and the error falls as it grows. */
static void test_sizes(void)
{
    static const uint64_t sizes[] = { 1650000, 1800000, 2000000, 2600000, 3300000 };
    double before = INFINITY;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(sizes); i++) {
        path out = joined(test_tmpdir(), "sized");
        nib_quantize_options o = options(out.s, false);
        nib_quantize_result r;
        seen s = { 0 };
        o.target_size = sizes[i];
        o.overwrite = true;
        o.on_matrix = on_matrix;
        o.user = &s;
        REQUIRE_OK(nib_quantize(test_ctx(), &o, &r, &err), err);
        CHECK(r.file_bytes == file_size(out.s), "%d bytes, reported %d", (int)file_size(out.s),
              (int)r.file_bytes);
        CHECK(r.file_bytes <= sizes[i] && (double)r.file_bytes > .98 * (double)sizes[i],
              "%d bytes for a target of %d", (int)r.file_bytes, (int)sizes[i]);
        CHECK(s.matrices == 42 && s.error < before, "%zu matrices, error %g after %g", s.matrices,
              s.error, before);
        before = s.error;
    }
}

/* The figure of inspect, at most the target. */
static void test_bpw(void)
{
    path out = joined(test_tmpdir(), "bits");
    nib_quantize_options o = options(out.s, false);
    nib_quantize_result r;
    char *report = NULL;
    nib_error err;
    json_t *json = NULL;
    double bits;

    o.target_bpw = 3.6;
    REQUIRE_OK(nib_quantize(test_ctx(), &o, &r, &err), err);
    REQUIRE_OK(nib_inspect(test_ctx(), out.s, NIB_REPORT_JSON, &report, &err), err);
    REQUIRE_OK(nib_json_parse(report, strlen(report), "report", 0, &json, &err), err);
    bits = json_number_value(json_object_get(json_object_get(json, "quantization"),
                                             "bits_per_weight"));
    CHECK(bits <= 3.6 && bits > 3.6 * .98 && fabs(bits - r.bits_per_weight) < 1e-9,
          "inspect has %g bits, reported are %g", bits, r.bits_per_weight);
    json_decref(json);
    nib_report_free(test_ctx(), report);
}

/* --- quality --- */

static double divergence(const char *model)
{
    nib_perplexity_options o = { .model = { .model = model },
                                 .reference = test_data("models/pico"), .context_length = 64 };
    path text = joined(test_tmpdir(), "text.jsonl");
    nib_perplexity_result r = { 0 };
    char line[2000];
    nib_error err;
    FILE *from = fopen(test_data("models/shop-test.jsonl"), "r"), *to = fopen(text.s, "w");

    for (int i = 0; i < 24 && from && to && fgets(line, sizeof line, from); i++) {
        json_t *j = json_loads(line, 0, NULL), *both;
        both = json_pack("{s:s+}", "text", json_string_value(json_object_get(j, "prompt")),
                         json_string_value(json_object_get(j, "completion")));
        json_dumpf(both, to, 0);
        fputc('\n', to);
        json_decref(both);
        json_decref(j);
    }
    CHECK(from && to && fclose(from) == 0 && fclose(to) == 0, "%s", text.s);
    o.data = text.s;
    CHECK(nib_perplexity(test_ctx(), &o, &r, &err) == NIB_OK, "%s", err.message);
    return r.divergence;
}

/* Stops when so many matrices are encoded, or so many layers are measured. */
typedef struct stopper { size_t encoded, measured, most_encoded, most_measured; } stopper;

static void count_encoded(void *user, const nib_matrix_report *r)
{
    ((stopper *)user)->encoded += r->rows > 0;
}

static void count_measured(void *user, const char *what, double share)
{
    ((stopper *)user)->measured += share > 0 && strncmp(what, "measuring", 9) == 0;
}

static int should_stop(void *user)
{
    const stopper *s = user;

    return (s->most_encoded && s->encoded >= s->most_encoded) ||
           (s->most_measured && s->measured >= s->most_measured);
}

static nib_status run_until(nib_quantize_options o, stopper *s, nib_error *err)
{
    nib_ctx_options c = { .threads = 2, .should_stop = should_stop, .should_stop_user = s };
    nib_ctx *ctx;
    nib_status status = nib_ctx_create(&c, &ctx, err);

    if (status) return status;
    o.on_matrix = count_encoded;
    o.on_progress = count_measured;
    o.user = s;
    status = nib_quantize(ctx, &o, NULL, err);
    nib_ctx_destroy(ctx);
    return status;
}

/* Other errors in the place of those that were measured: falling with the width, by chance between
 * matrices. */
static void put_chance(const char *out)
{
    for (int layer = 1; layer <= 6; layer++) {
        char name[700];
        json_t *list;
        snprintf(name, sizeof name, "%s.unfinished/errors-%05d.json", out, layer);
        list = json_load_file(name, 0, NULL);
        REQUIRE(json_array_size(list) == 7, "%s", name);
        for (size_t i = 0; i < 7; i++) {
            json_t *errors = json_object_get(json_array_get(list, i), "errors");
            double scale = pow(10, 2 * (double)test_rand_float());
            for (size_t k = 0; k < json_array_size(errors); k++)
                json_array_set_new(errors, k, json_real(scale * pow(5, -(double)k)));
        }
        CHECK(json_dump_file(list, name, 0) == 0, "%s", name);
        json_decref(list);
    }
}

/* Mixed widths beside 3 bits for all, in a file that is larger by a tenth, and beside widths that
 * chance dealt out, in a file as large. */
static void test_better(void)
{
    path three = joined(test_tmpdir(), "three"), mixed = joined(test_tmpdir(), "mixed"),
         chance = joined(test_tmpdir(), "chance");
    nib_quantize_options o = options(three.s, true);
    stopper none = { 0 }, first = { .most_encoded = 1 };
    double uniform, allotted, dealt;
    nib_error err;

    o.settings = three_bits;
    REQUIRE_OK(run_until(o, &none, &err), err);
    o = options(mixed.s, true);
    o.target_bpw = 3.95;
    REQUIRE_OK(run_until(o, &none, &err), err);
    o.out = chance.s;
    CHECK(run_until(o, &first, &err) == NIB_E_INTERRUPTED, "%s", err.message);
    put_chance(chance.s);
    REQUIRE_OK(run_until(o, &none, &err), err);
    uniform = divergence(three.s);
    allotted = divergence(mixed.s);
    dealt = divergence(chance.s);
    CHECK(file_size(mixed.s) > file_size(three.s) &&
              file_size(mixed.s) < 1.1 * (double)file_size(three.s) &&
              fabs((double)file_size(chance.s) / (double)file_size(mixed.s) - 1) < .01,
          "%d bytes, 3 bits %d, chance %d", (int)file_size(mixed.s), (int)file_size(three.s),
          (int)file_size(chance.s));
    CHECK(allotted < .9 * uniform && allotted < .7 * dealt,
          "divergence %g, of 3 bits %g, by chance %g", allotted, uniform, dealt);
}

/* --- resuming --- */

static bool same_file(const char *a, const char *b)
{
    nib_filemap x = { 0 }, y = { 0 };
    nib_error err;
    bool same = !nib_filemap_open(a, &x, &err) && !nib_filemap_open(b, &y, &err) &&
                x.bytes == y.bytes && memcmp(x.base, y.base, x.bytes) == 0;

    nib_filemap_close(&x);
    nib_filemap_close(&y);
    return same;
}

/* Stopped while it measured layer 3, and then in layer 2 of encoding: what is done is not done
 * again, and the bytes are those of one run.  With another target it is refused. */
static void test_resumes(void)
{
    path whole = joined(test_tmpdir(), "whole"), parts = joined(test_tmpdir(), "parts");
    stopper all = { 0 }, first = { .most_measured = 2 }, second = { .most_encoded = 10 },
            third = { 0 };
    nib_quantize_options o = options(whole.s, true), other;
    struct stat info;
    nib_error err;

    o.num_calibration_samples = 8;
    o.target_size = 1900000;
    REQUIRE_OK(run_until(o, &all, &err), err);
    CHECK(all.measured == 6 && all.encoded == 42);
    o.out = parts.s;
    CHECK(run_until(o, &first, &err) == NIB_E_INTERRUPTED && first.encoded == 0, "%s",
          err.message);
    CHECK(run_until(o, &second, &err) == NIB_E_INTERRUPTED && second.measured == 4, "%zu: %s",
          second.measured, err.message);
    other = o;
    other.target_size = 1800000;
    CHECK(run_until(other, &third, &err) == NIB_E_MISMATCH && strstr(err.message, "target"), "%s",
          err.message);
    REQUIRE_OK(run_until(o, &third, &err), err);
    CHECK(third.measured == 0 && third.encoded == 42 - 7, "%zu measured, %zu encoded",
          third.measured, third.encoded);
    CHECK(same_file(joined(whole.s, "model.safetensors").s,
                    joined(parts.s, "model.safetensors").s) &&
          same_file(joined(whole.s, "config.json").s, joined(parts.s, "config.json").s));
    CHECK(stat(joined(test_tmpdir(), "parts.unfinished").s, &info) != 0, "layers are left");
}

/* --- what is refused --- */

static void refuse(const nib_quantize_options *o, nib_status want, const char *part,
                   const char *other)
{
    struct stat info;
    nib_error err = { .message = "" };

    CHECK(nib_quantize(test_ctx(), o, NULL, &err) == want && strstr(err.message, part) &&
              strstr(err.message, other), "%s", err.message);
    CHECK(stat(o->out, &info) != 0, "%s is there", o->out);
}

static void test_refused(void)
{
    static const nib_setting awq[] = { { "format", "awq" }, { NULL, NULL } };
    static const nib_setting nf4[] = { { "load_in_4bit", "true" }, { NULL, NULL } };
    path out = joined(test_tmpdir(), "refused");
    const nib_quantize_options plain = options(out.s, false), texts = options(out.s, true);
    nib_quantize_options o = plain;
    nib_merge_options merge = { .model = plain.model, .out = out.s, .format = "gptq" };
    nib_error err;

    o.target_size = 500000;
    refuse(&o, NIB_E_INVALID, "0.5 MB", "narrowest");
    o.target_size = 9000000;
    refuse(&o, NIB_E_INVALID, "9 MB", "widest");
    o = plain;
    o.target_bpw = 1.5;
    refuse(&o, NIB_E_INVALID, "1.5 bits", "2.69");
    o.target_bpw = 12;
    refuse(&o, NIB_E_INVALID, "12 bits", "8.88");
    o.target_bpw = -1;
    refuse(&o, NIB_E_INVALID, "target_bpw", "-1");
    o.target_bpw = 3.5;
    o.target_size = 2000000;
    refuse(&o, NIB_E_INVALID, "target_size", "target_bpw");
    o.target_size = 0;
    o.settings = three_bits;
    refuse(&o, NIB_E_INVALID, "bits", "target_bpw");
    o.settings = awq;
    refuse(&o, NIB_E_UNSUPPORTED, "target_bpw", "awq");
    o.settings = nf4;
    refuse(&o, NIB_E_UNSUPPORTED, "target_bpw", "bitsandbytes");
    o = texts;
    o.algorithm = "awq";
    o.target_bpw = 3.5;
    refuse(&o, NIB_E_UNSUPPORTED, "target_bpw", "awq");
    merge.quantize.target_bpw = 3.5;
    CHECK(nib_merge(test_ctx(), &merge, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "target_bpw"), "%s", err.message);
}

int main(void)
{
    static const test_case cases[] = {
        { "sizes", test_sizes },
        { "bits a weight", test_bpw },
        { "better", test_better },
        { "resumes", test_resumes },
        { "refused", test_refused },
    };
    return test_main("target", cases, NIB_COUNT(cases));
}
