/* halves.h - what a start took out of the base, put beside what was trained (formats.md 3.8):
 *
 *     A' = [A; A0]    B' = [B, -B0]    r' = 2 r    alpha' = 2 alpha, with rslora sqrt(2) alpha
 *
 * which fits the original base: W - s B0 A0 + s B A. */
#ifndef NIB_ADAPTER_HALVES_H
#define NIB_ADAPTER_HALVES_H

#include "adapter/lora.h"
#include "format/safetensors.h"

/* Twice the rank and the alpha, patterns too. */
void nib_halves_double(nib_peft_config *config);

/* The second halves of a branch of twice the rank: A0, -B0. */
void nib_halves_fill(const nib_branch *b, const float *a0, const float *b0);

/* The second half of A or B: what the start took, of B the opposite; of an embedding, of which
 * nothing is taken, 0. */
typedef struct nib_half { const float *taken; bool negative; } nib_half;
nib_half nib_halves_second(const nib_adapter *a, const nib_param *p);
static inline float nib_half_value(nib_half h, size_t i)
{
    return !h.taken ? 0 : h.negative ? -h.taken[i] : h.taken[i];
}

/* Is parameter `i` stored with the half that its start took? */
bool nib_halves_apply(const nib_adapter *a, size_t i);
/* Its plan, its values in a file, and back: NIB_E_MISMATCH when the second half is not what this
 * start took. */
void nib_halves_plan(const nib_adapter *a, size_t i, nib_tensor_plan *plan);
nib_status nib_halves_write(const nib_adapter *a, size_t i, nib_tensor_writer *w, nib_error *err);
nib_status nib_halves_read(const nib_adapter *a, size_t i, const nib_tensor *t, nib_error *err);
/* The error where it is another. */
nib_status nib_halves_other(const char *where, nib_error *err);
/* The first half of a parameter of twice the rank, of a file that has it alone. */
nib_status nib_halves_read_first(nib_param *p, const nib_tensor *t, nib_error *err);

#endif
