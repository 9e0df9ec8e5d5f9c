/* peft_card.c - README.md of an adapter.  Tools read only the front matter. */
#include "adapter/peft_card.h"

#include <strings.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "format/jsontext.h"

/* A YAML scalar: plain where that is plainly safe, else in quotes. */
static void put_scalar(nib_text *t, const char *prefix, const char *value)
{
    static const char *const words[] = {
        "y", "n", "yes", "no", "on", "off", "true", "false", "null"
    };
    static const char safe[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    nib_text whole = { .ctx = t->ctx };
    bool plain = *value && strspn(value, safe) == strlen(value);

    if (!*prefix) /* alone it must not look like a number, a date, a truth or a list */
        plain = plain && !strchr("0123456789.-", value[0]);
    for (size_t i = 0; i < NIB_COUNT(words); i++) plain = plain && strcasecmp(value, words[i]) != 0;
    nib_text_puts(&whole, prefix);
    nib_text_puts(&whole, value);
    if (whole.failed) {
        t->failed = true;
    } else if (plain) {
        nib_text_puts(t, whole.data);
    } else if (!*value) {
        nib_text_puts(t, "'");
        nib_text_puts(t, prefix);
        nib_text_puts(t, "'");
    } else {
        nib_text_json_string(t, whole.data, true); /* a JSON string is a YAML double-quoted one */
    }
    nib_text_free(&whole);
}

/* A page that is published names no directory of the machine that wrote it: of a path its last
 * part. */
static const char *shown_name(const char *base)
{
    const char *slash = strrchr(base, '/');
    bool path = strchr("/.~", base[0]) || (slash && strchr(base, '/') != slash);

    return *base && path && slash && slash[1] ? slash + 1 : base;
}

static void put_front(nib_text *t, const nib_peft_config *cfg, const char *base)
{
    nib_text_puts(t, "---\nbase_model: ");
    put_scalar(t, "", base);
    nib_text_puts(t, "\nlibrary_name: peft\n");
    if (cfg->task_type && strcmp(cfg->task_type, "CAUSAL_LM") == 0)
        nib_text_puts(t, "pipeline_tag: text-generation\n");
    nib_text_puts(t, "tags:\n- ");
    put_scalar(t, "base_model:adapter:", base);
    nib_text_puts(t, "\n- lora\n- transformers\n---\n\n");
}

static void put_page(nib_text *t, const nib_peft_config *cfg, const char *base,
                     const char *training)
{
    nib_text_puts(t, "# A LoRA adapter\n\nAn adapter for `");
    nib_text_puts(t, *base ? base : "an unnamed base model");
    nib_text_puts(t, "`, in the format of PEFT.\n\n## Values\n\n| | |\n|---|---|\n");
    nib_text_printf(t, "| rank (r) | %" PRId64 " |\n| lora_alpha | %g |\n| lora_dropout | %g |\n",
                    cfg->r, cfg->lora_alpha, cfg->lora_dropout);
    nib_text_printf(t, "| scaling | %s |\n", cfg->use_rslora ? "alpha / sqrt(r)" : "alpha / r");
    if (cfg->use_dora) nib_text_puts(t, "| magnitudes | trained (DoRA) |\n");
    nib_text_puts(t, "\n");
    if (training) {
        nib_text_puts(t, "## Training procedure\n\n");
        nib_text_puts(t, training);
        nib_text_puts(t, "\n");
    }
    nib_text_puts(t, "### Framework versions\n\n- PEFT 0.21.2 (file format)\n- nibble " NIB_VERSION
                     "\n");
}

nib_status nib_peft_card_write(nib_ctx *ctx, const char *dir, const nib_peft_config *cfg,
                               const char *training, nib_error *err)
{
    const char *base = cfg->base_model_name_or_path ? shown_name(cfg->base_model_name_or_path)
                                                    : "";
    nib_text text = { .ctx = ctx };
    char *path = nib_sprintf(ctx, "%s/README.md", dir);
    nib_status status = NIB_OK;

    if (!path) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
        goto done;
    }
    if (nib_file_exists(path)) goto done;
    put_front(&text, cfg, base);
    put_page(&text, cfg, base, training);
    if (text.failed) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    else status = nib_outfile_replace(ctx, path, text.data, text.bytes, err);
done:
    nib_free(ctx, path);
    nib_text_free(&text);
    return status;
}
