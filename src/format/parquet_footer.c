/* parquet_footer.c - the footer: schema, then the row groups with their chunks. */
#include "format/parquet_file.h"
#include "format/parquet_unpack.h"
#include "format/thrift.h"

enum { MAGIC_BYTES = 4, TAIL_BYTES = 8 };

static nib_status no_memory(const nib_table_source *s, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", s->name);
}

static nib_status broken(const nib_table_source *s, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s: the footer is broken: download or write the file again",
                    s->name);
}

/* The bytes of FileMetaData. */
static nib_status find_footer(const nib_table_source *s, nib_thrift *out, nib_error *err)
{
    const uint8_t *tail;
    uint32_t bytes;

    if (s->bytes < MAGIC_BYTES + TAIL_BYTES || memcmp(s->data, "PAR", 3) != 0)
        return nib_fail(err, NIB_E_FORMAT, "%s: not a Parquet file: it does not begin with PAR1",
                        s->name);
    tail = s->data + s->bytes - TAIL_BYTES;
    if (!memcmp(tail + 4, "PARE", 4) || !memcmp(s->data, "PARE", 4))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: an encrypted Parquet file, which is not read: write it without "
                        "encryption",
                        s->name);
    if (memcmp(tail + 4, "PAR1", 4) != 0 || memcmp(s->data, "PAR1", 4) != 0)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: a Parquet file that does not end with PAR1: it is cut off; download "
                        "or write it again", s->name);
    bytes = nib_load_le32(tail);
    if (bytes > s->bytes - MAGIC_BYTES - TAIL_BYTES)
        return nib_fail(err, NIB_E_FORMAT, "%s: a footer of %u bytes in a file of %zu", s->name,
                        bytes, s->bytes);
    *out = (nib_thrift){ .at = tail - bytes, .end = tail };
    return NIB_OK;
}

/* What a ColumnChunk says; -1 where it is silent. */
typedef struct chunk_words {
    int64_t type, codec, values, bytes, data_page, dictionary_page;
    bool elsewhere, encrypted;
} chunk_words;

static void read_column_metadata(nib_thrift *t, const nib_thrift_field *field, chunk_words *c)
{
    nib_thrift_field f = { 0 };

    if (!nib_thrift_struct(t, field)) return;
    while (nib_thrift_next(t, &f)) {
        switch (f.id) {
        case 1: c->type = nib_thrift_int(t, &f); break;
        case 4: c->codec = nib_thrift_int(t, &f); break;
        case 5: c->values = nib_thrift_int(t, &f); break;
        case 7: c->bytes = nib_thrift_int(t, &f); break;
        case 9: c->data_page = nib_thrift_int(t, &f); break;
        case 11: c->dictionary_page = nib_thrift_int(t, &f); break;
        default: nib_thrift_skip(t, &f);
        }
    }
}

static chunk_words read_chunk_words(nib_thrift *t)
{
    chunk_words c = { .type = -1, .codec = -1, .values = -1, .bytes = -1, .data_page = -1,
                      .dictionary_page = -1 };
    nib_thrift_field f = { 0 };

    while (nib_thrift_next(t, &f)) {
        switch (f.id) {
        case 3: read_column_metadata(t, &f, &c); break;
        case 1:
            c.elsewhere = true;
            nib_thrift_skip(t, &f);
            break;
        case 8:
        case 9:
            c.encrypted = true;
            nib_thrift_skip(t, &f);
            break;
        default: nib_thrift_skip(t, &f);
        }
    }
    return c;
}

static nib_status check_chunk(const nib_table_source *s, const nib_parquet_file *file, size_t group,
                              size_t leaf, const chunk_words *c, nib_parquet_chunk *out,
                              nib_error *err)
{
    uint32_t node = file->leaves[leaf];
    uint64_t begin, end;
    char path[400];

    nib_parquet_path(file, node, path, sizeof path);
    if (c->encrypted)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: column %s is encrypted: write the file without encryption", s->name,
                        path);
    if (c->elsewhere)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: column %s lies in another file", s->name,
                        path);
    if (c->type != (int64_t)file->nodes[node].type || c->values < 0 || c->bytes < 0 ||
        c->data_page < 0 || c->codec < 0 || c->codec > INT32_MAX)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: row group %zu, column %s: its description in the footer is broken",
                        s->name, group + 1, path);
    /* no page is read: some writers leave the offsets of an empty group at 0 */
    if (c->values == 0) {
        *out = (nib_parquet_chunk){ .begin = MAGIC_BYTES, .end = MAGIC_BYTES,
                                    .codec = (int32_t)c->codec };
        return NIB_OK;
    }
    begin = (uint64_t)c->data_page; /* some writers say 0 where there is no dictionary */
    if (c->dictionary_page > 0 && c->dictionary_page < c->data_page)
        begin = (uint64_t)c->dictionary_page;
    if (!nib_add_u64(begin, (uint64_t)c->bytes, &end) || begin < MAGIC_BYTES ||
        end > s->bytes - TAIL_BYTES)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: row group %zu, column %s: %" PRId64 " bytes at %" PRIu64
                        " in a file of %zu",
                        s->name, group + 1, path, c->bytes, begin, s->bytes);
    *out = (nib_parquet_chunk){ .begin = begin, .end = end, .values = c->values,
                                .codec = (int32_t)c->codec };
    return NIB_OK;
}

static nib_status read_group(const nib_table_source *s, nib_thrift *t, size_t group,
                             nib_parquet_file *file, nib_error *err)
{
    nib_thrift_field f = { 0 };
    int64_t rows = -1;
    size_t columns = 0;
    nib_status status = NIB_OK;

    while (!status && nib_thrift_next(t, &f)) {
        if (f.id == 3) {
            rows = nib_thrift_int(t, &f);
        } else if (f.id == 1 && !columns) {
            columns = nib_thrift_list_of_structs(t, &f);
            for (size_t i = 0; i < columns && columns == file->leaf_count && !t->failed && !status;
                 i++) {
                chunk_words words = read_chunk_words(t);

                if (t->failed) break;
                status = check_chunk(s, file, group, i, &words,
                                     &file->chunks[group * file->leaf_count + i], err);
            }
            if (columns != file->leaf_count) break;
        } else {
            nib_thrift_skip(t, &f);
        }
    }
    if (status) return status;
    if (t->failed) return broken(s, err);
    if (columns != file->leaf_count)
        return nib_fail(err, NIB_E_FORMAT, "%s: row group %zu has %zu columns, the schema %zu",
                        s->name, group + 1, columns, file->leaf_count);
    if (rows < 0) return broken(s, err);
    file->group_rows[group] = (uint64_t)rows;
    return NIB_OK;
}

static nib_status read_groups(const nib_table_source *s, nib_thrift *t, size_t count,
                              nib_parquet_file *file, nib_error *err)
{
    uint64_t chunks = 0;
    nib_status status = NIB_OK;

    /* the schema comes first, the groups once */
    if (!file->node_count || file->group_count) return broken(s, err);
    /* A chunk is described by more bytes than this, so the footer's own size bounds the product. */
    if (!nib_mul_u64(count, file->leaf_count, &chunks) || chunks > (size_t)(t->end - t->at))
        return broken(s, err);
    file->group_rows = nib_new_array(file->ctx, count, sizeof *file->group_rows);
    file->chunks = nib_new_array(file->ctx, (size_t)chunks, sizeof *file->chunks);
    if (!file->group_rows || !file->chunks) return no_memory(s, err);
    file->group_count = count;
    for (size_t i = 0; i < count && !status; i++) status = read_group(s, t, i, file, err);
    return status;
}

nib_status nib_parquet_file_read(const nib_table_source *s, nib_parquet_file *file, nib_error *err)
{
    nib_thrift t;
    nib_thrift_field f = { 0 };
    int64_t rows = -1;
    uint64_t sum = 0;
    nib_status status = find_footer(s, &t, err);

    if (status) return status;
    file->ctx = s->ctx;
    while (!status && nib_thrift_next(&t, &f)) {
        switch (f.id) {
        case 2: {
            size_t count = nib_thrift_list_of_structs(&t, &f);
            if (t.failed || file->node_count) status = broken(s, err);
            else status = nib_parquet_schema_read(s, &t, count, file, err);
            break;
        }
        case 3: rows = nib_thrift_int(&t, &f); break;
        case 4: {
            size_t count = nib_thrift_list_of_structs(&t, &f);
            status = t.failed ? broken(s, err) : read_groups(s, &t, count, file, err);
            break;
        }
        default: nib_thrift_skip(&t, &f);
        }
    }
    if (status) return status;
    if (t.failed || !file->node_count || rows < 0) return broken(s, err);
    for (size_t i = 0; i < file->group_count; i++)
        if (!nib_add_u64(sum, file->group_rows[i], &sum)) return broken(s, err);
    if (sum != (uint64_t)rows)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: %" PRId64 " rows in the file, but %" PRIu64 " in its row groups",
                        s->name, rows, sum);
    return NIB_OK;
}

void nib_parquet_file_free(nib_parquet_file *file)
{
    for (size_t i = 0; i < file->node_count; i++) nib_free(file->ctx, file->nodes[i].name);
    if (!file->ctx) return;
    nib_free(file->ctx, file->nodes);
    nib_free(file->ctx, file->leaves);
    nib_free(file->ctx, file->group_rows);
    nib_free(file->ctx, file->chunks);
    *file = (nib_parquet_file){ 0 };
}
