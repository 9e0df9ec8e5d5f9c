/* verb_predict.c - nibble predict: a line of JSON a record; records from a file, or from standard
 * input as they come. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

typedef struct input {
    session s; /* first: session_progress() gets its address */
    char *line;
    size_t room;
    bool failed;
} input;

/* The next line of standard input. */
static const char *next_line(void *user, size_t *bytes)
{
    input *in = user;
    ssize_t n = getline(&in->line, &in->room, stdin);

    if (n < 0) {
        in->failed = ferror(stdin) != 0;
        return NULL;
    }
    while (n > 0 && (in->line[n - 1] == '\n' || in->line[n - 1] == '\r')) n--;
    *bytes = (size_t)n;
    return in->line;
}

/* Whoever writes records one by one waits for each answer. */
static void on_line(void *user, const char *line, size_t bytes)
{
    (void)user;
    fwrite(line, 1, bytes, stdout);
    putchar('\n');
    fflush(stdout);
}

int verb_predict(int argc, char **argv)
{
    input in = { 0 };
    nib_predict_options o = { .data = { .max_seq_length = 1024, .doc_stride = 128 },
                              .on_line = on_line, .on_progress = session_progress, .user = &in };
    const char *compute = NULL, *task = NULL;
    option_pairs settings = { 0 };
    nib_status status;
    option options[] = {
        { "data", OPTION_STRING, &o.data.data, "FILE",
          "as finetune takes it, labels not needed; default: JSON lines from standard input" },
        { "adapter", OPTION_PLACE, &o.adapter, "DIR", "a PEFT adapter" },
        { "task-type", OPTION_STRING, &task, "SEQ_CLS",
          "SEQ_CLS, TOKEN_CLS or QUESTION_ANS; default: the adapter's, or config.json's" },
        { "max-seq-length", OPTION_COUNT, &o.data.max_seq_length, "1024",
          "longer records are cut, to the model's positions in any case" },
        ANSWER_OPTIONS(&o.data),
        { "batch-size", OPTION_COUNT, &o.batch_size, "8", "records of a file at a time" },
        PLACE_OPTIONS(&o.data),
        MODEL_OPTIONS(&settings, &o.model.quantize_experts, &compute),
        STRICT_OPTION(&in.s),
        SESSION_OPTIONS(&in.s),
    };
    verb v = { .name = "predict", .arguments = "MODEL [--data FILE]",
               .summary = "A line of JSON a record: a classifier's label and scores, or an answer "
                          "in a context.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 1, .model_first = true };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    o.model.task = task_of(&v, task, false, &code);
    if (code) return code;
    o.model.compute_dtype = compute_of(&v, compute, &code);
    if (code) return code;
    o.model.model = v.positional[0];
    o.model.settings = settings.items;
    o.next_line = next_line;
    if ((code = session_begin(&in.s))) return code;
    status = nib_predict(in.s.ctx, &o, &in.s.err);
    if (!status && in.failed) {
        snprintf(in.s.err.message, sizeof in.s.err.message, "standard input: %s", strerror(errno));
        status = NIB_E_IO;
    }
    free(in.line);
    return session_end(&in.s, status);
}
