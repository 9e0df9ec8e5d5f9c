/* fuzz_labelled.c - any bytes as records of classifiers, of texts to compare and of words to hide,
 * with the small encoder's tokenizer.
 *
 * The first byte chooses: modulo 6 the task (SEQ_CLS, TOKEN_CLS, texts to compare, texts to embed,
 * MASKED_LM, QUESTION_ANS), bit 5 numbers as labels, bit 6 that bad records are skipped, bit 7 a
 * short max_seq_length.  The rest is a .jsonl file. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "train/texts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { VOCABULARY = 700 };
static nib_ctx *ctx; /* one for the whole run: it starts threads */
static nib_tokenizer *tokenizer;
static char path[96];

static void clean(void)
{
    nib_tokenizer_close(tokenizer);
    nib_ctx_destroy(ctx);
    unlink(path);
}

static void prepare(void)
{
    nib_error err;
    int file;

    snprintf(path, sizeof path, "%s/nibble-fuzz-XXXXXX.jsonl",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err) ||
        nib_tokenizer_open(ctx, "models/sorter", &tokenizer, &err) ||
        (file = mkstemps(path, 6)) < 0) {
        fprintf(stderr, "fuzz_labelled: run from the repository's top: %s\n", err.message);
        exit(1);
    }
    close(file);
    atexit(clean);
}

/* Texts tile their records, and one is the same as itself or as one before it. */
static void check_texts(const nib_dataset *d)
{
    nib_texts t;
    nib_error err;
    uint64_t tokens = 0;

    if (nib_texts_init(ctx, d, &t, &err)) abort();
    for (size_t i = 0; i < t.records * t.columns; i++) {
        tokens += t.lengths[i];
        if (!t.lengths[i] || t.same[i] > i || t.same[t.same[i]] != t.same[i]) abort();
    }
    if (tokens != nib_dataset_counts(d).tokens) abort();
    nib_texts_free(&t);
}

/* Windows belong to questions, their tokens' places to the context, and answers stand in it. */
static void check_questions(const nib_dataset *d)
{
    const nib_questions *q = nib_dataset_questions(d);
    size_t row = 0;

    for (size_t i = 0; i < q->count; i++) {
        const nib_question *x = &q->items[i];
        const char *context = nib_questions_text(q, x->context);
        for (size_t a = 0; a < x->answer_count; a++)
            if (!memmem(context, x->context_bytes, nib_question_answer(q, i, a),
                        strlen(nib_question_answer(q, i, a))))
                abort();
        if (!x->windows) abort();
        for (uint32_t w = 0; w < x->windows; w++) {
            nib_record r = nib_dataset_record(d, row++);
            for (uint32_t k = 0; k < r.length; k++)
                if (r.ranges[k].begin != NIB_NO_PLACE &&
                    (r.ranges[k].begin > r.ranges[k].end || r.ranges[k].end > x->context_bytes))
                    abort();
            for (uint32_t k = 0; k < r.answer_count; k++)
                if (!(r.answers[k] >= 0 && r.answers[k] < (float)r.length)) abort();
        }
    }
    if (row != nib_dataset_count(d)) abort();
}

static bool has_classes(const nib_labels *l)
{
    return l->kind && l->kind != NIB_LABEL_NUMBERS && l->kind != NIB_LABEL_SPAN;
}

static void check(const nib_dataset *d, int longest, nib_task task, bool unlabelled)
{
    const nib_labels *l = nib_dataset_labels(d);

    for (size_t i = 0; i < nib_dataset_count(d); i++) {
        nib_record r = nib_dataset_record(d, i);
        if (!r.length || (task != NIB_TASK_FEATURE_EXTRACTION && r.length > (uint32_t)longest))
            abort();
        for (uint32_t k = 0; k < r.length; k++)
            if (r.ids[k] >= VOCABULARY) abort();
        for (uint32_t k = 0; has_classes(l) && k < r.answer_count; k++)
            if (r.answers[k] < NIB_NO_TAG || r.answers[k] >= (float)l->count) abort();
    }
    if (task == NIB_TASK_FEATURE_EXTRACTION && !unlabelled) check_texts(d);
    if (task == NIB_TASK_QUESTION_ANS) check_questions(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const nib_task tasks[] = { NIB_TASK_SEQ_CLS, NIB_TASK_TOKEN_CLS,
                                      NIB_TASK_FEATURE_EXTRACTION, NIB_TASK_FEATURE_EXTRACTION,
                                      NIB_TASK_MASKED_LM, NIB_TASK_QUESTION_ANS };
    nib_data_options o = { .data = path };
    nib_dataset_source source = { .options = &o, .vocabulary = VOCABULARY, .model_dir = "sorter" };
    nib_dataset *d;
    nib_error err = { .message = "" };
    FILE *f;

    if (!tokenizer) prepare();
    if (bytes < 1) return 0;
    f = fopen(path, "wb");
    if (!f || fwrite(data + 1, 1, bytes - 1, f) != bytes - 1 || fclose(f)) abort();
    source.tokenizer = tokenizer;
    source.task = tasks[(data[0] & 31) % 6];
    source.unlabelled = (data[0] & 31) % 6 == 3;
    source.regression = data[0] >> 5 & 1;
    o.skip_bad = data[0] >> 6 & 1;
    o.max_seq_length = data[0] >> 7 ? 5 : 40;
    if (nib_dataset_open(ctx, &source, &d, &err) == NIB_OK) {
        check(d, o.max_seq_length, source.task, source.unlabelled);
        nib_dataset_close(d);
    } else if (!err.message[0]) {
        abort();
    }
    nib_ctx_warnings_clear(ctx);
    return 0;
}
