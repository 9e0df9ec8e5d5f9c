/* verb_judge.c - nibble evaluate --generate. */
#include <stdio.h>
#include <string.h>

#include "session.h"

enum { NAME_ROOM = 128 };

typedef struct judge {
    session s; /* first: progress is the session's */
    nib_judge_options o;
    option_list adapters, stops;
    option_pairs settings;
    const char *compute;
    int base;
    bool generate;
    nib_adapter_choice choices[OPTION_LIST_ROOM];
    char names[OPTION_LIST_ROOM][NAME_ROOM]; /* of adapters that were given none */
} judge;

/* NAME=DIR; DIR by itself is called by its last part. */
static void choose_adapters(judge *j, verb *v)
{
    for (size_t i = 0; i < j->adapters.count; i++) {
        const char *item = j->adapters.items[i], *last;
        char *equals = strchr(item, '='), *slash = strchr(item, '/');
        size_t n;
        if (equals && !(slash && slash < equals)) {
            *equals = 0;
            j->choices[i] = (nib_adapter_choice){ .name = item,
                                                  .dir = options_place(v, equals + 1) };
            continue;
        }
        n = strlen(item);
        while (n > 1 && item[n - 1] == '/') n--;
        last = item + n;
        while (last > item && last[-1] != '/') last--;
        snprintf(j->names[i], NAME_ROOM, "%.*s", (int)(item + n - last), last);
        j->choices[i] = (nib_adapter_choice){ .name = j->names[i], .dir = options_place(v, item) };
    }
    j->o.adapters = j->choices;
    j->o.adapter_count = j->adapters.count;
}

int verb_judge(int argc, char **argv)
{
    static judge j; /* large: not on the stack */
    char *report = NULL;
    nib_status status;
    int code;

    j.o = (nib_judge_options){ .data = { .max_seq_length = 1024 }, .worst = 3, .seed = 42,
                               .on_progress = session_progress, .user = &j.s };
    j.base = -1;
    option options[] = {
        { "generate", OPTION_FLAG, &j.generate, NULL, "answer the records, and score the answers" },
        { "data", OPTION_STRING, &j.o.data.data, "FILE",
          "held-out records in the forms of finetune; of those with choices these are compared" },
        { "adapter", OPTION_LIST, &j.adapters, "[NAME=]DIR", "may be repeated: all answer" },
        { "raw", OPTION_FLAG, &j.o.raw, NULL,
          "prompts are put as the options and records say, whatever the adapter was trained on" },
        { "base", OPTION_CHOICE, &j.base, NULL,
          "the model without an adapter answers too (default), or --no-base" },
        { "against", OPTION_STRING, &j.o.against, "NAME",
          "whom the others are compared with; default: base" },
        { "predictions", OPTION_STRING, &j.o.predictions, "FILE.jsonl",
          "write prompts, wanted texts and answers with their scores" },
        { "regex", OPTION_STRING, &j.o.regex, "PATTERN", "answers that match all of it count" },
        { "json-schema", OPTION_STRING, &j.o.json_schema, "FILE",
          "answers that are JSON as this schema has it count, and each of its fields" },
        { "max-new-tokens", OPTION_COUNT, &j.o.max_new_tokens, "64",
          "default: twice the longest wanted text, 16 to 256" },
        { "stop", OPTION_LIST, &j.stops, "TEXT", "an answer ends before it; may be repeated" },
        { "worst", OPTION_NATURAL, &j.o.worst, "3", "records to show, the worst answered first" },
        { "seed", OPTION_SEED, &j.o.seed, "42", "of the intervals' draws" },
        { "max-seq-length", OPTION_COUNT, &j.o.data.max_seq_length, "1024",
          "longer records are cut" },
        { "prompt-template", OPTION_STRING, &j.o.data.prompt_template, "'{q}'",
          "with --completion-template: a record from named fields" },
        { "completion-template", OPTION_STRING, &j.o.data.completion_template, "'{a}'",
          "what is wanted" },
        PLACE_OPTIONS(&j.o.data),
        { "chat-template", OPTION_STRING, &j.o.data.chat_template, "FILE",
          "Jinja, in place of the model's own" },
        { "chat-template-kwargs", OPTION_STRING, &j.o.data.chat_template_kwargs, "JSON",
          "more variables of the template, as '{\"enable_thinking\": false}'" },
        { "alpaca-ending", OPTION_STRING, &j.o.data.alpaca_ending, "newline",
          "what follows '### Response:': newline, space or none" },
        { "skip-bad", OPTION_FLAG, &j.o.data.skip_bad, NULL,
          "leave bad records out, and count them" },
        MODEL_OPTIONS(&j.settings, &j.o.model.quantize_experts, &j.compute),
        STRICT_OPTION(&j.s),
        SESSION_OPTIONS(&j.s),
    };
    verb v = { .name = "evaluate --generate",
               .arguments = "MODEL --data FILE [--adapter [NAME=]DIR]...",
               .summary = "Answers held-out records greedily, base beside adapters, and scores the "
                          "answers; of multiple choice, the likeliest choices.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 1, .model_first = true };

    if ((code = options_parse(&v, argc, argv))) return code;
    if (!j.o.data.data) return options_misuse(&v, "missing option --data");
    j.o.model.compute_dtype = compute_of(&v, j.compute, &code);
    if (code) return code;
    j.o.model.model = v.positional[0];
    j.o.model.settings = j.settings.items;
    j.o.no_base = j.base == 0;
    j.o.stop = j.stops.items;
    j.o.stop_count = j.stops.count;
    choose_adapters(&j, &v);
    if ((code = session_begin(&j.s))) return code;
    status = nib_judge(j.s.ctx, &j.o, j.s.json ? NIB_REPORT_JSON : NIB_REPORT_TEXT, &report,
                       &j.s.err);
    if (!status) {
        print_text(stdout, report, strlen(report));
        if (*report && report[strlen(report) - 1] != '\n') putchar('\n');
        nib_report_free(j.s.ctx, report);
    }
    return session_end(&j.s, status);
}
