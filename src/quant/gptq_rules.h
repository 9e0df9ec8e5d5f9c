/* gptq_rules.h - what a GPTQ or AutoRound config.json says of modules, and how zero points are
 * stored (formats.md 6.3, 6.5; formats-quant.md 4.1, 4.2, 4.4). */
#ifndef NIB_QUANT_GPTQ_RULES_H
#define NIB_QUANT_GPTQ_RULES_H

#include "base/python_regex.h"
#include "quant/grouped_open.h"

/* How qzeros is to be read. */
typedef enum nib_gptq_zeros {
    NIB_ZEROS_PLAIN,  /* z */
    NIB_ZEROS_FIELDS, /* z - 1 in each field */
    NIB_ZEROS_WORDS,  /* the whole word less 1 in each field, borrowing from the next: GPTQModel */
    NIB_ZEROS_SWAPPED /* 3 bits of GPTQModel before 7: two of three words' constants are swapped */
} nib_gptq_zeros;

typedef struct nib_gptq_rule {
    const char *pattern; /* the rule's own */
    nib_python_regex *regex;
    bool skip;           /* its modules stay dense */
    int bits, symmetric, ordered; /* -1: as all; ordered: desc_act */
    long group;          /* -2: as all; -1: a row */
} nib_gptq_rule;

typedef struct nib_gptq_rules {
    bool head;           /* lm_head is packed */
    bool first_version;  /* of zero points */
    bool gptqmodel;      /* who wrote it, */
    unsigned major;      /* and its version */
    nib_gptq_rule *rules;
    size_t count;
} nib_gptq_rules;

/* Reads `config` into *out, the caller's to free with nib_gptq_rules_free(), after a failure too.
 * versions: checkpoint_format, which AWQ's layouts have in the same place, is GPTQ's. */
nib_status nib_gptq_rules_read(nib_ctx *ctx, const nib_setting *config, const char *where,
                               bool versions, nib_gptq_rules **out, nib_error *err);
void nib_gptq_rules_free(nib_ctx *ctx, nib_gptq_rules *rules);

/* The first rule that matches from the start of `module` changes `o`.  *packed: by the rules. */
nib_status nib_gptq_rules_apply(const nib_gptq_rules *rules, const nib_format_module *module,
                                nib_grouped_options *o, bool *packed, nib_error *err);
nib_gptq_zeros nib_gptq_zeros_of(const nib_gptq_rules *rules, unsigned bits);

/* A module that config.json leaves dense has its tensor `name`: NIB_E_MISMATCH. */
nib_status nib_gptq_rules_contradict(const char *name, nib_error *err);
/* A format's check: scales of what has no codes.  AWQ folds its scaling behind a GELU into such a
 * tensor of the activation, which its output is divided by; who passes it over computes nonsense.
 * */
nib_status nib_check_lone_scales(const nib_part *tensor, nib_part_finder find, nib_error *err);

/* Keys of GPTQ's, AWQ's and AutoRound's config.json that are read, or only say how the file was
 * made. */
extern const char *const nib_gptq_config_keys[];

/* Settings that GPTQ, AWQ and AutoRound spell alike: bits (w_bit, wbits), group_size
 * (q_group_size), sym (zero_point, the other way round).  o holds the defaults. */
nib_status nib_gptq_settings(const nib_setting *list, const char *where, nib_grouped_options *o,
                             nib_error *err);
/* "auto-round" with one of these as packing_format ("auto_round:gptq" where it has none, as
 * transformers has it)? */
bool nib_autoround_is(const nib_setting *config, const char *const *packings);

#endif
