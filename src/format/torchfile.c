/* torchfile.c - see torchfile.h. */
#include "format/torchfile.h"

#include <stdio.h>
#include <stdlib.h>

#include "format/pickle.h"
#include "format/zip.h"

#define CONVERT "load it with PyTorch and write it with safetensors.torch.save_file"

typedef struct torchfile {
    nib_ctx *ctx;
    const char *where;
    const uint8_t *base;
    nib_zip_member *members;
    const nib_zip_member **by_name; /* sorted */
    size_t count;
    const char *folder;             /* of data.pkl, with its slash */
    size_t folder_bytes;
    nib_pickle pickle;
} torchfile;

bool nib_torchfile_is(const char *path)
{
    static const char *const endings[] = { ".bin", ".pt", ".pth" };
    size_t n = strlen(path);

    for (size_t i = 0; i < NIB_COUNT(endings); i++) {
        size_t m = strlen(endings[i]);
        if (n > m && strcmp(path + n - m, endings[i]) == 0) return true;
    }
    return false;
}

/* What came before the archives: named, for it cannot be read. */
static nib_status check_form(const uint8_t *base, size_t bytes, const char *where, nib_error *err)
{
    static const uint8_t before_1_6[] = { 0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20,
                                          0x6a, 0xa8, 0x50, 0x19 };

    if (bytes >= 4 && memcmp(base, "PK\3\4", 4) == 0) return NIB_OK;
    if (bytes >= sizeof before_1_6 && memcmp(base, before_1_6, sizeof before_1_6) == 0)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: the form that PyTorch wrote before 1.6 (a bare pickle), which is not "
                        "read: " CONVERT, where);
    if (bytes > 262 && memcmp(base + 257, "ustar", 5) == 0)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: a tar archive, PyTorch's oldest form, which is not read: " CONVERT,
                        where);
    return nib_fail(err, NIB_E_FORMAT,
                    "%s: no file of torch.save: it does not begin as a ZIP archive does", where);
}

static int compare_names(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    int order = memcmp(a, b, nib_min(a_bytes, b_bytes));
    return order ? order : a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

static int by_name(const void *a, const void *b)
{
    const nib_zip_member *x = *(const nib_zip_member *const *)a;
    const nib_zip_member *y = *(const nib_zip_member *const *)b;
    return compare_names(x->name, x->name_bytes, y->name, y->name_bytes);
}

/* The member `folder` + `name`, or NULL. */
static const nib_zip_member *find_member(const torchfile *f, const char *name, size_t name_bytes)
{
    char whole[512];
    size_t low = 0, high = f->count, bytes = f->folder_bytes + name_bytes;

    if (bytes > sizeof whole) return NULL;
    memcpy(whole, f->folder, f->folder_bytes);
    memcpy(whole + f->folder_bytes, name, name_bytes);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const nib_zip_member *m = f->by_name[middle];
        int order = compare_names(m->name, m->name_bytes, whole, bytes);
        if (order == 0) return m;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

static nib_status find_folder(torchfile *f, nib_error *err)
{
    static const char end[] = "/data.pkl";

    for (size_t i = 0; i < f->count; i++) {
        const nib_zip_member *m = &f->members[i];
        size_t folder = m->name_bytes - (sizeof end - 1);

        if (m->name_bytes < sizeof end || memcmp(m->name + folder, end, sizeof end - 1) != 0 ||
            memchr(m->name, '/', folder))
            continue;
        if (f->folder)
            return nib_fail(err, NIB_E_FORMAT, "%s: two members are data.pkl", f->where);
        f->folder = m->name;
        f->folder_bytes = folder + 1;
    }
    if (!f->folder)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: a ZIP archive without data.pkl, so no file of torch.save", f->where);
    return NIB_OK;
}

static nib_status check_members(const torchfile *f, nib_error *err)
{
    const nib_zip_member *order = find_member(f, "byteorder", 9);

    if (find_member(f, "constants.pkl", 13))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: TorchScript, a program and not weights: save its state_dict()",
                        f->where);
    if (order && (order->bytes != 6 || memcmp(order->data, "little", 6) != 0))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: written on a big-endian machine: " CONVERT, f->where);
    return NIB_OK;
}

/* Do the elements lie one after another? */
static bool in_order(const nib_pickle_tensor *t)
{
    uint64_t step = 1;

    for (unsigned i = t->rank; i-- > 0;) {
        if (t->shape[i] != 1 && t->stride[i] != step) return t->elements == 0;
        step *= t->shape[i]; /* no more than elements, or 0 */
    }
    return true;
}

/* Elements through their strides, one after another. */
static void copy_strided(uint8_t *to, const uint8_t *from, const nib_pickle_tensor *t)
{
    uint64_t index[NIB_MAX_RANK] = { 0 };
    size_t each = t->type->bytes;

    for (uint64_t n = 0; n < t->elements; n++) {
        uint64_t at = 0;
        for (unsigned i = 0; i < t->rank; i++) at += index[i] * t->stride[i];
        memcpy(to + n * each, from + at * each, each);
        for (unsigned i = t->rank; i-- > 0 && ++index[i] == t->shape[i];) index[i] = 0;
    }
}

/* Where a tensor's storage lies; checked: as long as the pickle has it. */
static nib_status find_storage(const torchfile *f, const nib_pickle_tensor *t, const uint8_t **data,
                               nib_error *err)
{
    char name[32];
    int n = snprintf(name, sizeof name, "data/%.*s", (int)t->storage_digits, t->storage);
    const nib_zip_member *m = find_member(f, name, (size_t)n);

    if (!m)
        return nib_fail(err, NIB_E_FORMAT, "%s: tensor %.400s: its storage %s is missing", f->where,
                        t->name, name);
    if (m->bytes != t->storage_bytes)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: tensor %.400s: its storage %s has %" PRIu64 " bytes, the pickle needs "
                        "%" PRIu64, f->where, t->name, name, m->bytes, t->storage_bytes);
    *data = m->data;
    return NIB_OK;
}

/* Memory for the copies; more elements than the storage has (an expanded view) have no bound. */
static nib_status make_copies(const torchfile *f, nib_filemap *copies, nib_error *err)
{
    uint64_t room = 0;

    for (size_t i = 0; i < f->pickle.count; i++) {
        const nib_pickle_tensor *t = &f->pickle.tensors[i];
        if (in_order(t)) continue;
        if (t->elements > t->storage_bytes / t->type->bytes)
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: tensor %.400s is an expanded view of %" PRIu64 " elements: "
                            "make it contiguous, then save it", f->where, t->name, t->elements);
        room += nib_round_up(t->elements * t->type->bytes, 64); /* no more than the file */
    }
    return room ? nib_filemap_memory(room, copies, err) : NIB_OK;
}

static nib_status list_tensors(const torchfile *f, nib_safetensors_header *h, nib_filemap *copies,
                               nib_error *err)
{
    size_t names = 0, used = 0;
    uint8_t *copy;
    nib_status status = make_copies(f, copies, err);

    if (status) return status;
    copy = (uint8_t *)(uintptr_t)copies->base;
    for (size_t i = 0; i < f->pickle.count; i++) names += strlen(f->pickle.tensors[i].name) + 1;
    h->names = nib_alloc(f->ctx, names);
    h->tensors = nib_new_array(f->ctx, f->pickle.count, sizeof *h->tensors);
    if (!h->names || !h->tensors) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", f->where);
    for (size_t i = 0; i < f->pickle.count; i++) {
        const nib_pickle_tensor *t = &f->pickle.tensors[i];
        nib_tensor *out = &h->tensors[i];
        const uint8_t *data = NULL;
        size_t name_bytes = strlen(t->name) + 1;

        status = find_storage(f, t, &data, err);
        if (status) return status;
        *out = (nib_tensor){ .name = memcpy(h->names + used, t->name, name_bytes),
                             .dtype = t->type->dtype, .dtype_name = t->type->name, .rank = t->rank,
                             .elements = t->elements, .bytes = t->elements * t->type->bytes };
        used += name_bytes;
        memcpy(out->shape, t->shape, sizeof out->shape);
        if (t->elements) data += t->offset * t->type->bytes;
        out->data = data;
        if (!in_order(t)) {
            copy_strided(copy, data, t);
            out->data = copy;
            copy += nib_round_up(out->bytes, 64);
        }
    }
    h->count = f->pickle.count;
    return NIB_OK;
}

nib_status nib_torchfile_parse(nib_ctx *ctx, const uint8_t *base, size_t bytes, const char *where,
                               nib_safetensors_header *out, nib_filemap *copies, nib_error *err)
{
    torchfile f = { .ctx = ctx, .where = where, .base = base };
    nib_safetensors_header h = { 0 };
    nib_filemap copied = { 0 };
    const nib_zip_member *pickle = NULL;
    nib_status status = check_form(base, bytes, where, err);

    if (!status) status = nib_zip_list(ctx, base, bytes, where, &f.members, &f.count, err);
    if (status) goto done;
    f.by_name = nib_new_array(ctx, f.count, sizeof *f.by_name);
    if (!f.by_name) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        goto done;
    }
    for (size_t i = 0; i < f.count; i++) f.by_name[i] = &f.members[i];
    qsort(f.by_name, f.count, sizeof *f.by_name, by_name);
    status = find_folder(&f, err);
    if (!status) status = check_members(&f, err);
    if (status) goto done;
    pickle = find_member(&f, "data.pkl", 8);
    if (!pickle) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: the name of its folder is too long", where);
        goto done;
    }
    status = nib_pickle_read(ctx, pickle->data, (size_t)pickle->bytes, where, &f.pickle, err);
    if (!status) status = list_tensors(&f, &h, &copied, err);
    if (status) goto done;
    *out = h;
    *copies = copied;
    h = (nib_safetensors_header){ 0 }; /* handed over */
    copied = (nib_filemap){ 0 };
done:
    nib_safetensors_header_free(ctx, &h);
    nib_filemap_close(&copied);
    nib_pickle_free(ctx, &f.pickle);
    nib_free(ctx, f.by_name);
    nib_free(ctx, f.members);
    return status;
}
