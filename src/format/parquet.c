/* parquet.c - rows put together from the levels of their leaves.
 *
 * Each leaf stands at its next value with its two levels.  Whether a node is there follows from the
 * definition level of any leaf below it, whether a list continues from the repetition level of the
 * leaf's next value; so a node is read by looking at its first leaf, and all its leaves have to say
 * the same.  Every leaf gives one value for each node that is missing or empty above it.
 * Source: Melnik et al. 2010, "Dremel", section 4; LogicalTypes.md, "Nested types". */
#include "format/parquet.h"

#include <stdio.h>

#include "format/parquet_column.h"
#include "format/parquet_value.h"

enum { VALUE_COST = 64 }; /* of a record's limit: what an empty value takes in memory */

struct nib_parquet {
    const nib_table_source *source;
    nib_parquet_file file;
    nib_parquet_column *columns; /* [file.leaf_count] */
    uint32_t *tops;              /* [top_count]: the nodes below the root */
    bool *unused;
    size_t top_count;
    uint64_t held;
    size_t group;                /* the row group at hand, from 1; 0: none was begun */
    uint64_t group_left, row;
    size_t record_bytes;
};

static nib_status no_memory(const nib_parquet *p, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", p->source->name);
}

static nib_status broken(const nib_parquet *p, uint32_t node, const char *problem, nib_error *err)
{
    char path[400];

    return nib_fail(err, NIB_E_FORMAT, "%s: row %" PRIu64 ": column %s: %s", p->source->name,
                    p->row, nib_parquet_path(&p->file, node, path, sizeof path), problem);
}

static const nib_parquet_node *node_at(const nib_parquet *p, uint32_t i)
{
    return &p->file.nodes[i];
}

/* --- opening --- */

static nib_status list_tops(nib_parquet *p, nib_error *err)
{
    const nib_parquet_node *nodes = p->file.nodes;

    for (uint32_t i = 1; i < nodes[0].next; i = nodes[i].next) p->top_count++;
    p->tops = nib_new_array(p->source->ctx, p->top_count, sizeof *p->tops);
    p->unused = nib_new_array(p->source->ctx, p->top_count, sizeof *p->unused);
    p->columns = nib_new_array(p->source->ctx, p->file.leaf_count, sizeof *p->columns);
    if (!p->tops || !p->unused || !p->columns) return no_memory(p, err);
    for (uint32_t i = 1, k = 0; i < nodes[0].next; i = nodes[i].next) p->tops[k++] = i;
    for (size_t i = 0; i < p->file.leaf_count; i++)
        p->columns[i] = (nib_parquet_column){ .source = p->source, .file = &p->file,
                                              .node = p->file.leaves[i], .held = &p->held };
    return NIB_OK;
}

nib_status nib_parquet_open(const nib_table_source *source, nib_parquet **out, nib_error *err)
{
    nib_parquet *p = nib_new(source->ctx, sizeof *p);
    nib_status status;

    if (!p) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", source->name);
    p->source = source;
    status = nib_parquet_file_read(source, &p->file, err);
    if (!status) status = list_tops(p, err);
    if (status) goto done;
    *out = p;
    p = NULL; /* handed over */
done:
    nib_parquet_close(p);
    return status;
}

void nib_parquet_close(nib_parquet *p)
{
    nib_ctx *ctx;

    if (!p) return;
    ctx = p->source->ctx;
    for (size_t i = 0; p->columns && i < p->file.leaf_count; i++)
        nib_parquet_column_close(&p->columns[i]);
    nib_parquet_file_free(&p->file);
    nib_free(ctx, p->columns);
    nib_free(ctx, p->tops);
    nib_free(ctx, p->unused);
    nib_free(ctx, p);
}

size_t nib_parquet_column_count(const nib_parquet *p)
{
    return p->top_count;
}

const char *nib_parquet_column_name(const nib_parquet *p, size_t i)
{
    return node_at(p, p->tops[i])->name;
}

void nib_parquet_use_column(nib_parquet *p, size_t i, bool use)
{
    p->unused[i] = !use;
}

/* --- the levels of a node's leaves --- */

static nib_parquet_column *first_leaf(nib_parquet *p, uint32_t i)
{
    return &p->columns[node_at(p, i)->first_leaf];
}

/* Whether node i, whose parent is there, is missing (null, or a list without elements). */
static nib_status is_missing(nib_parquet *p, uint32_t i, bool *out, nib_error *err)
{
    const nib_parquet_node *n = node_at(p, i);
    nib_parquet_column *leaves = first_leaf(p, i);

    *out = leaves[0].definition < n->definition;
    for (uint32_t k = 1; k < n->leaf_count; k++)
        if ((leaves[k].definition < n->definition) != *out)
            return broken(p, i, "its members do not agree whether it is there", err);
    return NIB_OK;
}

/* Whether another element of the repeated node i follows, after one was read. */
static nib_status goes_on(nib_parquet *p, uint32_t i, bool *out, nib_error *err)
{
    const nib_parquet_node *n = node_at(p, i);
    nib_parquet_column *leaves = first_leaf(p, i);

    *out = leaves[0].repetition == n->repeats;
    for (uint32_t k = 0; k < n->leaf_count; k++)
        if (*out ? leaves[k].repetition != n->repeats : leaves[k].repetition >= n->repeats)
            return broken(p, i, "its members do not agree on its length", err);
    return NIB_OK;
}

static nib_status step_over(nib_parquet *p, uint32_t i, nib_error *err)
{
    nib_parquet_column *leaves = first_leaf(p, i);
    nib_status status = NIB_OK;

    for (uint32_t k = 0; k < node_at(p, i)->leaf_count && !status; k++)
        status = nib_parquet_column_advance(&leaves[k], err);
    return status;
}

/* Counts what a value takes; NIB_E_FORMAT when the record has become too large. */
static nib_status count(nib_parquet *p, uint32_t i, size_t bytes, nib_error *err)
{
    if (bytes + VALUE_COST > NIB_TABLE_RECORD_BYTES - p->record_bytes)
        return broken(p, i, "a record of more than 64 MiB", err);
    p->record_bytes += bytes + VALUE_COST;
    return NIB_OK;
}

/* --- values; the depth of the calls is that of the schema, at most 32 --- */

static nib_status read_node(nib_parquet *p, uint32_t i, json_t **out, nib_error *err);

static nib_status read_leaf(nib_parquet *p, uint32_t i, json_t **out, nib_error *err)
{
    const nib_parquet_node *n = node_at(p, i);
    nib_parquet_column *c = first_leaf(p, i);
    nib_parquet_value value;
    json_t *json = NULL;
    const char *problem;
    nib_status status = nib_parquet_column_value(c, &value, err);

    if (!status) status = count(p, i, value.bytes * nib_parquet_value_growth(n), err);
    if (status) return status;
    problem = nib_parquet_value_json(n, value, &json);
    if (problem && !strcmp(problem, "out of memory")) return no_memory(p, err);
    if (problem) return broken(p, i, problem, err);
    status = nib_parquet_column_advance(c, err);
    if (status) json_decref(json);
    else *out = json;
    return status;
}

static nib_status read_struct(nib_parquet *p, uint32_t i, json_t **out, nib_error *err)
{
    uint32_t end = node_at(p, i)->next;
    json_t *object = json_object(), *member;
    nib_status status = object ? NIB_OK : no_memory(p, err);

    for (uint32_t c = i + 1; c < end && !status; c = node_at(p, c)->next) {
        status = read_node(p, c, &member, err);
        if (!status && json_object_set_new_nocheck(object, node_at(p, c)->name, member))
            status = no_memory(p, err);
    }
    if (status) json_decref(object);
    else *out = object;
    return status;
}

/* A node that is there, its own repetition left aside. */
static nib_status read_content(nib_parquet *p, uint32_t i, json_t **out, nib_error *err);

/* The elements of the repeated node i.  `element`: i itself, or its only child. */
static nib_status read_elements(nib_parquet *p, uint32_t i, uint32_t element, json_t **out,
                                nib_error *err)
{
    json_t *array = json_array(), *value;
    bool more = false, missing = false;
    nib_status status = array ? is_missing(p, i, &missing, err) : no_memory(p, err);

    if (!status && missing) status = step_over(p, i, err);
    more = !missing;
    while (!status && more) {
        status = count(p, i, 0, err);
        if (!status)
            status = element == i ? read_content(p, i, &value, err)
                                  : read_node(p, element, &value, err);
        if (!status && json_array_append_new(array, value)) status = no_memory(p, err);
        if (!status) status = goes_on(p, i, &more, err);
    }
    if (status) json_decref(array);
    else *out = array;
    return status;
}

/* One pair of a map into the object. */
static nib_status read_pair(nib_parquet *p, uint32_t pair, json_t *object, nib_error *err)
{
    uint32_t key_node = pair + 1, value_node = node_at(p, key_node)->next;
    json_t *key = NULL, *value = NULL;
    nib_status status = read_node(p, key_node, &key, err);

    if (status) goto done;
    if (!json_is_string(key) || strlen(json_string_value(key)) < json_string_length(key)) {
        status = broken(p, key_node, "a key of a map that is not text", err);
        goto done;
    }
    if (json_object_get(object, json_string_value(key))) {
        status = broken(p, key_node, "a key that is twice in its map", err);
        goto done;
    }
    if (value_node == node_at(p, pair)->next) value = json_null(); /* a set of keys */
    else status = read_node(p, value_node, &value, err);
    if (!status && json_object_set_nocheck(object, json_string_value(key), value))
        status = no_memory(p, err);
done:
    json_decref(key);
    json_decref(value);
    return status;
}

static nib_status read_map(nib_parquet *p, uint32_t pair, json_t **out, nib_error *err)
{
    json_t *object = json_object();
    bool more = false, missing = false;
    nib_status status = object ? is_missing(p, pair, &missing, err) : no_memory(p, err);

    if (!status && missing) status = step_over(p, pair, err);
    more = !missing;
    while (!status && more) {
        status = count(p, pair, 0, err);
        if (!status) status = read_pair(p, pair, object, err);
        if (!status) status = goes_on(p, pair, &more, err);
    }
    if (status) json_decref(object);
    else *out = object;
    return status;
}

static bool has_one_child(const nib_parquet *p, uint32_t i)
{
    return node_at(p, i)->type == NIB_PARQUET_GROUP &&
           node_at(p, i + 1)->next == node_at(p, i)->next;
}

/* What a LIST is a list of: its repeated child, or the child of that. */
static uint32_t element_of(const nib_parquet *p, uint32_t list)
{
    const nib_parquet_node *n = node_at(p, list), *repeated = node_at(p, list + 1);
    size_t length = strlen(n->name);

    if (!has_one_child(p, list + 1) || node_at(p, list + 2)->repetition == NIB_REPEATED)
        return list + 1;
    if (!strcmp(repeated->name, "array") ||
        (!strncmp(repeated->name, n->name, length) && !strcmp(repeated->name + length, "_tuple")))
        return list + 1;
    return list + 2;
}

static bool is_map(const nib_parquet *p, uint32_t i)
{
    uint32_t pair = i + 1, value;

    if (node_at(p, i)->meaning != NIB_MEANS_MAP || !has_one_child(p, i) ||
        node_at(p, pair)->type != NIB_PARQUET_GROUP ||
        node_at(p, pair)->repetition != NIB_REPEATED ||
        node_at(p, pair + 1)->repetition == NIB_REPEATED)
        return false;
    value = node_at(p, pair + 1)->next;
    return value == node_at(p, pair)->next || node_at(p, value)->next == node_at(p, pair)->next;
}

static nib_status read_content(nib_parquet *p, uint32_t i, json_t **out, nib_error *err)
{
    const nib_parquet_node *n = node_at(p, i);

    if (n->type != NIB_PARQUET_GROUP) return read_leaf(p, i, out, err);
    if (n->meaning == NIB_MEANS_LIST && has_one_child(p, i) &&
        node_at(p, i + 1)->repetition == NIB_REPEATED)
        return read_elements(p, i + 1, element_of(p, i), out, err);
    if (is_map(p, i)) return read_map(p, i + 1, out, err);
    return read_struct(p, i, out, err);
}

/* Node i, whose parent is there. */
static nib_status read_node(nib_parquet *p, uint32_t i, json_t **out, nib_error *err)
{
    const nib_parquet_node *n = node_at(p, i);
    bool missing = false;
    nib_status status = NIB_OK;

    if (n->repetition == NIB_REPEATED) return read_elements(p, i, i, out, err);
    if (n->repetition == NIB_OPTIONAL) status = is_missing(p, i, &missing, err);
    if (status || !missing) return status ? status : read_content(p, i, out, err);
    status = count(p, i, 0, err);
    if (!status) status = step_over(p, i, err);
    if (!status) *out = json_null();
    return status;
}

/* --- rows --- */

static nib_status check_types(const nib_parquet *p, uint32_t top, nib_error *err)
{
    const nib_parquet_node *n = node_at(p, top);
    char path[400];

    for (uint32_t i = top; i < n->next; i++) {
        const nib_parquet_node *below = node_at(p, i);
        const char *refusal = NULL;

        if (below->type != NIB_PARQUET_GROUP) refusal = nib_parquet_value_refusal(below);
        else if (below->meaning == NIB_MEANS_UNKNOWN) refusal = below->meaning_name;
        if (refusal)
            return nib_fail(
                err, NIB_E_UNSUPPORTED, "%s: column %s: values of this type cannot be read: %s",
                p->source->name, nib_parquet_path(&p->file, i, path, sizeof path), refusal);
    }
    return NIB_OK;
}

/* Begins row groups until one has rows; afterwards group_left is 0 only at the end of the file. */
static nib_status next_group(nib_parquet *p, nib_error *err)
{
    nib_status status = NIB_OK;

    while (!status && p->group_left == 0 && p->group < p->file.group_count) {
        const nib_parquet_chunk *chunks = p->file.chunks + p->group * p->file.leaf_count;

        p->group_left = p->file.group_rows[p->group++];
        for (size_t t = 0; t < p->top_count && !status; t++) {
            const nib_parquet_node *n = node_at(p, p->tops[t]);

            if (p->unused[t] || p->group_left == 0) continue;
            status = check_types(p, p->tops[t], err);
            for (uint32_t k = n->first_leaf; k < n->first_leaf + n->leaf_count && !status; k++)
                status = nib_parquet_column_begin(&p->columns[k], &chunks[k], err);
        }
    }
    return status;
}

/* Before a row: every leaf stands at its beginning.  After the last of a group: every leaf has
 * ended. */
static nib_status check_leaves(const nib_parquet *p, uint32_t top, bool at_end, nib_error *err)
{
    const nib_parquet_node *n = node_at(p, top);

    for (uint32_t k = n->first_leaf; k < n->first_leaf + n->leaf_count; k++) {
        const nib_parquet_column *c = &p->columns[k];

        if (at_end && !c->ended)
            return broken(p, c->node, "more values than rows in the row group", err);
        if (!at_end && c->ended)
            return broken(p, c->node, "fewer values than rows in the row group", err);
        if (!at_end && c->repetition)
            return broken(p, c->node, "a row that begins inside a list", err);
    }
    return NIB_OK;
}

nib_status nib_parquet_next(nib_parquet *p, json_t **out, uint64_t *row, nib_error *err)
{
    json_t *record = NULL, *value;
    nib_status status = next_group(p, err);

    *row = p->row;
    if (status) goto done;
    if (p->group_left == 0) goto finish;
    *row = ++p->row;
    p->record_bytes = 0;
    p->group_left--;
    record = json_object();
    for (size_t t = 0; t < p->top_count && !status; t++) {
        uint32_t top = p->tops[t];

        if (p->unused[t]) continue;
        status = check_leaves(p, top, false, err);
        if (!status) status = read_node(p, top, &value, err);
        if (!status && json_object_set_new_nocheck(record, node_at(p, top)->name, value))
            status = no_memory(p, err);
        if (!status && p->group_left == 0) status = check_leaves(p, top, true, err);
    }
    if (status) goto done;
finish:
    *out = record;
    record = NULL; /* handed over */
done:
    json_decref(record);
    return status;
}
