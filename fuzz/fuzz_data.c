/* fuzz_data.c - any bytes as a data file, with the small model's tokenizer: every shape of record,
 * and chats.
 *
 * The first byte chooses: bits 0 and 1 the kind of file, bits 4 to 7 max_seq_length.  Of kinds 0 to
 * 2 bit 2 is a template, bit 3 a pair of templates, both: bad records skipped, prompts trained.
 * Kind 3 is jsonl with a chat template of the fuzzer's, bit 2 one that marks generation, bit 3 only
 * the last turn. The rest is the file. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "train/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static nib_ctx *ctx; /* one for the whole run: it starts threads */
static nib_tokenizer *tokenizer;
static char dir[64], templates[2][96];

static void clean(void)
{
    nib_tokenizer_close(tokenizer);
    nib_ctx_destroy(ctx);
    for (int i = 0; i < 2; i++) unlink(templates[i]);
    rmdir(dir);
}

static void write_template(int i, const char *text)
{
    FILE *f;

    snprintf(templates[i], sizeof templates[i], "%s/%d.jinja", dir, i);
    f = fopen(templates[i], "wb");
    if (!f || fputs(text, f) < 0 || fclose(f)) abort();
}

static void prepare(void)
{
    const char *model = getenv("NIBBLE_FUZZ_TOKENIZER");
    char path[512];
    nib_error err;

    snprintf(path, sizeof path, "%s", model ? model : "models/pico");
    snprintf(dir, sizeof dir, "%s/nibble-fuzz-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err) ||
        nib_tokenizer_open(ctx, path, &tokenizer, &err) || !mkdtemp(dir)) {
        fprintf(stderr, "fuzz_data: run from the repository's top: %s\n", err.message);
        exit(1);
    }
    write_template(
        0,
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if "
        "add_generation_prompt %}<assistant>{% endif %}");
    write_template(
        1,
        "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ "
        "m.content }}</s>{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}{{ tools | tojson if tools }}");
    atexit(clean);
}

static void choose(nib_data_options *o, uint8_t first, const char *plain, const char *marked)
{
    if ((first & 3) == 3) {
        o->chat_template = first & 4 ? marked : plain;
        if (first & 8) o->train_on_turns = "last";
    } else if ((first & 12) == 12) {
        o->skip_bad = o->train_on_prompt = true;
    } else if (first & 4) {
        o->template_text = "Q: {question}\\nA: {{{answer}}}";
    } else if (first & 8) {
        o->prompt_template = "{question} ", o->completion_template = "{answer}";
    }
}

/* What is taken must be whole: records that tile the tokens, targets that are counted. */
static void check(const nib_dataset *d, int longest, uint32_t vocabulary)
{
    nib_data_counts c = nib_dataset_counts(d);
    uint64_t tokens = 0, targets = 0;

    for (size_t i = 0; i < nib_dataset_count(d); i++) {
        nib_record r = nib_dataset_record(d, i);
        if (r.length == 0 || r.length > (uint32_t)longest || r.targets == 0) abort();
        for (uint32_t t = 0; t < r.length; t++)
            if (r.ids[t] >= vocabulary || r.trained[t] > 1) abort();
        tokens += r.length;
        targets += r.targets;
    }
    if (tokens != c.tokens || targets != c.targets) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const ends[] = { "jsonl", "json", "txt", "jsonl" };
    enum { VOCABULARY = 2048 };
    nib_data_options o = { 0 };
    nib_dataset *d;
    nib_error err;
    char path[128];
    uint8_t first;
    FILE *f;

    if (!tokenizer) prepare();
    if (bytes < 1) return 0;
    first = data[0];
    snprintf(path, sizeof path, "%s/data.%s", dir, ends[first & 3]);
    f = fopen(path, "wb");
    if (!f || fwrite(data + 1, 1, bytes - 1, f) != bytes - 1 || fclose(f)) abort();
    o.data = path;
    o.max_seq_length = 2 + (first >> 4) * 9;
    choose(&o, first, templates[0], templates[1]);
    nib_dataset_source source = { .options = &o, .tokenizer = tokenizer, .vocabulary = VOCABULARY };
    if (nib_dataset_open(ctx, &source, &d, &err) == NIB_OK) {
        check(d, o.max_seq_length, VOCABULARY);
        nib_dataset_close(d);
    } else if (!err.message[0]) {
        abort();
    }
    nib_ctx_warnings_clear(ctx);
    unlink(path);
    return 0;
}
