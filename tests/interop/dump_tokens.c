/* dump_tokens.c - prints what a tokenizer makes of texts, for test_tokenizers.py: of each, ended by
 * a NUL on standard input, a line "id:begin-end ...".
 *
 *   dump_tokens DIR < texts */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

static char *read_all(size_t *bytes)
{
    size_t room = 1 << 20, n;
    char *text = malloc(room);

    *bytes = 0;
    while (text && (n = fread(text + *bytes, 1, room - *bytes, stdin))) {
        *bytes += n;
        if (*bytes == room) text = realloc(text, room *= 2);
    }
    return text;
}

static nib_status print(nib_tokenizer *t, const char *text, size_t bytes, nib_tokens *tokens,
                        nib_error *err)
{
    nib_status status;

    tokens->count = 0;
    status = nib_tokenizer_encode(t, text, bytes, true, tokens, NULL, err);
    for (size_t i = 0; i < tokens->count && !status; i++)
        printf("%s%u:%zu-%zu", i ? " " : "", tokens->items[i].id, tokens->items[i].begin,
               tokens->items[i].end);
    putchar('\n');
    return status;
}

int main(int argc, char **argv)
{
    nib_ctx *ctx = NULL;
    nib_tokenizer *t = NULL;
    nib_tokens tokens = { 0 };
    nib_error err;
    size_t bytes;
    char *text;
    nib_status status;

    if (argc != 2 || !(text = read_all(&bytes))) return 2;
    status = nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err);
    if (!status) status = nib_tokenizer_open(ctx, argv[1], &t, &err);
    for (size_t at = 0; at < bytes && !status;) {
        const char *end = memchr(text + at, 0, bytes - at);
        size_t n = (size_t)(end - (text + at));

        status = print(t, text + at, n, &tokens, &err);
        at += n + 1;
    }
    if (status) fprintf(stderr, "%s\n", err.message);
    if (ctx) nib_tokens_free(ctx, &tokens);
    nib_tokenizer_close(t);
    nib_ctx_destroy(ctx);
    free(text);
    return status != NIB_OK;
}
