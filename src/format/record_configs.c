/* record_configs.c - the front matter of a data set's README.md, as far as `configs` goes.
 *
 * Only the lines of `configs` are parsed: the front matter may hold anything, of any size. */
#include "format/record_configs.h"

#include <stdio.h>

#include "base/filemap.h"

enum { MOST_README = 16 << 20 };

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* --- finding the lines --- */

static size_t line_end(const char *text, size_t bytes, size_t at)
{
    const char *end = memchr(text + at, '\n', bytes - at);
    return end ? (size_t)(end - text) + 1 : bytes;
}

static bool is_fence(const char *line, size_t bytes)
{
    while (bytes && strchr(" \t\r\n", line[bytes - 1])) bytes--;
    return bytes == 3 && !memcmp(line, "---", 3);
}

/* The front matter of a README: *begin, *end within the text; false: there is none. */
static bool find_front_matter(const char *text, size_t bytes, size_t *begin, size_t *end)
{
    size_t at = 0, next;

    if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) at = 3;
    while (at < bytes && strchr(" \t\r\n", text[at])) at++;
    next = line_end(text, bytes, at);
    if (!is_fence(text + at, next - at)) return false;
    *begin = next;
    for (at = next; at < bytes; at = next) {
        next = line_end(text, bytes, at);
        *end = at;
        if (is_fence(text + at, next - at)) return true;
    }
    return false;
}

/* The lines of the member `configs`: up to the next line that begins another one. */
static bool find_member(const char *text, size_t *begin, size_t *end)
{
    size_t at = *begin, stop = *end, next;

    for (; at < stop && strncmp(text + at, "configs:", nib_min(8, stop - at)) != 0; at = next)
        next = line_end(text, stop, at);
    if (at >= stop) return false;
    *begin = at;
    for (at = line_end(text, stop, at); at < stop; at = next) {
        next = line_end(text, stop, at);
        if (!strchr(" \t\r\n-#", text[at])) break;
    }
    *end = at;
    return true;
}

/* The `configs` of DIR/NAME, *out NULL if there are none. */
static nib_status read_configs(nib_ctx *ctx, const char *folder, const char *name, nib_yaml **out,
                               nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/%s", folder, name), *text = NULL;
    bool readme = strcmp(name, "README.md") == 0;
    size_t bytes = 0, begin = 0, end;
    nib_status status = NIB_OK;

    *out = NULL;
    if (!path) return no_memory(folder, err);
    if (nib_file_exists(path)) status = nib_file_read(ctx, path, MOST_README, &text, &bytes, err);
    end = bytes;
    if (!status && text && (!readme || find_front_matter(text, bytes, &begin, &end)) &&
        find_member(text, &begin, &end))
        status = nib_yaml_parse(ctx, text + begin, end - begin, path, out, err);
    nib_free(ctx, text);
    nib_free(ctx, path);
    return status;
}

/* --- the tree --- */

static const nib_yaml_node *member(const nib_yaml_node *map, const char *key)
{
    for (const nib_yaml_node *n = map && map->kind == NIB_YAML_MAP ? map->first : NULL; n;
         n = n->next)
        if (strcmp(n->key, key) == 0) return nib_yaml_is_null(n) ? NULL : n;
    return NULL;
}

static const char *text_of(const nib_yaml_node *map, const char *key)
{
    const nib_yaml_node *n = member(map, key);
    return n && n->kind == NIB_YAML_SCALAR ? n->text : NULL;
}

static bool is_default(const nib_yaml_node *config)
{
    const char *flag = text_of(config, "default"), *name = text_of(config, "config_name");
    return (name && strcmp(name, "default") == 0) || (flag && (*flag == 't' || *flag == 'T'));
}

/* "a, b, c": the texts of a key in the members of a list. */
static const char *names_of(const nib_yaml_node *list, const char *key, char *to, size_t room)
{
    size_t used = 0;

    *to = 0;
    for (const nib_yaml_node *n = list->first; n && used < room; n = n->next)
        used += (size_t)snprintf(to + used, room - used, "%s%s", used ? ", " : "",
                                 text_of(n, key) ? text_of(n, key) : "?");
    return to;
}

static nib_status choose_config(const char *folder, const nib_yaml_node *list, const char *name,
                                const nib_yaml_node **out, nib_error *err)
{
    char names[500];
    size_t defaults = 0;

    *out = NULL;
    for (const nib_yaml_node *n = list->first; n; n = n->next) {
        const char *own = text_of(n, "config_name");
        if (!own)
            return nib_fail(err, NIB_E_FORMAT, "%s: one of its configs has no config_name", folder);
        if (name ? strcmp(own, name) == 0 : list->count == 1 || is_default(n)) *out = n, defaults++;
    }
    if (defaults == 1) return NIB_OK;
    names_of(list, "config_name", names, sizeof names);
    if (name && !*out)
        return nib_fail(err, NIB_E_INVALID,
                        "%s: dataset_config: there is no '%.100s', there are %s", folder, name,
                        names);
    return nib_fail(err, NIB_E_INVALID,
                    "%s: holds %zu data sets: %s; choose one with dataset_config", folder,
                    list->count, names);
}

static nib_status add_pattern(nib_ctx *ctx, const nib_yaml_node *n, nib_record_config *out,
                              nib_error *err)
{
    const char *text = n->kind == NIB_YAML_SCALAR ? n->text : NULL;
    char *copy;

    if (!text)
        return nib_fail(err, NIB_E_FORMAT, "%s: config %s: a path is a text, or a list of texts",
                        out->folder, out->name);
    if (*text == '/' || strstr(text, "://") || strstr(text, ".."))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: config %s: data_files '%.200s' is not below the folder", out->folder,
                        out->name, text);
    copy = nib_strdup(ctx, strncmp(text, "./", 2) ? text : text + 2);
    if (!copy ||
        !nib_grow(ctx, &out->patterns, &out->capacity, out->count + 1, sizeof *out->patterns)) {
        nib_free(ctx, copy);
        return no_memory(out->folder, err);
    }
    out->patterns[out->count++] = copy;
    return NIB_OK;
}

static nib_status add_patterns(nib_ctx *ctx, const nib_yaml_node *n, nib_record_config *out,
                               nib_error *err)
{
    nib_status status = NIB_OK;

    if (n->kind != NIB_YAML_LIST) return add_pattern(ctx, n, out, err);
    for (const nib_yaml_node *c = n->first; c && !status; c = c->next)
        status = add_pattern(ctx, c, out, err);
    return status;
}

/* Splits when its members are maps; else all of it is train. */
static nib_status choose_split(nib_ctx *ctx, const nib_yaml_node *files, const char *split,
                               nib_record_config *out, nib_error *err)
{
    const char *wanted = split ? split : "train";
    const nib_yaml_node *found = NULL;
    bool splits = files->kind == NIB_YAML_LIST && files->first &&
                  files->first->kind == NIB_YAML_MAP;
    char names[500];
    nib_status status;

    for (const nib_yaml_node *n = splits ? files->first : NULL; n; n = n->next)
        if (text_of(n, "split") && strcmp(text_of(n, "split"), wanted) == 0)
            found = member(n, "path");
    if (!splits && strcmp(wanted, "train") == 0) found = files;
    if (!found)
        return nib_fail(err, NIB_E_INVALID, "%s: config %s has no split %s: there are %s",
                        out->folder, out->name, wanted,
                        splits ? names_of(files, "split", names, sizeof names) : "train");
    out->split = nib_strdup(ctx, wanted);
    status = out->split ? add_patterns(ctx, found, out, err) : no_memory(out->folder, err);
    if (!status && !out->count)
        status = nib_fail(err, NIB_E_FORMAT, "%s: config %s: split %s has an empty list of files",
                          out->folder, out->name, wanted);
    return status;
}

/* What is not read of a config may change how files are read (a separator, a field). */
static void tell_unused(nib_ctx *ctx, const nib_yaml_node *config, const nib_record_config *out)
{
    static const char *const known[] = { "config_name", "data_files",  "data_dir",
                                         "default",     "description", "version" };

    for (const nib_yaml_node *n = config->first; n; n = n->next) {
        bool is_known = false;
        for (size_t i = 0; i < NIB_COUNT(known); i++)
            is_known = is_known || !strcmp(known[i], n->key);
        if (!is_known)
            nib_warn_code(ctx, "unused-config-key", "%s: config %s: '%.60s' is not used",
                          out->folder, out->name, n->key);
    }
}

static nib_status take_config(nib_ctx *ctx, const nib_yaml_node *config, const char *split,
                              nib_record_config *out, nib_error *err)
{
    const nib_yaml_node *files = member(config, "data_files");
    const char *below = text_of(config, "data_dir");
    char *folder = NULL;

    out->name = nib_strdup(ctx, text_of(config, "config_name"));
    if (!out->name) return no_memory(out->folder, err);
    if (below && (*below == '/' || strstr(below, "..")))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: config %s: data_dir '%.200s' is not below the folder", out->folder,
                        out->name, below);
    tell_unused(ctx, config, out);
    if (below) {
        folder = nib_sprintf(ctx, "%s/%s", out->folder, below);
        if (!folder) return no_memory(out->folder, err);
        nib_free(ctx, out->folder);
        out->folder = folder;
    }
    return files ? choose_split(ctx, files, split, out, err) : NIB_OK;
}

nib_status nib_record_config_choose(nib_ctx *ctx, const char *folder, const char *name,
                                    const char *split, nib_record_config *out, nib_error *err)
{
    nib_yaml *yaml = NULL;
    const nib_yaml_node *list, *config = NULL;
    nib_status status;

    out->folder = nib_strdup(ctx, folder);
    if (!out->folder) return no_memory(folder, err);
    status = read_configs(ctx, folder, ".huggingface.yaml", &yaml, err);
    if (!status && !yaml) status = read_configs(ctx, folder, "README.md", &yaml, err);
    if (status) goto done;
    list = yaml ? member(nib_yaml_root(yaml), "configs") : NULL;
    if (!list || (list->kind == NIB_YAML_LIST && !list->count)) {
        if (name)
            status = nib_fail(err, NIB_E_INVALID,
                              "%s: dataset_config %.100s: its README.md names no configs", folder,
                              name);
        goto done;
    }
    if (list->kind != NIB_YAML_LIST) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: configs is not a list", nib_yaml_where(yaml));
        goto done;
    }
    status = choose_config(folder, list, name, &config, err);
    if (!status) status = take_config(ctx, config, split, out, err);
done:
    nib_yaml_close(yaml);
    return status;
}

void nib_record_config_free(nib_ctx *ctx, nib_record_config *c)
{
    for (size_t i = 0; i < c->count; i++) nib_free(ctx, c->patterns[i]);
    nib_free(ctx, c->patterns);
    nib_free(ctx, c->folder);
    nib_free(ctx, c->name);
    nib_free(ctx, c->split);
    *c = (nib_record_config){ 0 };
}

/* --- patterns --- */

/* One character against [abc], [a-z], [!a-z]; *after: behind the bracket.  No bracket: a '['. */
static bool matches_set(const char *set, char c, const char **after)
{
    const char *p = set + 1;
    bool inverted = *p == '!' || *p == '^', found = false;

    p += inverted;
    for (bool first = true; *p && (first || *p != ']'); first = false) {
        char low = *p++, high = low;
        if (*p == '-' && p[1] && p[1] != ']') high = p[1], p += 2;
        found = found || (low <= c && c <= high);
    }
    *after = *p ? p + 1 : set + 1;
    return *p ? found != inverted && c != '/' : c == '[';
}

/* Two places to go back to: behind the last * and behind the last **, which wins once the first
 * cannot grow any more. */
bool nib_path_matches(const char *pattern, const char *path)
{
    const char *star = NULL, *star_path = NULL, *deep = NULL, *deep_path = NULL;
    bool whole = false; /* **'s slash: it stands for whole folders */

    while (*path || *pattern) {
        const char *after = pattern + 1;

        if (pattern[0] == '*' && pattern[1] == '*') {
            whole = pattern[2] == '/';
            pattern += 2 + whole; /* both may stand for nothing */
            deep = pattern, deep_path = path;
            star = NULL;
        } else if (*pattern == '*') {
            star = ++pattern, star_path = path;
        } else if (*path && (*pattern == '?'   ? *path != '/'
                             : *pattern == '[' ? matches_set(pattern, *path, &after)
                                               : *pattern == *path)) {
            pattern = after;
            path++;
        } else if (star && *star_path && *star_path != '/') {
            pattern = star, path = ++star_path;
        } else if (deep && *deep_path) {
            if (whole) deep_path += strcspn(deep_path, "/");
            if (!*deep_path) return false;
            pattern = deep, path = ++deep_path;
            star = NULL;
        } else {
            return false;
        }
    }
    return true;
}
