/* safetensors_writer.c - writing tensors: layout, header, shards, index.
 *
 * The format wants the widest types first, then names in order (formats.md 1.3), which
 * keeps every tensor aligned; the caller gives data in the order of the model.  So every
 * place in every file is known before the first byte, and pieces go where they belong. */
#include <stdlib.h>

#include "base/outfile.h"
#include "format/jsontext.h"
#include "format/safetensors.h"
#include "format/safetensors_header.h"

typedef struct place {
    const char *name; /* copied */
    unsigned type;    /* in nib_safetensors_types */
    unsigned rank;
    uint64_t shape[NIB_MAX_RANK];
    uint64_t bytes;
    uint64_t offset;  /* in the data of its file, then in the file */
    size_t shard;
} place;

typedef struct shard_file {
    char *name;
    nib_outfile *out;
} shard_file;

struct nib_tensor_writer {
    nib_ctx *ctx;
    char *dir, *stem;
    place *places;
    size_t count;
    const place **order; /* by shard, type descending, name */
    shard_file *shards;
    size_t shard_count;
    uint64_t total_bytes;
    size_t current;      /* the tensor whose data comes next */
    uint64_t done_bytes; /* of it */
    const char *const *notes; /* more entries of __metadata__; only while creating */
    nib_error failure;   /* status != NIB_OK: every later call fails so */
};

static nib_status no_memory(const nib_tensor_writer *w, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", w->dir ? w->dir : "writing tensors");
}

static nib_status copy_plan(nib_tensor_writer *w, const nib_tensor_plan *plan, place *p,
                            nib_error *err)
{
    uint64_t elements = 1;

    p->type = NIB_SAFETENSORS_TYPES;
    for (unsigned i = 0; i < NIB_SAFETENSORS_TYPES; i++)
        if (plan->dtype != NIB_DTYPE_OTHER && nib_safetensors_types[i].dtype == plan->dtype)
            p->type = i;
    if (p->type == NIB_SAFETENSORS_TYPES)
        return nib_fail(err, NIB_E_INVALID, "tensor %.400s: type %s cannot be written", plan->name,
                        nib_dtype_name(plan->dtype));
    if (!*plan->name || strlen(plan->name) > NIB_SAFETENSORS_LONGEST_NAME ||
        strcmp(plan->name, "__metadata__") == 0)
        return nib_fail(err, NIB_E_INVALID, "tensor \"%.400s\": not a name a tensor can have",
                        plan->name);
    if (plan->rank > NIB_MAX_RANK)
        return nib_fail(err, NIB_E_INVALID, "tensor %.400s: rank %u, at most %d is possible",
                        plan->name, plan->rank, NIB_MAX_RANK);
    p->rank = plan->rank;
    for (unsigned i = 0; i < plan->rank; i++) {
        p->shape[i] = plan->shape[i];
        if (!nib_mul_u64(elements, plan->shape[i], &elements))
            return nib_fail(err, NIB_E_INVALID, "tensor %.400s: more than 2^64 elements",
                            plan->name);
    }
    if (!nib_mul_u64(elements, nib_dtype_bytes(plan->dtype), &p->bytes) ||
        !nib_add_u64(w->total_bytes, p->bytes, &w->total_bytes) || w->total_bytes > INT64_MAX)
        return nib_fail(err, NIB_E_INVALID, "tensor %.400s: more than 2^63 bytes", plan->name);
    p->name = nib_strdup(w->ctx, plan->name);
    return p->name ? NIB_OK : no_memory(w, err);
}

/* Gives each tensor its shard.  transformers' order: a tensor too large for any shard closes one of
 * its own at once, while the one being filled grows and is numbered when it is full. */
static void fill_shards(nib_tensor_writer *w, uint64_t shard_bytes)
{
    uint64_t filled = 0;
    size_t first = 0; /* of the tensors in the open shard; those between with a number are out */

    for (size_t i = 0; i < w->count; i++) w->places[i].shard = SIZE_MAX; /* still open */
    for (size_t i = 0; i <= w->count; i++) {
        uint64_t bytes = i < w->count ? w->places[i].bytes : 0;
        bool any = false;

        if (shard_bytes && i < w->count && bytes > shard_bytes) {
            w->places[i].shard = w->shard_count++;
            continue;
        }
        if (i < w->count && !(shard_bytes && bytes > shard_bytes - filled)) {
            filled += bytes;
            continue;
        }
        for (size_t j = first; j < i; j++) {
            if (w->places[j].shard != SIZE_MAX) continue;
            w->places[j].shard = w->shard_count;
            any = true;
        }
        if (any) w->shard_count++;
        first = i;
        filled = bytes;
    }
    if (w->shard_count == 0) w->shard_count = 1; /* no tensors: still a file */
}

static int by_place(const void *a, const void *b)
{
    const place *x = *(const place *const *)a, *y = *(const place *const *)b;

    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    if (x->type != y->type) return x->type > y->type ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const place *const *)a)->name, (*(const place *const *)b)->name);
}

/* The header of the shard whose tensors are order[first..last), and their places in its data. */
static nib_status make_header(nib_tensor_writer *w, size_t first, size_t last, nib_text *text,
                              nib_error *err)
{
    uint64_t offset = 0;

    nib_text_puts(text, "{\"__metadata__\":{\"format\":\"pt\"");
    for (const char *const *note = w->notes; *note; note += 2) {
        nib_text_put(text, ",", 1);
        nib_text_json_string(text, note[0], false);
        nib_text_put(text, ":", 1);
        nib_text_json_string(text, note[1], false);
    }
    nib_text_put(text, "}", 1);
    for (size_t i = first; i < last; i++) {
        place *p = (place *)w->order[i];
        nib_text_put(text, ",", 1);
        nib_text_json_string(text, p->name, false);
        nib_text_printf(text, ":{\"dtype\":\"%s\",\"shape\":[",
                        nib_safetensors_types[p->type].name);
        for (unsigned d = 0; d < p->rank; d++)
            nib_text_printf(text, "%s%" PRIu64, d ? "," : "", p->shape[d]);
        p->offset = offset;
        offset += p->bytes; /* the sum over all tensors is below 2^63 */
        nib_text_printf(text, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", p->offset, offset);
    }
    nib_text_put(text, "}", 1);
    while (text->bytes % 8 && !text->failed) nib_text_put(text, " ", 1);
    if (text->failed) return no_memory(w, err);
    if (text->bytes > NIB_SAFETENSORS_LARGEST_HEADER)
        return nib_fail(err, NIB_E_INVALID, "%s/%s: a header would have %zu bytes, at most %d are "
                        "allowed", w->dir, w->stem, text->bytes, NIB_SAFETENSORS_LARGEST_HEADER);
    return NIB_OK;
}

static nib_status write_header(nib_tensor_writer *w, size_t shard, size_t first, size_t last,
                               nib_error *err)
{
    nib_text text = { .ctx = w->ctx };
    uint8_t length[8];
    nib_status status = make_header(w, first, last, &text, err);

    if (status) goto done;
    for (size_t i = first; i < last; i++) ((place *)w->order[i])->offset += 8 + text.bytes;
    for (unsigned i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)text.bytes >> 8 * i);
    status = nib_outfile_write(w->shards[shard].out, length, sizeof length, err);
    if (status) goto done;
    status = nib_outfile_write(w->shards[shard].out, text.data, text.bytes, err);
done:
    nib_text_free(&text);
    return status;
}

static nib_status open_shards(nib_tensor_writer *w, nib_error *err)
{
    w->shards = nib_new_array(w->ctx, w->shard_count, sizeof *w->shards);
    if (!w->shards) return no_memory(w, err);
    for (size_t s = 0; s < w->shard_count; s++) {
        char *path;
        nib_status status;

        if (w->shard_count == 1) w->shards[s].name = nib_sprintf(w->ctx, "%s.safetensors", w->stem);
        else
            w->shards[s].name = nib_sprintf(w->ctx, "%s-%05zu-of-%05zu.safetensors", w->stem, s + 1,
                                            w->shard_count);
        path = w->shards[s].name ? nib_sprintf(w->ctx, "%s/%s", w->dir, w->shards[s].name) : NULL;
        if (!path) return no_memory(w, err);
        status = nib_outfile_create(w->ctx, path, &w->shards[s].out, err);
        nib_free(w->ctx, path);
        if (status) return status;
    }
    return NIB_OK;
}

nib_status nib_tensor_writer_create(nib_ctx *ctx, const char *dir, const char *stem,
                                    const nib_tensor_plan *plans, size_t count,
                                    uint64_t shard_bytes, nib_tensor_writer **out, nib_error *err)
{
    static const char *const none[] = { NULL };

    return nib_tensor_writer_create_noted(ctx, dir, stem, plans, count, shard_bytes, none, out,
                                          err);
}

/* Which tensor comes to which place of which file. */
static nib_status lay_out(nib_ctx *ctx, const char *dir, const char *stem,
                          const nib_tensor_plan *plans, size_t count, uint64_t shard_bytes,
                          const char *const *notes, nib_tensor_writer **out, nib_error *err)
{
    nib_tensor_writer *w = nib_new(ctx, sizeof *w);
    nib_status status;

    if (!w) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    w->ctx = ctx;
    w->notes = notes;
    w->dir = nib_strdup(ctx, dir);
    w->stem = nib_strdup(ctx, stem);
    w->places = nib_new_array(ctx, count, sizeof *w->places);
    w->order = nib_new_array(ctx, count, sizeof *w->order);
    if (!w->dir || !w->stem || !w->places || !w->order) {
        status = no_memory(w, err);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        w->count = i + 1; /* also a half-copied one is freed */
        w->order[i] = &w->places[i];
        status = copy_plan(w, &plans[i], &w->places[i], err);
        if (status) goto done;
    }
    qsort(w->order, count, sizeof *w->order, by_name);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(w->order[i - 1]->name, w->order[i]->name) == 0) {
            status = nib_fail(err, NIB_E_INVALID, "tensor %.400s: comes twice", w->order[i]->name);
            goto done;
        }
    }
    fill_shards(w, shard_bytes);
    qsort(w->order, count, sizeof *w->order, by_place);
    status = NIB_OK;
    *out = w;
    w = NULL; /* handed over */
done:
    nib_tensor_writer_discard(w);
    return status;
}

/* Of shard s the tensors order[*first..*last); begins where *last is. */
static void shard_range(const nib_tensor_writer *w, size_t s, size_t *first, size_t *last)
{
    *first = *last;
    while (*last < w->count && w->order[*last]->shard == s) ++*last;
}

nib_status nib_tensor_files_bytes(nib_ctx *ctx, const nib_tensor_plan *plans, size_t count,
                                  uint64_t shard_bytes, const char *const *notes,
                                  uint64_t *bytes, nib_error *err)
{
    nib_tensor_writer *w = NULL;
    size_t first, last = 0;
    nib_status status = lay_out(ctx, ".", "model", plans, count, shard_bytes, notes, &w, err);

    *bytes = 0;
    for (size_t s = 0; !status && s < w->shard_count; s++) {
        nib_text text = { .ctx = ctx };
        shard_range(w, s, &first, &last);
        status = make_header(w, first, last, &text, err);
        *bytes += 8 + text.bytes;
        nib_text_free(&text);
    }
    if (!status) *bytes += w->total_bytes;
    nib_tensor_writer_discard(w);
    return status;
}

nib_status nib_tensor_writer_create_noted(nib_ctx *ctx, const char *dir, const char *stem,
                                          const nib_tensor_plan *plans, size_t count,
                                          uint64_t shard_bytes, const char *const *notes,
                                          nib_tensor_writer **out, nib_error *err)
{
    nib_tensor_writer *w = NULL;
    size_t first, last = 0;
    nib_status status = lay_out(ctx, dir, stem, plans, count, shard_bytes, notes, &w, err);

    if (!status) status = open_shards(w, err);
    for (size_t s = 0; !status && s < w->shard_count; s++) {
        shard_range(w, s, &first, &last);
        status = write_header(w, s, first, last, err);
    }
    if (status) {
        nib_tensor_writer_discard(w);
        return status;
    }
    w->notes = NULL; /* the caller's */
    *out = w;
    return NIB_OK;
}

nib_status nib_tensor_writer_put(nib_tensor_writer *w, const void *data, size_t bytes,
                                 nib_error *err)
{
    const uint8_t *from = data;
    nib_status status = w->failure.status;

    while (!status && bytes) {
        const place *p;
        size_t piece;

        while (w->current < w->count && w->done_bytes == w->places[w->current].bytes) {
            w->current++;
            w->done_bytes = 0;
        }
        if (w->current == w->count) {
            status = nib_fail(&w->failure, NIB_E_INVALID,
                              "%s: %zu bytes more than the tensors have", w->dir, bytes);
            break;
        }
        p = &w->places[w->current];
        piece = bytes < p->bytes - w->done_bytes ? bytes : (size_t)(p->bytes - w->done_bytes);
        status = nib_outfile_write_at(w->shards[p->shard].out, p->offset + w->done_bytes, from,
                                      piece, &w->failure);
        w->done_bytes += piece;
        from += piece;
        bytes -= piece;
    }
    if (status && err) *err = w->failure;
    return status;
}

static nib_status write_index(nib_tensor_writer *w, nib_error *err)
{
    nib_text text = { .ctx = w->ctx };
    char *path = nib_sprintf(w->ctx, "%s/%s.safetensors.index.json", w->dir, w->stem);
    nib_status status;

    nib_text_printf(&text, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n"
                    "  \"weight_map\": {", w->total_bytes);
    qsort(w->order, w->count, sizeof *w->order, by_name);
    for (size_t i = 0; i < w->count; i++) {
        nib_text_puts(&text, i ? ",\n    " : "\n    ");
        nib_text_json_string(&text, w->order[i]->name, true);
        nib_text_puts(&text, ": ");
        nib_text_json_string(&text, w->shards[w->order[i]->shard].name, true);
    }
    nib_text_puts(&text, "\n  }\n}\n");
    if (!path || text.failed) status = no_memory(w, err);
    else status = nib_outfile_replace(w->ctx, path, text.data, text.bytes, err);
    nib_free(w->ctx, path);
    nib_text_free(&text);
    return status;
}

nib_status nib_tensor_writer_commit(nib_tensor_writer *w, nib_error *err)
{
    nib_status status = w->failure.status;

    if (status) {
        if (err) *err = w->failure;
        goto done;
    }
    while (w->current < w->count && w->done_bytes == w->places[w->current].bytes) {
        w->current++;
        w->done_bytes = 0;
    }
    if (w->current < w->count) {
        status = nib_fail(err, NIB_E_INVALID, "%s: tensor %.400s got %" PRIu64 " of its %" PRIu64
                          " bytes", w->dir, w->places[w->current].name, w->done_bytes,
                          w->places[w->current].bytes);
        goto done;
    }
    for (size_t s = 0; s < w->shard_count; s++) {
        nib_outfile *f = w->shards[s].out;
        w->shards[s].out = NULL; /* the commit frees it in any case */
        status = nib_outfile_commit(f, err);
        if (status) goto done;
    }
    if (w->shard_count > 1) status = write_index(w, err); /* last: it names the others */
done:
    nib_tensor_writer_discard(w);
    return status;
}

void nib_tensor_writer_discard(nib_tensor_writer *w)
{
    nib_ctx *ctx;

    if (!w) return;
    ctx = w->ctx;
    for (size_t i = 0; w->places && i < w->count; i++) nib_free(ctx, (void *)w->places[i].name);
    for (size_t s = 0; w->shards && s < w->shard_count; s++) {
        nib_outfile_discard(w->shards[s].out);
        nib_free(ctx, w->shards[s].name);
    }
    nib_free(ctx, w->shards);
    nib_free(ctx, w->order);
    nib_free(ctx, w->places);
    nib_free(ctx, w->stem);
    nib_free(ctx, w->dir);
    nib_free(ctx, w);
}
