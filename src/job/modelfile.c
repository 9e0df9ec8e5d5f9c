/* modelfile.c - see modelfile.h.
 *
 *     FROM ./model.gguf
 *     ADAPTER ./lora.gguf
 *     TEMPLATE """..."""
 *     PARAMETER stop "<|im_end|>" */
#include "job/modelfile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/outfile.h"
#include "base/outname.h"
#include "text/model_file.h"

char *nib_modelfile_path(nib_ctx *ctx, const char *out)
{
    char *dir = nib_parent_of(ctx, out), *path = dir ? nib_sprintf(ctx, "%s/Modelfile", dir) : NULL;

    nib_free(ctx, dir);
    return path;
}

static nib_status put_from(nib_outfile *f, const nib_modelfile *m, nib_error *err)
{
    char *base = m->base ? realpath(m->base, NULL) : NULL;
    nib_status status;

    if (!m->base) return nib_outfile_printf(f, err, "FROM ./%s\n", nib_last_part(m->out));
    status = nib_outfile_printf(f, err, "FROM %s\nADAPTER ./%s\n", base ? base : m->base,
                                nib_last_part(m->out));
    free(base);
    return status;
}

nib_status nib_modelfile_prepare(nib_ctx *ctx, nib_modelfile *m, nib_error *err)
{
    nib_go_template *g = &m->template;
    nib_status status = nib_go_template_make(ctx, m->model, m->tokenizer, g, err);

    if (!status && !g->text && strcmp(g->why, "there is none") != 0)
        nib_warn_code(ctx, "modelfile-template", "%s: its chat template is not written into the "
                      "Modelfile: %s; Ollama takes one of its own where it knows that of the GGUF",
                      m->model, g->why);
    return status;
}

void nib_modelfile_free(nib_ctx *ctx, nib_modelfile *m)
{
    nib_go_template_free(ctx, &m->template);
}

static nib_status put_template(nib_outfile *f, const nib_go_template *g, nib_error *err)
{
    if (g->text) return nib_outfile_printf(f, err, "TEMPLATE \"\"\"%s\"\"\"\n", g->text);
    return nib_outfile_printf(f, err, "# no TEMPLATE of the chat template: %s\n", g->why);
}

static nib_status put_stop(nib_outfile *f, const nib_modelfile *m, int64_t id, nib_error *err)
{
    const char *text = id >= 0 && id <= UINT32_MAX ? nib_tokenizer_token(m->tokenizer, (uint32_t)id)
                                                   : NULL;

    if (!text || !*text || strpbrk(text, "\"\n")) return NIB_OK;
    return nib_outfile_printf(f, err, "PARAMETER stop \"%s\"\n", text);
}

/* What ends a text, and what the template puts behind the assistant's words. */
static nib_status put_stops(nib_outfile *f, const nib_modelfile *m, nib_error *err)
{
    int64_t end = m->template.end;
    const nib_special_tokens *s = m->tokenizer ? nib_tokenizer_special(m->tokenizer) : NULL;
    nib_status status = NIB_OK;

    for (size_t i = 0; s && i < s->end_count && !status; i++)
        status = put_stop(f, m, s->ends[i], err);
    if (!status && s && end >= 0 && !nib_special_ends(s, end))
        status = put_stop(f, m, end, err);
    return status;
}

/* What generation_config.json says of sampling, where it asks for it. */
static nib_status put_sampling(nib_ctx *ctx, nib_outfile *f, const nib_modelfile *m, nib_error *err)
{
    static const struct { const char *theirs, *ours; } names[] = {
        { "temperature", "temperature" }, { "top_p", "top_p" }, { "top_k", "top_k" },
        { "min_p", "min_p" }, { "repetition_penalty", "repeat_penalty" },
    };
    json_t *json = NULL;
    nib_status status = nib_model_file_read(ctx, m->model, "generation_config.json", 0, &json, err);

    for (size_t i = 0; !status && i < NIB_COUNT(names); i++) {
        const json_t *v = json_object_get(json, names[i].theirs);
        if (json_is_number(v) && isfinite(json_number_value(v)) &&
            json_is_true(json_object_get(json, "do_sample")))
            status = nib_outfile_printf(f, err, "PARAMETER %s %g\n", names[i].ours,
                                        json_number_value(v));
    }
    json_decref(json);
    return status;
}

nib_status nib_modelfile_write(nib_ctx *ctx, const nib_modelfile *m, nib_error *err)
{
    char *path = nib_modelfile_path(ctx, m->out);
    nib_outfile *f = NULL;
    nib_status status;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", m->out);
    status = nib_outfile_create(ctx, path, &f, err);
    if (!status) status = put_from(f, m, err);
    if (!status) status = put_template(f, &m->template, err);
    if (!status) status = put_stops(f, m, err);
    if (!status) status = put_sampling(ctx, f, m, err);
    if (!status) {
        nib_outfile *done = f;
        f = NULL;
        status = nib_outfile_commit(done, err);
    }
    nib_outfile_discard(f);
    nib_free(ctx, path);
    return status;
}
