/* safetensors.c - one file of tensors, or the shards of an index or of a split GGUF, as one set. */
#include "format/safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "format/gguf.h"
#include "format/json.h"
#include "format/safetensors_header.h"
#include "format/torchfile.h"

typedef struct shard {
    char *path;
    nib_filemap map;
    nib_filemap copies; /* of tensors that lie scattered in a PyTorch file */
    nib_safetensors_header header;
    nib_gguf gguf;      /* of a GGUF file: its keys; the tensors are moved to the header */
} shard;

struct nib_tensors {
    nib_ctx *ctx;
    shard *shards; /* never moved: tensors point into it */
    size_t shard_count;
    nib_tensor *tensors;
    size_t count;
    uint32_t *slots; /* hash table, open addressing: number of the tensor + 1, 0 is free */
    size_t slot_mask;
    bool gguf;
    void **kept; /* nib_tensors_alloc() */
    size_t kept_count, kept_capacity;
};

static uint64_t hash_of(const char *name)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a, 64 bits */

    for (; *name; name++) h = (h ^ (uint8_t)*name) * 1099511628211u;
    return h ^ h >> 32;
}

static nib_status make_table(nib_tensors *t, const char *where, nib_error *err)
{
    size_t slots = 16;

    while (slots < 2 * t->count) slots *= 2;
    t->slots = nib_new_array(t->ctx, slots, sizeof *t->slots);
    if (!t->slots) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    t->slot_mask = slots - 1;
    for (size_t i = 0; i < t->count; i++) {
        size_t at = hash_of(t->tensors[i].name) & t->slot_mask;
        while (t->slots[at] && strcmp(t->tensors[t->slots[at] - 1].name, t->tensors[i].name))
            at = (at + 1) & t->slot_mask;
        if (t->slots[at]) /* in two files: within one its reader has looked */
            return nib_fail(err, NIB_E_FORMAT, "%s: the tensor %s is there twice, in %s and %s",
                            where, t->tensors[i].name, t->tensors[t->slots[at] - 1].file,
                            t->tensors[i].file);
        t->slots[at] = (uint32_t)(i + 1); /* a header of 10^8 bytes holds fewer than 2^32 */
    }
    return NIB_OK;
}

static bool lies_in(const nib_filemap *map, const nib_tensor *t)
{
    const uint8_t *data = t->data;
    return map->base && data >= map->base && data < map->base + map->bytes;
}

/* Tells the tensors where they lie. */
static void point_at_shard(shard *s)
{
    for (size_t i = 0; i < s->header.count; i++) {
        bool copied = lies_in(&s->copies, &s->header.tensors[i]);
        s->header.tensors[i].map = copied ? &s->copies : &s->map;
        s->header.tensors[i].file = s->path;
    }
}

static nib_status parse_gguf(nib_tensors *t, shard *s, nib_error *err)
{
    nib_status status = nib_gguf_parse(t->ctx, s->map.base, s->map.bytes, s->path, &s->gguf, err);

    if (status) return status;
    t->gguf = true;
    s->header.tensors = s->gguf.tensors;
    s->header.count = s->gguf.count;
    s->gguf.tensors = NULL;
    return NIB_OK;
}

/* Maps and checks one file; `path` is taken over. */
static nib_status open_shard(nib_tensors *t, shard *s, char *path, nib_error *err)
{
    nib_status status;

    s->path = path;
    if (!path) return nib_fail(err, NIB_E_NOMEM, "out of memory");
    if (nib_file_is_lfs_pointer(path))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: a git-lfs pointer, not the weights themselves: run git lfs pull in "
                        "its directory, or download the file", path);
    status = nib_filemap_open(path, &s->map, err);
    if (status) return status;
    if (nib_gguf_is(s->map.base, s->map.bytes))
        status = parse_gguf(t, s, err);
    else if (nib_torchfile_is(path))
        status = nib_torchfile_parse(t->ctx, s->map.base, s->map.bytes, path, &s->header,
                                     &s->copies, err);
    else
        status = nib_safetensors_parse(t->ctx, s->map.base, s->map.bytes, path, &s->header, err);
    if (status) return status;
    point_at_shard(s);
    return NIB_OK;
}

/* --- the files of a split GGUF: PREFIX-00001-of-0000N.gguf (formats.md 12.7) --- */

static bool split_count(const nib_gguf *g, const char *key, uint64_t *out)
{
    return nib_gguf_count(nib_gguf_find(g, key), 0, out);
}

static nib_status check_split(const shard *s, uint64_t number, uint64_t files, nib_error *err)
{
    uint64_t no = 0, count = 0;

    if (split_count(&s->gguf, "split.no", &no) && split_count(&s->gguf, "split.count", &count) &&
        no == number && count == files)
        return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: is part %" PRIu64 " of %" PRIu64 " by its keys "
                    "split.no and split.count, expected part %" PRIu64 " of %" PRIu64, s->path,
                    no + 1, count, number + 1, files);
}

/* All tensors of all files in one list. */
static nib_status join_splits(nib_tensors *t, nib_error *err)
{
    uint64_t total = 0, said;
    size_t at = 0;

    for (size_t i = 0; i < t->shard_count; i++) total += t->shards[i].header.count;
    if (split_count(&t->shards[0].gguf, "split.tensors.count", &said) && said != total)
        return nib_fail(err, NIB_E_FORMAT, "%s: split.tensors.count is %" PRIu64 ", the files have "
                        "%" PRIu64 " tensors", t->shards[0].path, said, total);
    t->tensors = nib_new_array(t->ctx, (size_t)total + 1, sizeof *t->tensors);
    if (!t->tensors) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", t->shards[0].path);
    for (size_t i = 0; i < t->shard_count; i++) {
        const nib_safetensors_header *h = &t->shards[i].header;
        memcpy(t->tensors + at, h->tensors, h->count * sizeof *h->tensors);
        at += h->count;
    }
    t->count = at;
    return NIB_OK;
}

/* The other files, where the first is one of several. */
static nib_status open_splits(nib_tensors *t, const char *path, nib_error *err)
{
    size_t n = strlen(path), tail = strlen("-00001-of-00001.gguf");
    unsigned first = 0, named = 0;
    uint64_t files = 1;
    shard *all;
    nib_status status;

    if (!split_count(&t->shards[0].gguf, "split.count", &files) || files < 2) return NIB_OK;
    if (n < tail || sscanf(path + n - tail, "-%5u-of-%5u.gguf", &first, &named) != 2 ||
        named != files)
        return nib_fail(err, NIB_E_FORMAT, "%s: one of %" PRIu64 " files by its key split.count, "
                        "whose names end in -00001-of-%05" PRIu64 ".gguf", path, files, files);
    if (first != 1)
        return nib_fail(err, NIB_E_INVALID, "%s: part %u of %" PRIu64 " files: give the first of "
                        "them", path, first, files);
    all = nib_resize(t->ctx, t->shards, (size_t)files * sizeof *all);
    if (!all) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    memset(all + 1, 0, ((size_t)files - 1) * sizeof *all);
    t->shards = all; /* moved: the first one's tensors are pointed at it anew below */
    status = check_split(&all[0], 0, files, err);
    for (uint64_t i = 1; i < files && !status; i++) {
        t->shard_count = (size_t)i + 1; /* also a half-open one is closed */
        status = open_shard(t, &all[i],
                            nib_sprintf(t->ctx, "%.*s-%05" PRIu64 "-of-%05" PRIu64 ".gguf",
                                        (int)(n - tail), path, i + 1, files), err);
        if (!status) status = check_split(&all[i], i, files, err);
    }
    if (status) return status;
    point_at_shard(&all[0]);
    return join_splits(t, err);
}

static nib_status open_file(nib_tensors *t, const char *path, nib_error *err)
{
    nib_status status;

    t->shards = nib_new_array(t->ctx, 1, sizeof *t->shards);
    if (!t->shards) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    t->shard_count = 1;
    status = open_shard(t, &t->shards[0], nib_strdup(t->ctx, path), err);
    if (status) return status;
    if (t->gguf) status = open_splits(t, path, err);
    if (status || t->tensors) return status;
    t->tensors = t->shards[0].header.tensors;
    t->count = t->shards[0].header.count;
    t->shards[0].header.tensors = NULL; /* taken over */
    return NIB_OK;
}

static bool plain_name(const char *name)
{
    return *name && !strchr(name, '/') && !strchr(name, '\\') && !strstr(name, "..");
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different shard names of a weight_map, sorted; borrowed from it. */
static nib_status shard_names(nib_ctx *ctx, const char *path, json_t *weight_map,
                              const char ***names, size_t *count, nib_error *err)
{
    const char **list = nib_new_array(ctx, json_object_size(weight_map) + 1, sizeof *list);
    size_t have = 0, different = 0;
    const char *key;
    json_t *value;
    nib_status status = NIB_OK;

    if (!list) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    json_object_foreach(weight_map, key, value) {
        if (!json_is_string(value) || !plain_name(json_string_value(value))) {
            status = nib_fail(err, NIB_E_FORMAT,
                              "%s: tensor %.200s is mapped to %.200s, which is not "
                              "a plain file name",
                              path, key,
                              json_is_string(value) ? json_string_value(value) : "something");
            goto done;
        }
        list[have++] = json_string_value(value);
    }
    qsort(list, have, sizeof *list, by_string);
    for (size_t i = 0; i < have; i++)
        if (i == 0 || strcmp(list[i], list[different - 1])) list[different++] = list[i];
    *names = list;
    *count = different;
    list = NULL; /* handed over */
done:
    nib_free(ctx, list);
    return status;
}

/* Lists the tensors the map gives to each shard; others in a shard are left out. */
static nib_status gather(nib_tensors *t, const char *path, json_t *weight_map, const char **names,
                         nib_error *err)
{
    const char *stray = NULL, *key;
    size_t strays = 0;
    json_t *value;
    nib_status status;

    t->tensors = nib_new_array(t->ctx, json_object_size(weight_map), sizeof *t->tensors);
    if (!t->tensors) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    for (size_t s = 0; s < t->shard_count; s++) {
        shard *from = &t->shards[s];
        for (size_t i = 0; i < from->header.count; i++) {
            const char *owner = json_string_value(json_object_get(weight_map,
                                                                  from->header.tensors[i].name));
            if (owner && strcmp(owner, names[s]) == 0) {
                t->tensors[t->count++] = from->header.tensors[i];
            } else {
                stray = from->header.tensors[i].name;
                strays++;
            }
        }
        nib_free(t->ctx, from->header.tensors);
        from->header.tensors = NULL;
    }
    if (strays)
        nib_warn(t->ctx, "%s: %zu tensors of the shards are not mapped to where they are, and "
                 "ignored; the last is %s", path, strays, stray);
    status = make_table(t, path, err);
    if (status) return status;
    if (t->count == json_object_size(weight_map)) return NIB_OK;
    json_object_foreach(weight_map, key, value) {
        if (!nib_tensors_find(t, key))
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: tensor %.400s is mapped to %.400s, which does not "
                            "have it",
                            path, key, json_string_value(value));
    }
    return NIB_OK;
}

static nib_status open_index(nib_tensors *t, const char *path, nib_error *err)
{
    const char *slash = strrchr(path, '/');
    int directory_bytes = slash ? (int)(slash - path) + 1 : 0;
    json_t *index = NULL, *weight_map;
    const char **names = NULL;
    size_t count = 0;
    nib_status status = nib_json_read(t->ctx, path, NIB_JSON_BIG_NUMBERS, &index, err);

    if (status) return status;
    weight_map = json_object_get(index, "weight_map");
    if (!json_is_object(weight_map)) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: weight_map is missing or not an object", path);
        goto done;
    }
    status = shard_names(t->ctx, path, weight_map, &names, &count, err);
    if (status) goto done;
    t->shards = nib_new_array(t->ctx, count, sizeof *t->shards);
    if (!t->shards) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        t->shard_count = i + 1; /* also a half-open one is closed */
        status = open_shard(t, &t->shards[i],
                            nib_sprintf(t->ctx, "%.*s%s", directory_bytes, path, names[i]), err);
        if (status) goto done;
    }
    status = gather(t, path, weight_map, names, err);
done:
    nib_free(t->ctx, names);
    json_decref(index);
    return status;
}

/* What to open for a directory: the file, else the index.  The caller frees it. */
static nib_status find_in(nib_ctx *ctx, const char *directory, char **out, nib_error *err)
{
    static const char *const names[] = { "model.safetensors", "model.safetensors.index.json",
                                         "pytorch_model.bin", "pytorch_model.bin.index.json" };

    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        char *path = nib_sprintf(ctx, "%s/%s", directory, names[i]);
        if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", directory);
        if (nib_file_exists(path)) {
            *out = path;
            return NIB_OK;
        }
        nib_free(ctx, path);
    }
    return nib_fail(err, NIB_E_IO,
                    "%s: has no weights: none of %s, %s, %s and %s is there; is the download "
                    "complete?",
                    directory, names[0], names[1], names[2], names[3]);
}

nib_status nib_tensors_open(nib_ctx *ctx, const char *path, nib_tensors **out, nib_error *err)
{
    nib_tensors *t = nib_new(ctx, sizeof *t);
    struct stat info;
    char *inside = NULL;
    nib_status status;

    if (!t) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    t->ctx = ctx;
    if (stat(path, &info)) {
        status = nib_fail(err, NIB_E_IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    if (S_ISDIR(info.st_mode)) {
        status = find_in(ctx, path, &inside, err);
        if (status) goto done;
        path = inside;
    }
    if (nib_ends_with(path, ".index.json")) {
        status = open_index(t, path, err);
    } else {
        status = open_file(t, path, err);
        if (!status) status = make_table(t, path, err);
    }
    if (status) goto done;
    *out = t;
    t = NULL; /* handed over */
done:
    nib_free(ctx, inside);
    nib_tensors_close(t);
    return status;
}

void nib_tensors_close(nib_tensors *t)
{
    nib_ctx *ctx;

    if (!t) return;
    ctx = t->ctx;
    for (size_t i = 0; i < t->shard_count; i++) {
        nib_safetensors_header_free(ctx, &t->shards[i].header);
        nib_gguf_free(ctx, &t->shards[i].gguf);
        nib_filemap_close(&t->shards[i].copies);
        nib_filemap_close(&t->shards[i].map);
        nib_free(ctx, t->shards[i].path);
    }
    for (size_t i = 0; i < t->kept_count; i++) nib_free(ctx, t->kept[i]);
    nib_free(ctx, t->kept);
    nib_free(ctx, t->shards);
    nib_free(ctx, t->tensors);
    nib_free(ctx, t->slots);
    nib_free(ctx, t);
}

size_t nib_tensors_count(const nib_tensors *t) { return t->count; }

const nib_tensor *nib_tensors_at(const nib_tensors *t, size_t i)
{
    assert(i < t->count);
    return &t->tensors[i];
}

const nib_tensor *nib_tensors_find(const nib_tensors *t, const char *name)
{
    for (size_t at = hash_of(name) & t->slot_mask; t->slots[at]; at = (at + 1) & t->slot_mask) {
        const nib_tensor *found = &t->tensors[t->slots[at] - 1];
        if (strcmp(found->name, name) == 0) return found;
    }
    return NULL;
}

void *nib_tensors_alloc(nib_tensors *t, size_t bytes)
{
    void *p;

    if (!nib_grow(t->ctx, &t->kept, &t->kept_capacity, t->kept_count + 1, sizeof *t->kept))
        return NULL;
    p = nib_alloc(t->ctx, bytes);
    if (p) t->kept[t->kept_count++] = p;
    return p;
}

/* Puts slice k of `whole` at *to. */
static nib_status take_slice(nib_tensors *t, const nib_tensor *whole, uint32_t k, nib_tensor *to,
                             nib_error *err)
{
    const char *mark = strstr(whole->name, "%d");
    size_t room = strlen(whole->name) + 12;
    char *name = nib_tensors_alloc(t, room);

    assert(mark);
    if (!name) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", whole->file);
    snprintf(name, room, "%.*s%" PRIu32 "%s", (int)(mark - whole->name), whole->name, k, mark + 2);
    *to = *whole;
    to->name = name;
    to->slices = 0;
    to->rank = whole->rank - 1;
    memmove(to->shape, whole->shape + 1, to->rank * sizeof *to->shape);
    to->shape[to->rank] = 0;
    to->bytes = whole->bytes / whole->slices;
    to->elements = whole->elements / whole->slices;
    to->data = (const uint8_t *)whole->data + k * to->bytes;
    return NIB_OK;
}

static nib_status take_apart(nib_tensors *t, nib_error *err)
{
    size_t count = 0, at = 0;
    nib_tensor *all;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < t->count; i++) count += t->tensors[i].slices ? t->tensors[i].slices : 1;
    if (count == t->count) return NIB_OK;
    all = nib_new_array(t->ctx, count, sizeof *all);
    if (!all) return nib_fail(err, NIB_E_NOMEM, "%zu tensors: out of memory", count);
    for (size_t i = 0; i < t->count && !status; i++) {
        const nib_tensor *whole = &t->tensors[i];
        assert(!whole->slices || (whole->rank >= 2 && whole->shape[0] == whole->slices));
        if (!whole->slices) all[at++] = *whole;
        for (uint32_t k = 0; k < whole->slices && !status; k++)
            status = take_slice(t, whole, k, &all[at++], err);
    }
    if (status) {
        nib_free(t->ctx, all);
        return status;
    }
    nib_free(t->ctx, t->tensors);
    t->tensors = all;
    t->count = count;
    return NIB_OK;
}

nib_status nib_tensors_change(nib_tensors *t,
                              nib_status (*change)(void *self, nib_tensor *t, nib_error *err),
                              void *self, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < t->count && !status; i++) status = change(self, &t->tensors[i], err);
    if (!status) status = take_apart(t, err);
    if (status || !t->count) return status;
    nib_free(t->ctx, t->slots);
    return make_table(t, t->tensors[0].file, err);
}

nib_status nib_tensors_add(nib_tensors *t, const nib_tensor *more, size_t count, nib_error *err)
{
    nib_tensor *all = nib_new_array(t->ctx, t->count + count, sizeof *all);

    if (!all) return nib_fail(err, NIB_E_NOMEM, "%zu tensors: out of memory", t->count + count);
    if (t->count) memcpy(all, t->tensors, t->count * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        all[t->count + i] = more[i];
        all[t->count + i].map = &t->shards[0].map;
        all[t->count + i].file = t->shards[0].path;
    }
    nib_free(t->ctx, t->tensors);
    nib_free(t->ctx, t->slots);
    t->tensors = all;
    t->count += count;
    t->slots = NULL;
    return make_table(t, t->shards[0].path, err);
}

const nib_gguf *nib_tensors_gguf(const nib_tensors *t)
{
    return t->gguf ? &t->shards[0].gguf : NULL;
}

const char *nib_tensors_metadata(const nib_tensors *t, const char *key)
{
    if (t->shard_count == 0) return NULL;
    return json_string_value(json_object_get(t->shards[0].header.metadata, key));
}

nib_status nib_tensors_unchanged(const nib_tensors *t, nib_error *err)
{
    for (size_t i = 0; i < t->shard_count; i++) {
        nib_status status = nib_filemap_unchanged(&t->shards[i].map, t->shards[i].path, err);
        if (status) return status;
    }
    return NIB_OK;
}
