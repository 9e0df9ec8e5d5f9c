/* model.h - which model, and how its weights are held and computed with. */
#ifndef NIBBLE_MODEL_H
#define NIBBLE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a model is for: PEFT's task types, and masked words. */
typedef enum nib_task {
    NIB_TASK_AUTO,       /* as config.json's architectures say; else what the family is made for */
    NIB_TASK_CAUSAL_LM,
    NIB_TASK_SEQ_CLS,
    NIB_TASK_TOKEN_CLS,
    NIB_TASK_FEATURE_EXTRACTION,
    NIB_TASK_MASKED_LM,
    NIB_TASK_QUESTION_ANS
} nib_task;

typedef enum nib_compute {
    NIB_COMPUTE_AUTO,    /* bfloat16 where the processor multiplies it, else float32 */
    NIB_COMPUTE_FLOAT32,
    NIB_COMPUTE_BFLOAT16,
    NIB_COMPUTE_FLOAT16  /* computed in float32, with a note */
} nib_compute;

/* A setting of how weights are held, under the name and with the value that its library gives it
 * (NULL: null, the default).  Unknown ones are refused, with those that are known:
 *     load_in_4bit                true, false    bitsandbytes' 4 bit
 *     bnb_4bit_quant_type         nf4, fp4       default nf4
 *     bnb_4bit_use_double_quant   true, false    the scales in 8 bits too
 *     bnb_4bit_blocksize          64             weights that share a scale: 32, 64, ... 4096
 *     load_in_8bit                true, false    bitsandbytes' 8 bit (LLM.int8)
 *     llm_int8_threshold          6.0            inputs of this magnitude or more are multiplied as
 *                                                floats, the others in 8 bits; 0: all in 8 bits
 *     llm_int8_has_fp16_weight    false          true is refused */
typedef struct nib_setting { const char *key, *value; } nib_setting;

typedef struct nib_model_options {
    /* A Hugging Face directory: dense, or quantized by bitsandbytes; or a GGUF file, the first of
     * those it is split into. */
    const char *model;
    /* How the linears of a dense model are quantized while it is loaded; the last has a key NULL.
     * NULL: not at all. */
    const nib_setting *settings;
    /* Experts that a file holds in one tensor are quantized as the linears are, each a matrix of
     * its own; bitsandbytes leaves them dense. */
    bool quantize_experts;
    nib_compute compute_dtype;
    nib_task task;
    /* Of classifiers: classes or labels, where config.json's number is not wanted (a head of
     * another size is then made anew); 0: config.json's. */
    int num_labels;
    const char *problem_type;   /* NULL: config.json's, else regression for one label and
                                   single_label_classification for several */
    /* Dropout of the frozen model while it is trained, as config.json says (encoders have 0.1). */
    bool base_dropout;
    uint64_t head_seed;         /* of the parts of a head that the model's files lack */
} nib_model_options;

/* An adapter by name; name may be NULL when there is only one. */
typedef struct nib_adapter_choice { const char *name, *dir; } nib_adapter_choice;

#ifdef __cplusplus
}
#endif
#endif
