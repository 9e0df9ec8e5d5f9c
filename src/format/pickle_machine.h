/* pickle_machine.h - the stack machine of pickle.c, for the files that make it up: the stack, what
 * globals make, and (pickle.c) the opcodes. */
#ifndef NIB_FORMAT_PICKLE_MACHINE_H
#define NIB_FORMAT_PICKLE_MACHINE_H

#include "format/pickle.h"

typedef enum kind {
    NOTHING, TRUTH, NUMBER, REAL, TEXT, TUPLE, LIST, DICTIONARY, GLOBAL, STORAGE, TENSOR, MARK
} kind;

typedef struct nib_pickled {
    kind kind;
    uint32_t count;      /* of a text's bytes, of a tuple's items */
    union {
        int64_t number;
        const char *text;
        size_t first;    /* a tuple's items in the pool */
        size_t index;    /* of a dictionary, storage, tensor; of a global in globals */
    };
} nib_pickled;

typedef struct entry { size_t dictionary; nib_pickled key, item; } entry;

typedef struct storage { const char *key; size_t digits; uint64_t numel; size_t global; } storage;

typedef struct nib_pickler {
    nib_ctx *ctx;
    const uint8_t *data;
    size_t bytes, at;
    const char *where;
    nib_error *err;
    nib_pickled *stack, *pool, *memo;
    bool *memo_set;
    entry *entries;
    storage *storages;
    nib_pickle_tensor *tensors;
    size_t depth, stack_room, pool_count, pool_room, memo_count, memo_room, set_room;
    size_t entry_count, entry_room, storage_count, storage_room, tensor_count, tensor_room;
    size_t dictionaries, marks;
} nib_pickler;

/* pickle_stack.c.  Fail naming the file and the place in its pickle. */
nib_status nib_pickle_broken(const nib_pickler *m, const char *what);
nib_status nib_pickle_no_memory(const nib_pickler *m);

nib_status nib_pickle_push(nib_pickler *m, nib_pickled v);
nib_status nib_pickle_pop(nib_pickler *m, nib_pickled *out); /* never a mark */
/* The items of a tuple that has some; NULL: it is none, or empty. */
const nib_pickled *nib_pickle_items(const nib_pickler *m, const nib_pickled *v);

/* pickle_values.c: what the opcodes GLOBAL, BINPERSID, REDUCE and EMPTY_DICT put on the stack. */
nib_status nib_pickle_global(nib_pickler *m);
nib_status nib_pickle_storage(nib_pickler *m);
nib_status nib_pickle_reduce(nib_pickler *m);
nib_status nib_pickle_dictionary(nib_pickler *m);

#endif
