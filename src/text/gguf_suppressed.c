/* gguf_suppressed.c - see gguf_suppressed.h. */
#include "text/gguf_suppressed.h"

#include "text/gguf_tokenizer.h"
#include "text/model_file.h"

nib_status nib_gguf_put_suppressed(nib_ctx *ctx, const char *dir, nib_gguf_writer *w,
                                   nib_error *err)
{
    json_t *json = NULL, *one;
    const json_t *list;
    size_t i;
    nib_status status = nib_model_file_read(ctx, dir, "generation_config.json", 0, &json, err);

    if (status) return status;
    list = json_object_get(json, "suppress_tokens");
    if (json_array_size(list))
        nib_gguf_put_array(w, NIB_GGUF_SUPPRESSED, NIB_GGUF_I32, json_array_size(list));
    json_array_foreach(list, i, one)
        nib_gguf_entry_number(w, NIB_GGUF_I32, json_number_value(one));
    json_decref(json);
    return NIB_OK;
}
