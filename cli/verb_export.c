/* verb_export.c - nibble export: a model, or an adapter, as a GGUF file. */
#include <math.h>

#include "session.h"

static void print_survival_json(const nib_survival *s)
{
    printf(", \"survival\": {\"survived\": ");
    print_json_number(stdout, s->survived);
    printf(", \"standard_error\": ");
    print_json_number(stdout, s->standard_error);
    printf(", \"noise\": ");
    print_json_number(stdout, s->noise);
    printf(", \"rows\": %llu}", (unsigned long long)s->rows);
}

static void print_result(session *s, const nib_export_result *r)
{
    if (s->json) {
        printf("{\"tensors\": %llu, \"bytes\": %llu, \"prompts\": %d, \"difference\": ",
               (unsigned long long)r->tensors, (unsigned long long)r->bytes, r->prompts);
        print_json_number(stdout, r->greatest_difference);
        if (r->file_bytes)
            printf(", \"file_bytes\": %llu, \"bits_per_weight\": %.6g",
                   (unsigned long long)r->file_bytes, r->bits_per_weight);
        if (r->survival.rows) print_survival_json(&r->survival);
        print_json_member_warnings(stdout, s);
        printf("}\n");
        return;
    }
    session_line(s, "%llu tensors, %.1f MB", (unsigned long long)r->tensors,
                 (double)r->bytes / 1e6);
    if (r->file_bytes)
        session_line(s, "%llu bytes of file, %.4f bits a weight",
                     (unsigned long long)r->file_bytes, r->bits_per_weight);
    if (r->prompts)
        session_line(s, "read back: the logits of %d prompts differ by at most %.2g of the largest",
                     r->prompts, r->greatest_difference);
    if (r->survival.rows)
        session_line(s, "survived: %.3f +- %.3f of the adapter's change, with noise of %.2f beside "
                     "it (in the weights)", r->survival.survived, r->survival.standard_error,
                     r->survival.noise);
}

static void on_matrix(void *user, const char *tensor, const char *type, double error)
{
    session_line(user, "%s: %s, error %.3g %%", tensor, type, 100 * error);
}

int verb_export(int argc, char **argv)
{
    session s = { 0 };
    nib_export_options o = { .on_matrix = on_matrix, .on_progress = session_progress,
                             .user = &s };
    nib_export_result r;
    bool verify = true;
    double bpw = NAN; /* not given */
    nib_status status;
    option options[] = {
        { "quantize", OPTION_STRING, &o.quantize, "Q8_0",
          "type of the matrices: F32, F16 (default), BF16, Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q4_K_M, "
          "Q4_K_S, Q5_1, Q5_0, Q4_1, Q4_0, IQ4_NL or (of experts) MXFP4; of an adapter F32 "
          "(default), F16 or BF16" },
        { "target-size", OPTION_SIZE, &o.target_size, "3.9GB",
          "instead: types of each matrix by measured error, so that the file takes at most this" },
        { "target-bpw", OPTION_FLOAT, &bpw, "5.0",
          "the same by bits a weight, scales counted" },
        { "adapter", OPTION_PLACE, &o.adapter, "DIR", "a PEFT adapter, merged on the way" },
        { "min-retained", OPTION_FLOAT, &o.min_retained, "0.8",
          "with --adapter: refuse a file that keeps less of the adapter's change" },
        { "imatrix", OPTION_STRING, &o.imatrix, "FILE",
          "how much each input counts when blocks are made: llama.cpp's importance matrix" },
        { "calibration-data", OPTION_STRING, &o.calibration.data, "FILE",
          "the same, of what the model computes on these texts (any data that finetune reads)" },
        { "imatrix-out", OPTION_STRING, &o.imatrix_out, "FILE",
          "where to keep what --calibration-data gave, for llama-quantize too" },
        { "num-calibration-samples", OPTION_COUNT, &o.num_calibration_samples, "128",
          "how many of their records; default: 128" },
        { "calibration-length", OPTION_COUNT, &o.calibration.max_seq_length, "512",
          "longest record in tokens; default: 512" },
        { "base", OPTION_PLACE, &o.base, "MODEL",
          "the base of an adapter; default: the model that its adapter_config.json names" },
        { "dtype", OPTION_STRING, &o.dtype, "bfloat16",
          "type of the weights in a directory OUT: float32, float16 or bfloat16; default: as in "
          "the file, blocks as float32" },
        { "modelfile", OPTION_FLAG, &o.modelfile, NULL,
          "write an Ollama Modelfile beside OUT: FROM, ADAPTER, TEMPLATE, stops, sampling" },
        { "verify", OPTION_FLAG, &verify, NULL,
          "read the file back and compare five prompts; default: true" },
        { "overwrite", OPTION_FLAG, &o.overwrite, NULL, "replace OUT" },
        STRICT_OPTION(&s),
        SESSION_OPTIONS(&s),
    };
    verb v = { .name = "export", .arguments = "MODEL|ADAPTER OUT",
               .summary = "One GGUF file for llama.cpp and its kin, one matrix at a time: a model, "
                          "or a LoRA adapter alone; or MODEL.gguf as a directory OUT.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 2, .model_first = true };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    if (bpw == 0) return options_misuse(&v, "--target-bpw: expected more than 0, got 0");
    if (!isnan(bpw)) o.target_bpw = bpw;
    o.model = v.positional[0];
    o.out = v.positional[1];
    o.no_verify = !verify;
    if ((code = session_begin(&s))) return code;
    status = nib_export(s.ctx, &o, &r, &s.err);
    if (!status) print_result(&s, &r);
    return session_end(&s, status);
}
