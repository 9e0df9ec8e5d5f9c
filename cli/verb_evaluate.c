/* verb_evaluate.c - nibble evaluate. */
#include "session.h"

int verb_evaluate(int argc, char **argv)
{
    session s = { 0 };
    nib_evaluate_options o = { .data = { .max_seq_length = 1024 }, .on_progress = session_progress,
                               .user = &s };
    nib_evaluate_result r;
    const char *compute = NULL;
    option_pairs settings = { 0 };
    nib_status status;
    option options[] = {
        { "data", OPTION_STRING, &o.data.data, "FILE",
          ".jsonl, .json, .csv, .tsv, .parquet, .txt, or a folder of them" },
        { "adapter", OPTION_STRING, &o.adapter, "DIR", "a PEFT adapter" },
        { "logits", OPTION_STRING, &o.logits, "OUT.safetensors",
          "write the logits, one [T, V] tensor a record" },
        { "max-seq-length", OPTION_COUNT, &o.data.max_seq_length, "1024",
          "longer records are cut" },
        { "batch-size", OPTION_COUNT, &o.batch_size, "8", "records at a time" },
        { "template", OPTION_STRING, &o.data.template_text, "'{a} {b}'",
          "a text record from named fields" },
        { "prompt-template", OPTION_STRING, &o.data.prompt_template, "'{q}'",
          "with --completion-template: a masked record" },
        { "completion-template", OPTION_STRING, &o.data.completion_template, "'{a}'",
          "what is predicted" },
        { "dataset-config", OPTION_STRING, &o.data.dataset_config, "main",
          "of a folder whose README.md describes several data sets" },
        { "split", OPTION_STRING, &o.data.split, "test",
          "of a folder's files; default: train, or all" },
        { "data-field", OPTION_STRING, &o.data.data_field, "data",
          "the member of a .json file that holds the records" },
        { "chat-template", OPTION_STRING, &o.data.chat_template, "FILE",
          "Jinja, in place of the model's own" },
        { "chat-template-kwargs", OPTION_STRING, &o.data.chat_template_kwargs, "JSON",
          "more variables of the template, as '{\"enable_thinking\": false}'" },
        { "train-on-turns", OPTION_STRING, &o.data.train_on_turns, "all",
          "of a chat: all turns of the assistant (default), the last, or everything" },
        { "alpaca-ending", OPTION_STRING, &o.data.alpaca_ending, "newline",
          "what follows '### Response:': newline, space or none" },
        { "skip-bad", OPTION_FLAG, &o.data.skip_bad, NULL,
          "leave bad records out, and count them" },
        MODEL_OPTIONS(&settings, &compute),
        STRICT_OPTION(&s),
        SESSION_OPTIONS(&s),
    };
    verb v = { .name = "evaluate", .arguments = "MODEL --data FILE",
               .summary = "Loss, perplexity, tokens.", .options = options,
               .option_count = sizeof options / sizeof *options, .positional_wanted = 1 };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    if (!o.data.data) return options_misuse(&v, "missing option --data");
    o.model.compute_dtype = compute_of(&v, compute, &code);
    if (code) return code;
    o.model.model = v.positional[0];
    o.model.settings = settings.items;
    if ((code = session_begin(&s))) return code;
    status = nib_evaluate(s.ctx, &o, &r, &s.err);
    if (!status && s.json) {
        printf("{\"loss\": ");
        print_json_number(stdout, r.loss);
        printf(", \"perplexity\": ");
        print_json_number(stdout, r.perplexity);
        printf(
            ", \"tokens\": %llu, \"supervised_tokens\": %llu, \"records\": %llu, "
            "\"truncated\": %llu",
            (unsigned long long)r.tokens, (unsigned long long)r.supervised_tokens,
            (unsigned long long)r.records, (unsigned long long)r.truncated);
        print_json_member_warnings(stdout, &s);
        printf("}\n");
    } else if (!status) {
        printf(
            "loss %.6f\nperplexity %.4f\ntokens %llu (%llu supervised) in %llu records, "
            "%llu truncated\n",
            r.loss, r.perplexity, (unsigned long long)r.tokens,
            (unsigned long long)r.supervised_tokens, (unsigned long long)r.records,
            (unsigned long long)r.truncated);
    }
    return session_end(&s, status);
}
