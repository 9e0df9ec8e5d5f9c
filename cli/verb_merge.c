/* verb_merge.c - adapters into the weights. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

enum { MOST_ADAPTERS = 64, NAME_ROOM = 1024 };

/* The adapters as they were typed. */
typedef struct choice {
    nib_merge_adapter list[MOST_ADAPTERS];
    char names[MOST_ADAPTERS][NAME_ROOM];
} choice;

/* DIR, or DIR:WEIGHT where no file is called that. */
static bool read_adapter(const char *text, char name[NAME_ROOM], nib_merge_adapter *out)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    double weight = 1;
    size_t bytes = strlen(text);

    if (colon && colon[1] && access(text, F_OK)) {
        errno = 0;
        weight = strtod(colon + 1, &end);
        if (*end || errno || !isfinite(weight) || weight == 0) return false;
        bytes = (size_t)(colon - text);
    }
    if (!bytes || bytes >= NAME_ROOM) return false;
    memcpy(name, text, bytes);
    name[bytes] = 0;
    *out = (nib_merge_adapter){ name, weight };
    return true;
}

/* The call's own: what on_report leaves for the end. */
typedef struct call { session s; char *report; } call;

static void on_report(void *user, const nib_merge_report *r)
{
    call *c = user;

    if (!c->s.json && *r->text) /* without the last line's end */
        session_line(&c->s, "%.*s", (int)strlen(r->text) - 1, r->text);
    free(c->report);
    c->report = strdup(r->json);
}

static void print_json(const session *s, const nib_merge_options *o, const nib_merge_result *r,
                       const char *report)
{
    printf("{\"trained_form\": ");
    print_json_string(stdout, r->trained_form, strlen(r->trained_form));
    printf(", \"model_form\": ");
    print_json_string(stdout, r->model_form, strlen(r->model_form));
    printf(", \"other_form\": %s, \"greatest_change\": ", r->other_form ? "true" : "false");
    print_json_number(stdout,
                      r->other_form && r->greatest_change >= 0 ? r->greatest_change : (double)NAN);
    printf(", \"change_is_bound\": %s, \"matrix\": ", r->change_is_bound ? "true" : "false");
    print_json_string(stdout, r->matrix, strlen(r->matrix));
    printf(", \"form\": ");
    print_json_string(stdout, r->form, strlen(r->form));
    printf(", \"wide\": %llu", (unsigned long long)r->wide);
    printf(", \"matrices\": %llu, \"bytes\": %llu", (unsigned long long)r->matrices,
           (unsigned long long)r->bytes);
    if (o->unmerge && o->base_original) {
        printf(", \"equal_again\": ");
        print_json_number(stdout, r->equal_again);
        printf(", \"change_left\": ");
        print_json_number(stdout, r->change_left);
    }
    printf(", \"route\": ");
    print_json_string(stdout, r->route, strlen(r->route));
    printf(", \"report\": %s", report ? report : "null");
    print_json_member_warnings(stdout, s);
    printf("}\n");
}

static void on_forecast(void *user, const nib_merge_forecast *f)
{
    call *c = user;

    if (c->s.json) {
        printf("{\"form\": ");
        print_json_string(stdout, f->form, strlen(f->form));
        printf(", \"parameters\": %llu, \"matrices\": %llu, \"dense_bytes\": %llu, \"bytes\": "
               "%llu, \"disk_bytes\": %llu, \"merge_seconds\": %.1f, \"calibrate_seconds\": "
               "%.1f}\n", (unsigned long long)f->parameters, (unsigned long long)f->matrices,
               (unsigned long long)f->dense_bytes, (unsigned long long)f->bytes,
               (unsigned long long)f->disk_bytes, f->merge_seconds, f->calibrate_seconds);
        return;
    }
    printf("%.2f billion parameters: %.1f GB -> %.1f GB (%s, %llu matrices); %.1f GB of disk "
           "meanwhile\n", (double)f->parameters / 1e9, (double)f->dense_bytes / 1e9,
           (double)f->bytes / 1e9, f->form, (unsigned long long)f->matrices,
           (double)f->disk_bytes / 1e9);
    printf("merging: %.2f hours\n", f->merge_seconds / 3600);
    if (f->tokens)
        printf("calibrating on at most %llu tokens: %.2f hours\n", (unsigned long long)f->tokens,
               f->calibrate_seconds / 3600);
}

static void on_matrix(void *user, const nib_matrix_report *r)
{
    session_line(user, "%s: error %.3g %%, rounded to nearest %.3g %% (%llu rows, %.1f s)",
                 r->module, 100 * r->error, 100 * r->error_rounded, (unsigned long long)r->rows,
                 r->seconds);
}

int verb_merge(int argc, char **argv)
{
    static choice chosen; /* the names outlive the call: the options borrow them */
    call c = { { 0 }, NULL };
    session *s = &c.s;
    option_list adapters = { 0 }, skipped = { .commas = true };
    option_pairs settings = { 0 };
    nib_merge_result result;
    nib_merge_options o = { .on_progress = session_progress, .user = &c, .on_report = on_report,
                            .on_forecast = on_forecast,
                            .result = &result, .adapters = chosen.list,
                            .quantize = { .on_matrix = on_matrix } };
    nib_quantize_options *q = &o.quantize;
    nib_status status;
    option options[] = {
        { "adapter", OPTION_LIST, &adapters, "DIR[:WEIGHT]",
          "a PEFT adapter; several are summed, each times its weight (1)" },
        { "format", OPTION_STRING, &o.format, "dense",
          "dense (default), nf4, fp4, int8, gptq, awq or compressed-tensors" },
        GROUPED_OPTIONS(&settings),
        { "mixed-bits", OPTION_STRING, &o.mixed_bits, "auto",
          "gptq: auto, matrices that keep too little of the change are written in 8 bits" },
        { "bnb-4bit-use-double-quant", OPTION_PAIR_FLAG, &settings, NULL,
          "nf4, fp4: quantize the scales too" },
        { "bnb-4bit-blocksize", OPTION_PAIR, &settings, "64",
          "nf4, fp4: weights that share a scale, 32 to 4096" },
        { "llm-int8-threshold", OPTION_PAIR, &settings, "6.0",
          "int8: inputs of this size or more are multiplied as floats; 0: none" },
        { "llm-int8-skip-modules", OPTION_LIST, &skipped, "lm_head,down_proj",
          "nf4, fp4, int8: linears that stay dense; default: the head" },
        CALIBRATION_OPTIONS(q, "best what the adapter was trained on; interrupted, the same "
                               "command resumes"),
        { "dtype", OPTION_STRING, &o.dtype, "bfloat16",
          "of what is written dense: bfloat16, float16 or float32; default: the model's" },
        { "unmerge", OPTION_FLAG, &o.unmerge, NULL,
          "take the adapters out of a dense MODEL again; compared with --base-original" },
        { "base-original", OPTION_PLACE, &o.base_original, "DIR",
          "of a low-bit MODEL: the weights it was made of; both ways are measured" },
        { "route", OPTION_STRING, &o.route, "auto",
          "original, decoded, or auto: the better of both, where both are at hand" },
        { "verify", OPTION_STRING, &o.verify, "FILE",
          "records to measure the merge on; default: what the adapter's recipe evaluates on" },
        { "min-retained", OPTION_FLOAT, &o.min_retained, "0.8",
          "refuse a merge that keeps less of the adapter's gain, or loses .02 nats a token" },
        { "dry-run", OPTION_FLAG, &o.dry_run, NULL,
          "print sizes and hours and stop; weights and adapter need not be there" },
        { "overwrite", OPTION_FLAG, &o.overwrite, NULL,
          "replace what nibble wrote into OUT before" },
        STRICT_OPTION(s),
        SESSION_OPTIONS(s),
    };
    verb v = { .name = "merge", .arguments = "MODEL --adapter DIR... OUT",
               .summary = "W0 + s B A, one matrix at a time.", .options = options,
               .option_count = sizeof options / sizeof *options, .positional_wanted = 2,
               .model_first = true };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    if (!adapters.count) return options_misuse(&v, "missing option --adapter");
    if (adapters.count > MOST_ADAPTERS)
        return options_misuse(&v, "%zu adapters; at most %d are summed", adapters.count,
                              MOST_ADAPTERS);
    for (size_t i = 0; i < adapters.count; i++)
        if (!read_adapter(adapters.items[i], chosen.names[i], &chosen.list[i]))
            return options_misuse(&v, "--adapter '%s': expected DIR or DIR:WEIGHT, a number that "
                                      "is not 0", adapters.items[i]);
    o.adapter_count = adapters.count;
    q->settings = settings.count ? settings.items : NULL;
    q->skip_modules = skipped.items;
    q->skip_count = skipped.count;
    q->user = s;
    o.model = v.positional[0];
    o.out = v.positional[1];
    if ((code = session_begin(s))) return code;
    status = nib_merge(s->ctx, &o, &s->err);
    if (!status && s->json && !o.dry_run) print_json(s, &o, &result, c.report);
    if (status && s->json && c.report) printf("{\"report\": %s}\n", c.report);
    free(c.report);
    return session_end(s, status);
}
