/* choose.c - see choose.h. */
#include "hub/choose.h"

#include <fnmatch.h>
#include <stdio.h>

#include "base/outname.h"

typedef enum form { FORM_NONE, FORM_SAFETENSORS, FORM_BIN, FORM_GGUF, FORM_OTHER } form;

/* In which form a file holds weights; FORM_OTHER: one that nothing here reads. */
static form form_of(const char *path)
{
    static const char *const others[] = {
        ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".onnx", ".onnx_data", ".tflite", ".pb",
        ".mlmodel", ".mlpackage", ".engine", ".nemo", ".pkl", ".gz", ".zip", ".tar",
    };
    static const char *const folders[] = { "onnx/", "openvino/", "coreml/", "original/" };

    for (size_t i = 0; i < NIB_COUNT(folders); i++)
        if (strncmp(path, folders[i], strlen(folders[i])) == 0) return FORM_OTHER;
    if (strstr(path, ".mlpackage/")) return FORM_OTHER;
    if (nib_hub_ends_with(path, ".safetensors")) return FORM_SAFETENSORS;
    if (nib_hub_ends_with(path, ".bin")) return FORM_BIN;
    if (nib_hub_ends_with(path, ".gguf")) return FORM_GGUF;
    for (size_t i = 0; i < NIB_COUNT(others); i++)
        if (nib_hub_ends_with(path, others[i])) return FORM_OTHER;
    return FORM_NONE;
}

static bool same_folder(const char *a, const char *b)
{
    size_t n = (size_t)(nib_last_part(a) - a);

    return n == (size_t)(nib_last_part(b) - b) && memcmp(a, b, n) == 0;
}

/* Does the folder of `path` hold a file of the form whose name begins so? */
static bool has_beside(const nib_hub_listing *l, const char *path, form f, const char *begins)
{
    for (size_t i = 0; i < l->count; i++)
        if (form_of(l->files[i].path) == f && same_folder(path, l->files[i].path) &&
            strncmp(nib_last_part(l->files[i].path), begins, strlen(begins)) == 0)
            return true;
    return false;
}

/* --- lists in messages --- */

typedef struct names {
    char text[600];
    size_t used, left_out;
} names;

static void add_name(names *n, const char *name)
{
    size_t room = sizeof n->text - n->used, bytes = strlen(name) + 2;

    if (bytes >= room) {
        n->left_out++;
        return;
    }
    n->used += (size_t)snprintf(n->text + n->used, room, "%s%s", n->used ? ", " : "", name);
}

static nib_status fail_names(const names *n, const char *name, const char *problem, nib_error *err)
{
    char more[40] = "";

    if (n->left_out) snprintf(more, sizeof more, " and %zu more", n->left_out);
    return nib_fail(err, NIB_E_INVALID, "%s: %s: %s%s", name, problem,
                    n->used ? n->text : "(no file)", more);
}

static names list_files(const nib_hub_listing *l, bool gguf)
{
    names n = { .used = 0 };

    for (size_t i = 0; i < l->count; i++)
        if (!gguf ||
            (nib_hub_is_quant(l->files[i].path, "") && nib_hub_shard(l->files[i].path) < 2))
            add_name(&n, l->files[i].path);
    return n;
}

/* --- the three ways --- */

static bool matches(const nib_hub_wish *w, const char *path)
{
    char below[1100];

    for (size_t i = 0; i < w->include_count; i++) {
        const char *pattern = w->include[i];
        size_t n = strlen(pattern);

        if (n && pattern[n - 1] == '/' &&
            snprintf(below, sizeof below, "%s*", pattern) < (int)sizeof below)
            pattern = below;
        if (fnmatch(pattern, path, FNM_NOESCAPE) == 0) return true;
    }
    return false;
}

static nib_status choose_matching(const nib_hub_listing *l, const nib_hub_wish *w, bool *chosen,
                                  nib_error *err)
{
    names known;
    size_t count = 0;

    for (size_t i = 0; i < l->count; i++) count += chosen[i] = matches(w, l->files[i].path);
    if (count) return NIB_OK;
    known = list_files(l, false);
    return fail_names(&known, w->name, "no file matches --include; there are", err);
}

/* The GGUF file of a quantization, all its parts; "": the only one. */
static nib_status choose_gguf(const nib_hub_listing *l, const nib_hub_wish *w, bool *chosen,
                              nib_error *err)
{
    size_t firsts = 0;
    names known;

    for (size_t i = 0; i < l->count; i++) {
        chosen[i] = nib_hub_is_quant(l->files[i].path, w->quant);
        firsts += chosen[i] && nib_hub_shard(l->files[i].path) <= 1;
    }
    if (firsts == 1) return NIB_OK;
    known = list_files(l, true);
    if (!known.used) return nib_fail(err, NIB_E_INVALID, "%s: it has no GGUF file", w->name);
    return fail_names(&known, w->name,
                      !*w->quant ? "it has several GGUF files: choose one as NAME:Q4_K_M, or with "
                                   "--include; there are"
                      : firsts   ? "several GGUF files are of that quantization (--include chooses "
                                   "one); there are"
                                 : "no GGUF file is of that quantization; there are", err);
}

/* has: the forms that the repository holds. */
static bool is_left_out(const nib_hub_listing *l, const char *path, const bool *has)
{
    switch (form_of(path)) {
    case FORM_NONE: return false;
    case FORM_SAFETENSORS: /* Mistral's own copy of model*.safetensors */
        return strncmp(nib_last_part(path), "consolidated", 12) == 0 &&
               has_beside(l, path, FORM_SAFETENSORS, "model");
    case FORM_BIN: return has_beside(l, path, FORM_SAFETENSORS, "");
    case FORM_GGUF: return has[FORM_SAFETENSORS] || has[FORM_BIN];
    case FORM_OTHER: return has[FORM_SAFETENSORS] || has[FORM_BIN] || has[FORM_GGUF];
    }
    return false;
}

static nib_status choose_preferred(const nib_hub_listing *l, const nib_hub_wish *w, bool *chosen,
                                   nib_error *err)
{
    bool has[FORM_OTHER + 1] = { false }, only_gguf;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < l->count; i++) has[form_of(l->files[i].path)] = true;
    only_gguf = has[FORM_GGUF] && !has[FORM_SAFETENSORS] && !has[FORM_BIN];
    if (only_gguf) status = choose_gguf(l, w, chosen, err);
    for (size_t i = 0; !status && i < l->count; i++)
        if (!only_gguf || form_of(l->files[i].path) != FORM_GGUF)
            chosen[i] = !is_left_out(l, l->files[i].path, has);
    return status;
}

nib_status nib_hub_choose(const nib_hub_listing *l, const nib_hub_wish *w, bool *chosen,
                          nib_error *err)
{
    if (!l->count)
        return nib_fail(err, NIB_E_INVALID, "%s: there are no files in it", w->name);
    if (w->include_count) return choose_matching(l, w, chosen, err);
    if (*w->quant) return choose_gguf(l, w, chosen, err);
    if (!w->all) return choose_preferred(l, w, chosen, err);
    for (size_t i = 0; i < l->count; i++) chosen[i] = true;
    return NIB_OK;
}
