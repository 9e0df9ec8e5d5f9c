/* table.c - opens the file and hands on to the reader of its kind. */
#include "format/table.h"

#include <strings.h>

#include "format/csv.h"
#include "format/unpacked.h"
#include "format/parquet.h"
#include "format/table_source.h"

struct nib_table {
    nib_table_source source;
    nib_filemap map;
    char *name, *where;
    size_t where_bytes;
    nib_table_kind kind;
    bool started, ended;
    nib_csv *csv;         /* one of these */
    nib_parquet *parquet;
};

bool nib_table_kind_of(const char *path, nib_table_kind *out)
{
    static const struct { const char *ending; nib_table_kind kind; } kinds[] = {
        { ".csv", NIB_TABLE_CSV }, { ".tsv", NIB_TABLE_TSV }, { ".parquet", NIB_TABLE_PARQUET },
    };
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot && i < NIB_COUNT(kinds); i++)
        if (!strcasecmp(dot, kinds[i].ending)) return *out = kinds[i].kind, true;
    return false;
}

static nib_status open_reader(nib_table *t, nib_error *err)
{
    switch (t->kind) {
    case NIB_TABLE_CSV: return nib_csv_open(&t->source, ',', &t->csv, err);
    case NIB_TABLE_TSV: return nib_csv_open(&t->source, '\t', &t->csv, err);
    case NIB_TABLE_PARQUET: return nib_parquet_open(&t->source, &t->parquet, err);
    }
    return nib_fail(err, NIB_E_INVALID, "%s: no such kind of table", t->name);
}

/* path: map it; else the bytes. */
static nib_status open_table(nib_ctx *ctx, const char *path, const void *data, size_t bytes,
                             const char *name, nib_table_kind kind, nib_table **out, nib_error *err)
{
    nib_table *t = nib_new(ctx, sizeof *t);
    nib_status status;

    if (!t) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    t->source.ctx = ctx;
    t->kind = kind;
    t->where_bytes = strlen(name) + 40;
    t->name = nib_strdup(ctx, name);
    t->where = nib_alloc(ctx, t->where_bytes);
    if (!t->name || !t->where) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
        goto done;
    }
    if (path) {
        status = kind == NIB_TABLE_PARQUET ? nib_filemap_open(path, &t->map, err)
                                           : nib_unpacked_open(ctx, path, &t->map, err);
        if (status) goto done;
        t->source.map = &t->map;
        data = t->map.base;
        bytes = t->map.bytes;
    }
    t->source.name = t->name;
    t->source.data = data;
    t->source.bytes = bytes;
    snprintf(t->where, t->where_bytes, "%s", name);
    status = open_reader(t, err);
    if (status) goto done;

    *out = t;
    t = NULL; /* handed over */
done:
    nib_table_close(t);
    return status;
}

nib_status nib_table_open(nib_ctx *ctx, const char *path, nib_table_kind kind, nib_table **out,
                          nib_error *err)
{
    return open_table(ctx, path, NULL, 0, path, kind, out, err);
}

nib_status nib_table_open_memory(nib_ctx *ctx, const void *data, size_t bytes, const char *name,
                                 nib_table_kind kind, nib_table **out, nib_error *err)
{
    return open_table(ctx, NULL, data, bytes, name, kind, out, err);
}

void nib_table_close(nib_table *t)
{
    if (!t) return;
    nib_csv_close(t->csv);
    nib_parquet_close(t->parquet);
    nib_filemap_close(&t->map);
    nib_free(t->source.ctx, t->name);
    nib_free(t->source.ctx, t->where);
    nib_free(t->source.ctx, t);
}

size_t nib_table_column_count(const nib_table *t)
{
    return t->csv ? nib_csv_column_count(t->csv) : nib_parquet_column_count(t->parquet);
}

const char *nib_table_column_name(const nib_table *t, size_t i)
{
    assert(i < nib_table_column_count(t));
    return t->csv ? nib_csv_column_name(t->csv, i) : nib_parquet_column_name(t->parquet, i);
}

void nib_table_use_column(nib_table *t, size_t i, bool use)
{
    assert(!t->started && i < nib_table_column_count(t));
    if (t->csv) nib_csv_use_column(t->csv, i, use);
    else nib_parquet_use_column(t->parquet, i, use);
}

nib_status nib_table_next(nib_table *t, json_t **out, nib_error *err)
{
    nib_status status;
    uint64_t place;

    assert(!t->ended);
    t->started = true;
    status = t->csv ? nib_csv_next(t->csv, out, &place, err)
                    : nib_parquet_next(t->parquet, out, &place, err);
    if (status) {
        t->ended = true;
    } else if (*out) {
        snprintf(t->where, t->where_bytes, "%s: %s %" PRIu64, t->name, t->csv ? "line" : "row",
                 place);
    }
    return status;
}

const char *nib_table_where(const nib_table *t)
{
    return t->where;
}
