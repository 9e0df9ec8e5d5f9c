/* recipe_set.c - a recipe: made, set key by key, turned into options. */
#include <stdio.h>

#include "recipe/foreign_words.h"
#include "recipe/recipe_keys.h"

static nib_recipe_values defaults_of_all(void)
{
    nib_recipe_values v = { .assistant_only_loss = -1, .completion_only_loss = -1, .packing = -1 };

    nib_finetune_defaults(&v.o);
    return v;
}

nib_status nib_recipe_create(nib_ctx *ctx, nib_recipe **out, nib_error *err)
{
    nib_recipe *r = nib_new(ctx, sizeof *r);

    if (!r) return nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
    r->ctx = ctx;
    r->v = defaults_of_all();
    r->given = nib_new_array(ctx, nib_recipe_row_count, sizeof *r->given);
    if (!r->given) {
        nib_recipe_destroy(r);
        return nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
    }
    *out = r;
    return NIB_OK;
}

void nib_recipe_destroy(nib_recipe *r)
{
    if (!r) return;
    nib_recipe_release(r);
    nib_free(r->ctx, r->given);
    nib_free(r->ctx, r->resolved);
    nib_free(r->ctx, r);
}

/* Back to the default: what null means, and what a value from a later place replaces. */
static void reset(nib_recipe *r, const nib_recipe_row *row)
{
    static const size_t sizes[] = { [NIB_KEY_BOOL] = sizeof(bool),
                                    [NIB_KEY_CHOICE] = sizeof(int),
                                    [NIB_KEY_INT] = sizeof(int), [NIB_KEY_COUNT] = sizeof(int),
                                    [NIB_KEY_BATCH] = sizeof(int),
                                    [NIB_KEY_STEPS] = sizeof(int),
                                    [NIB_KEY_WARMUP] = sizeof(int),
                                    [NIB_KEY_SEED] = 8,
                                    [NIB_KEY_LONG] = 8,
                                    [NIB_KEY_SIZE] = 8,
                                    [NIB_KEY_FLOAT] = sizeof(double),
                                    [NIB_KEY_TEXT] = sizeof(char *),
                                    [NIB_KEY_WORDS] = sizeof(char *),
                                    [NIB_KEY_JSON] = sizeof(char *),
                                    [NIB_KEY_NAMES] = sizeof(nib_names),
                                    [NIB_KEY_SOURCES] = sizeof(char *),
                                    [NIB_KEY_NUMBERS] = sizeof(int *),
                                    [NIB_KEY_PATTERN] = sizeof(nib_pattern *),
                                    [NIB_KEY_ARGUMENTS] = sizeof(nib_argument *),
                                    [NIB_KEY_SETTING] = 0,
                                    [NIB_KEY_COMPUTE] = 0 };
    nib_recipe_values defaults = defaults_of_all();

    if (row->kind == NIB_KEY_COMPUTE) return;
    if (row->kind == NIB_KEY_SETTING) {
        nib_recipe_drop_setting(r, row->key.name);
        return;
    }
    memcpy((char *)&r->v + row->offset, (char *)&defaults + row->offset, sizes[row->kind]);
    if (row->second && row->kind != NIB_KEY_WARMUP)
        memcpy((char *)&r->v + row->second, (char *)&defaults + row->second,
               row->kind == NIB_KEY_SOURCES ? sizeof(nib_data_sources) : sizeof(size_t));
}

/* Another tool's word, a slip of the pen, or neither. */
static nib_status fail_unknown(const char *name, const char *place, nib_error *err)
{
    const nib_word *w = nib_word_find(NIB_TOOLS, name);
    const char *nearest = nib_recipe_nearest(name);

    if (w && w->how == NIB_WORD_SAME)
        return nib_fail(err, NIB_E_INVALID, "%sunknown key '%.100s'; %s's %s is %s here", place,
                        name, nib_tool_name(w->tool), w->name, w->key);
    if (w)
        return nib_fail(err, NIB_E_INVALID, "%sunknown key '%.100s', of %s%s%s", place, name,
                        nib_tool_name(w->tool), w->why ? "; here: " : "", w->why ? w->why : "");
    if (nearest)
        return nib_fail(err, NIB_E_INVALID, "%sunknown key '%.100s'; the nearest is %s", place,
                        name, nearest);
    return nib_fail(err, NIB_E_INVALID,
                    "%sunknown key '%.100s', and none is near; nibble finetune --keys lists all",
                    place, name);
}

/* level 1: from a file, 2: set by itself. */
static nib_status set(nib_recipe *r, const char *name, const nib_yaml_node *n, const char *place,
                      const char *name_place, unsigned char level, nib_error *err)
{
    size_t found = nib_recipe_find(name), index;
    const nib_recipe_row *row;
    nib_recipe_given *given;
    nib_status status = NIB_OK;
    bool more, empty;

    if (found == SIZE_MAX) return fail_unknown(name, name_place, err);
    index = nib_recipe_follow(found);
    row = &nib_recipe_rows[index];
    given = &r->given[index];
    if (given->level == level && level == 1)
        return nib_fail(err, NIB_E_INVALID, "%s%s: the same key as %s in line %u", name_place, name,
                        given->name, given->line);
    if (row->key.use == NIB_RECIPE_REFUSED && !nib_recipe_is_neutral(row, n))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: refused, it would change numbers: %s", place,
                        row->key.help);
    more = given->level == level;
    empty = nib_yaml_is_null(n);
    if (row->key.use == NIB_RECIPE_USED) {
        if (!more || empty) reset(r, row);
        if (!empty) status = nib_recipe_read_value(r, row, n, place, more, err);
    } else {
        empty = nib_recipe_is_neutral(row, n); /* not worth a word */
    }
    if (status) return status;
    *given = (nib_recipe_given){ empty && row->key.use != NIB_RECIPE_USED ? 0 : level, n->key_line,
                                 nib_recipe_rows[found].key.name, empty };
    if (empty && row->kind == NIB_KEY_COMPUTE) given->level = 0;
    return NIB_OK;
}

static nib_status take_key(nib_recipe *r, const nib_yaml_node *n, const char *path, nib_error *err)
{
    char *place = nib_sprintf(r->ctx, "%s:%u:%u: %.100s", path, n->line, n->column, n->key);
    char *name_place = nib_sprintf(r->ctx, "%s:%u:%u: ", path, n->key_line, n->key_column);
    nib_status status = place && name_place
        ? set(r, n->key, n, place, name_place, 1, err)
        : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);

    nib_free(r->ctx, place);
    nib_free(r->ctx, name_place);
    return status;
}

/* One mistake is the error itself; of several each is a note, and the error counts them. */
nib_status nib_recipe_take_yaml(nib_recipe *r, const nib_yaml *y, nib_error *err)
{
    const nib_yaml_node *root = nib_yaml_root(y);
    const char *path = nib_yaml_where(y);
    nib_error first = { 0 }, what = { 0 };
    nib_status status = NIB_OK, worst = NIB_OK;
    size_t mistakes = 0;

    if (!root || root->kind != NIB_YAML_MAP)
        return nib_fail(err, NIB_E_INVALID,
                        "%s:%u:%u: a recipe is a map of keys and values, `learning_rate: 2e-4`",
                        path, root ? root->line : 1, root ? root->column : 1);
    for (const nib_yaml_node *n = root->first; n && !status; n = n->next) {
        status = take_key(r, n, path, &what);
        if (status == NIB_OK || status == NIB_E_NOMEM) continue;
        if (mistakes++ == 1) nib_note(r->ctx, "%s", first.message);
        if (mistakes > 1) nib_note(r->ctx, "%s", what.message);
        else first = what, worst = status;
        status = NIB_OK;
    }
    if (status) return nib_fail(err, status, "%s", what.message);
    if (mistakes > 1)
        return nib_fail(err, worst, "%s: %zu keys are to be corrected, all of them named above",
                        path, mistakes);
    return mistakes ? nib_fail(err, worst, "%s", first.message) : NIB_OK;
}

nib_status nib_recipe_set(nib_recipe *r, const char *key, const char *value, nib_error *err)
{
    nib_yaml_node scalar = { .kind = NIB_YAML_SCALAR, .text = value };
    const nib_yaml_node *n = &scalar;
    nib_yaml *y = NULL;
    nib_status status = NIB_OK;
    char place[128];

    snprintf(place, sizeof place, "%.100s", key);
    if (!*value && nib_recipe_find(key) != SIZE_MAX &&
        nib_recipe_rows[nib_recipe_follow(nib_recipe_find(key))].key.use == NIB_RECIPE_USED)
        return nib_fail(err, NIB_E_INVALID, "%s: the value is empty (the default is null)",
                        place);                                           /* --r $FORGOTTEN */
    if (*value == '[' || (*value == '{' && value[strcspn(value, ":")])) { /* a template is no map */
        status = nib_yaml_parse(r->ctx, value, strlen(value), place, &y, err);
        if (status && *value == '{') status = NIB_OK; /* '{a}: {b}' is a template too */
        else if (!status) n = nib_yaml_root(y);
    }
    if (!status) {
        size_t found = nib_recipe_find(key);
        bool text = found != SIZE_MAX &&
                    nib_recipe_rows[nib_recipe_follow(found)].kind == NIB_KEY_TEXT;
        status = set(r, key, text ? &scalar : n, place, "", 2, err);
    }
    nib_yaml_close(y);
    return status;
}

/* --- to options --- */

static const char *compute_name(nib_compute c)
{
    return c == NIB_COMPUTE_FLOAT32    ? "float32"
           : c == NIB_COMPUTE_BFLOAT16 ? "bfloat16"
           : c == NIB_COMPUTE_FLOAT16  ? "float16"
                                       : "auto";
}

/* The latest place wins; in one place the key that says it most directly. */
static nib_status settle_compute(nib_recipe *r, nib_error *err)
{
    const nib_recipe_given *given[NIB_COMPUTE_KEYS] = { 0 }, *best = NULL;

    r->v.o.model.compute_dtype = NIB_COMPUTE_AUTO;
    for (size_t i = 0; i < nib_recipe_row_count; i++)
        if (nib_recipe_rows[i].kind == NIB_KEY_COMPUTE)
            given[nib_recipe_rows[i].offset] = &r->given[i];
    if (given[NIB_COMPUTE_BF16]->level &&
        given[NIB_COMPUTE_BF16]->level == given[NIB_COMPUTE_FP16]->level &&
        r->compute_flag[NIB_COMPUTE_BF16] && r->compute_flag[NIB_COMPUTE_FP16])
        return nib_fail(err, NIB_E_INVALID, "bf16 and fp16 are both true: leave one out");
    for (unsigned level = 2; level && !best; level--)
        for (size_t i = 0; i < NIB_COMPUTE_KEYS && !best; i++) {
            if (given[i]->level != level || (i >= NIB_COMPUTE_BF16 && !r->compute_flag[i]))
                continue;
            best = given[i];
            r->v.o.model.compute_dtype = r->compute[i];
        }
    for (size_t i = 0; i < NIB_COMPUTE_KEYS && best; i++)
        if (given[i]->level && (i < NIB_COMPUTE_BF16 || r->compute_flag[i]) &&
            r->compute[i] != r->v.o.model.compute_dtype)
            nib_note(r->ctx, "%s: %s is what is computed in; %s asks for %s", best->name,
                     compute_name(r->v.o.model.compute_dtype), given[i]->name,
                     compute_name(r->compute[i]));
    return NIB_OK;
}

/* One line for each reason, with the keys it holds for. */
static void say_ignored(nib_recipe *r)
{
    for (size_t i = 0; i < nib_recipe_row_count; i++) {
        const char *why = nib_recipe_rows[i].key.help;
        char names[512] = "";
        size_t used = 0;

        if (nib_recipe_rows[i].key.use != NIB_RECIPE_IGNORED || !r->given[i].level) continue;
        for (size_t k = i; k < nib_recipe_row_count && used < sizeof names; k++) {
            if (nib_recipe_rows[k].key.use != NIB_RECIPE_IGNORED || !r->given[k].level ||
                strcmp(nib_recipe_rows[k].key.help, why) != 0)
                continue;
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                                     r->given[k].name);
            r->given[k].level = 0; /* once */
        }
        nib_note(r->ctx, "without effect here: %s (%s)", names, why);
    }
}

static nib_status settle_text_field(nib_recipe *r, nib_error *err)
{
    nib_data_options *d = &r->v.o.data;
    const char *field = r->v.dataset_text_field;
    char *template_text;
    size_t n;

    if (!field || strcmp(field, "text") == 0 || d->template_text || d->prompt_template)
        return NIB_OK;
    n = strlen(field);
    if (strcspn(field, "{}\\") != n)
        return nib_fail(err, NIB_E_INVALID, "dataset_text_field: '%.100s' is no field's name",
                        field);
    template_text = nib_recipe_take(r, n + 3);
    if (!template_text) return nib_fail(err, NIB_E_NOMEM, "dataset_text_field: out of memory");
    template_text[0] = '{';
    memcpy(template_text + 1, field, n);
    template_text[n + 1] = '}';
    d->template_text = template_text;
    return NIB_OK;
}

static unsigned level_of(const nib_recipe *r, const char *key)
{
    return r->given[nib_recipe_follow(nib_recipe_find(key))].level;
}

/* TRL's flags and nibble's words say the same; here the words are filled in.  The later place wins;
 * in one place they must not contradict each other. */
static nib_status settle_loss(nib_recipe *r, nib_error *err)
{
    nib_data_options *d = &r->v.o.data;
    int assistant = r->v.assistant_only_loss, completion = r->v.completion_only_loss;
    unsigned turns = level_of(r, "train_on_turns"), flag = level_of(r, "assistant_only_loss");
    unsigned prompt = level_of(r, "train_on_prompt"), only = level_of(r, "completion_only_loss");
    bool everything = d->train_on_turns && strcmp(d->train_on_turns, "everything") == 0;

    if (turns && turns == flag && d->train_on_turns && assistant >= 0 &&
        everything == (assistant == 1))
        return nib_fail(err, NIB_E_INVALID,
                        "assistant_only_loss %s and train_on_turns %s contradict each other",
                        assistant ? "true" : "false", d->train_on_turns);
    if (prompt && prompt == only && completion >= 0 && d->train_on_prompt == (completion == 1))
        return nib_fail(err, NIB_E_INVALID,
                        "completion_only_loss %s and train_on_prompt %s contradict each other",
                        completion ? "true" : "false", d->train_on_prompt ? "true" : "false");
    if (assistant >= 0 && flag > turns) d->train_on_turns = assistant ? "all" : "everything";
    if (completion >= 0 && only > prompt) d->train_on_prompt = completion == 0;
    return NIB_OK;
}

/* Nothing is padded and packed records do not see each other, so what packing asks for is
 * micro-batches filled up to a length. */
static void settle_packing(nib_recipe *r)
{
    nib_train_options *t = &r->v.o.train;

    if (r->v.packing != 1 || t->tokens_per_batch) return;
    t->tokens_per_batch = r->v.o.data.max_seq_length != NIB_OPEN ? r->v.o.data.max_seq_length
                                                                 : 1024; /* TRL's max_length */
    nib_note(r->ctx, "packing: micro-batches are filled with whole records up to %d tokens "
                     "(tokens_per_batch of max_seq_length), in place of "
                     "per_device_train_batch_size records each; records do not see each other",
             t->tokens_per_batch);
}

/* Records to evaluate on are given to be evaluated on. */
static void settle_evaluation(nib_recipe *r)
{
    nib_finetune_options *o = &r->v.o;
    const char *what = o->eval_data ? "eval_data" : o->eval_split ? "eval_split" : "val_size";

    if (!o->eval_data && !o->eval_split && !(o->val_size > 0)) return;
    if (!level_of(r, "eval_strategy")) {
        o->train.eval_strategy = "epoch";
        nib_note(r->ctx, "%s: evaluated after each epoch (eval_strategy epoch)", what);
    }
}

/* Which of LoraConfig's fields were given a value, for an adapter that is trained further. */
static nib_status list_lora(nib_recipe *r, nib_error *err)
{
    const char **given = nib_recipe_take(r, (nib_recipe_row_count + 1) * sizeof *given);
    size_t count = 0;

    if (!given) return nib_fail(err, NIB_E_NOMEM, "recipe: out of memory");
    for (size_t i = 0; i < nib_recipe_row_count; i++) {
        const nib_recipe_row *row = &nib_recipe_rows[i];
        if (row->key.use == NIB_RECIPE_USED && r->given[i].level && !r->given[i].is_null &&
            strcmp(row->key.owner, "LoraConfig") == 0)
            given[count++] = row->key.name;
    }
    r->v.o.lora.given = given;
    return NIB_OK;
}

nib_status nib_recipe_finetune_options(nib_recipe *r, const nib_finetune_options **out,
                                       nib_error *err)
{
    nib_status status = settle_compute(r, err);

    if (!status) status = settle_text_field(r, err);
    if (!status) status = settle_loss(r, err);
    if (!status) status = list_lora(r, err);
    if (status) return status;
    if (r->v.o.defaults && strcmp(r->v.o.defaults, "peft") == 0)
        nib_finetune_peft_defaults(&r->v.o);
    settle_packing(r);
    settle_evaluation(r);
    say_ignored(r);
    *out = &r->v.o;
    return NIB_OK;
}

const char *nib_recipe_resolved(nib_recipe *r)
{
    nib_error err;

    nib_free(r->ctx, r->resolved);
    r->resolved = NULL;
    return nib_recipe_write(r->ctx, &r->v.o, &r->resolved, &err) == NIB_OK ? r->resolved : NULL;
}
