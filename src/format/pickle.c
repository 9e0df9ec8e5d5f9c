/* pickle.c - see pickle.h: the opcodes, and the dictionary that is left at their end.
 *
 * Values are small and lie on one stack by value; the items of a tuple lie in a pool, the entries
 * of all dictionaries in one list, so nothing nests and nothing recurses. */
#include <jansson.h>
#include <stdlib.h>

#include "format/pickle_machine.h"

enum { MOST_BYTES = 64 << 20 };

/* Takes the mark away and tells where what was above it begins. */
static nib_status above_mark(nib_pickler *m, size_t *first)
{
    size_t i = m->depth;

    while (i && m->stack[i - 1].kind != MARK) i--;
    if (!i) return nib_pickle_broken(m, "a mark is missing");
    m->marks--;
    memmove(&m->stack[i - 1], &m->stack[i], (m->depth - i) * sizeof *m->stack);
    m->depth--;
    *first = i - 1;
    return NIB_OK;
}

static nib_status make_tuple(nib_pickler *m, size_t first)
{
    size_t count = m->depth - first;
    nib_pickled v = { .kind = TUPLE, .count = (uint32_t)count, .first = m->pool_count };

    for (size_t i = first; i < m->depth; i++)
        if (m->stack[i].kind == MARK) return nib_pickle_broken(m, "a tuple over a mark");
    if (!nib_grow(m->ctx, &m->pool, &m->pool_room, m->pool_count + count, sizeof *m->pool))
        return nib_pickle_no_memory(m);
    if (count) memcpy(m->pool + m->pool_count, m->stack + first, count * sizeof *m->pool);
    m->pool_count += count;
    m->depth = first;
    return nib_pickle_push(m, v);
}

static nib_status set_items(nib_pickler *m, size_t first)
{
    size_t count = m->depth - first;
    nib_pickled dictionary;

    if (!first || m->stack[first - 1].kind != DICTIONARY || count % 2)
        return nib_pickle_broken(m, "items for what is no dictionary");
    dictionary = m->stack[first - 1];
    if (!nib_grow(m->ctx, &m->entries, &m->entry_room, m->entry_count + count / 2,
                  sizeof *m->entries))
        return nib_pickle_no_memory(m);
    for (size_t i = first; i < m->depth; i += 2)
        m->entries[m->entry_count++] = (entry){ dictionary.index, m->stack[i], m->stack[i + 1] };
    m->depth = first;
    return NIB_OK;
}

/* --- the memo --- */

static nib_status put(nib_pickler *m, size_t index)
{
    size_t old = m->memo_count;

    if (!m->depth || m->stack[m->depth - 1].kind == MARK)
        return nib_pickle_broken(m, "nothing to remember");
    if (index > m->bytes) return nib_pickle_broken(m, "a memo index beyond the pickle's length");
    if (!nib_grow(m->ctx, &m->memo, &m->memo_room, index + 1, sizeof *m->memo) ||
        !nib_grow(m->ctx, &m->memo_set, &m->set_room, index + 1, sizeof *m->memo_set))
        return nib_pickle_no_memory(m);
    for (size_t i = old; i <= index; i++) m->memo_set[i] = false;
    if (index >= old) m->memo_count = index + 1;
    m->memo[index] = m->stack[m->depth - 1];
    m->memo_set[index] = true;
    return NIB_OK;
}

static nib_status get(nib_pickler *m, size_t index)
{
    if (index >= m->memo_count || !m->memo_set[index])
        return nib_pickle_broken(m, "a memo index that was never set");
    return nib_pickle_push(m, m->memo[index]);
}

/* --- opcodes --- */

static nib_status push_integer(nib_pickler *m, size_t bytes, bool is_signed)
{
    uint64_t n = 0;

    if (bytes > m->bytes - m->at) return nib_pickle_broken(m, "ends in a number");
    for (size_t i = 0; i < bytes; i++) n |= (uint64_t)m->data[m->at + i] << 8 * i;
    if (is_signed && bytes && bytes < 8 && m->data[m->at + bytes - 1] & 0x80)
        n |= UINT64_MAX << 8 * bytes;
    m->at += bytes;
    return nib_pickle_push(m, (nib_pickled){ .kind = NUMBER, .number = (int64_t)n });
}

/* A number of `bytes` that an opcode is followed by; UINT64_MAX: the pickle ends in it. */
static uint64_t operand(nib_pickler *m, size_t bytes)
{
    uint64_t n = 0;

    if (bytes > m->bytes - m->at) return UINT64_MAX;
    for (size_t i = 0; i < bytes; i++) n |= (uint64_t)m->data[m->at++] << 8 * i;
    return n;
}

static nib_status push_text(nib_pickler *m, size_t length_bytes)
{
    uint64_t n = operand(m, length_bytes);
    nib_pickled v = { .kind = TEXT, .count = (uint32_t)n, .text = (const char *)m->data + m->at };

    if (n > m->bytes - m->at) return nib_pickle_broken(m, "ends in a text");
    m->at += n;
    return nib_pickle_push(m, v);
}

static nib_status skip_operand(nib_pickler *m, size_t bytes)
{
    return operand(m, bytes) == UINT64_MAX ? nib_pickle_broken(m, "ends in a number") : NIB_OK;
}

static nib_status memo_operand(nib_pickler *m, size_t bytes,
                               nib_status (*use)(nib_pickler *, size_t))
{
    uint64_t n = operand(m, bytes);

    return n == UINT64_MAX ? nib_pickle_broken(m, "ends in a memo index") : use(m, (size_t)n);
}

/* Items of a list are of no use here: they are taken and dropped. */
static nib_status append(nib_pickler *m, size_t first)
{
    if (!first || m->stack[first - 1].kind != LIST)
        return nib_pickle_broken(m, "items for what is no list");
    m->depth = first;
    return NIB_OK;
}

static nib_status on_marked(nib_pickler *m, nib_status (*use)(nib_pickler *, size_t))
{
    size_t first = 0;
    nib_status status = above_mark(m, &first);

    return status ? status : use(m, first);
}

static nib_status on_last(nib_pickler *m, size_t count, nib_status (*use)(nib_pickler *, size_t))
{
    if (m->depth < count) return nib_pickle_broken(m, "takes a value where there is none");
    return use(m, m->depth - count);
}

/* An object's further state: of a dictionary its _metadata, which says nothing of tensors. */
static nib_status build(nib_pickler *m)
{
    nib_pickled state;
    nib_status status = nib_pickle_pop(m, &state);

    if (status) return status;
    if (!m->depth || m->stack[m->depth - 1].kind != DICTIONARY || state.kind != DICTIONARY)
        return nib_pickle_broken(m, "state for what is no dictionary");
    return NIB_OK;
}

static nib_status protocol(nib_pickler *m)
{
    uint64_t n = operand(m, 1);

    if (n >= 2 && n <= 4) return NIB_OK;
    return nib_pickle_broken(m, "not protocol 2, 3 or 4");
}

static nib_status unknown(const nib_pickler *m, uint8_t opcode)
{
    return nib_fail(m->err, NIB_E_UNSUPPORTED,
                    "%s: byte %zu of its pickle is opcode %02x, which no model's weights need: "
                    "nothing is executed here.  If you trust the file, load it with PyTorch and "
                    "write it with safetensors.torch.save_file", m->where, m->at - 1, opcode);
}

static nib_status step(nib_pickler *m, uint8_t opcode)
{
    switch (opcode) {
    case 0x80: return protocol(m);
    case 0x95: return skip_operand(m, 8); /* FRAME */
    case '(': return nib_pickle_push(m, (nib_pickled){ .kind = MARK });
    case ')': return nib_pickle_push(m, (nib_pickled){ .kind = TUPLE });
    case 't': return on_marked(m, make_tuple);
    case 0x85: case 0x86: case 0x87: return on_last(m, opcode - 0x84u, make_tuple);
    case '}': return nib_pickle_dictionary(m);
    case ']': return nib_pickle_push(m, (nib_pickled){ .kind = LIST });
    case 's': return on_last(m, 2, set_items);
    case 'u': return on_marked(m, set_items);
    case 'a': return on_last(m, 1, append);
    case 'e': return on_marked(m, append);
    case 'N': return nib_pickle_push(m, (nib_pickled){ .kind = NOTHING });
    case 0x88: case 0x89:
        return nib_pickle_push(m, (nib_pickled){ .kind = TRUTH, .number = opcode == 0x88 });
    case 'J': return push_integer(m, 4, true);
    case 'K': return push_integer(m, 1, false);
    case 'M': return push_integer(m, 2, false);
    case 0x8a: { /* LONG1 */
        uint64_t n = operand(m, 1);
        return n <= 8 ? push_integer(m, (size_t)n, true)
                      : nib_pickle_broken(m, "an integer past 64 bits");
    }
    case 'G':
        if (skip_operand(m, 8)) return NIB_E_FORMAT;
        return nib_pickle_push(m, (nib_pickled){ .kind = REAL });
    case 'X': return push_text(m, 4);
    case 0x8c: case 'U': return push_text(m, 1);
    case 'q': return memo_operand(m, 1, put);
    case 'r': return memo_operand(m, 4, put);
    case 0x94: return put(m, m->memo_count);
    case 'h': return memo_operand(m, 1, get);
    case 'j': return memo_operand(m, 4, get);
    case 'c': return nib_pickle_global(m);
    case 'Q': return nib_pickle_storage(m);
    case 'R': return nib_pickle_reduce(m);
    case 'b': return build(m);
    default: return unknown(m, opcode);
    }
}

/* --- the dictionary that is left --- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static nib_status check_names(const nib_pickler *m, const nib_pickle *p)
{
    char **names = nib_new_array(m->ctx, p->count, sizeof *names);
    nib_status status = NIB_OK;

    if (!names) return nib_pickle_no_memory(m);
    for (size_t i = 0; i < p->count; i++) names[i] = p->tensors[i].name;
    qsort(names, p->count, sizeof *names, by_name);
    for (size_t i = 1; i < p->count && !status; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            status = nib_fail(m->err, NIB_E_FORMAT, "%s: tensor %.400s comes twice", m->where,
                              names[i]);
    nib_free(m->ctx, names);
    return status;
}

static nib_status name_tensor(const nib_pickler *m, const entry *e, nib_pickle *p)
{
    nib_pickle_tensor *t = &p->tensors[p->count];
    json_t *text;
    int shown = (int)nib_min(e->key.count, 200);

    if (e->key.kind != TEXT || !e->key.count || e->key.count > 4096 ||
        memchr(e->key.text, 0, e->key.count))
        return nib_pickle_broken(m, "a key of its dictionary is no name");
    text = json_stringn(e->key.text, e->key.count); /* NULL: not UTF-8 */
    if (!text) return nib_pickle_broken(m, "a name that is not UTF-8");
    json_decref(text);
    if (e->item.kind != TENSOR)
        return nib_fail(m->err, NIB_E_UNSUPPORTED,
                        "%s: %.*s is no tensor: only a model's weights by their names are read, "
                        "not what a trainer keeps beside them", m->where, shown, e->key.text);
    *t = m->tensors[e->item.index];
    t->name = nib_alloc(m->ctx, (size_t)e->key.count + 1);
    if (!t->name) return nib_pickle_no_memory(m);
    memcpy(t->name, e->key.text, e->key.count);
    t->name[e->key.count] = 0;
    p->count++;
    return NIB_OK;
}

static nib_status gather(nib_pickler *m, nib_pickle *p)
{
    nib_pickled top;
    nib_status status = nib_pickle_pop(m, &top);

    if (status) return status;
    if (top.kind != DICTIONARY || m->depth)
        return nib_pickle_broken(m, "not one dictionary of names and tensors");
    p->tensors = nib_new_array(m->ctx, m->entry_count, sizeof *p->tensors);
    if (!p->tensors) return nib_pickle_no_memory(m);
    for (size_t i = 0; i < m->entry_count && !status; i++)
        if (m->entries[i].dictionary == top.index) status = name_tensor(m, &m->entries[i], p);
    return status ? status : check_names(m, p);
}

nib_status nib_pickle_read(nib_ctx *ctx, const uint8_t *data, size_t bytes, const char *where,
                           nib_pickle *out, nib_error *err)
{
    nib_pickler m = { .ctx = ctx, .data = data, .bytes = bytes, .where = where, .err = err };
    nib_pickle p = { 0 };
    nib_status status = NIB_OK;
    bool stopped = false;

    if (bytes > MOST_BYTES)
        return nib_fail(err, NIB_E_FORMAT, "%s: a pickle of %zu bytes, at most %d are allowed",
                        where, bytes, MOST_BYTES);
    while (!status && !stopped) {
        uint8_t opcode;
        if (m.at == bytes) status = nib_pickle_broken(&m, "truncated");
        if (status) break;
        opcode = data[m.at++];
        stopped = opcode == '.';
        if (!stopped) status = step(&m, opcode);
    }
    if (!status && m.at != bytes) status = nib_pickle_broken(&m, "bytes after its end");
    if (!status) status = gather(&m, &p);
    if (status) goto done;
    *out = p;
    p = (nib_pickle){ 0 }; /* handed over */
done:
    nib_pickle_free(ctx, &p);
    nib_free(ctx, m.stack);
    nib_free(ctx, m.pool);
    nib_free(ctx, m.memo);
    nib_free(ctx, m.memo_set);
    nib_free(ctx, m.entries);
    nib_free(ctx, m.storages);
    nib_free(ctx, m.tensors);
    return status;
}

void nib_pickle_free(nib_ctx *ctx, nib_pickle *p)
{
    for (size_t i = 0; i < p->count; i++) nib_free(ctx, p->tensors[i].name);
    nib_free(ctx, p->tensors);
    *p = (nib_pickle){ 0 };
}
