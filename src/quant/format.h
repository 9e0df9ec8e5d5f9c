/* format.h - how a checkpoint holds weights in a scheme: one object for each library's way.
 *
 * A format reads and writes what belongs to a packed matrix, and knows what config.json says of it.
 * Without one a checkpoint is dense.  This floor knows no file format: tensors come and go as
 * views, and config.json's quantization_config as settings.  All formats stand in one list,
 * format.c. */
#ifndef NIB_QUANT_FORMAT_H
#define NIB_QUANT_FORMAT_H

#include "quant/weight_settings.h"
#include "quant/weight.h"

/* A tensor of a file; data of any alignment.  name NULL: absent. */
typedef struct nib_part {
    const char *name; /* the whole name */
    nib_dtype dtype;
    unsigned rank;
    uint64_t shape[2]; /* the first two */
    uint64_t elements, bytes;
    const void *data;
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

/* What sizes of a file depend on beside the shape: learned from a matrix that was encoded. */
typedef struct nib_learned { float offset; } nib_learned;

typedef struct nib_format {
    const char *method; /* quant_method in config.json */
    const char *known;  /* in lists of what is known: "bitsandbytes with load_in_4bit" */
    const char *flag;   /* the setting, true or false, that asks for it */
    const char *const *keys; /* all its settings, the flag too; NULL at the end */
    /* The form that settings ask for, the flag being true.  Keys of others are passed over. */
    nib_status (*read)(const nib_setting *settings, const char *where, nib_form *form,
                       nib_error *err);
    /* The settings that give a form again, all of them, defaults too. */
    void (*settings)(const nib_form *form, nib_settings *out);

    /* The key of quantization_config that lists modules which stay dense, and whether an entry of
     * the list means `module`. */
    const char *skip_key;
    bool (*skips)(const char *entry, const char *module);

    /* What may follow "M.weight" (".absmax") or M itself (".SCB") in the name of a tensor that
     * belongs to it; NULL at the end. */
    const char *const *pieces;
    /* The weight of `module` from its tensors, which must outlive it: *w, or NULL where they are
     * not packed; `form` is what config.json says, for what the tensors do not tell.  NIB_E_FORMAT
     * naming the tensor, NIB_E_UNSUPPORTED, NIB_E_NOMEM. */
    nib_status (*open)(nib_ctx *ctx, nib_part_finder find, const nib_form *form, const char *module,
                       nib_weight **w, nib_error *err);
    /* If the tensor is the one that tells the shape of a packed matrix: *its, shape and form. */
    nib_status (*describe)(const nib_part *tensor, nib_part_finder find, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err);

    /* --- writing --- */

    /* Must a matrix be encoded before its tensors can be planned? */
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
} nib_format;

/* How a checkpoint holds its weights, or is to: format NULL is dense. */
typedef struct nib_held {
    const nib_format *format;
    nib_form form;
} nib_held;

/* What a caller's settings ask for.  NIB_E_INVALID: an unknown key, with those that are known, a
 * value that is none, or two formats at once.  *idle: a key that was given but is without effect,
 * for the flag it belongs to is not set, or NULL. */
nib_status nib_held_asked(const nib_setting *settings, nib_held *out, const nib_setting **idle,
                          nib_error *err);
/* What a quantization_config says, given as settings (numbers and truth values as their text).
 * NIB_E_UNSUPPORTED naming what it is, with the list of what is known. */
nib_status nib_held_stored(const nib_setting *config, const char *where, nib_held *out,
                           nib_error *err);

/* Does `piece` (".weight.absmax", ".weight_scale": what follows the module's name) belong to a
 * packed weight of this format (NULL: of none)? */
bool nib_format_has_piece(const nib_format *format, const char *piece);
/* Is the tensor `name` a piece of the packed weight whose own tensor is `weight`, "M.weight"? */
bool nib_format_is_piece_of(const nib_format *format, const char *weight, const char *name);
/* Is a tensor a piece of a packed weight of any format, or its codes?  Then its elements are not
 * the weight's. */
bool nib_format_is_piece(const nib_part *tensor, nib_part_finder find);
/* Whose pieces beside M.weight cannot be read: what follows a module's name, and whose it is; part
 * NULL at the end. */
typedef struct nib_strange_piece { const char *part, *whose; } nib_strange_piece;
extern const nib_strange_piece nib_strange_pieces[];
/* "bitsandbytes with load_in_4bit, ...": all formats. */
void nib_formats_known(char *out, size_t room);
/* The format and form of the packed matrix that a tensor describes; NULL: it describes none. */
nib_status nib_format_describe(const nib_part *tensor, nib_part_finder find,
                               const nib_format **format, uint64_t shape[2], nib_form *form,
                               nib_error *err);

#endif
