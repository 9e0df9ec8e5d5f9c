/* format.h - how a checkpoint holds weights in a scheme: one object for each library's way.
 *
 * A format reads and writes what belongs to a packed matrix, and knows what config.json says of it.
 * Without one a checkpoint is dense.  This floor knows no file format: tensors come and go as
 * views, and config.json's quantization_config as settings, what is nested in it behind a slash
 * ("config_groups/group_0/targets/0"; the object or list itself, as JSON, in front of its members,
 * all in the file's order).  All formats stand in one list, format.c. */
#ifndef NIB_QUANT_FORMAT_H
#define NIB_QUANT_FORMAT_H

#include "quant/weight_settings.h"
#include "quant/weight.h"

/* A tensor of a file; data of any alignment.  name NULL: absent. */
typedef struct nib_part {
    const char *name; /* the whole name */
    nib_dtype dtype;
    unsigned rank;
    uint64_t shape[4]; /* the first four */
    uint64_t elements, bytes;
    const void *data;
    const void *rest; /* the other half's, where the shape is that of two tensors; else NULL */
} nib_part;

/* Looks a tensor up by its whole name; false: absent. */
typedef struct nib_part_finder {
    bool (*find)(void *self, const char *name, nib_part *out);
    void *self;
} nib_part_finder;

/* A tensor to be written; data NULL when only planned. */
typedef struct nib_part_out {
    char name[512]; /* whole */
    nib_dtype dtype;
    unsigned rank;
    uint64_t shape[2];
    const void *data;
    size_t bytes;
} nib_part_out;

/* The tensors of a matrix, in the order they are to be written. */
enum { NIB_PARTS_MOST = 6, NIB_PARTS_TEXT = 512 };
typedef struct nib_parts_out {
    nib_part_out parts[NIB_PARTS_MOST];
    size_t count;
    char text[NIB_PARTS_TEXT]; /* what a part may borrow */
} nib_parts_out;

/* Adds a tensor to those that are written.  NIB_E_INVALID: too long a name. */
nib_status nib_parts_put(nib_parts_out *to, const char *module, const char *piece, nib_dtype dtype,
                         unsigned rank, uint64_t rows, uint64_t columns, const void *data,
                         nib_error *err);
/* The module of weight `name`, "M.weight". */
void nib_module_of_weight(const char *name, char module[512]);

/* What sizes of a file depend on beside the shape: learned from a matrix that was encoded. */
typedef struct nib_learned { float offset; } nib_learned;

typedef struct nib_format nib_format;

/* How a checkpoint holds its weights, or is to: format NULL is dense. */
typedef struct nib_held {
    const nib_format *format;
    nib_form form; /* of a matrix about which no rule says otherwise */
    void *rules;   /* the format's own: what config.json says of single modules; or NULL */
} nib_held;

/* A module of the model that has a matrix. */
typedef struct nib_format_module {
    const char *name;  /* its path */
    const char *class; /* of torch: "Linear", "Conv1D", "Embedding"; of a tensor of experts, which
                          `name` then is: "Experts" */
    bool head;
    size_t in; /* inputs of its matrix */
} nib_format_module;

/* A matrix of a tensor that holds those of all experts, and what config.json makes of its sizes. */
typedef struct nib_format_slice {
    const char *stack; /* the tensor's name when it is dense */
    size_t slice, slices, out, in;
} nib_format_slice;

struct nib_format {
    const char *method; /* quant_method in config.json */
    const char *known;  /* in lists of what is known: "bitsandbytes with load_in_4bit" */
    /* What asks for it: a setting, true or false, or, where NULL, the value `name` of "format".
     * Both NULL: it is read alone, and all that writes is NULL. */
    const char *flag, *name;
    const char *const *keys; /* all its settings, the flag too; NULL at the end */
    /* The form that settings ask for, the flag being true.  Keys of others are passed over. */
    nib_status (*read)(const nib_setting *settings, const char *where, nib_form *form,
                       nib_error *err);
    /* The settings that give a form again, all of them, defaults too. */
    void (*settings)(const nib_form *form, nib_settings *out);

    /* --- what config.json says; without `means` it is `method` and the flag, and `read` reads it
     * --- */

    bool (*means)(const nib_setting *config);
    /* Fills out->form and out->rules, which free_rules() frees, after a failure too. */
    nib_status (*read_config)(nib_ctx *ctx, const nib_setting *config, const char *where,
                              nib_held *out, nib_error *err);
    void (*free_rules)(nib_ctx *ctx, void *rules);
    /* Its keys that are read or change nothing (quant/config_unused.h); NULL: read_config looks at
     * all of them itself. */
    const char *const *config_keys;
    /* Whether config.json has `module` packed, and in which form. */
    nib_status (*packs)(const nib_held *held, const nib_format_module *module, bool *packed,
                        nib_form *form, nib_error *err);

    /* Whether `entry` of a caller's list of modules that stay dense (llm_int8_skip_modules) means
     * `module`; NULL: the format has no such list. */
    bool (*skips)(const char *entry, const char *module);

    /* --- reading --- */

    /* What may follow "M.weight" (".absmax") or M itself (".SCB") in the name of a tensor that
     * belongs to it; NULL at the end. */
    const char *const *pieces;
    /* Optional: refuses a tensor that a model in this format cannot have.  Of every one there is.
     * */
    nib_status (*check)(const nib_part *tensor, nib_part_finder find, nib_error *err);
    /* The weight of `module` from its tensors, which must outlive it: *w, or NULL where they are
     * not packed; `held` is what config.json says, for what the tensors do not tell.  NIB_E_FORMAT
     * naming the tensor, NIB_E_MISMATCH where config.json says otherwise, NIB_E_UNSUPPORTED,
     * NIB_E_NOMEM. */
    nib_status (*open)(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                       const nib_format_module *module, nib_weight **w, nib_error *err);
    /* Optional: the same of a slice, whose tensor has an own name where it is packed:
     * stack + stack_ends[0] for the codes, stack + stack_ends[1] for what belongs to them. */
    nib_status (*open_slice)(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                             const nib_format_slice *slice, nib_weight **w, nib_error *err);
    const char *stack_ends[2];
    /* If the tensor is the one that tells the shape of a packed matrix: *its, shape and form.
     * held: what config.json says, or NULL.  Those of all experts are one, [experts out, in]. */
    nib_status (*describe)(const nib_part *tensor, nib_part_finder find, const nib_held *held,
                           bool *its, uint64_t shape[2], nib_form *form, nib_error *err);

    /* Why merging an adapter writes dense tensors only when a type is asked for; NULL: always. */
    const char *no_merge;

    /* --- writing --- */

    /* Must a matrix be encoded before its tensors can be planned?  NULL: never. */
    bool (*must_learn)(const nib_form *form);
    nib_learned (*learn)(const nib_weight *w);
    /* The tensors of weight `name` ("M.weight") without data.  NIB_E_INVALID: too long a name. */
    nib_status (*plan)(const nib_form *form, size_t out, size_t in, nib_learned learned,
                       const char *name, nib_parts_out *parts, nib_error *err);
    /* The same with data, borrowed from `w` and from parts->text. */
    nib_status (*tensors)(const nib_weight *w, const char *name, nib_parts_out *parts,
                          nib_error *err);
    /* quantization_config as JSON; skipped: modules that stay dense, NULL at the end.  The caller's
     * to free; NULL: no memory. */
    char *(*config)(nib_ctx *ctx, const nib_form *form, const char *const *skipped);
};

/* What a caller's settings ask for.  NIB_E_INVALID: an unknown key, with those that are known, a
 * value that is none, or two formats at once.  *idle: a key that was given but is without effect,
 * for the flag it belongs to is not set, or NULL. */
nib_status nib_held_asked(const nib_setting *settings, nib_held *out, const nib_setting **idle,
                          nib_error *err);
/* What a quantization_config says, given as settings (numbers and truth values as their text); *out
 * is freed with nib_held_free().  NIB_E_UNSUPPORTED naming what it is, with the list of what is
 * known. */
nib_status nib_held_stored(nib_ctx *ctx, const nib_setting *config, const char *where,
                           nib_held *out, nib_error *err);
void nib_held_free(nib_ctx *ctx, nib_held *held); /* what it owns; it is dense then */

/* Does `piece` (".weight.absmax", ".weight_scale": what follows the module's name) belong to a
 * packed weight of this format (NULL: of none)? */
bool nib_format_has_piece(const nib_format *format, const char *piece);
/* Is the tensor `name` a piece of the packed weight whose own tensor is `source`, "M.weight" or
 * "M.qweight"? */
bool nib_format_is_piece_of(const nib_format *format, const char *source, const char *name);
/* Bytes of `name` without what the codes of a tensor of experts have behind it; 0: it is none. */
size_t nib_format_stack_bytes(const nib_format *format, const char *name);
/* Is a tensor a piece of a packed weight of any format, or its codes?  Then its elements are not
 * the weight's. */
bool nib_format_is_piece(const nib_part *tensor, nib_part_finder find);
/* Whose pieces beside M.weight cannot be read: what follows a module's name, and whose it is; part
 * NULL at the end. */
typedef struct nib_strange_piece { const char *part, *whose; } nib_strange_piece;
extern const nib_strange_piece nib_strange_pieces[];
enum { NIB_FORMATS_ROOM = 400 };
/* "bitsandbytes with load_in_4bit, ...": all formats. */
void nib_formats_known(char *out, size_t room);
/* The format and form of the packed matrix that a tensor describes; NULL: it describes none.  held:
 * what config.json says, or NULL. */
nib_status nib_format_describe(const nib_part *tensor, nib_part_finder find, const nib_held *held,
                               const nib_format **format, uint64_t shape[2], nib_form *form,
                               nib_error *err);

#endif
