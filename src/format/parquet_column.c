/* parquet_column.c - pages are read when the values of the one before have all been given. */
#include "format/parquet_column.h"

#include <zlib.h>

#include "format/parquet_unpack.h"
#include "format/thrift.h"

enum { MOST_PAGE_BYTES = 256 << 20, MOST_HELD_BYTES = 1 << 30 };
enum { DATA_PAGE, INDEX_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 }; /* PageType */

/* What a PageHeader says; -1 where it is silent. */
typedef struct page_words {
    int64_t type, unpacked, packed, crc;
    int64_t values, encoding;
    int64_t definition_encoding, repetition_encoding; /* v1 */
    int64_t definition_bytes, repetition_bytes;       /* v2 */
    bool has_crc, is_packed;
} page_words;

/* Fails with "FILE: column PATH: what is wrong". */
static nib_status fail(const nib_parquet_column *c, nib_status status, const char *problem,
                       nib_error *err)
{
    char path[400];

    return nib_fail(err, !strcmp(problem, "out of memory") ? NIB_E_NOMEM : status,
                    "%s: column %s: %s", c->source->name,
                    nib_parquet_path(c->file, c->node, path, sizeof path), problem);
}

static nib_status broken(const nib_parquet_column *c, const char *problem, nib_error *err)
{
    return fail(c, NIB_E_FORMAT, problem, err);
}

static const nib_parquet_node *leaf_of(const nib_parquet_column *c)
{
    return &c->file->nodes[c->node];
}

static void free_buffer(nib_parquet_column *c, nib_parquet_buffer *b)
{
    nib_free(c->source->ctx, b->data);
    *c->held -= b->room;
    *b = (nib_parquet_buffer){ 0 };
}

static void free_dictionary(nib_parquet_column *c)
{
    nib_free(c->source->ctx, c->dictionary.begins);
    c->dictionary = (nib_parquet_dictionary){ 0 };
    c->has_dictionary = false;
}

void nib_parquet_column_close(nib_parquet_column *c)
{
    if (!c->source) return;
    free_buffer(c, &c->page);
    free_buffer(c, &c->dictionary_page);
    free_dictionary(c);
    nib_free(c->source->ctx, c->values.text);
    c->values.text = NULL;
}

/* Room for `bytes`; what was in the buffer is gone. */
static nib_status make_room(nib_parquet_column *c, nib_parquet_buffer *b, size_t bytes,
                            nib_error *err)
{
    if (bytes <= b->room) return NIB_OK;
    free_buffer(c, b);
    if (bytes > MOST_HELD_BYTES - *c->held)
        return fail(c, NIB_E_UNSUPPORTED, "the pages of all columns are larger than 1 GiB together",
                    err);
    b->data = nib_alloc(c->source->ctx, bytes);
    if (!b->data) return broken(c, "out of memory", err);
    b->room = bytes;
    *c->held += bytes;
    return NIB_OK;
}

/* --- headers --- */

/* The header struct of a page's kind: the fields' numbers differ. */
static void read_kind(nib_thrift *t, const nib_thrift_field *kind, page_words *p)
{
    nib_thrift_field f = { 0 };
    bool v1 = kind->id == 5, v2 = kind->id == 8;

    if (!nib_thrift_struct(t, kind)) return;
    while (nib_thrift_next(t, &f)) {
        if (f.id == 1) p->values = nib_thrift_i32(t, &f);
        else if (f.id == (v2 ? 4 : 2)) p->encoding = nib_thrift_i32(t, &f);
        else if (v1 && f.id == 3) p->definition_encoding = nib_thrift_i32(t, &f);
        else if (v1 && f.id == 4) p->repetition_encoding = nib_thrift_i32(t, &f);
        else if (v2 && f.id == 5) p->definition_bytes = nib_thrift_i32(t, &f);
        else if (v2 && f.id == 6) p->repetition_bytes = nib_thrift_i32(t, &f);
        else if (v2 && f.id == 7) p->is_packed = nib_thrift_bool(t, &f);
        else nib_thrift_skip(t, &f);
    }
}

/* Reads the header at c->at and steps over it. */
static nib_status read_header(nib_parquet_column *c, page_words *p, nib_error *err)
{
    nib_thrift t = { .at = c->source->data + c->at, .end = c->source->data + c->end };
    nib_thrift_field f = { 0 };

    *p = (page_words){ .type = -1, .unpacked = -1, .packed = -1, .values = -1, .encoding = -1,
                       .definition_encoding = -1, .repetition_encoding = -1,
                       .definition_bytes = -1, .repetition_bytes = -1, .is_packed = true };
    while (nib_thrift_next(&t, &f)) {
        switch (f.id) {
        case 1: p->type = nib_thrift_i32(&t, &f); break;
        case 2: p->unpacked = nib_thrift_i32(&t, &f); break;
        case 3: p->packed = nib_thrift_i32(&t, &f); break;
        case 4:
            p->crc = nib_thrift_i32(&t, &f);
            p->has_crc = true;
            break;
        case 5:
        case 7:
        case 8:
            if (f.id == (p->type == DATA_PAGE ? 5 : p->type == DICTIONARY_PAGE ? 7 : 8))
                read_kind(&t, &f, p);
            else nib_thrift_skip(&t, &f);
            break;
        default: nib_thrift_skip(&t, &f);
        }
    }
    if (t.failed || p->type < 0 || p->unpacked < 0 || p->packed < 0)
        return broken(c, "a page header is broken", err);
    c->at = (uint64_t)(t.at - c->source->data);
    if ((uint64_t)p->packed > c->end - c->at)
        return broken(c, "a page passes the end of its column", err);
    if (p->unpacked > MOST_PAGE_BYTES)
        return fail(c, NIB_E_UNSUPPORTED, "a page of more than 256 MiB", err);
    if (p->has_crc && (uint32_t)p->crc != crc32(0, c->source->data + c->at, (uInt)p->packed))
        return broken(c, "a page whose checksum is wrong", err);
    return NIB_OK;
}

/* `packed` bytes at `in`, unpacked into the buffer or where they are. */
static nib_status unpack(nib_parquet_column *c, nib_parquet_buffer *b, const uint8_t *in,
                         size_t packed, size_t unpacked, bool is_packed, const uint8_t **out,
                         nib_error *err)
{
    const char *problem;
    nib_status status;

    if (c->codec == NIB_PARQUET_UNCOMPRESSED || !is_packed) {
        *out = in;
        return packed == unpacked ? NIB_OK
                                  : broken(c, "a page that is not compressed has two sizes", err);
    }
    status = make_room(c, b, nib_max(unpacked, 1), err);
    if (status) return status;
    problem = nib_parquet_unpack(c->source->ctx, (nib_parquet_codec)c->codec, in, packed, b->data,
                                 unpacked);
    *out = b->data;
    return problem ? broken(c, problem, err) : NIB_OK;
}

/* --- pages --- */

static nib_status read_dictionary(nib_parquet_column *c, const page_words *p, nib_error *err)
{
    const uint8_t *data;
    const char *problem;
    nib_status status;

    if (c->has_dictionary) return broken(c, "two dictionaries in a row group", err);
    if (p->encoding != NIB_PARQUET_PLAIN && p->encoding != NIB_PARQUET_PLAIN_DICTIONARY)
        return fail(c, NIB_E_UNSUPPORTED, "a dictionary that is not PLAIN", err);
    status = unpack(c, &c->dictionary_page, c->source->data + c->at, (size_t)p->packed,
                    (size_t)p->unpacked, true, &data, err);
    if (status) return status;
    problem = nib_parquet_dictionary_open(c->source->ctx, leaf_of(c), data, (size_t)p->unpacked,
                                          p->values, &c->dictionary);
    c->has_dictionary = true;
    return problem ? broken(c, problem, err) : NIB_OK;
}

/* Levels of a v1 page at *at; steps over them. */
static nib_status begin_levels(nib_parquet_column *c, int64_t encoding, uint32_t most,
                               int64_t count, const uint8_t **at, const uint8_t *end, nib_rle *out,
                               nib_error *err)
{
    unsigned width = nib_bit_width(most);
    uint64_t bytes;

    if (most == 0) return NIB_OK;
    if (encoding == NIB_PARQUET_RLE) {
        if (end - *at < 4 || nib_load_le32(*at) > (size_t)(end - *at) - 4)
            return broken(c, "levels pass the page's end", err);
        bytes = nib_load_le32(*at);
        *at += 4;
        *out = nib_rle_open(*at, (size_t)bytes, width);
    } else if (encoding == NIB_PARQUET_BIT_PACKED) {
        bytes = ((uint64_t)count * width + 7) / 8;
        if (bytes > (size_t)(end - *at)) return broken(c, "levels pass the page's end", err);
        *out = nib_bit_packed_open(*at, (size_t)bytes, width);
    } else {
        return fail(c, NIB_E_UNSUPPORTED, "levels that are neither RLE nor BIT_PACKED", err);
    }
    *at += bytes;
    return NIB_OK;
}

static nib_status begin_values(nib_parquet_column *c, const page_words *p, const uint8_t *at,
                               const uint8_t *end, nib_error *err)
{
    bool unsupported;
    const char *problem = nib_parquet_values_begin(&c->values, p->encoding, at, (size_t)(end - at),
                                                   c->has_dictionary ? &c->dictionary : NULL,
                                                   &unsupported);

    if (!problem) return NIB_OK;
    return fail(c, unsupported ? NIB_E_UNSUPPORTED : NIB_E_FORMAT, problem, err);
}

static nib_status begin_v1(nib_parquet_column *c, const page_words *p, nib_error *err)
{
    const nib_parquet_node *leaf = leaf_of(c);
    const uint8_t *at, *end;
    nib_status status;

    status = unpack(c, &c->page, c->source->data + c->at, (size_t)p->packed, (size_t)p->unpacked,
                    true, &at, err);
    if (status) return status;
    end = at + p->unpacked;
    status = begin_levels(c, p->repetition_encoding, leaf->repeats, p->values, &at, end,
                          &c->repetitions, err);
    if (!status)
        status = begin_levels(c, p->definition_encoding, leaf->definition, p->values, &at, end,
                              &c->definitions, err);
    return status ? status : begin_values(c, p, at, end, err);
}

static nib_status begin_v2(nib_parquet_column *c, const page_words *p, nib_error *err)
{
    const nib_parquet_node *leaf = leaf_of(c);
    const uint8_t *page = c->source->data + c->at, *at;
    int64_t levels = p->repetition_bytes + p->definition_bytes;
    nib_status status;

    if (p->repetition_bytes < 0 || p->definition_bytes < 0 || levels > p->packed ||
        levels > p->unpacked)
        return broken(c, "levels pass the page's end", err);
    c->repetitions = nib_rle_open(page, (size_t)p->repetition_bytes, nib_bit_width(leaf->repeats));
    c->definitions = nib_rle_open(page + p->repetition_bytes, (size_t)p->definition_bytes,
                                  nib_bit_width(leaf->definition));
    status = unpack(c, &c->page, page + levels, (size_t)(p->packed - levels),
                    (size_t)(p->unpacked - levels), p->is_packed && p->packed > levels, &at, err);
    return status ? status : begin_values(c, p, at, at + (p->unpacked - levels), err);
}

/* The next page that has values; without one, page_left stays 0. */
static nib_status next_page(nib_parquet_column *c, nib_error *err)
{
    nib_status status = NIB_OK;

    while (!status && c->page_left == 0 && c->chunk_left > 0) {
        page_words p;

        /* but for what lies in its last page */
        nib_table_release(c->source, (size_t)c->released, (size_t)c->at);
        c->released = c->at;
        if (c->at == c->end) return broken(c, "fewer values than the footer says", err);
        status = read_header(c, &p, err);
        if (status) return status;
        if (p.type == DICTIONARY_PAGE) {
            status = read_dictionary(c, &p, err);
        } else if (p.type == DATA_PAGE || p.type == DATA_PAGE_V2) {
            if (p.values < 0 || p.values > c->chunk_left)
                return broken(c, "more values than the footer says", err);
            c->page_left = p.values;
            c->chunk_left -= p.values;
            if (p.values)
                status = p.type == DATA_PAGE ? begin_v1(c, &p, err) : begin_v2(c, &p, err);
        } /* others hold no values */
        c->at += (uint64_t)p.packed;
    }
    return status;
}

nib_status nib_parquet_column_begin(nib_parquet_column *c, const nib_parquet_chunk *chunk,
                                    nib_error *err)
{
    const nib_parquet_node *leaf = leaf_of(c);

    if (!nib_parquet_codec_known(chunk->codec)) {
        char path[400];
        return nib_fail(
            err, NIB_E_UNSUPPORTED,
            "%s: column %s: compressed with %s (codec %d); known are SNAPPY, GZIP, BROTLI, "
            "ZSTD, LZ4, LZ4_RAW",
            c->source->name, nib_parquet_path(c->file, c->node, path, sizeof path),
            nib_parquet_codec_name(chunk->codec), chunk->codec);
    }
    if (leaf->type == NIB_PARQUET_FIXED && leaf->width < 1)
        return broken(c, "values of a fixed length that is not given", err);
    /* the last page of the chunk before */
    nib_table_release(c->source, (size_t)c->released, (size_t)c->at);
    c->at = c->released = chunk->begin;
    c->end = chunk->end;
    c->codec = chunk->codec;
    c->chunk_left = chunk->values;
    c->page_left = 0;
    c->values.ctx = c->source->ctx;
    c->values.leaf = leaf;
    free_dictionary(c);
    return nib_parquet_column_advance(c, err);
}

nib_status nib_parquet_column_value(nib_parquet_column *c, nib_parquet_value *out, nib_error *err)
{
    const char *problem = nib_parquet_values_next(&c->values, out);
    return problem ? broken(c, problem, err) : NIB_OK;
}

nib_status nib_parquet_column_advance(nib_parquet_column *c, nib_error *err)
{
    const nib_parquet_node *leaf = leaf_of(c);
    nib_status status = next_page(c, err);

    c->repetition = c->definition = 0;
    c->ended = !status && c->page_left == 0;
    if (status || c->ended) return status;
    c->page_left--;
    if ((leaf->repeats && !nib_rle_next(&c->repetitions, &c->repetition)) ||
        (leaf->definition && !nib_rle_next(&c->definitions, &c->definition)))
        return broken(c, "the page has fewer levels than values", err);
    if (c->repetition > leaf->repeats || c->definition > leaf->definition)
        return broken(c, "a level beyond the schema's", err);
    return NIB_OK;
}
