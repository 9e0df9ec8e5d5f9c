/* option_words.c - see option_words.h.
 *
 * An alias means exactly what its option means.  A word of another tool that only nearly does (its
 * max-tokens counts the prompt, say) is a synonym: the answer names the option, and nothing is
 * taken. */
#include "option_words.h"

#include <string.h>

typedef struct word { const char *name, *meant; } word;

/* The first that the verb has is taken. */
static const word aliases[] = {
    { "max-length", "max-seq-length" },
    { "overwrite-output-dir", "overwrite" },
    { "torch-dtype", "compute-dtype" },
    { "bnb-4bit-compute-dtype", "compute-dtype" },
    { "batch-size", "per-device-train-batch-size" },
    { "per-device-eval-batch-size", "batch-size" },
    { "lr", "learning-rate" },
    { "epochs", "num-train-epochs" },
    { "rank", "r" },
    { "alpha", "lora-alpha" },
    { "output", "output-dir" },
    { "output", "out" },
    { "use", "active-adapter" },
    { "local-dir", "to" },
};

static const word synonyms[] = {
    { "4bit", "load-in-4bit" }, { "8bit", "load-in-8bit" }, { "active", "active-adapter" },
    { "accumulation", "gradient-accumulation-steps" }, { "checkpoint", "adapter" },
    { "context-length", "max-seq-length" }, { "context-size", "max-seq-length" },
    { "cpus", "threads" }, { "ctx-size", "max-seq-length" }, { "cutoff-len", "max-seq-length" },
    { "dataset", "data" }, { "deterministic", "no-do-sample" }, { "dropout", "lora-dropout" },
    { "epoch", "num-train-epochs" }, { "eval", "eval-data" }, { "eval-dataset", "eval-data" },
    { "eval-file", "eval-data" }, { "file", "data" }, { "force", "overwrite" },
    { "fp4", "load-in-4bit" }, { "grad-accum", "gradient-accumulation-steps" },
    { "greedy", "no-do-sample" }, { "input", "data" }, { "input", "prompt" },
    { "int8", "load-in-8bit" }, { "iters", "max-steps" }, { "jobs", "threads" },
    { "layers", "layers-to-transform" }, { "lora", "adapter" }, { "lora-dim", "r" },
    { "lora-rank", "r" }, { "max-tokens", "max-new-tokens" }, { "max-tokens", "max-seq-length" },
    { "modules", "target-modules" }, { "n-predict", "max-new-tokens" }, { "nf4", "load-in-4bit" },
    { "num-epochs", "num-train-epochs" }, { "num-steps", "max-steps" },
    { "num-threads", "threads" }, { "num-tokens", "max-new-tokens" }, { "optimizer", "optim" },
    { "out-dir", "output-dir" }, { "outdir", "output-dir" }, { "peft", "adapter" },
    { "q4", "load-in-4bit" }, { "q8", "load-in-8bit" }, { "quant-type", "bnb-4bit-quant-type" },
    { "repeat-penalty", "repetition-penalty" }, { "resume", "resume-from-checkpoint" },
    { "sample", "do-sample" }, { "sampling", "do-sample" }, { "save-dir", "output-dir" },
    { "scheduler", "lr-scheduler-type" }, { "seq-len", "max-seq-length" },
    { "seq-length", "max-seq-length" }, { "seqlen", "max-seq-length" }, { "steps", "max-steps" },
    { "system-prompt", "system" }, { "temp", "temperature" }, { "test", "eval-data" },
    { "text", "prompt" }, { "train-data", "data" }, { "train-file", "data" },
    { "valid", "eval-data" }, { "validation", "eval-data" }, { "validation-file", "eval-data" },
    { "validation-split", "val-size" }, { "warmup", "warmup-ratio" }, { "workers", "threads" },
};

static const word verb_aliases[] = { { "train", "finetune" } };

static const word verb_synonyms[] = {
    { "download", "pull" }, { "fetch", "pull" }, { "get", "pull" },
    { "answer", "generate" }, { "ask", "generate" }, { "chat", "generate" },
    { "classify", "predict" }, { "complete", "generate" }, { "convert", "export" },
    { "eval", "evaluate" }, { "fine-tune", "finetune" }, { "infer", "generate" },
    { "info", "inspect" }, { "judge", "evaluate" }, { "lora", "finetune" },
    { "ppl", "perplexity" }, { "quant", "quantize" }, { "run", "generate" },
    { "score", "evaluate" }, { "sft", "finetune" }, { "show", "inspect" },
    { "test", "evaluate" }, { "tune", "finetune" },
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

static const char *look_up(const word *table, size_t count, const char *name, size_t skip)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, table[i].name) == 0 && skip-- == 0) return table[i].meant;
    return NULL;
}

const char *option_word_alias(const char *name, size_t i)
{
    return look_up(aliases, COUNT(aliases), name, i);
}

const char *option_word_synonym(const char *name, size_t i)
{
    return look_up(synonyms, COUNT(synonyms), name, i);
}

const char *verb_word_alias(const char *name)
{
    return look_up(verb_aliases, COUNT(verb_aliases), name, 0);
}

const char *verb_word_alias_of(const char *verb, size_t i)
{
    for (size_t k = 0; k < COUNT(verb_aliases); k++)
        if (strcmp(verb_aliases[k].meant, verb) == 0 && i-- == 0) return verb_aliases[k].name;
    return NULL;
}

const char *verb_word_synonym(const char *name)
{
    return look_up(verb_synonyms, COUNT(verb_synonyms), name, 0);
}

size_t option_word_distance(const char *a, const char *b)
{
    size_t row[64], n = strlen(b);

    if (n >= 63 || strlen(a) >= 63) return 99;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}
