/* mlx_names.c - see mlx_names.h. */
#include "quant/mlx_names.h"

#include <stdio.h>

static const struct { const char *of, *stack, *expert; } parts[] = {
    { ".block_sparse_moe", "gate_proj", "w1" }, { ".block_sparse_moe", "up_proj", "w3" },
    { ".block_sparse_moe", "down_proj", "w2" }, { ".mlp", "gate_proj", "gate_proj" },
    { ".mlp", "up_proj", "up_proj" },           { ".mlp", "down_proj", "down_proj" },
};

static bool ends_with(const char *text, size_t n, const char *end)
{
    size_t m = strlen(end);

    return n >= m && memcmp(text + n - m, end, m) == 0;
}

static bool fits(int length) { return length > 0 && length < NIB_MLX_NAME_ROOM; }

bool nib_mlx_experts_of(const char *tensor, char out[NIB_MLX_NAME_ROOM])
{
    static const char mark[] = ".switch_mlp.";
    const char *at = strstr(tensor, mark), *part = at ? at + strlen(mark) : NULL;
    const char *dot = part ? strchr(part, '.') : NULL;

    if (!dot || strchr(tensor, '%')) return false;
    for (size_t i = 0; i < NIB_COUNT(parts); i++)
        if (ends_with(tensor, (size_t)(at - tensor), parts[i].of) &&
            strlen(parts[i].stack) == (size_t)(dot - part) &&
            memcmp(part, parts[i].stack, (size_t)(dot - part)) == 0)
            return fits(snprintf(out, NIB_MLX_NAME_ROOM, "%.*s.experts.%%d.%s%s",
                                 (int)(at - tensor), tensor, parts[i].expert, dot));
    return false;
}

bool nib_mlx_stack_of(const char *module, char out[NIB_MLX_NAME_ROOM])
{
    static const char mark[] = ".experts.";
    const char *at = strstr(module, mark), *number = at ? at + strlen(mark) : NULL;
    size_t digits = number ? strspn(number, "0123456789") : 0;

    if (!digits || number[digits] != '.') return false;
    for (size_t i = 0; i < NIB_COUNT(parts); i++)
        if (ends_with(module, (size_t)(at - module), parts[i].of) &&
            strcmp(number + digits + 1, parts[i].expert) == 0)
            return fits(snprintf(out, NIB_MLX_NAME_ROOM, "%.*s.switch_mlp.%s", (int)(at - module),
                                 module, parts[i].stack));
    return false;
}
