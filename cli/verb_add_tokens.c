/* verb_add_tokens.c - nibble add-tokens: a model with rows for new tokens. */
#include "session.h"

static void print_result(session *s, const nib_add_tokens_result *r)
{
    typedef unsigned long long number;

    if (s->json) {
        printf("{\"added\": %llu, \"first_id\": %llu, \"marked\": %llu, \"present\": %llu, "
               "\"repeated\": %llu, \"rows_before\": %llu, \"rows_after\": %llu",
               (number)r->added, (number)r->first_id, (number)r->marked, (number)r->present,
               (number)r->repeated, (number)r->rows_before, (number)r->rows_after);
        print_json_member_warnings(stdout, s);
        printf("}\n");
        return;
    }
    if (r->added)
        session_line(s, "%llu tokens added, ids %llu to %llu; %llu rows became %llu in %.1f s",
                     (number)r->added, (number)r->first_id,
                     (number)(r->first_id + r->added - 1), (number)r->rows_before,
                     (number)r->rows_after, r->seconds);
    else
        session_line(s, "no token is new; %llu rows became %llu in %.1f s",
                     (number)r->rows_before, (number)r->rows_after, r->seconds);
}

int verb_add_tokens(int argc, char **argv)
{
    session s = { 0 };
    int multiple = 0;
    nib_add_tokens_options o = { .seed = 42, .on_progress = session_progress, .user = &s };
    nib_add_tokens_result r;
    nib_status status;
    option options[] = {
        { "tokens", OPTION_STRING, &o.tokens, "FILE",
          "a token a line; .json (a list) or .jsonl: texts or {\"content\": ..., \"special\": "
          "true, \"lstrip\", \"rstrip\", \"normalized\", \"single_word\"}" },
        { "special", OPTION_FLAG, &o.special, NULL,
          "all of them are special tokens, which decoding may leave out" },
        { "pad-to-multiple-of", OPTION_COUNT, &multiple, "64",
          "of the rows; default: no more than there are tokens" },
        { "seed", OPTION_SEED, &o.seed, "42", "of the new rows' noise; default: 42" },
        { "overwrite", OPTION_FLAG, &o.overwrite, NULL,
          "replace what nibble wrote into OUT before" },
        STRICT_OPTION(&s),
        SESSION_OPTIONS(&s),
    };
    verb v = { .name = "add-tokens", .arguments = "MODEL OUT --tokens FILE",
               .summary = "Writes MODEL with new tokens: in its tokenizer, and as rows of the "
                          "embedding and the head about\nthe mean of the others, as transformers' "
                          "resize_token_embeddings makes them.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 2, .model_first = true };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    if (!o.tokens) return options_misuse(&v, "missing option --tokens, such as --tokens FILE");
    o.pad_to_multiple_of = (uint64_t)multiple;
    o.model = v.positional[0];
    o.out = v.positional[1];
    if ((code = session_begin(&s))) return code;
    status = nib_add_tokens(s.ctx, &o, &r, &s.err);
    if (!status) print_result(&s, &r);
    return session_end(&s, status);
}
