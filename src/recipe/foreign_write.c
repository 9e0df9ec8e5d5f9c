/* foreign_write.c - the changes of a foreign recipe: as a table for a person, and as our recipe. */
#include <stdio.h>
#include <unistd.h>

#include "base/outfile.h"
#include "recipe/foreign.h"

enum { VALUE_BYTES = 60 }; /* of an old value that are shown */

static const char *dots(const char *value) { return strlen(value) > VALUE_BYTES ? "..." : ""; }

void nib_foreign_note(const nib_foreign *f, const char *path)
{
    int width = 12;

    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].old)
            width = (int)nib_min(32, nib_max((size_t)width, strlen(f->items[i].old)));
    nib_note(f->ctx, "%s is a recipe of %s; here its keys are", path, nib_tool_name(f->tool));
    for (size_t i = 0; i < f->count; i++) {
        const nib_change *c = &f->items[i];
        if (nib_change_is_none(c)) continue;
        if (c->key)
            nib_note(f->ctx, "  %-*s -> %s = %s%s%s%s", width, c->old ? c->old : "(not given)",
                     c->key, c->value, c->why ? "  (" : "", c->why ? c->why : "",
                     c->why ? ")" : "");
        else
            nib_note(f->ctx, "  %-*s -> none: %s", width, c->old ? c->old : "(not given)", c->why);
    }
}

static void write_change(nib_flow *w, const nib_change *c)
{
    bool renamed = c->old && c->key && !nib_change_is_none(c);

    if (!c->key) {
        if (c->old)
            nib_flow_printf(w, "# %s: %.*s%s  -- %s\n", c->old, VALUE_BYTES, c->old_value,
                            dots(c->old_value), c->why);
        else nib_flow_printf(w, "# %s\n", c->why);
        return;
    }
    nib_flow_printf(w, "%s: %s", c->key, c->value);
    if (renamed)
        nib_flow_printf(w, "  # was %s: %.*s%s", c->old, VALUE_BYTES, c->old_value,
                        dots(c->old_value));
    if (c->why) nib_flow_printf(w, "%s%s", renamed ? "; " : "  # ", c->why);
    nib_flow_put(w, "\n", 1);
}

static void write_comments(nib_flow *w, const nib_foreign *f, bool lost, const char *heading)
{
    bool any = false;

    for (size_t i = 0; i < f->count; i++) {
        if (f->items[i].key || f->items[i].lost != lost) continue;
        if (!any) nib_flow_printf(w, "\n# %s:\n", heading);
        any = true;
        write_change(w, &f->items[i]);
    }
}

/* *out is the caller's. */
static nib_status write_recipe(const nib_foreign *f, const char *path, char **out, nib_error *err)
{
    static const struct { const char *key, *value; } needed[] = {
        { "model_name_or_path", "DIR" }, { "data", "FILE" }, { "output_dir", "DIR" }
    };
    nib_flow w = { .ctx = f->ctx };
    const char *name = strrchr(path, '/');

    nib_flow_printf(&w, "# Converted from %s, a recipe of %s (nibble convert-recipe).\n",
                    name ? name + 1 : path, nib_tool_name(f->tool));
    for (size_t i = 0; i < NIB_COUNT(needed); i++)
        if (!nib_foreign_written(f, needed[i].key))
            nib_flow_printf(&w, "# %s: %s  -- to be written: finetune needs it\n", needed[i].key,
                            needed[i].value);
    nib_flow_printf(&w, "defaults: peft  # what is not given: the libraries' values, as in these "
                        "tools\n");
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].key) write_change(&w, &f->items[i]);
    write_comments(&w, f, true, "Not taken, to be looked at: it may change what is trained");
    write_comments(&w, f, false, "Without a counterpart, and nothing to write");
    if (w.failed) {
        nib_free(f->ctx, w.text);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    }
    *out = w.text;
    return NIB_OK;
}

/* --- nibble convert-recipe --- */

static nib_status save(nib_ctx *ctx, const nib_convert_options *o, const char *text, nib_error *err)
{
    if (!o->overwrite && access(o->out, F_OK) == 0)
        return nib_fail(err, NIB_E_INVALID, "%s: is there already; overwrite replaces it", o->out);
    return nib_outfile_replace(ctx, o->out, text, strlen(text), err);
}

/* Names what is lost, and counts the rest. */
static void report(nib_ctx *ctx, const nib_foreign *f, nib_tool tool, const char *recipe)
{
    size_t taken = 0, without = 0;

    for (size_t i = 0; i < f->count; i++) {
        const nib_change *c = &f->items[i];
        if (c->key) taken++;
        else without++;
        if (c->lost)
            nib_warn_code(ctx, "not-converted", "%s is not taken: %s", c->old ? c->old : "",
                          c->why);
    }
    nib_note(ctx, "%s: a recipe of %s: %zu keys converted, %zu without a counterpart "
                  "(comments with the reason)",
             recipe, nib_tool_name(tool), taken, without);
}

nib_status nib_recipe_convert(nib_ctx *ctx, const nib_convert_options *o, char **out,
                              nib_error *err)
{
    nib_yaml *y = NULL;
    nib_foreign f = { .ctx = ctx };
    nib_tool tool = NIB_TOOLS;
    char *text = NULL;
    nib_status status = nib_yaml_read(ctx, o->recipe, &y, err);

    if (!status) tool = nib_foreign_detect(nib_yaml_root(y), 1);
    if (!status && tool == NIB_TOOLS)
        status = nib_fail(err, NIB_E_INVALID,
                          "%s: no key of LLaMA-Factory, axolotl, mlx-lm or torchtune that nibble "
                          "does not have; a recipe of nibble needs no conversion",
                          o->recipe);
    if (!status) status = nib_foreign_convert(ctx, nib_yaml_root(y), tool, &f, err);
    if (!status) status = write_recipe(&f, o->recipe, &text, err);
    if (!status) {
        report(ctx, &f, tool, o->recipe);
        status = nib_warnings_check(ctx, err);
        nib_warnings_repeat(ctx);
    }
    if (!status && o->out) status = save(ctx, o, text, err);
    if (!status && out) {
        *out = text;
        text = NULL;
    }
    nib_free(ctx, text);
    nib_foreign_release(&f);
    nib_yaml_close(y);
    return status;
}
