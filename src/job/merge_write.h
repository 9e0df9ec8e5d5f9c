/* merge_write.h - the files of a merged model. */
#ifndef NIB_JOB_MERGE_WRITE_H
#define NIB_JOB_MERGE_WRITE_H

#include "adapter/adapter.h"
#include "job/merge_packed.h"

enum { NIB_MERGE_SHARD_MILLIONS = 5000 };

typedef struct nib_merge_writing {
    const nib_model *model;
    const nib_merge_plan *plan;
    const nib_merge_packed *packed;
    nib_adapter *const *adapters; /* [adapter_count], for __metadata__ */
    size_t adapter_count;
    bool unmerge;                 /* they are taken out */
    const char *prompt;           /* how prompts are put (prompt_note.h), or NULL */
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_merge_writing;

/* Bytes of the tensors. */
uint64_t nib_merge_bytes(const nib_merge_plan *plan, const nib_merge_packed *packed);
/* dir/model.safetensors, in shards of 5 GB.  NIB_E_INTERRUPTED, NIB_E_NUMERIC, NIB_E_IO. */
nib_status nib_merge_write_weights(const nib_merge_writing *w, const char *dir, nib_error *err);

#endif
