/* gguf_rows.c - see gguf_rows.h; formats-quant.md 7.3. */
#include "model/gguf_rows.h"

bool nib_gguf_reorders(const nib_gguf_heads *h, nib_gguf_held held)
{
    switch (held) {
    case NIB_GGUF_Q_ROWS: case NIB_GGUF_K_ROWS: case NIB_GGUF_HEADS: return true;
    case NIB_GGUF_GROUPS: return h->kv_heads != 1;
    case NIB_GGUF_AS_IS: case NIB_GGUF_ONE_PLUS: case NIB_GGUF_STRAIGHT:
    case NIB_GGUF_CONV: case NIB_GGUF_ONE_ROW: case NIB_GGUF_TURNS:
    case NIB_GGUF_FROM_FIRST: case NIB_GGUF_FLAT: case NIB_GGUF_DECAY:
    case NIB_GGUF_LATENT: break;
    }
    return false;
}

uint64_t nib_gguf_place(const nib_gguf_heads *h, nib_gguf_held held, uint64_t r)
{
    uint64_t d = h->head_dim, in = r % d, head = r / d, per = h->heads / h->kv_heads, group, of;

    switch (held) {
    case NIB_GGUF_Q_ROWS: case NIB_GGUF_K_ROWS:
        return head * d + 2 * (in % (d / 2)) + in / (d / 2);
    case NIB_GGUF_HEADS: return (head % 3 * h->heads + head / 3) * d + in;
    case NIB_GGUF_GROUPS:
        group = head / (per + 2);
        of = head % (per + 2);
        if (of < per) return (group * per + of) * d + in;
        return (h->heads + (of - per) * h->kv_heads + group) * d + in;
    case NIB_GGUF_AS_IS: case NIB_GGUF_ONE_PLUS: case NIB_GGUF_STRAIGHT:
    case NIB_GGUF_CONV: case NIB_GGUF_ONE_ROW: case NIB_GGUF_TURNS:
    case NIB_GGUF_FROM_FIRST: case NIB_GGUF_FLAT: case NIB_GGUF_DECAY:
    case NIB_GGUF_LATENT: break;
    }
    return r;
}

/* How many heads the rows of a matrix held so make. */
static uint64_t heads_of(const nib_gguf_heads *h, nib_gguf_held held)
{
    return held == NIB_GGUF_Q_ROWS   ? h->heads
           : held == NIB_GGUF_K_ROWS ? h->kv_heads
           : held == NIB_GGUF_HEADS  ? 3 * h->heads
                                     : h->heads + 2 * h->kv_heads;
}

bool nib_gguf_rows_fit(const nib_gguf_heads *h, nib_gguf_held held, uint64_t rows)
{
    return h->heads && h->kv_heads && h->head_dim && h->heads <= 65536 &&
           h->kv_heads <= h->heads && h->heads % h->kv_heads == 0 && h->head_dim <= 65536 &&
           h->head_dim % 2 == 0 && rows == heads_of(h, held) * h->head_dim;
}
