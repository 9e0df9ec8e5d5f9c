/* model.h - which model, and how its weights are held and computed with. */
#ifndef NIBBLE_MODEL_H
#define NIBBLE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum nib_compute {
    NIB_COMPUTE_AUTO,    /* bfloat16 where the processor multiplies it, else float32 */
    NIB_COMPUTE_FLOAT32,
    NIB_COMPUTE_BFLOAT16,
    NIB_COMPUTE_FLOAT16  /* computed in float32, and said so */
} nib_compute;

typedef struct nib_bnb_options { /* BitsAndBytesConfig's names and meaning */
    bool load_in_4bit;
    const char *bnb_4bit_quant_type; /* "nf4" (NULL too) or "fp4" */
    bool bnb_4bit_use_double_quant;
    int blocksize;                   /* 0: 64; 32 to 4096, a power of two */
} nib_bnb_options;

typedef struct nib_model_options {
    const char *model;          /* a Hugging Face directory: dense, or quantized by bitsandbytes */
    nib_bnb_options bnb;        /* load_in_4bit on a dense model: quantized while loading */
    nib_compute compute_dtype;
} nib_model_options;

/* An adapter by name; name may be NULL when there is only one. */
typedef struct nib_adapter_choice { const char *name, *dir; } nib_adapter_choice;

#endif
