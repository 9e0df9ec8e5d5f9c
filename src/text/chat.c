/* chat.c - finding a chat template and rendering with it; what is trained is chat_mask.c's
 * affair. */
#include "text/chat.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "format/json.h"
#include "text/model_file.h"

enum { MOST_TEMPLATES = 32, TEMPLATE_BYTES = 4 << 20 };

typedef struct named {
    char *name;   /* "default", "tool_use", ... */
    char *where;  /* for messages */
    char *text;
    size_t bytes;
    nib_jinja *jinja; /* parsed at the first use, but for the default */
} named;

struct nib_chat {
    nib_ctx *ctx;
    named items[MOST_TEMPLATES];
    size_t count;
    json_t *tokens; /* bos_token, eos_token, ...; shared with the tokenizer, not changed */
    struct tm now;
};

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* --- finding --- */

/* `text` is taken over, also on failure. */
static nib_status add(nib_chat *c, const char *name, const char *where, char *text, size_t bytes,
                      nib_error *err)
{
    named *n = &c->items[c->count];

    if (c->count == MOST_TEMPLATES) {
        nib_free(c->ctx, text);
        return nib_fail(err, NIB_E_FORMAT, "%s: more than %d chat templates", where,
                        MOST_TEMPLATES);
    }
    c->count++;
    *n = (named){ .name = nib_strdup(c->ctx, name), .where = nib_strdup(c->ctx, where),
                  .text = text, .bytes = bytes };
    return n->name && n->where && n->text ? NIB_OK : no_memory(where, err);
}

/* A file that need not be there. */
static nib_status add_file(nib_chat *c, const char *name, const char *path, nib_error *err)
{
    char *text = NULL;
    size_t bytes;
    nib_status status;

    if (!nib_file_exists(path)) return NIB_OK;
    status = nib_file_read(c->ctx, path, TEMPLATE_BYTES, &text, &bytes, err);
    return status ? status : add(c, name, path, text, bytes, err);
}

static nib_status add_string(nib_chat *c, const char *name, const char *where, const json_t *text,
                             nib_error *err)
{
    size_t bytes = json_string_length(text);
    char *copy = nib_strndup(c->ctx, json_string_value(text), bytes);

    return copy ? add(c, name, where, copy, bytes, err) : no_memory(where, err);
}

/* DIR/additional_chat_templates/NAME.jinja */
static nib_status add_additional(nib_chat *c, const char *dir, nib_error *err)
{
    char *folder = nib_sprintf(c->ctx, "%s/additional_chat_templates", dir);
    DIR *d = folder ? opendir(folder) : NULL;
    struct dirent *entry;
    nib_status status = folder ? NIB_OK : no_memory(dir, err);

    while (d && !status && (entry = readdir(d))) {
        size_t n = strlen(entry->d_name);
        char *path, *name;

        if (n <= 6 || strcmp(entry->d_name + n - 6, ".jinja") != 0) continue;
        path = nib_sprintf(c->ctx, "%s/%s", folder, entry->d_name);
        name = nib_strndup(c->ctx, entry->d_name, n - 6);
        status = path && name ? add_file(c, name, path, err) : no_memory(folder, err);
        nib_free(c->ctx, path);
        nib_free(c->ctx, name);
    }
    if (d) closedir(d);
    nib_free(c->ctx, folder);
    return status;
}

/* The key chat_template of a JSON file: a string, or a list of named ones. */
static nib_status add_json(nib_chat *c, const char *dir, const char *file, nib_error *err)
{
    json_t *root = NULL;
    const json_t *value, *one;
    char path[400], where[512];
    size_t i;
    nib_status status = nib_model_file_read(c->ctx, dir, file, NIB_JSON_BIG_NUMBERS, &root, err);

    if (status || !root) return status;
    value = json_object_get(root, "chat_template");
    snprintf(path, sizeof path, "%.300s/%.80s", dir, file);
    snprintf(where, sizeof where, "%s: chat_template", path);
    if (json_is_string(value)) {
        status = add_string(c, "default", where, value, err);
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, one) {
            const json_t *name = json_object_get(one, "name"),
                         *text = json_object_get(one, "template");
            if (!json_is_string(name) || !json_is_string(text)) {
                status = nib_fail(err, NIB_E_FORMAT,
                                  "%s: element %zu has no strings 'name' and 'template'", where, i);
            } else {
                snprintf(where, sizeof where, "%s: chat_template '%.60s'", path,
                         json_string_value(name));
                status = add_string(c, json_string_value(name), where, text, err);
            }
            if (status) break;
        }
    } else if (value && !json_is_null(value)) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: neither a string nor a list of named templates",
                          where);
    }
    json_decref(root);
    return status;
}

/* The templates of a directory, if there are any. */
static nib_status collect(nib_chat *c, const char *dir, nib_error *err)
{
    char *jinja = nib_sprintf(c->ctx, "%s/chat_template.jinja", dir);
    nib_status status = jinja ? NIB_OK : no_memory(dir, err);

    if (!status) status = add_file(c, "default", jinja, err);
    if (!status) status = add_additional(c, dir, err);
    if (!status && !c->count) status = add_json(c, dir, "tokenizer_config.json", err);
    if (!status && !c->count) status = add_json(c, dir, "chat_template.json", err);
    nib_free(c->ctx, jinja);
    return status;
}

static nib_status find_in(nib_chat *c, const char *dir, nib_error *err)
{
    nib_status status = collect(c, dir, err);

    if (!status && !c->count)
        status = nib_fail(
            err, NIB_E_IO,
            "%s: there is no chat template: neither chat_template.jinja nor chat_template in "
            "tokenizer_config.json; --chat-template names a file",
            dir);
    return status;
}

static nib_status find(nib_chat *c, const nib_chat_source *source, nib_error *err)
{
    const char *path = source->template_path;
    struct stat info;

    if (!path) return find_in(c, source->model_dir, err);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return find_in(c, path, err);
    if (!nib_file_exists(path))
        return nib_fail(err, NIB_E_IO, "chat_template: %s: there is no such file", path);
    return add_file(c, "default", path, err);
}

static int by_name(const void *a, const void *b)
{
    const named *x = a, *y = b;
    return strcmp(x->name ? x->name : "", y->name ? y->name : "");
}

/* --- the template --- */

static const named *look_up(const nib_chat *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->items[i].name, name) == 0) return &c->items[i];
    return NULL;
}

/* tool_use for chats with tools, where there is one; else default; a single one is it.  NULL:
 * none. */
static const named *choose(const nib_chat *c, bool tools)
{
    const named *n = tools ? look_up(c, "tool_use") : NULL;

    if (!n) n = look_up(c, "default");
    return !n && c->count == 1 ? &c->items[0] : n;
}

static nib_status use(nib_chat *c, bool tools, nib_jinja **out, nib_error *err)
{
    const named *chosen = choose(c, tools);
    named *n = chosen ? &c->items[chosen - c->items] : NULL;
    nib_status status = NIB_OK;

    if (!n)
        return nib_fail(err, NIB_E_FORMAT, "%s: of %zu chat templates none is called default",
                        c->items[0].where, c->count);
    if (!n->jinja) status = nib_jinja_create(c->ctx, n->where, n->text, n->bytes, &n->jinja, err);
    *out = n->jinja;
    return status;
}

nib_status nib_chat_open(nib_ctx *ctx, const nib_chat_source *source, nib_chat **out,
                         nib_error *err)
{
    nib_chat *c = nib_new(ctx, sizeof *c);
    time_t now = (time_t)source->now;
    nib_jinja *parsed = NULL;
    nib_status status;

    if (!c) return no_memory("chat template", err);
    c->ctx = ctx;
    if (!localtime_r(&now, &c->now)) memset(&c->now, 0, sizeof c->now);
    if (source->tokenizer)
        c->tokens = json_incref((json_t *)(uintptr_t)nib_tokenizer_named(source->tokenizer));
    status = find(c, source, err);
    qsort(c->items, c->count, sizeof *c->items, by_name); /* a directory's order is no order */
    if (!status) status = use(c, false, &parsed, err);
    if (status) goto done;
    *out = c;
    c = NULL; /* handed over */
done:
    nib_chat_close(c);
    return status;
}

nib_status nib_chat_each(nib_ctx *ctx, const char *dir, nib_chat_template_fn *each, void *self,
                         nib_error *err)
{
    nib_chat *c = nib_new(ctx, sizeof *c);
    nib_status status;

    if (!c) return no_memory(dir, err);
    c->ctx = ctx;
    status = collect(c, dir, err);
    qsort(c->items, c->count, sizeof *c->items, by_name);
    for (size_t i = 0; i < c->count && !status; i++) {
        const named *n = &c->items[i];
        each(self, strcmp(n->name, "default") == 0 ? "" : n->name, n->text, n->bytes);
    }
    nib_chat_close(c);
    return status;
}

void nib_chat_close(nib_chat *c)
{
    if (!c) return;
    for (size_t i = 0; i < c->count; i++) {
        nib_jinja_destroy(c->items[i].jinja);
        nib_free(c->ctx, c->items[i].name);
        nib_free(c->ctx, c->items[i].where);
        nib_free(c->ctx, c->items[i].text);
    }
    json_decref(c->tokens);
    nib_free(c->ctx, c);
}

nib_ctx *nib_chat_ctx(const nib_chat *c) { return c->ctx; }
const char *nib_chat_name(const nib_chat *c)
{
    return choose(c, false)->where;
} /* opening saw to it that there is one */

const char *nib_chat_text(const nib_chat *c) { return choose(c, false)->text; }

bool nib_chat_marks_generation(const nib_chat *c, bool tools)
{
    const named *n = choose(c, tools);
    return n->jinja && nib_jinja_marks_generation(n->jinja);
}

void nib_chat_hash(const nib_chat *c, nib_sha256 *h)
{
    for (size_t i = 0; i < c->count; i++) {
        nib_sha256_add(h, c->items[i].name, strlen(c->items[i].name) + 1);
        nib_sha256_add(h, c->items[i].text, c->items[i].bytes + 1);
    }
}

/* The first `count` messages, shared; NULL: no memory. */
static json_t *first_messages(const json_t *messages, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < count; i++)
        if (json_array_append(list, json_array_get(messages, i))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *variables_of(const nib_chat *c, const nib_chat_turns *t, size_t count, bool prompt)
{
    json_t *v = c->tokens ? json_copy(c->tokens) : json_object();
    int bad = !v || json_object_set_new(v, "messages", first_messages(t->messages, count));

    if (!bad)
        bad = t->tools ? json_object_set(v, "tools", (json_t *)(uintptr_t)t->tools)
                       : json_object_set_new(v, "tools", json_null());
    if (!bad) bad = json_object_set_new(v, "documents", json_null());
    if (!bad) bad = json_object_set_new(v, "add_generation_prompt", json_boolean(prompt));
    if (!bad && t->extra) bad = json_object_update(v, (json_t *)(uintptr_t)t->extra);
    if (!bad) return v;
    json_decref(v);
    return NULL;
}

nib_status nib_chat_render(nib_chat *c, const nib_chat_turns *turns, size_t count,
                           bool add_generation_prompt, nib_jinja_output *out, nib_error *err)
{
    json_t *variables;
    nib_jinja *jinja = NULL;
    nib_status status = use(c, turns->tools != NULL, &jinja, err);

    if (status) return status;
    variables = variables_of(c, turns, count, add_generation_prompt);
    status = variables ? nib_jinja_render(jinja, variables, &c->now, out, err)
                       : no_memory(nib_chat_name(c), err);
    json_decref(variables);
    return status;
}

nib_status nib_chat_parse_kwargs(const char *text, json_t **out, nib_error *err)
{
    json_t *read = NULL;
    nib_status status = nib_json_parse(text, strlen(text), "chat_template_kwargs",
                                       NIB_JSON_ANY_VALUE | NIB_JSON_ONE_LINE, &read, err);

    if (status)
        return nib_fail_in(err, NIB_E_INVALID,
                           "'%.60s' should be a JSON object such as {\"enable_thinking\": false}",
                           text);
    if (!json_is_object(read)) {
        json_decref(read);
        return nib_fail(err, NIB_E_INVALID,
                        "chat_template_kwargs: '%.60s' should be a JSON object such as "
                        "{\"enable_thinking\": false}",
                        text);
    }
    *out = read;
    return NIB_OK;
}
