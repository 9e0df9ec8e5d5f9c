/* foreign_words.h - the words of other tools' recipes, and what they are called here.
 *
 * A word is a key by its path ("lora_parameters.rank").  Nothing is converted here: foreign.h. */
#ifndef NIB_RECIPE_FOREIGN_WORDS_H
#define NIB_RECIPE_FOREIGN_WORDS_H

#include "base/base.h"

typedef enum nib_tool {
    NIB_TOOL_LLAMA_FACTORY,
    NIB_TOOL_AXOLOTL,
    NIB_TOOL_MLX_LM,
    NIB_TOOL_TORCHTUNE,
    NIB_TOOLS /* their number; no tool */
} nib_tool;

typedef enum nib_word_how {
    NIB_WORD_SAME,     /* the same value under `key` */
    NIB_WORD_MAP,      /* by the value: `map` */
    NIB_WORD_NONE,     /* no counterpart: `why` */
    NIB_WORD_LOST,     /* none either, and it may change what is trained, unless it is false */
    NIB_WORD_FILES,    /* axolotl: a list of data sets; `key` is the file */
    NIB_WORD_NAMED,    /* LLaMA-Factory: a name in dataset_info.json; `key` is the file */
    NIB_WORD_MODULES,  /* torchtune: names of attention's projections, beside two flags */
    NIB_WORD_ITERS,    /* mlx-lm: micro-batches; a step has grad_accumulation_steps of them */
    NIB_WORD_SCALE,    /* mlx-lm: alpha / r */
    NIB_WORD_EACH,     /* torchtune: steps of an epoch */
    NIB_WORD_LAST,     /* mlx-lm: of each name what follows the last dot */
    NIB_WORD_RATE      /* axolotl: times an epoch; `key` is eval or save */
} nib_word_how;

typedef struct nib_word {
    nib_tool tool;
    const char *name; /* the path; a last '*' stands for any ending */
    nib_word_how how;
    const char *key;  /* the key here */
    /* Of NIB_WORD_MAP, by spaces: "value=key:value,key:value".  A last '*' stands for any ending,
     * '@' for the value itself; "value=": nothing has to be written for it.  Of a `_component_` the
     * value is what follows the last dot. */
    const char *map;
    const char *why;  /* when there is no counterpart; NULL: there always is one */
    const char *note; /* when the value is understood, or NULL */
} nib_word;

extern const nib_word nib_words[];
extern const size_t nib_word_count;

/* What a tool does when a key is not given, where it is another thing than here.  value NULL: there
 * is nothing to write, `why` tells what a person has to know; "2r": twice the rank. */
typedef struct nib_word_default {
    nib_tool tool;
    const char *key, *value;
    /* NULL, or a key of ours: only if it was written and is not false; "!key": only if it was not;
     * "@path text": only if the tool's value at the path holds the text. */
    const char *only_with;
    const char *why;
} nib_word_default;

extern const nib_word_default nib_word_defaults[];
extern const size_t nib_word_default_count;

const char *nib_tool_name(nib_tool tool);
/* The word of a tool; NULL: none.  NIB_TOOLS: of any tool, also by the last part of its path, if it
 * can be one with the same value here. */
const nib_word *nib_word_find(nib_tool tool, const char *name);

#endif
