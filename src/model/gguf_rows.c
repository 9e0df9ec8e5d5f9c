/* gguf_rows.c - see gguf_rows.h; formats-quant.md 7.3. */
#include "model/gguf_rows.h"

#include <stdio.h>

enum { MOST = 65536 }; /* heads, and channels of one: products of three fit 64 bits */

/* Is it one of the delta rule's? */
static bool is_of_rule(nib_gguf_held held) { return held >= NIB_GGUF_KEY_GROUPS; }

bool nib_gguf_reorders(const nib_gguf_heads *h, nib_gguf_held held)
{
    switch (held) {
    case NIB_GGUF_Q_ROWS: case NIB_GGUF_K_ROWS: case NIB_GGUF_HEADS:
    case NIB_GGUF_KEY_GROUPS: return true;
    case NIB_GGUF_GROUPS: return h->kv_heads != 1;
    case NIB_GGUF_TILED: case NIB_GGUF_TILED_QKV: case NIB_GGUF_TILED_CONV:
    case NIB_GGUF_TILED_ONES: case NIB_GGUF_TILED_DECAYS: return h->key_heads != h->value_heads;
    case NIB_GGUF_AS_IS: case NIB_GGUF_ONE_PLUS: case NIB_GGUF_STRAIGHT:
    case NIB_GGUF_CONV: case NIB_GGUF_ONE_ROW: case NIB_GGUF_TURNS:
    case NIB_GGUF_FROM_FIRST: case NIB_GGUF_FLAT: case NIB_GGUF_DECAY:
    case NIB_GGUF_LATENT: case NIB_GGUF_DECAYS: case NIB_GGUF_TILED_COLUMNS: break;
    }
    return false;
}

bool nib_gguf_reorders_columns(const nib_gguf_heads *h, nib_gguf_held held)
{
    return held == NIB_GGUF_TILED_COLUMNS && h->key_heads != h->value_heads;
}

bool nib_gguf_decays(nib_gguf_held held)
{
    return held == NIB_GGUF_DECAY || held == NIB_GGUF_DECAYS || held == NIB_GGUF_TILED_DECAYS;
}

/* --- the delta rule's --- */

/* Channels of q and k, of a key head's values, and of all of them. */
static uint64_t qk_rows(const nib_gguf_heads *h) { return 2 * h->key_heads * h->key_dim; }
static uint64_t rows_of_key(const nib_gguf_heads *h)
{
    return h->value_heads / h->key_heads * h->value_dim;
}

uint64_t nib_gguf_group_rows(const nib_gguf_heads *h)
{
    return qk_rows(h) + h->value_heads * h->value_dim;
}

/* Of heads of d channels each. */
static uint64_t tile(const nib_gguf_heads *h, uint64_t d, uint64_t r)
{
    uint64_t per = h->value_heads / h->key_heads, head = r / d;

    return (head % per * h->key_heads + head / per) * d + r % d;
}

static uint64_t place_in_groups(const nib_gguf_heads *h, uint64_t r)
{
    uint64_t d = h->key_dim, each = rows_of_key(h), all = 2 * (d + each);
    uint64_t group = r / all, at = r % all;

    if (at < d) return group * d + at;
    if (at < 2 * d) return h->key_heads * d + group * d + at - d;
    at -= 2 * d;
    return at < each ? qk_rows(h) + group * each + at
                     : nib_gguf_group_rows(h) + group * each + at - each;
}

uint64_t nib_gguf_group_row_at(const nib_gguf_heads *h, uint64_t place)
{
    uint64_t d = h->key_dim, each = rows_of_key(h), all = 2 * (d + each), behind = 0;

    if (place < qk_rows(h)) {
        behind = place < h->key_heads * d ? 0 : d;
        place -= behind ? h->key_heads * d : 0;
        return place / d * all + behind + place % d;
    }
    place -= qk_rows(h);
    behind = 2 * d;
    if (place >= h->value_heads * h->value_dim) {
        place -= h->value_heads * h->value_dim;
        behind += each;
    }
    return place / each * all + behind + place % each;
}

static bool rule_fits(const nib_gguf_heads *h)
{
    return h->key_heads && h->value_heads && h->key_dim && h->value_dim && h->key_dim <= MOST &&
           h->value_heads <= MOST && h->value_dim <= MOST && h->key_heads <= h->value_heads &&
           h->value_heads % h->key_heads == 0;
}

/* How many rows, or columns, a matrix held so has. */
static uint64_t rule_rows(const nib_gguf_heads *h, nib_gguf_held held)
{
    uint64_t values = h->value_heads * h->value_dim;

    switch (held) {
    case NIB_GGUF_KEY_GROUPS: return qk_rows(h) + 2 * values;
    case NIB_GGUF_TILED_QKV: case NIB_GGUF_TILED_CONV: return qk_rows(h) + values;
    case NIB_GGUF_TILED_ONES: case NIB_GGUF_TILED_DECAYS: return h->value_heads;
    default: return values;
    }
}

/* --- all --- */

uint64_t nib_gguf_place(const nib_gguf_heads *h, nib_gguf_held held, uint64_t r)
{
    uint64_t d = nib_max(h->head_dim, 1), in = r % d, head = r / d, per, group, of;

    switch (held) {
    case NIB_GGUF_Q_ROWS: case NIB_GGUF_K_ROWS:
        return head * d + 2 * (in % (d / 2)) + in / (d / 2);
    case NIB_GGUF_HEADS: return (head % 3 * h->heads + head / 3) * d + in;
    case NIB_GGUF_GROUPS:
        per = h->heads / h->kv_heads;
        group = head / (per + 2);
        of = head % (per + 2);
        if (of < per) return (group * per + of) * d + in;
        return (h->heads + (of - per) * h->kv_heads + group) * d + in;
    case NIB_GGUF_KEY_GROUPS: return place_in_groups(h, r);
    case NIB_GGUF_TILED: case NIB_GGUF_TILED_COLUMNS: return tile(h, h->value_dim, r);
    case NIB_GGUF_TILED_QKV: case NIB_GGUF_TILED_CONV:
        return r < qk_rows(h) ? r : qk_rows(h) + tile(h, h->value_dim, r - qk_rows(h));
    case NIB_GGUF_TILED_ONES: case NIB_GGUF_TILED_DECAYS: return tile(h, 1, r);
    case NIB_GGUF_AS_IS: case NIB_GGUF_ONE_PLUS: case NIB_GGUF_STRAIGHT:
    case NIB_GGUF_CONV: case NIB_GGUF_ONE_ROW: case NIB_GGUF_TURNS:
    case NIB_GGUF_FROM_FIRST: case NIB_GGUF_FLAT: case NIB_GGUF_DECAY:
    case NIB_GGUF_LATENT: case NIB_GGUF_DECAYS: break;
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
    if (is_of_rule(held)) return rule_fits(h) && rows == rule_rows(h, held);
    return h->heads && h->kv_heads && h->head_dim && h->heads <= MOST &&
           h->kv_heads <= h->heads && h->heads % h->kv_heads == 0 && h->head_dim <= MOST &&
           h->head_dim % 2 == 0 && rows == heads_of(h, held) * h->head_dim;
}

void nib_gguf_heads_text(const nib_gguf_heads *h, nib_gguf_held held, char out[160])
{
    if (is_of_rule(held))
        snprintf(out, 160, "%" PRIu64 " key heads of %" PRIu64 " channels, %" PRIu64
                 " heads of values of %" PRIu64, h->key_heads, h->key_dim, h->value_heads,
                 h->value_dim);
    else
        snprintf(out, 160, "%" PRIu64 " heads, %" PRIu64 " for keys and values, of %" PRIu64
                 " channels", h->heads, h->kv_heads, h->head_dim);
}
