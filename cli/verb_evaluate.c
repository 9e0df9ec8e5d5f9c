/* verb_evaluate.c - nibble evaluate. */
#include <string.h>

#include "session.h"

static void print_score(const char *name, double value, const char *before)
{
    if (value == value) printf("%s\"%s\": ", before, name), print_json_number(stdout, value);
}

/* The scores that have a meaning, as members of an object or a line each. */
static void put_scores(const nib_scores *r, bool json)
{
    bool answers = r->exact_match == r->exact_match;
    const struct { const char *name; double value; } all[] = {
        { "accuracy", r->accuracy }, { "exact_match", r->exact_match },
        { json || answers ? "f1" : "f1 (macro)", r->f1 },
        { "HasAns_exact", r->has_answer_exact }, { "HasAns_f1", r->has_answer_f1 },
        { "NoAns_exact", r->no_answer_exact }, { "NoAns_f1", r->no_answer_f1 },
        { "matthews_correlation", r->matthews_correlation }, { "mse", r->mse },
        { "pearson", r->pearson }, { "spearmanr", r->spearmanr },
        { "recall@1", r->recall[0] }, { "recall@3", r->recall[1] }, { "recall@5", r->recall[2] },
        { "recall@10", r->recall[3] }, { "mrr@10", r->mrr }, { "overall_f1", r->overall_f1 },
        { "overall_precision", r->overall_precision }, { "overall_recall", r->overall_recall },
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (json) print_score(all[i].name, all[i].value, ", ");
        else if (all[i].value == all[i].value) printf("%s %.4f\n", all[i].name, all[i].value);
    }
}

static void print_classes_json(const char *name, const nib_class_scores *c, size_t count)
{
    for (size_t i = 0; c && i < count; i++) {
        if (i) printf(", ");
        else printf(", \"%s\": {", name);
        print_json_string(stdout, c[i].name, strlen(c[i].name));
        print_score("precision", c[i].precision, ": {");
        print_score("recall", c[i].recall, ", ");
        print_score("f1", c[i].f1, ", ");
        printf(", \"support\": %llu}", (unsigned long long)c[i].support);
    }
    if (c) printf("}");
}

/* Members of the object that the verb prints. */
static void print_scores_json(const nib_scores *r)
{
    printf("\"rows\": %llu", (unsigned long long)r->rows);
    put_scores(r, true);
    if (r->queries)
        printf(", \"queries\": %llu, \"documents\": %llu", (unsigned long long)r->queries,
               (unsigned long long)r->documents);
    print_classes_json("spans", r->spans, r->span_types);
    print_classes_json("classes", r->classes, r->labels);
    for (size_t i = 0; r->confusion && i < r->labels; i++) {
        printf(i ? ", [" : ", \"confusion\": [[");
        for (size_t k = 0; k < r->labels; k++)
            printf(k ? ", %llu" : "%llu", (unsigned long long)r->confusion[i * r->labels + k]);
        printf("]");
    }
    if (r->confusion) printf("]");
    printf(", ");
}

static void print_classes(const char *what, const nib_class_scores *c, size_t count)
{
    for (size_t i = 0; c && i < count; i++) {
        print_text(stdout, c[i].name, strlen(c[i].name));
        printf(": precision %.4f, recall %.4f, f1 %.4f, %llu %s\n", c[i].precision, c[i].recall,
               c[i].f1, (unsigned long long)c[i].support, what);
    }
}

static void print_scores(const nib_scores *r)
{
    put_scores(r, false);
    if (r->queries)
        printf("%llu queries, %llu documents\n", (unsigned long long)r->queries,
               (unsigned long long)r->documents);
    print_classes("spans", r->spans, r->span_types);
    print_classes("rows", r->classes, r->labels);
    if (r->confusion && r->labels <= 20)
        printf("rows by right class (lines) and predicted class (columns):\n");
    for (size_t i = 0; r->confusion && r->labels <= 20 && i < r->labels; i++)
        for (size_t k = 0; k < r->labels; k++)
            printf("%8llu%s", (unsigned long long)r->confusion[i * r->labels + k],
                   k + 1 == r->labels ? "\n" : "");
}

/* The numbers are the library's until it returns: what is printed waits no longer. */
static void on_scores(void *user, const nib_scores *scores)
{
    const session *s = user;

    if (s->json) printf("{"), print_scores_json(scores);
    else print_scores(scores);
}

/* The loss and counts; of what has no perplexity behind the scores, which opened the object. */
static void print_result(const session *s, const nib_evaluate_result *r)
{
    unsigned long long tokens = r->tokens, supervised = r->supervised_tokens,
                       records = r->records, truncated = r->truncated;
    bool scored = r->perplexity != r->perplexity;

    if (s->json) {
        printf(scored ? "\"loss\": " : "{\"loss\": ");
        print_json_number(stdout, r->loss);
        print_score("perplexity", r->perplexity, ", ");
        printf(", \"tokens\": %llu, \"supervised_tokens\": %llu, \"records\": %llu, "
               "\"truncated\": %llu", tokens, supervised, records, truncated);
        print_json_member_warnings(stdout, s);
        printf("}\n");
    } else if (scored) {
        printf("loss %.6f\n%llu records, %llu tokens, %llu truncated\n", r->loss, records, tokens,
               truncated);
    } else {
        printf("loss %.6f\nperplexity %.4f\ntokens %llu (%llu supervised) in %llu records, "
               "%llu truncated\n", r->loss, r->perplexity, tokens, supervised, records, truncated);
    }
}

/* Its options are others. */
static bool is_judge(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--generate") == 0) return true;
    return false;
}

int verb_evaluate(int argc, char **argv)
{
    bool generate = false;
    session s = { 0 };
    nib_evaluate_options o = { .data = { .max_seq_length = 1024, .doc_stride = 128 },
                               .on_progress = session_progress, .on_scores = on_scores,
                               .user = &s };
    const char *task = NULL;
    nib_evaluate_result r;
    const char *compute = NULL;
    option_pairs settings = { 0 };
    nib_status status;
    option options[] = {
        { "data", OPTION_STRING, &o.data.data, "FILE",
          ".jsonl, .json, .csv, .tsv, .parquet, .txt, a folder of them, or org/name of the hub's "
          "cache" },
        { "adapter", OPTION_PLACE, &o.adapter, "DIR", "a PEFT adapter" },
        { "task-type", OPTION_STRING, &task, "SEQ_CLS",
          "CAUSAL_LM, SEQ_CLS, TOKEN_CLS, FEATURE_EXTRACTION, MASKED_LM, QUESTION_ANS; default: "
          "the adapter's, or config.json's" },
        { "generate", OPTION_FLAG, &generate, NULL,
          "answer the records instead, and score answers: evaluate --generate --help" },
        { "corpus", OPTION_STRING, &o.corpus, "FILE",
          "of embeddings: more documents among which the right ones are looked for" },
        { "logits", OPTION_STRING, &o.logits, "OUT.safetensors",
          "write the logits, one [T, V] tensor a record" },
        { "max-seq-length", OPTION_COUNT, &o.data.max_seq_length, "1024",
          "longer records are cut" },
        ANSWER_OPTIONS(&o.data),
        { "batch-size", OPTION_COUNT, &o.batch_size, "8", "records at a time" },
        { "template", OPTION_STRING, &o.data.template_text, "'{a} {b}'",
          "a text record from named fields" },
        { "prompt-template", OPTION_STRING, &o.data.prompt_template, "'{q}'",
          "with --completion-template: a masked record" },
        { "completion-template", OPTION_STRING, &o.data.completion_template, "'{a}'",
          "what is predicted" },
        PLACE_OPTIONS(&o.data),
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
        MODEL_OPTIONS(&settings, &o.model.quantize_experts, &compute),
        STRICT_OPTION(&s),
        SESSION_OPTIONS(&s),
    };
    verb v = { .name = "evaluate", .arguments = "MODEL --data FILE",
               .summary = "Loss, perplexity, tokens; of a classifier or answers what it gets "
                          "right, of embeddings what they find.",
               .options = options,
               .option_count = sizeof options / sizeof *options, .positional_wanted = 1,
               .model_first = true };
    int code;

    if (is_judge(argc, argv)) return verb_judge(argc, argv);
    code = options_parse(&v, argc, argv);
    if (code) return code;
    if (generate) return options_misuse(&v, "write --generate, without a value");
    if (!o.data.data) return options_misuse(&v, "missing option --data");
    o.model.task = task_of(&v, task, true, &code);
    if (code) return code;
    o.model.compute_dtype = compute_of(&v, compute, &code);
    if (code) return code;
    o.model.model = v.positional[0];
    o.model.settings = settings.items;
    if ((code = session_begin(&s))) return code;
    status = nib_evaluate(s.ctx, &o, &r, &s.err);
    if (!status) print_result(&s, &r);
    return session_end(&s, status);
}
