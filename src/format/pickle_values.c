/* pickle_values.c - the names a pickle may ask for, and the descriptions that they make. */
#include "format/pickle_machine.h"

typedef enum global_kind { STORAGE_CLASS, DTYPE, ORDERED, REBUILD, REBUILD_2, REBUILD_3, PARAMETER,
                           SIZE } global_kind;

/* Every name that may stand in a pickle (formats.md 2.2), modules by commas. */
static const struct global {
    const char *modules, *name;
    global_kind kind;
    nib_pickle_type type;
} globals[] = {
    { "collections", "OrderedDict", ORDERED, { 0 } },
    { "torch._utils", "_rebuild_tensor", REBUILD, { 0 } },
    { "torch._utils", "_rebuild_tensor_v2", REBUILD_2, { 0 } },
    { "torch._utils", "_rebuild_tensor_v3", REBUILD_3, { 0 } },
    { "torch._utils", "_rebuild_parameter", PARAMETER, { 0 } },
    { "torch", "Size", SIZE, { 0 } },
    { "torch,torch.storage", "DoubleStorage", STORAGE_CLASS, { "F64", 8, NIB_F64 } },
    { "torch,torch.storage", "FloatStorage", STORAGE_CLASS, { "F32", 4, NIB_F32 } },
    { "torch,torch.storage", "HalfStorage", STORAGE_CLASS, { "F16", 2, NIB_F16 } },
    { "torch,torch.storage", "BFloat16Storage", STORAGE_CLASS, { "BF16", 2, NIB_BF16 } },
    { "torch,torch.storage", "LongStorage", STORAGE_CLASS, { "I64", 8, NIB_I64 } },
    { "torch,torch.storage", "IntStorage", STORAGE_CLASS, { "I32", 4, NIB_I32 } },
    { "torch,torch.storage", "ShortStorage", STORAGE_CLASS, { "I16", 2, NIB_I16 } },
    { "torch,torch.storage", "CharStorage", STORAGE_CLASS, { "I8", 1, NIB_I8 } },
    { "torch,torch.storage", "ByteStorage", STORAGE_CLASS, { "U8", 1, NIB_U8 } },
    { "torch,torch.storage", "BoolStorage", STORAGE_CLASS, { "BOOL", 1, NIB_BOOL } },
    { "torch,torch.storage", "ComplexFloatStorage", STORAGE_CLASS, { "C64", 8, NIB_DTYPE_OTHER } },
    { "torch,torch.storage", "UntypedStorage", STORAGE_CLASS, { "U8", 1, NIB_U8 } },
    { "torch", "float64", DTYPE, { "F64", 8, NIB_F64 } },
    { "torch", "float32", DTYPE, { "F32", 4, NIB_F32 } },
    { "torch", "float16", DTYPE, { "F16", 2, NIB_F16 } },
    { "torch", "bfloat16", DTYPE, { "BF16", 2, NIB_BF16 } },
    { "torch", "int64", DTYPE, { "I64", 8, NIB_I64 } },
    { "torch", "int32", DTYPE, { "I32", 4, NIB_I32 } },
    { "torch", "int16", DTYPE, { "I16", 2, NIB_I16 } },
    { "torch", "int8", DTYPE, { "I8", 1, NIB_I8 } },
    { "torch", "uint8", DTYPE, { "U8", 1, NIB_U8 } },
    { "torch", "bool", DTYPE, { "BOOL", 1, NIB_BOOL } },
    { "torch", "uint16", DTYPE, { "U16", 2, NIB_U16 } },
    { "torch", "uint32", DTYPE, { "U32", 4, NIB_U32 } },
    { "torch", "uint64", DTYPE, { "U64", 8, NIB_U64 } },
    { "torch", "float8_e4m3fn", DTYPE, { "F8_E4M3", 1, NIB_F8_E4M3 } },
    { "torch", "float8_e5m2", DTYPE, { "F8_E5M2", 1, NIB_DTYPE_OTHER } },
    { "torch", "complex64", DTYPE, { "C64", 8, NIB_DTYPE_OTHER } },
};

/* --- globals and what they make --- */

static bool in_list(const char *list, const char *word, size_t bytes)
{
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (n == bytes && memcmp(p, word, n) == 0) return true;
        p += n + (p[n] == ',');
    }
    return false;
}

nib_status nib_pickle_global(nib_pickler *m)
{
    const char *module = (const char *)m->data + m->at, *name;
    const char *end = memchr(module, '\n', m->bytes - m->at);
    size_t module_bytes, name_bytes;

    if (!end) return nib_pickle_broken(m, "a global without an end");
    module_bytes = (size_t)(end - module);
    name = end + 1;
    end = memchr(name, '\n', m->bytes - m->at - module_bytes - 1);
    if (!end) return nib_pickle_broken(m, "a global without an end");
    name_bytes = (size_t)(end - name);
    m->at += module_bytes + name_bytes + 2;
    for (size_t i = 0; i < NIB_COUNT(globals); i++)
        if (strlen(globals[i].name) == name_bytes &&
            memcmp(globals[i].name, name, name_bytes) == 0 &&
            in_list(globals[i].modules, module, module_bytes))
            return nib_pickle_push(m, (nib_pickled){ .kind = GLOBAL, .index = i });
    return nib_fail(m->err, NIB_E_UNSUPPORTED,
                    "%s: its pickle asks for %.*s.%.*s, which is none of what a model's weights "
                    "are made of: nothing is executed here.  If you trust the file, load it with "
                    "PyTorch and write it with safetensors.torch.save_file",
                    m->where, (int)nib_min(module_bytes, 100), module,
                    (int)nib_min(name_bytes, 100), name);
}

nib_status nib_pickle_dictionary(nib_pickler *m)
{
    return nib_pickle_push(m, (nib_pickled){ .kind = DICTIONARY, .index = m->dictionaries++ });
}

/* ("storage", class, key, device, numel) */
nib_status nib_pickle_storage(nib_pickler *m)
{
    const nib_pickled *item;
    nib_pickled v;
    nib_status status = nib_pickle_pop(m, &v);

    if (status) return status;
    item = nib_pickle_items(m, &v);
    if (!item || v.count != 5 || item[0].kind != TEXT || item[0].count != 7 ||
        memcmp(item[0].text, "storage", 7) != 0 || item[1].kind != GLOBAL ||
        globals[item[1].index].kind != STORAGE_CLASS || item[2].kind != TEXT || !item[2].count ||
        item[2].count > 20 || item[3].kind != TEXT || item[4].kind != NUMBER || item[4].number < 0)
        return nib_pickle_broken(m, "a persistent id that is no storage");
    for (uint32_t i = 0; i < item[2].count; i++)
        if (item[2].text[i] < '0' || item[2].text[i] > '9')
            return nib_pickle_broken(m, "a storage whose key is no number");
    if (!nib_grow(m->ctx, &m->storages, &m->storage_room, m->storage_count + 1,
                  sizeof *m->storages))
        return nib_pickle_no_memory(m);
    m->storages[m->storage_count] = (storage){ item[2].text, item[2].count,
                                               (uint64_t)item[4].number, item[1].index };
    return nib_pickle_push(m, (nib_pickled){ .kind = STORAGE, .index = m->storage_count++ });
}

/* A tuple of sizes, none negative. */
static nib_status read_sizes(const nib_pickler *m, const nib_pickled *v, uint64_t *out,
                             unsigned *count)
{
    if (v->kind != TUPLE || v->count > NIB_MAX_RANK)
        return nib_pickle_broken(m, "a tensor whose size is no tuple of at most 16 numbers");
    *count = v->count;
    for (uint32_t i = 0; i < v->count; i++) {
        const nib_pickled *n = &m->pool[v->first + i];
        if (n->kind != NUMBER || n->number < 0)
            return nib_pickle_broken(m, "a size or stride that is no number from 0");
        out[i] = (uint64_t)n->number;
    }
    return NIB_OK;
}

/* The last element lies inside the storage, and every sum and product inside 64 bits. */
static bool lies_inside(const nib_pickle_tensor *t)
{
    uint64_t last = t->offset, step, bytes;

    if (!nib_mul_u64(t->elements, t->type->bytes, &bytes)) return false;
    if (!t->elements) return true;
    for (unsigned i = 0; i < t->rank; i++) {
        if (!nib_mul_u64(t->shape[i] - 1, t->stride[i], &step) || last > UINT64_MAX - step)
            return false;
        last += step;
    }
    return last < t->storage_bytes / t->type->bytes;
}

/* (storage, offset, size, stride, requires_grad, hooks[, dtype][, metadata]) */
static nib_status push_tensor(nib_pickler *m, global_kind call, const nib_pickled *arguments)
{
    static const uint32_t least[] = { [REBUILD] = 4, [REBUILD_2] = 6, [REBUILD_3] = 7 };
    const nib_pickled *item = nib_pickle_items(m, arguments);
    nib_pickle_tensor t = { .elements = 1 };
    const storage *s;
    unsigned strides = 0;
    nib_status status;

    if (arguments->count < least[call] || arguments->count > least[call] + (call != REBUILD) ||
        item[0].kind != STORAGE || item[1].kind != NUMBER || item[1].number < 0)
        return nib_pickle_broken(m, "a tensor with other arguments than PyTorch writes");
    s = &m->storages[item[0].index];
    t.type = &globals[s->global].type;
    if (!nib_mul_u64(s->numel, t.type->bytes, &t.storage_bytes))
        return nib_pickle_broken(m, "a storage of more than 2^64 bytes");
    if (call == REBUILD_3) {
        if (item[6].kind != GLOBAL || globals[item[6].index].kind != DTYPE)
            return nib_pickle_broken(m, "a tensor without a type");
        t.type = &globals[item[6].index].type;
    }
    t.storage = s->key;
    t.storage_digits = s->digits;
    t.offset = (uint64_t)item[1].number;
    status = read_sizes(m, &item[2], t.shape, &t.rank);
    if (!status) status = read_sizes(m, &item[3], t.stride, &strides);
    if (status) return status;
    if (strides != t.rank)
        return nib_pickle_broken(m, "a tensor with more strides than sizes, or fewer");
    for (unsigned i = 0; i < t.rank; i++)
        if (!nib_mul_u64(t.elements, t.shape[i], &t.elements))
            return nib_pickle_broken(m, "a tensor of more than 2^64 elements");
    if (!lies_inside(&t))
        return nib_pickle_broken(m, "a tensor that passes the end of its storage");
    if (!nib_grow(m->ctx, &m->tensors, &m->tensor_room, m->tensor_count + 1, sizeof *m->tensors))
        return nib_pickle_no_memory(m);
    m->tensors[m->tensor_count] = t;
    return nib_pickle_push(m, (nib_pickled){ .kind = TENSOR, .index = m->tensor_count++ });
}

nib_status nib_pickle_reduce(nib_pickler *m)
{
    nib_pickled arguments, called;
    const nib_pickled *item;
    nib_status status = nib_pickle_pop(m, &arguments);

    if (!status) status = nib_pickle_pop(m, &called);
    if (status) return status;
    if (arguments.kind != TUPLE || called.kind != GLOBAL)
        return nib_pickle_broken(m, "calls what is no function");
    item = nib_pickle_items(m, &arguments);
    switch (globals[called.index].kind) {
    case ORDERED:
        if (arguments.count) return nib_pickle_broken(m, "an OrderedDict with arguments");
        return nib_pickle_dictionary(m);
    case REBUILD: case REBUILD_2: case REBUILD_3:
        return push_tensor(m, globals[called.index].kind, &arguments);
    case PARAMETER:
        if (arguments.count != 3 || item[0].kind != TENSOR)
            return nib_pickle_broken(m, "a parameter that is no tensor");
        return nib_pickle_push(m, item[0]);
    case SIZE:
        if (arguments.count != 1 || item[0].kind != TUPLE)
            return nib_pickle_broken(m, "a size that is no tuple");
        return nib_pickle_push(m, item[0]);
    default: return nib_pickle_broken(m, "calls a type");
    }
}
