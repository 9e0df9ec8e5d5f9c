/* quantize_linears.c - see quantize_linears.h.
 *
 * transformers replaces every nn.Linear but those of llm_int8_skip_modules ("lm_head").  In
 * the known architectures these are exactly the matrices called *.weight inside a numbered
 * block. */
#include "job/quantize_linears.h"

/* "model.layers.12.mlp.up_proj.weight": a part of the name is a number. */
static bool inside_block(const char *name)
{
    for (const char *p = strchr(name, '.'); p; p = strchr(p + 1, '.')) {
        size_t n = strspn(p + 1, "0123456789");
        if (n && p[1 + n] == '.') return true;
    }
    return false;
}

bool nib_is_quantized_linear(const nib_tensor *t)
{
    static const char ending[] = ".weight";
    size_t n = strlen(t->name);

    return t->rank == 2 && t->elements && n > sizeof ending &&
           strcmp(t->name + n - (sizeof ending - 1), ending) == 0 && inside_block(t->name);
}
