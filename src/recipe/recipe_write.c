/* recipe_write.c - options as the YAML that gives them again. */
#include <math.h>

#include "format/jsontext.h"
#include "quant/weight_settings.h"
#include "recipe/recipe_keys.h"
#include "text/utf8.h"

typedef struct writer {
    nib_text text;
    bool not_utf8;
} writer;

static void put(writer *w, const char *text) { nib_text_puts(&w->text, text); }

/* YAML takes some characters above ASCII for line breaks, and refuses others. */
static bool must_escape(uint32_t c)
{
    return c < 32 || (c >= 127 && c < 161) || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
           c == 0xfffe || c == 0xffff;
}

/* In double quotes, whatever it holds: then no text is taken for something else. */
static void put_text(writer *w, const char *text)
{
    put(w, "\"");
    for (size_t n; *text; text += n) {
        uint32_t c;
        n = nib_utf8_valid(text, strnlen(text, 4));
        if (!n) {
            w->not_utf8 = true;
            break;
        }
        c = nib_utf8_read(text);
        if (c == '"' || c == '\\') nib_text_printf(&w->text, "\\%c", (char)c);
        else if (c == '\n') put(w, "\\n");
        else if (c == '\t') put(w, "\\t");
        else if (must_escape(c)) nib_text_printf(&w->text, "\\u%04x", c);
        else nib_text_put(&w->text, text, n);
    }
    put(w, "\"");
}

static void put_number(writer *w, double x)
{
    char text[40];

    nib_recipe_number_text(x, text);
    put(w, text);
}

static void put_names(writer *w, const nib_names *n)
{
    if (n->all_linear) {
        put_text(w, "all-linear");
    } else if (n->regex) {
        char *text = nib_sprintf(w->text.ctx, "regex:%s", n->items[0]);
        if (text) put_text(w, text);
        else w->text.failed = true;
        nib_free(w->text.ctx, text);
    } else {
        put(w, "[");
        for (size_t i = 0; i < n->count; i++) {
            if (i) put(w, ", ");
            put_text(w, n->items[i]);
        }
        put(w, "]");
    }
}

static void put_pattern(writer *w, const nib_pattern *p, size_t count)
{
    put(w, "{");
    for (size_t i = 0; i < count; i++) {
        if (i) put(w, ", ");
        put_text(w, p[i].name);
        put(w, ": ");
        put_number(w, p[i].value);
    }
    put(w, "}");
}

static void put_arguments(writer *w, const nib_argument *a, size_t count)
{
    put(w, "{");
    for (size_t i = 0; i < count; i++) {
        if (i) put(w, ", ");
        put_text(w, a[i].name);
        put(w, ": ");
        if (a[i].text) put_text(w, a[i].text);
        else put_number(w, a[i].value);
    }
    put(w, "}");
}

/* "new.jsonl", or ["new.jsonl", "old.jsonl:0.2"]. */
static void put_sources(writer *w, const char *data, const nib_data_sources *s)
{
    if (!s->count) {
        put_text(w, data);
        return;
    }
    put(w, "[");
    for (size_t i = 0; i < s->count; i++) {
        char *text = nib_recipe_source_text(w->text.ctx, &s->items[i]);
        if (i) put(w, ", ");
        if (text) put_text(w, text);
        else w->text.failed = true;
        nib_free(w->text.ctx, text);
    }
    put(w, "]");
}

/* Left out: what was not given and has no default. */
static bool is_absent(const nib_recipe_row *row, const void *target, const void *count)
{
    switch (row->kind) {
    case NIB_KEY_TEXT: case NIB_KEY_WORDS: case NIB_KEY_JSON: case NIB_KEY_SOURCES:
        return !*(const char *const *)target;
    case NIB_KEY_NAMES:
        return !((const nib_names *)target)->count && !((const nib_names *)target)->all_linear;
    case NIB_KEY_NUMBERS: case NIB_KEY_PATTERN: case NIB_KEY_ARGUMENTS:
        return !*(const size_t *)count;
    case NIB_KEY_CHOICE: case NIB_KEY_BATCH: return *(const int *)target < 0;
    case NIB_KEY_COUNT: return !*(const int *)target;
    case NIB_KEY_INT: case NIB_KEY_WARMUP: return *(const int *)target == NIB_OPEN;
    case NIB_KEY_LONG: return *(const int64_t *)target < 0;
    case NIB_KEY_FLOAT: return isnan(*(const double *)target); /* the task's own */
    case NIB_KEY_SIZE: return !*(const uint64_t *)target;
    default: return false;
    }
}

static void put_compute(writer *w, nib_compute c)
{
    static const char *const names[] = { [NIB_COMPUTE_AUTO] = "auto",
                                         [NIB_COMPUTE_FLOAT32] = "float32",
                                         [NIB_COMPUTE_BFLOAT16] = "bfloat16",
                                         [NIB_COMPUTE_FLOAT16] = "float16" };
    put(w, names[c]);
}

static void put_row(writer *w, const nib_recipe_row *row, const nib_recipe_values *v)
{
    const char *base = (const char *)v;
    const void *target = base + row->offset, *count = base + row->second;
    const char *setting = NULL;
    const int *numbers;

    if (row->kind == NIB_KEY_SETTING) {
        setting = nib_setting_value(v->o.model.settings, row->key.name);
        if (!setting) return;
    } else if (row->kind != NIB_KEY_COMPUTE && is_absent(row, target, count)) {
        return;
    }
    nib_text_printf(&w->text, "%s: ", row->key.name);
    switch (row->kind) {
    case NIB_KEY_BOOL: put(w, *(const bool *)target ? "true" : "false"); break;
    case NIB_KEY_CHOICE: put(w, *(const int *)target ? "true" : "false"); break;
    case NIB_KEY_BATCH:
        if (*(const int *)target == 0) put(w, "auto");
        else nib_text_printf(&w->text, "%d", *(const int *)target);
        break;
    case NIB_KEY_STEPS:
        if (*(const double *)count > 0) put_number(w, *(const double *)count);
        else nib_text_printf(&w->text, "%d", *(const int *)target);
        break;
    case NIB_KEY_INT: case NIB_KEY_COUNT: case NIB_KEY_WARMUP:
        nib_text_printf(&w->text, "%d", *(const int *)target);
        break;
    case NIB_KEY_SEED: case NIB_KEY_SIZE:
        nib_text_printf(&w->text, "%" PRIu64, *(const uint64_t *)target);
        break;
    case NIB_KEY_LONG: nib_text_printf(&w->text, "%" PRId64, *(const int64_t *)target); break;
    case NIB_KEY_FLOAT: put_number(w, *(const double *)target); break;
    case NIB_KEY_TEXT: case NIB_KEY_WORDS: case NIB_KEY_JSON:
        put_text(w, *(const char *const *)target);
        break;
    case NIB_KEY_NAMES: put_names(w, target); break;
    case NIB_KEY_SOURCES: put_sources(w, *(const char *const *)target, count); break;
    case NIB_KEY_NUMBERS:
        numbers = *(const int *const *)target;
        for (size_t i = 0; i < *(const size_t *)count; i++)
            nib_text_printf(&w->text, "%s%d", i ? ", " : "[", numbers[i]);
        put(w, "]");
        break;
    case NIB_KEY_PATTERN:
        put_pattern(w, *(const nib_pattern *const *)target, *(const size_t *)count);
        break;
    case NIB_KEY_ARGUMENTS:
        put_arguments(w, *(const nib_argument *const *)target, *(const size_t *)count);
        break;
    case NIB_KEY_SETTING:
        if (row->words) put_text(w, setting);
        else put(w, setting);
        break;
    case NIB_KEY_COMPUTE: put_compute(w, v->o.model.compute_dtype); break;
    case NIB_KEY_NONE: break;
    }
    put(w, "\n");
}

static bool is_part(const nib_recipe_row *row, const nib_finetune_options *o)
{
    const nib_train_options *t = &o->train;
    bool evaluated = t->eval_strategy && strcmp(t->eval_strategy, "no") != 0;

    switch (row->result) {
    case NIB_RESULT_ALWAYS: return true;
    case NIB_RESULT_EVALUATED: return evaluated;
    case NIB_RESULT_BEST: return evaluated && t->load_best_model_at_end;
    case NIB_RESULT_COMPARED: return o->model.task == NIB_TASK_FEATURE_EXTRACTION;
    case NIB_RESULT_ANSWERED: return o->model.task == NIB_TASK_QUESTION_ANS;
    case NIB_RESULT_NEVER: break;
    }
    return false;
}

nib_status nib_recipe_write(nib_ctx *ctx, const nib_finetune_options *o, char **out, nib_error *err)
{
    nib_recipe_values v = { .o = *o };
    writer w = { .text = { .ctx = ctx } };
    nib_status status = NIB_OK;

    put(&w, "# Every value that changes the result.  The same run again, elsewhere:\n"
            "#   nibble finetune recipe.yaml output_dir=ANOTHER\n");
    for (size_t i = 0; i < nib_recipe_row_count && !w.not_utf8; i++) {
        if (is_part(&nib_recipe_rows[i], o)) put_row(&w, &nib_recipe_rows[i], &v);
        if (w.not_utf8)
            status = nib_fail(err, NIB_E_INVALID, "%s: not UTF-8, which a recipe must be",
                              nib_recipe_rows[i].key.name);
    }
    if (w.text.failed) status = nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
    if (status) nib_text_free(&w.text);
    else *out = w.text.data;
    return status;
}
