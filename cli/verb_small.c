/* verb_small.c - inspect, doctor, quantize: one call of the library each. */
#include <math.h>
#include <string.h>

#include "session.h"

static int print_report(session *s, nib_status status, char *report)
{
    if (!status) {
        print_text(stdout, report, strlen(report));
        if (*report && report[strlen(report) - 1] != '\n') putchar('\n');
        nib_report_free(s->ctx, report);
    }
    return session_end(s, status);
}

int verb_inspect(int argc, char **argv)
{
    session s = { 0 };
    option options[] = { STRICT_OPTION(&s), SESSION_OPTIONS(&s) };
    verb v = { .name = "inspect", .arguments = "MODEL|ADAPTER|FILE",
               .summary = "Architecture, tensors, types, sizes, quantization.", .options = options,
               .option_count = 3, .positional_wanted = 1, .model_first = true };
    char *report = NULL;
    int code = options_parse(&v, argc, argv);

    nib_status status;

    if (code || (code = session_begin(&s))) return code;
    status = nib_inspect(s.ctx, v.positional[0], s.json ? NIB_REPORT_JSON : NIB_REPORT_TEXT,
                         &report, &s.err);
    return print_report(&s, status, report);
}

int verb_doctor(int argc, char **argv)
{
    session s = { 0 };
    bool models = false;
    option options[] = { { "models", OPTION_FLAG, &models, NULL,
                           "which small models fit this machine, to train and to answer, with "
                           "memory and hours" },
                         SESSION_OPTIONS(&s) };
    verb v = { .name = "doctor", .arguments = "",
               .summary = "Processor, instruction sets, memory, threads, versions.",
               .options = options, .option_count = sizeof options / sizeof *options };
    char *report = NULL;
    int code = options_parse(&v, argc, argv);

    nib_status status;

    if (code || (code = session_begin(&s))) return code;
    status = (models ? nib_doctor_of_models : nib_doctor)(
        s.ctx, s.json ? NIB_REPORT_JSON : NIB_REPORT_TEXT, &report, &s.err);
    return print_report(&s, status, report);
}

static void on_matrix(void *user, const nib_matrix_report *r)
{
    if (!r->rows)
        session_line(user, "%s: %u bits, error %.3g %%", r->module, r->bits, 100 * r->error);
    else
        session_line(user, "%s: %u bits, error %.3g %%, rounded to nearest %.3g %% (%llu rows, "
                     "%.1f s)", r->module, r->bits, 100 * r->error, 100 * r->error_rounded,
                     (unsigned long long)r->rows, r->seconds);
}

static void print_quantized(session *s, const nib_quantize_result *r)
{
    if (s->json) {
        printf(
            "{\"matrices\": %llu, \"parameters\": %llu, \"bytes_before\": %llu, "
            "\"bytes_after\": %llu",
            (unsigned long long)r->matrices, (unsigned long long)r->parameters,
            (unsigned long long)r->bytes_before, (unsigned long long)r->bytes_after);
        if (r->file_bytes)
            printf(", \"file_bytes\": %llu, \"bits_per_weight\": %.6g",
                   (unsigned long long)r->file_bytes, r->bits_per_weight);
        print_json_member_warnings(stdout, s);
        printf("}\n");
        return;
    }
    session_line(s, "%llu matrices quantized, %.1f MB became %.1f MB in %.1f s",
                 (unsigned long long)r->matrices, (double)r->bytes_before / 1e6,
                 (double)r->bytes_after / 1e6, r->seconds);
    if (r->file_bytes)
        session_line(s, "%llu bytes of files, %.4f bits a weight",
                     (unsigned long long)r->file_bytes, r->bits_per_weight);
}

int verb_quantize(int argc, char **argv)
{
    session s = { 0 };
    option_pairs settings = { 0 };
    option_list skipped = { .commas = true };
    bool experts = false, usual;
    nib_quantize_options o = { .on_matrix = on_matrix, .on_progress = session_progress,
                               .user = &s };
    nib_quantize_result r;
    double bpw = NAN; /* not given */
    nib_status status;
    option options[] = {
        WEIGHT_OPTIONS(&settings, "to 4 bits (bitsandbytes)"),
        { "format", OPTION_PAIR, &settings, "gptq",
          "gptq, awq or compressed-tensors: rounded to nearest without --calibration-data" },
        GROUPED_OPTIONS(&settings),
        CALIBRATION_OPTIONS(&o,
                            "texts or chats for the model; interrupted, the same command resumes"),
        { "act-group-aware", OPTION_FLAG, &o.act_group_aware, NULL,
          "gptq: great groups first, and in each great inputs; groups stay in order" },
        { "target-size", OPTION_SIZE, &o.target_size, "3.9GB",
          "gptq: bits of each matrix by measured error, so that the files take at most this" },
        { "target-bpw", OPTION_FLOAT, &bpw, "3.6",
          "the same by bits a weight, scales counted" },
        { "adapter", OPTION_PLACE, &o.adapter, "DIR",
          "a PEFT adapter: MODEL with it is quantized, calibrated on what it was trained on" },
        { "llm-int8-skip-modules", OPTION_LIST, &skipped, "lm_head,down_proj",
          "linears that stay dense; default: the head" },
        { "quantize-experts", OPTION_FLAG, &experts, NULL,
          "only while a model is loaded: no file form is known" },
        { "dtype", OPTION_STRING, &o.dtype, "bfloat16",
          "of the other tensors; default: the file's" },
        { "overwrite", OPTION_FLAG, &o.overwrite, NULL,
          "replace what nibble wrote into OUT before" },
        STRICT_OPTION(&s),
        SESSION_OPTIONS(&s),
    };
    verb v = { .name = "quantize",
               .arguments = "MODEL OUT [--load-in-4bit | --load-in-8bit | --format NAME]",
               .summary = "Writes a directory that transformers opens; by default NF4 with double "
                          "quantization.",
               .options = options,
               .option_count = sizeof options / sizeof *options,
               .positional_wanted = 2, .model_first = true };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    if (bpw == 0) return options_misuse(&v, "--target-bpw: expected more than 0, got 0");
    if (!isnan(bpw)) o.target_bpw = bpw;
    usual = !settings.count;
    if (usual && (o.target_size || o.target_bpw != 0))
        return options_misuse(&v, "missing option --format: gptq");
    if (usual && (o.calibration.data || o.algorithm))
        return options_misuse(&v, "missing option --format: gptq, awq or compressed-tensors");
    if (usual) {
        static const char *const names[] = { "load_in_4bit", "bnb_4bit_use_double_quant" };
        for (size_t i = 0; i < 2; i++)
            settings.items[settings.count++] = (nib_setting){ names[i], "true" };
    }
    if (experts)
        return options_misuse(&v, "--quantize-experts: no file form holds experts of one tensor in "
                                  "4 or 8 bits; quantize without it, and give it to finetune, "
                                  "evaluate, predict and generate, which quantize them while "
                                  "loading");
    o.settings = settings.items;
    o.skip_modules = skipped.items;
    o.skip_count = skipped.count;
    o.model = v.positional[0];
    o.out = v.positional[1];
    if ((code = session_begin(&s))) return code;
    if (usual)
        session_line(&s, "no format is given: NF4 with double quantization "
                         "(--load-in-4bit --bnb-4bit-use-double-quant)");
    status = nib_quantize(s.ctx, &o, &r, &s.err);
    if (!status) print_quantized(&s, &r);
    return session_end(&s, status);
}
