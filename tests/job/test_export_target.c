/* test_export_target.c - GGUF files to a size: at most what was asked for, types by measured error,
 * and what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/json.h"
#include "nibble/export.h"
#include "nibble/inspect.h"
#include "nibble/perplexity.h"
#include "test.h"

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;

    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static uint64_t file_size(const char *file)
{
    struct stat info;

    return stat(file, &info) ? 0 : (uint64_t)info.st_size;
}

typedef struct seen { size_t matrices, least; double error; } seen;

static void on_matrix(void *user, const char *tensor, const char *type, double error)
{
    seen *s = user;

    s->matrices++;
    s->least += strcmp(type, "Q8_0") != 0;
    s->error += error;
    CHECK(error > 0 && error < .05, "%s: %s, error %g", tensor, type, error);
}

static double divergence(const char *model)
{
    nib_perplexity_options o = { .model = { .model = model },
                                 .reference = test_data("models/pico"), .context_length = 64 };
    path text = joined(test_tmpdir(), "text.jsonl");
    nib_perplexity_result r = { 0 };
    char line[2000];
    nib_error err;
    FILE *from = fopen(test_data("models/shop-test.jsonl"), "r"), *to = fopen(text.s, "w");

    for (int i = 0; i < 16 && from && to && fgets(line, sizeof line, from); i++) {
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

/* At most the target and within 2 %; the more room, the nearer to the original. */
static void test_sizes(void)
{
    static const uint64_t sizes[] = { 1850000, 2000000, 2400000 };
    double error = INFINITY, apart = INFINITY;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(sizes); i++) {
        path out = joined(test_tmpdir(), "sized.gguf");
        seen s = { 0 };
        nib_export_result r;
        nib_export_options o = { .model = test_data("models/pico"), .out = out.s,
                                 .target_size = sizes[i], .overwrite = true,
                                 .on_matrix = on_matrix, .user = &s };
        double d;
        REQUIRE_OK(nib_export(test_ctx(), &o, &r, &err), err);
        CHECK(r.file_bytes == file_size(out.s) && r.file_bytes <= sizes[i] &&
              (double)r.file_bytes > .98 * (double)sizes[i], "%d bytes, reported %d, asked %d",
              (int)file_size(out.s), (int)r.file_bytes, (int)sizes[i]);
        d = divergence(out.s);
        CHECK(s.matrices == 42 && s.error < error && d < apart,
              "%zu matrices, error %g after %g, divergence %g after %g", s.matrices, s.error,
              error, d, apart);
        error = s.error;
        apart = d;
    }
}

/* Beside one type for all in a file as large, weighed by what texts make of the inputs. */
static void test_better(void)
{
    path one = joined(test_tmpdir(), "one.gguf"), mixed = joined(test_tmpdir(), "mixed.gguf");
    nib_export_options o = { .model = test_data("models/pico"), .out = one.s,
                             .quantize = "Q5_0" };
    nib_export_result r;
    double same, allotted;
    nib_error err;

    o.calibration.data = test_data("models/shop.jsonl");
    o.num_calibration_samples = 16;
    REQUIRE_OK(nib_export(test_ctx(), &o, &r, &err), err);
    o.quantize = NULL;
    o.out = mixed.s;
    o.target_size = file_size(one.s);
    REQUIRE_OK(nib_export(test_ctx(), &o, &r, &err), err);
    same = divergence(one.s);
    allotted = divergence(mixed.s);
    CHECK(file_size(mixed.s) <= file_size(one.s) && allotted < same,
          "divergence %g in %d bytes, of Q5_0 %g in %d", allotted, (int)file_size(mixed.s), same,
          (int)file_size(one.s));
}

static void test_bpw(void)
{
    path out = joined(test_tmpdir(), "bits.gguf");
    nib_export_options o = { .model = test_data("models/pico"), .out = out.s, .target_bpw = 5.5 };
    nib_export_result r;
    char *report = NULL;
    json_t *json = NULL;
    nib_error err;
    double bits;

    REQUIRE_OK(nib_export(test_ctx(), &o, &r, &err), err);
    REQUIRE_OK(nib_inspect(test_ctx(), out.s, NIB_REPORT_JSON, &report, &err), err);
    REQUIRE_OK(nib_json_parse(report, strlen(report), "report", 0, &json, &err), err);
    bits = json_number_value(json_object_get(json_object_get(json, "quantization"),
                                             "bits_per_weight"));
    CHECK(bits <= 5.5 && bits > 5.5 * .98 && fabs(bits - r.bits_per_weight) < 1e-9,
          "inspect has %g bits, reported are %g", bits, r.bits_per_weight);
    json_decref(json);
    nib_report_free(test_ctx(), report);
}

static void count_progress(void *user, const char *tensor, double done)
{
    (void)tensor, (void)done;
    ++*(size_t *)user;
}

/* Before the errors of any matrix are measured, which takes minutes of a large model. */
static void refuse(nib_export_options o, const char *part, const char *other)
{
    nib_error err = { .message = "" };
    struct stat info;
    size_t measured = 0;

    o.on_progress = count_progress;
    o.user = &measured;
    CHECK(nib_export(test_ctx(), &o, NULL, &err) == NIB_E_INVALID && strstr(err.message, part) &&
              strstr(err.message, other), "%s", err.message);
    CHECK(stat(o.out, &info) != 0 && measured == 0, "%s is there, or %zu matrices were measured",
          o.out, measured);
}

static void test_refused(void)
{
    path out = joined(test_tmpdir(), "refused.gguf");
    nib_export_options o = { .model = test_data("models/pico"), .out = out.s }, two;

    o.target_size = 500000;
    refuse(o, "0.5 MB", "smallest");
    o.target_size = 50000000;
    refuse(o, "50 MB", "Q8_0");
    two = o;
    two.quantize = "Q4_0";
    refuse(two, "quantize", "target_size");
    two = o;
    two.target_bpw = 5;
    refuse(two, "target_bpw", "target_size");
    o.target_size = 0;
    o.target_bpw = 3;
    refuse(o, "3 bits", "5.07");
    o.target_bpw = 9;
    refuse(o, "9 bits", "8.5");
}

int main(void)
{
    static const test_case cases[] = {
        { "sizes", test_sizes },
        { "better", test_better },
        { "bits a weight", test_bpw },
        { "refused", test_refused },
    };
    return test_main("export_target", cases, NIB_COUNT(cases));
}
