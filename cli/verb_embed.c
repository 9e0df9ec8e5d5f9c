/* verb_embed.c - nibble embed: texts as vectors. */
#include "session.h"

static void on_line(void *user, const char *line, size_t bytes)
{
    (void)user;
    fwrite(line, 1, bytes, stdout);
    putchar('\n');
}

static void print_result(const session *s, const nib_embed_result *r)
{
    if (!s->json) {
        session_line((session *)s, "%llu texts, %llu tokens, %zu numbers each%s, %.2f s",
                     (unsigned long long)r->texts, (unsigned long long)r->tokens, r->width,
                     r->truncated ? ", some cut off" : "", r->seconds);
        return;
    }
    printf("{\"texts\": %llu, \"tokens\": %llu, \"truncated\": %llu, \"width\": %zu, "
           "\"seconds\": ",
           (unsigned long long)r->texts, (unsigned long long)r->tokens,
           (unsigned long long)r->truncated, r->width);
    print_json_number(stdout, r->seconds);
    print_json_member_warnings(stdout, s);
    puts("}");
}

int verb_embed(int argc, char **argv)
{
    session s = { 0 };
    nib_embed_options o = { .on_line = on_line, .on_progress = session_progress, .user = &s };
    nib_embed_result result;
    const char *compute = NULL;
    option_pairs settings = { 0 };
    nib_status status;
    option options[] = {
        { "data", OPTION_STRING, &o.data.data, "FILE",
          "records with text (or sentence), or a .txt of lines; as finetune takes it" },
        { "adapter", OPTION_PLACE, &o.adapter, "DIR", "a PEFT adapter" },
        { "out", OPTION_STRING, &o.out, "F.npy",
          "F.safetensors, F.npy or F.jsonl; default: JSON lines on standard output" },
        { "overwrite", OPTION_FLAG, &o.overwrite, NULL, "replace F" },
        { "pooling", OPTION_STRING, &o.pooling, "mean",
          "cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken, or some of them with "
          "commas; default: the directory's, else mean" },
        { "prompt-name", OPTION_STRING, &o.prompt_name, "query",
          "of the directory's prompts; default: its default_prompt_name" },
        { "prompt", OPTION_STRING, &o.prompt, "'query: '", "in front of each text, instead" },
        { "truncate-dim", OPTION_NATURAL, &o.truncate_dim, "256",
          "the first so many numbers, normalized again where they were" },
        { "normalize-embeddings", OPTION_FLAG, &o.normalize, NULL,
          "to length 1, where the directory does not ask for it too" },
        { "max-seq-length", OPTION_COUNT, &o.data.max_seq_length, "256",
          "longer texts are cut; default: the directory's" },
        { "batch-size", OPTION_COUNT, &o.batch_size, "32", "texts at a time" },
        PLACE_OPTIONS(&o.data),
        MODEL_OPTIONS(&settings, &o.model.quantize_experts, &compute),
        STRICT_OPTION(&s),
        SESSION_OPTIONS(&s),
    };
    verb v = { .name = "embed", .arguments = "MODEL --data FILE [--out FILE]",
               .summary = "A vector a text, from an encoder or a sentence-transformers directory.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 1, .model_first = true };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    o.model.compute_dtype = compute_of(&v, compute, &code);
    if (code) return code;
    if (!o.data.data) return options_misuse(&v, "missing option --data");
    if (s.json && !o.out)
        return options_misuse(&v, "--json is about the run: give --out for the embeddings");
    o.model.model = v.positional[0];
    o.model.settings = settings.items;
    if ((code = session_begin(&s))) return code;
    status = nib_embed_texts(s.ctx, &o, &result, &s.err);
    if (!status) print_result(&s, &result);
    return session_end(&s, status);
}
