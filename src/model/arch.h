/* arch.h - what an architecture is: one function that builds it, in one file.
 *
 * No code outside that file and the list (arch_list.h) names it.  What others need to know of a
 * model (its vocabulary, its layers, which linears there are) they ask the graph, or an outline of
 * it (outline.h). */
#ifndef NIB_MODEL_ARCH_H
#define NIB_MODEL_ARCH_H

#include "graph/build.h"
#include "model/gguf_family.h"
#include "model/reader.h"
#include "nibble/model.h"

struct nib_arch {
    const char *const *model_types;     /* config.json's names for it, NULL at the end */
    size_t config_bytes;                /* of the architecture's struct */
    /* Reads config.json's keys into the struct, which is zeroed. */
    void (*read)(nib_reader *r, void *config);
    const char *prefix;                 /* "model.": may be missing in a base-only export */
    unsigned tasks;                     /* bit 1 << nib_task: what it can be built for */
    /* Builds the whole model for one of its tasks; dimensions and biases stand at the calls. */
    void (*build)(nib_build *b, const void *config, nib_task task);
    /* How tensors of heads begin that only some tasks read, NULL at the end; NULL: none does. */
    const char *const *other_heads;
    /* The same of tensors of parts that are not computed here, which stay in what is written; and
     * the fields of records for such parts, which are refused.  NULL: there are none. */
    const char *const *other_parts, *const *refused_fields;
    const char *const *default_targets; /* PEFT's for target_modules null, NULL at the end */
    const nib_gguf_family *gguf;        /* its names in GGUF; NULL: it has none there */
};

#define ARCH(name) extern const nib_arch nib_arch_##name;
#include "model/arch_list.h"
#undef ARCH

#endif
