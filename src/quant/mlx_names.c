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

/* --- families whose own files stack the experts, or join gate and up --- */

/* of: where both are; their: the tensor's name without the pieces; first, second: MLX's modules.
 * The more special before the less. */
typedef struct stack { const char *of, *theirs, *first, *second; bool turns; } stack;
static const stack stacks[] = {
    { ".block_sparse_moe", ".input_linear.weight", ".switch_mlp.gate_proj", ".switch_mlp.up_proj",
      false },
    { ".block_sparse_moe", ".output_linear.weight", ".switch_mlp.down_proj", NULL, false },
    { ".mlp.experts", ".gate_up_proj", ".gate_proj", ".up_proj", true },
    { ".mlp.experts", ".down_proj", ".down_proj", NULL, false },
    { ".experts", ".gate_up_proj", ".switch_glu.gate_proj", ".switch_glu.up_proj", false },
    { ".experts", ".down_proj", ".switch_glu.down_proj", NULL, false },
};
static const stack shared[] = {
    { "", ".shared_mlp.input_linear.weight", ".mlp.gate_proj", ".mlp.up_proj", false },
    { "", ".shared_mlp.output_linear.weight", ".mlp.down_proj", NULL, false },
};
enum { STACKS = NIB_COUNT(stacks), SHARED = NIB_COUNT(shared) };

/* The bytes of `text` before `of` and `end`, with which it ends; SIZE_MAX: it does not. */
static size_t before(const char *text, size_t n, const char *of, const char *end)
{
    size_t m = strlen(end);

    if (!ends_with(text, n, end) || !ends_with(text, n - m, of)) return SIZE_MAX;
    return n - m - strlen(of);
}

static bool put(char out[NIB_MLX_NAME_ROOM], const char *top, size_t bytes, const char *of,
                const char *part, const char *piece)
{
    return fits(snprintf(out, NIB_MLX_NAME_ROOM, "%.*s%s%s%s", (int)bytes, top, of, part, piece));
}

bool nib_mlx_halves_of(const char *name, nib_mlx_halves *out)
{
    for (size_t i = 0; i < STACKS + SHARED; i++) {
        const stack *s = i < STACKS ? &stacks[i] : &shared[i - STACKS];
        size_t top = before(name, strlen(name), s->of, s->theirs);
        if (top == SIZE_MAX || top >= NIB_MLX_NAME_ROOM) continue;
        out->turns = s->turns;
        *out->second = 0;
        return put(out->first, name, top, s->of, s->first, "") &&
               (!s->second || put(out->second, name, top, s->of, s->second, ""));
    }
    return false;
}

/* "M.input_linear.scales" of a tensor M.input_linear.weight, "M.gate_up_proj.scales" of
 * M.gate_up_proj, whose bias is M.gate_up_proj_bias. */
static bool put_piece(char to[NIB_MLX_NAME_ROOM], const char *name, size_t top, const stack *s,
                      const char *piece)
{
    size_t kept = strlen(s->theirs), weight = strlen(".weight");
    bool named = ends_with(s->theirs, kept, ".weight"), bias = strcmp(piece, ".bias") == 0;

    if (named) kept -= weight;
    if (!named && strcmp(piece, ".weight") == 0) piece = "";
    return fits(snprintf(to, NIB_MLX_NAME_ROOM, "%.*s%s%.*s%s", (int)top, name, s->of, (int)kept,
                         s->theirs, !named && bias ? "_bias" : piece));
}

static bool find_place(const char *tensor, const stack *list, size_t count, nib_mlx_place *out)
{
    static const char *const pieces[] = { ".weight", ".scales", ".biases", ".bias" };
    const char *piece = strrchr(tensor, '.');
    bool known = false;

    *out->rest = 0;
    for (size_t i = 0; piece && i < NIB_COUNT(pieces); i++) known |= strcmp(piece, pieces[i]) == 0;
    for (size_t i = 0; known && i < count; i++) {
        const stack *s = &list[i];
        size_t n = (size_t)(piece - tensor), top = before(tensor, n, s->of, s->first);
        out->second = top == SIZE_MAX && s->second;
        if (out->second) top = before(tensor, n, s->of, s->second);
        if (top == SIZE_MAX || top >= NIB_MLX_NAME_ROOM) continue;
        out->turns = s->turns;
        return put_piece(out->name, tensor, top, s, piece) &&
               (out->second || !s->second ||
                put(out->rest, tensor, top, s->of, s->second, piece));
    }
    return false;
}

bool nib_mlx_stacked(const char *tensor, nib_mlx_place *out)
{
    return find_place(tensor, stacks, STACKS, out);
}

bool nib_mlx_shared(const char *tensor, nib_mlx_place *out)
{
    return find_place(tensor, shared, SHARED, out);
}

/* --- kv_b_proj in two --- */

static const char joined[] = ".self_attn.kv_b_proj", keys_of[] = ".self_attn.embed_q",
                  values_of[] = ".self_attn.unembed_out";

bool nib_mlx_latent_of(const char *tensor, char out[NIB_MLX_NAME_ROOM])
{
    const char *piece = strrchr(tensor, '.');
    size_t n = piece ? (size_t)(piece - tensor) : 0;

    return ends_with(tensor, n, keys_of) &&
           put(out, tensor, n - strlen(keys_of), joined, piece, "");
}

bool nib_mlx_latent_parts(const char *module, char keys[NIB_MLX_NAME_ROOM],
                          char values[NIB_MLX_NAME_ROOM])
{
    size_t n = strlen(module);

    return ends_with(module, n, joined) &&
           put(keys, module, n - strlen(joined), keys_of, "", "") &&
           put(values, module, n - strlen(joined), values_of, "", "");
}
