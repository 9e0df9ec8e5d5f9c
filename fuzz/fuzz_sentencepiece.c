/* fuzz_sentencepiece.c - a SentencePiece model, a byte before it that says for which class:
 * refused, or a tokenizer.json of which a tokenizer can be made that encodes a text. */
#include <stdlib.h>
#include <string.h>

#include "text/convert.h"
#include "text/tokenizer_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(nib_ctx *ctx, const json_t *json)
{
    static const char text[] = "a  b\tcaf\xc3\xa9 \xef\xbd\x94\xcc\x8c <0x41> 12,";
    char *dump = json_dumps(json, JSON_COMPACT);
    nib_tokenizer *t = NULL;
    nib_tokens tokens = { 0 };
    nib_error err;

    if (dump && !nib_tokenizer_parse(ctx, dump, strlen(dump), "fuzz", &t, &err) &&
        !nib_tokenizer_encode(t, text, sizeof text - 1, true, &tokens, NULL, &err))
        for (size_t i = 0; i < tokens.count; i++)
            if (tokens.items[i].end > sizeof text - 1) abort();
    nib_tokens_free(ctx, &tokens);
    nib_tokenizer_close(t);
    free(dump);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    nib_tokenizer t = { 0 };
    nib_special_reading r = { .t = &t, .class = nib_tokenizer_class_named("GemmaTokenizer") };
    json_t *json = NULL;
    nib_error err;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    t.ctx = ctx;
    if (size && !nib_convert_model_bytes(&r, (nib_convert_form)(NIB_CONVERT_T5 + data[0] % 7),
                                         data + 1, size - 1, "input", &json, &err))
        encode(ctx, json);
    json_decref(json);
    return 0;
}
