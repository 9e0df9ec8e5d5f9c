/* parquet_schema.c - the schema: a list in which each element says how many children follow it. */
#include <stdio.h>

#include "format/parquet_file.h"
#include "format/thrift.h"

static nib_status no_memory(const nib_table_source *s, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", s->name);
}

static void means(nib_parquet_node *n, nib_parquet_meaning meaning, const char *name)
{
    n->meaning = meaning;
    n->meaning_name = name;
}

static void means_integer(nib_parquet_node *n, int32_t bits, bool is_signed)
{
    means(n, NIB_MEANS_INTEGER, "INTEGER");
    n->bits = bits;
    n->is_signed = is_signed;
}

static void means_time(nib_parquet_node *n, nib_parquet_meaning meaning, int32_t unit, bool utc)
{
    means(n, meaning, meaning == NIB_MEANS_TIME ? "TIME" : "TIMESTAMP");
    n->unit = unit;
    n->utc = utc;
}

/* ConvertedType; a file that has both says the same with LogicalType, which is read over it. */
static void set_converted(nib_parquet_node *n, int32_t type)
{
    switch (type) {
    case 0: means(n, NIB_MEANS_STRING, "UTF8"); break;
    case 1:
    case 2:
        means(n, NIB_MEANS_MAP, "MAP");
        break; /* MAP_KEY_VALUE: old writers put it in MAP's place */
    case 3: means(n, NIB_MEANS_LIST, "LIST"); break;
    case 4: means(n, NIB_MEANS_STRING, "ENUM"); break;
    case 5: means(n, NIB_MEANS_DECIMAL, "DECIMAL"); break;
    case 6: means(n, NIB_MEANS_DATE, "DATE"); break;
    case 7:
    case 8: means_time(n, NIB_MEANS_TIME, type == 7 ? 3 : 6, true); break;
    case 9:
    case 10: means_time(n, NIB_MEANS_TIMESTAMP, type == 9 ? 3 : 6, true); break;
    case 11:
    case 12:
    case 13:
    case 14: means_integer(n, 8 << (type - 11), false); break;
    case 15:
    case 16:
    case 17:
    case 18: means_integer(n, 8 << (type - 15), true); break;
    case 19: means(n, NIB_MEANS_JSON, "JSON"); break;
    case 20: means(n, NIB_MEANS_UNKNOWN, "BSON"); break;
    case 21: means(n, NIB_MEANS_UNKNOWN, "INTERVAL"); break;
    default: means(n, NIB_MEANS_UNKNOWN, "a converted type we do not know"); break;
    }
}

/* TimeUnit: a union of empty structs. */
static int32_t read_unit(nib_thrift *t, const nib_thrift_field *f)
{
    nib_thrift_field unit = { 0 };
    int32_t digits = 0;

    if (!nib_thrift_struct(t, f)) return 0;
    while (nib_thrift_next(t, &unit)) {
        digits = unit.id >= 1 && unit.id <= 3 ? 3 * unit.id : 0;
        nib_thrift_skip(t, &unit);
    }
    return digits;
}

/* The struct of one logical type. */
static void read_logical_of(nib_thrift *t, const nib_thrift_field *kind, nib_parquet_node *n)
{
    nib_thrift_field f = { 0 };
    int32_t unit = 0, bits = 0;
    bool flag = false;

    if (!nib_thrift_struct(t, kind)) return;
    while (nib_thrift_next(t, &f)) {
        if (kind->id == 5 && f.id == 1) n->scale = nib_thrift_i32(t, &f);
        else if ((kind->id == 7 || kind->id == 8) && f.id == 1) flag = nib_thrift_bool(t, &f);
        else if ((kind->id == 7 || kind->id == 8) && f.id == 2) unit = read_unit(t, &f);
        else if (kind->id == 10 && f.id == 1) bits = nib_thrift_i32(t, &f);
        else if (kind->id == 10 && f.id == 2) flag = nib_thrift_bool(t, &f);
        else nib_thrift_skip(t, &f);
    }
    switch (kind->id) {
    case 1: means(n, NIB_MEANS_STRING, "STRING"); break;
    case 2: means(n, NIB_MEANS_MAP, "MAP"); break;
    case 3: means(n, NIB_MEANS_LIST, "LIST"); break;
    case 4: means(n, NIB_MEANS_STRING, "ENUM"); break;
    case 5: means(n, NIB_MEANS_DECIMAL, "DECIMAL"); break;
    case 6: means(n, NIB_MEANS_DATE, "DATE"); break;
    case 7: means_time(n, NIB_MEANS_TIME, unit, flag); break;
    case 8: means_time(n, NIB_MEANS_TIMESTAMP, unit, flag); break;
    case 10: means_integer(n, bits, flag); break;
    case 11: means(n, NIB_MEANS_NULL, "NULL"); break;
    case 12: means(n, NIB_MEANS_JSON, "JSON"); break;
    case 13: means(n, NIB_MEANS_UNKNOWN, "BSON"); break;
    case 14: means(n, NIB_MEANS_UUID, "UUID"); break;
    case 15: means(n, NIB_MEANS_FLOAT16, "FLOAT16"); break;
    case 16: means(n, NIB_MEANS_UNKNOWN, "VARIANT"); break;
    case 17: means(n, NIB_MEANS_UNKNOWN, "GEOMETRY"); break;
    case 18: means(n, NIB_MEANS_UNKNOWN, "GEOGRAPHY"); break;
    default: means(n, NIB_MEANS_UNKNOWN, "a logical type we do not know"); break;
    }
}

static void read_logical(nib_thrift *t, const nib_thrift_field *field, nib_parquet_node *n)
{
    nib_thrift_field f = { 0 };

    if (!nib_thrift_struct(t, field)) return;
    while (nib_thrift_next(t, &f)) read_logical_of(t, &f, n);
}

/* What a SchemaElement says by itself; *children 0: a leaf. */
static nib_status read_element(const nib_table_source *s, nib_thrift *t, nib_ctx *ctx,
                               nib_parquet_node *n, int32_t *children, nib_error *err)
{
    const uint8_t *name = NULL;
    nib_thrift_field f = { 0 };
    int32_t type = -1, repetition = NIB_REQUIRED;
    size_t bytes = 0;

    while (nib_thrift_next(t, &f)) {
        switch (f.id) {
        case 1: type = nib_thrift_i32(t, &f); break;
        case 2: n->width = nib_thrift_i32(t, &f); break;
        case 3: repetition = nib_thrift_i32(t, &f); break;
        case 4: name = nib_thrift_binary(t, &f, &bytes); break;
        case 5: *children = nib_thrift_i32(t, &f); break;
        case 6: set_converted(n, nib_thrift_i32(t, &f)); break;
        case 7: n->scale = nib_thrift_i32(t, &f); break;
        case 10: read_logical(t, &f, n); break;
        default: nib_thrift_skip(t, &f);
        }
    }
    if (t->failed)
        return nib_fail(err, NIB_E_FORMAT, "%s: the schema in the footer is broken", s->name);
    if (!name || nib_text_invalid(name, bytes) < bytes)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: the schema has a column whose name is missing or not UTF-8 text",
                        s->name);
    n->name = nib_strndup(ctx, (const char *)name, bytes);
    if (!n->name) return no_memory(s, err);
    if (*children < 0 || repetition < NIB_REQUIRED || repetition > NIB_REPEATED ||
        (*children == 0 && (type < NIB_PARQUET_BOOLEAN || type > NIB_PARQUET_FIXED)))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: column %s: type %d, repetition %d and %d children make no column",
                        s->name, n->name, type, repetition, *children);
    n->type = *children ? NIB_PARQUET_GROUP : (nib_parquet_type)type;
    n->repetition = (nib_parquet_repetition)repetition;
    return NIB_OK;
}

/* Below its parent: levels, and a name that no sister has. */
static nib_status place(const nib_table_source *s, nib_parquet_file *file, uint32_t i,
                        nib_error *err)
{
    nib_parquet_node *n = &file->nodes[i], *parent = &file->nodes[n->parent];

    n->definition = (uint8_t)(parent->definition + (n->repetition != NIB_REQUIRED));
    n->repeats = (uint8_t)(parent->repeats + (n->repetition == NIB_REPEATED));
    n->first_leaf = (uint32_t)file->leaf_count;
    if (n->type == NIB_PARQUET_GROUP) return NIB_OK;
    if (!nib_grow(file->ctx, &file->leaves, &file->leaf_room, file->leaf_count + 1,
                  sizeof *file->leaves))
        return no_memory(s, err);
    file->leaves[file->leaf_count++] = i;
    return NIB_OK;
}

static nib_status check_names(const nib_table_source *s, const nib_parquet_file *file,
                              uint32_t parent, nib_error *err)
{
    const nib_parquet_node *nodes = file->nodes;
    json_t *seen = json_object();
    nib_status status = NIB_OK;
    char path[400];

    for (uint32_t c = parent + 1; c < nodes[parent].next && !status; c = nodes[c].next) {
        if (json_object_get(seen, nodes[c].name))
            status = nib_fail(err, NIB_E_FORMAT, "%s: two columns are named %s", s->name,
                              nib_parquet_path(file, c, path, sizeof path));
        else if (json_object_set_new_nocheck(seen, nodes[c].name, json_true()))
            status = no_memory(s, err);
    }
    json_decref(seen);
    return status;
}

nib_status nib_parquet_schema_read(const nib_table_source *s, nib_thrift *t, size_t count,
                                   nib_parquet_file *file, nib_error *err)
{
    /* from the root down */
    struct { uint32_t node; int32_t children; } open[NIB_PARQUET_MOST_DEPTH];
    size_t depth = 0;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < count && !status; i++) {
        nib_parquet_node *n;
        int32_t children = 0;

        if (!nib_grow(file->ctx, &file->nodes, &file->node_room, i + 1, sizeof *file->nodes))
            return no_memory(s, err);
        n = &file->nodes[i];
        *n = (nib_parquet_node){ .meaning_name = "" };
        file->node_count++;
        status = read_element(s, t, file->ctx, n, &children, err);
        if (status) break;
        if (i == 0) n->repetition = NIB_REQUIRED; /* says nothing at the root */
        if (i && !depth)
            return nib_fail(err, NIB_E_FORMAT, "%s: column %s lies outside the schema's root",
                            s->name, n->name);
        n->parent = i ? open[depth - 1].node : 0;
        if (i) status = place(s, file, (uint32_t)i, err);
        else if (!children)
            return nib_fail(err, NIB_E_FORMAT, "%s: a schema without columns", s->name);
        if (i) open[depth - 1].children--;
        if (children && depth == NIB_PARQUET_MOST_DEPTH)
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: column %s: nested deeper than %d", s->name,
                            n->name, NIB_PARQUET_MOST_DEPTH);
        if (children) {
            open[depth].node = (uint32_t)i;
            open[depth++].children = children;
        }
        for (n->next = (uint32_t)i + 1; depth && open[depth - 1].children == 0; depth--)
            file->nodes[open[depth - 1].node].next = (uint32_t)i + 1;
    }
    if (!status && (depth || !count))
        status = nib_fail(err, NIB_E_FORMAT, "%s: the schema ends early", s->name);
    for (size_t i = 0; i < file->node_count && !status; i++) {
        nib_parquet_node *n = &file->nodes[i];
        uint32_t last = n->first_leaf;

        while (last < file->leaf_count && file->leaves[last] < n->next) last++;
        n->leaf_count = last - n->first_leaf;
        if (n->type == NIB_PARQUET_GROUP) status = check_names(s, file, (uint32_t)i, err);
    }
    return status;
}

const char *nib_parquet_path(const nib_parquet_file *file, uint32_t node, char *text, size_t room)
{
    uint32_t up[NIB_PARQUET_MOST_DEPTH + 1];
    size_t depth = 0, used = 0;

    for (uint32_t i = node; i; i = file->nodes[i].parent) up[depth++] = i;
    text[0] = 0;
    while (depth-- && used < room)
        used += (size_t)snprintf(text + used, room - used, "%s%s", used ? "." : "",
                                 file->nodes[up[depth]].name);
    return text;
}
