/* lora.h - a LoRA adapter on a model: its parameters are in one slot of the modules. */
#ifndef NIB_ADAPTER_LORA_H
#define NIB_ADAPTER_LORA_H

#include "adapter/peft_match.h"
#include "model/model.h"

enum { NIB_BASE_FORM_ROOM = NIB_FORM_ROOM };

/* The branches of a tensor of experts (stacks.h): parameters `first` to first + 2 experts, A and B
 * of each. */
typedef struct nib_stack {
    const char *tensor; /* borrowed from the model */
    size_t first, experts;
    bool transposed;    /* it lies as [E, in, out] */
    char *names[2];     /* of A and B in the file */
} nib_stack;

/* What a branch took out of its linear's weight when it began (start.h): W - s B A. */
typedef struct nib_taken {
    nib_linear *linear;
    nib_weight *before; /* that stood there; NULL: it is gone, the model has what stands there */
    float *a, *b;       /* [R, in], [out, R] */
} nib_taken;

typedef struct nib_adapter {
    nib_ctx *ctx;
    nib_model *model;
    unsigned slot;
    nib_peft_config config;
    nib_peft_matcher *match;
    bool trains;               /* its parameters get gradients */
    nib_params params;         /* in the order of the model's modules */
    nib_stack *stacks;
    size_t stack_count, stack_capacity;
    nib_weight **copies;       /* weights over trained full copies, in place of the model's */
    size_t copy_count, copy_capacity;
    nib_taken *taken;
    size_t taken_count, taken_capacity;
    bool recoded;              /* what was changed is low-bit: the adapter fits that base alone */
    bool doubled;              /* read with what PEFT would take of the base in second halves */
    char *dir;                 /* where it was read from, or NULL */
    /* of the base it was trained on, as the file says; "": it does not */
    char base_form[NIB_BASE_FORM_ROOM];
    char base_change[20]; /* fingerprint of what the start of its training took out of a low-bit
                           * base, taken or as the file says (merged.h); "": nothing */
    char *prompt_form;         /* how its prompts were made (train/prompt_form.h), JSON; NULL: the
                                * file does not say */
    char unfinished[80]; /* "interrupted after step 3 of 10": what is written is not the end of its
                          * run, what was read was not; "": it is */
} nib_adapter;

#endif
