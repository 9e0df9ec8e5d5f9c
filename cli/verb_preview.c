/* verb_preview.c - nibble preview: records as they will be trained, and statistics. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recipe_line.h"

typedef struct preview {
    session s;
    recipe_line line;
    int records;
    bool colour; /* a terminal, and NO_COLOR is not set */
} preview;

/* --- records --- */

/* The number of the bytes of p up to a newline, it included. */
static size_t line_bytes(const char *p, size_t bytes)
{
    const char *end = memchr(p, '\n', bytes);
    return end ? (size_t)(end - p) + 1 : bytes;
}

/* A token in its colour, begun anew on every line: pagers and terminals lose it at newlines. */
static void print_coloured(const nib_preview_token *t)
{
    const char *style = t->trained   ? (t->special ? "\033[1;32m" : "\033[32m")
                        : t->special ? "\033[1;36m"
                                     : NULL;

    for (size_t at = 0, n; at < t->bytes; at += n) {
        n = line_bytes(t->text + at, t->bytes - at);
        if (style) fputs(style, stdout);
        print_text(stdout, t->text + at, n);
        if (style) fputs("\033[0m", stdout);
    }
}

static void print_tokens(const preview *p, const nib_preview_record *r)
{
    bool open = false;

    for (size_t i = 0; i < r->length; i++) {
        const nib_preview_token *t = &r->tokens[i];
        if (p->colour) {
            print_coloured(t);
            continue;
        }
        if (t->trained != open) fputs(open ? "⟧" : "⟦", stdout);
        open = t->trained;
        print_text(stdout, t->text, t->bytes);
    }
    printf("%s\n\n", open ? "⟧" : "");
}

static void print_ids(const nib_preview_record *r, bool labels)
{
    for (size_t i = 0; i < r->length; i++) {
        if (labels && !r->tokens[i].trained) printf("%s-100", i ? ", " : "");
        else printf("%s%u", i ? ", " : "", (unsigned)r->tokens[i].id);
    }
}

static bool on_record(void *user, const nib_preview_record *r)
{
    preview *p = user;

    if (p->s.json) {
        printf("{\"input_ids\": [");
        print_ids(r, false);
        printf("], \"labels\": [");
        print_ids(r, true);
        printf("]}\n");
    } else {
        printf("record %zu: %zu tokens, %zu of them trained\n", r->number, r->length,
               r->supervised);
        print_tokens(p, r);
    }
    return !ferror(stdout);
}

/* --- statistics: on standard output, but beside JSON on standard error --- */

static void print_histogram(FILE *to, const nib_preview_report *r)
{
    enum { WIDTH = 50 };
    uint64_t most = 1;

    for (size_t b = 0; b < r->bucket_count; b++)
        if (r->buckets[b].records > most) most = r->buckets[b].records;
    fprintf(to, "lengths: %u to %u tokens, half of the records up to %u\n", (unsigned)r->shortest,
            (unsigned)r->longest, (unsigned)r->median);
    for (size_t b = 0; b < r->bucket_count; b++) {
        int bar = (int)((r->buckets[b].records * WIDTH + most - 1) / most);
        if (r->buckets[b].last < r->shortest) continue;
        fprintf(to, "  %6u - %-6u %8llu %.*s\n", (unsigned)r->buckets[b].first,
                (unsigned)r->buckets[b].last, (unsigned long long)r->buckets[b].records, bar,
                "##################################################");
    }
}

static void print_end_token(FILE *to, const nib_preview_report *r)
{
    if (!r->end_token) {
        fprintf(to, "end token: none\n");
        return;
    }
    fprintf(to, "end token: ");
    print_text(to, r->end_token, strlen(r->end_token));
    fprintf(to, " (%s) is trained in %llu of %llu records\n", r->end_token_where,
            (unsigned long long)r->ends, (unsigned long long)r->records);
}

static void on_report(void *user, const nib_preview_report *r)
{
    const preview *p = user;
    FILE *to = p->s.json ? stderr : stdout;

    fprintf(to, "shape: %s", r->shape);
    if (r->chat_template) {
        fprintf(to, ", chat template ");
        print_text(to, r->chat_template, strlen(r->chat_template));
    }
    fprintf(
        to,
        "\nrecords: %llu of %llu; %llu bad, %llu empty, "
        "%llu without a supervised token are left out; %llu are duplicates of others\n",
        (unsigned long long)r->records, (unsigned long long)r->read, (unsigned long long)r->bad,
        (unsigned long long)r->empty, (unsigned long long)r->masked_out,
        (unsigned long long)r->duplicates);
    for (size_t i = 0; i < r->source_count; i++) {
        fprintf(to, "source ");
        print_text(to, r->sources[i].path, strlen(r->sources[i].path));
        fprintf(to, ": %llu records, %llu of them an epoch (weight %g)\n",
                (unsigned long long)r->sources[i].records,
                (unsigned long long)r->sources[i].per_epoch, r->sources[i].weight);
    }
    fprintf(to, "truncated: %llu, to %d tokens\n", (unsigned long long)r->truncated,
            r->max_seq_length);
    if (r->too_long)
        fprintf(to, "longer, left out: %llu\n", (unsigned long long)r->too_long);
    fprintf(to, "tokens: %llu an epoch, %llu (%.1f %%) supervised\n", (unsigned long long)r->tokens,
            (unsigned long long)r->supervised,
            100 * (double)r->supervised / (double)(r->tokens ? r->tokens : 1));
    print_end_token(to, r);
    if (r->duplicate_bos)
        fprintf(to, "began with BOS already: %llu\n", (unsigned long long)r->duplicate_bos);
    print_histogram(to, r);
}

/* --- the command line --- */

static bool is_listed(const char *name)
{
    static const char *const keys[] = { "model_name_or_path",
                                        "data",
                                        "dataset_config",
                                        "split",
                                        "data_field",
                                        "chat_template",
                                        "chat_template_kwargs",
                                        "train_on_turns",
                                        "train_on_prompt",
                                        "alpaca_ending",
                                        "skip_bad",
                                        "template",
                                        "prompt_template",
                                        "completion_template",
                                        "max_seq_length",
                                        "long_records",
                                        "defaults",
                                        "full",
                                        "dataset_text_field",
                                        "assistant_only_loss",
                                        "completion_only_loss" };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i], name) == 0) return true;
    return false;
}

int verb_preview(int argc, char **argv)
{
    static preview p; /* large: not on the stack */
    static option options[RECIPE_MOST_OPTIONS];
    option own[] = { { "records", OPTION_NATURAL, &p.records, "3",
                       "how many are shown; default 3, with --json all" },
                     STRICT_OPTION(&p.s), SESSION_OPTIONS(&p.s) };
    verb v = {
        .name = "preview",
        .arguments = "MODEL|RECIPE --data FILE [key=value ...]",
        .summary =
            "Shows what a training run would see: records with what is trained of them, "
            "then statistics.\n"
            "Needs config.json and the tokenizer, no weights.  "
            "Trained tokens are green on a terminal, elsewhere ⟦so⟧;\n"
            "--json gives an object a record, {input_ids, labels}, -100 where nothing is trained, "
            "and where there\nare warnings a last one, {warnings: [{code, text}]}.\n"
            "All keys of a recipe are understood; these have to do with data:",
        .options = options,
        .repeats = nib_recipe_key_is_list,
        .positional_most = OPTION_POSITIONAL_ROOM
    };
    const char *no_color = getenv("NO_COLOR");
    nib_status status;
    int code;

    p.records = -1;
    p.s.json_lines = true;
    v.option_count = recipe_line_options(&p.line, is_listed, own, sizeof own / sizeof *own,
                                         options);
    if ((code = options_parse(&v, argc, argv)) || (code = recipe_line_sort(&p.line, &v)) ||
        (code = session_begin(&p.s)))
        return code;
    if ((code = recipe_line_read(&p.line, &p.s, &v, &status))) {
        recipe_line_free(&p.line);
        nib_ctx_destroy(p.s.ctx);
        return code;
    }
    p.colour = isatty(STDOUT_FILENO) && !(no_color && *no_color);
    if (!status && p.line.o->task_type && strcmp(p.line.o->task_type, "CAUSAL_LM") != 0) {
        snprintf(p.s.err.message, sizeof p.s.err.message,
                 "task_type: %s; preview shows what language models are trained on, and a "
                 "classifier's records are checked by finetune --dry-run", p.line.o->task_type);
        status = NIB_E_UNSUPPORTED;
    }
    if (!status) {
        nib_preview_options o = { .model = options_place(&v, p.line.o->model.model),
                                  .data = p.line.o->data, .full = p.line.o->full,
                                  .train_head_only = p.line.o->train_head_only,
                                  .on_record = on_record, .on_report = on_report, .user = &p };
        o.records = p.records >= 0 ? (size_t)p.records : p.s.json ? SIZE_MAX : 3;
        status = nib_preview(p.s.ctx, &o, &p.s.err);
    }
    recipe_line_free(&p.line);
    return session_end(&p.s, status);
}
