/* merge_packed.c - see merge_packed.h.
 *
 * A sum is encoded as it is in float, not rounded to the file's type before: the codes are those
 * that bitsandbytes makes of PEFT's sum (formats-quant.md 9.3). */
#include "job/merge_packed.h"

#include <math.h>

#include "base/thread.h"
#include "job/merge_rows.h"
#include "job/quantize_config.h"

/* --- which --- */

bool nib_merge_is_skipped(const nib_quantize_options *o, const nib_format *f, const char *module)
{
    for (size_t i = 0; i < o->skip_count; i++)
        if (f->skips && f->skips(o->skip_modules[i], module)) return true;
    return false;
}

static nib_status check_skips(const nib_model *m, const nib_quantize_options *o,
                              const nib_format *f, nib_error *err)
{
    const char *head = m->head ? m->head->name : "";

    if (!o->skip_count) return NIB_OK;
    if (!f->skips)
        return nib_fail(err, NIB_E_INVALID, "llm_int8_skip_modules is a list of bitsandbytes, the "
                        "format asked for is %s, which has no such list; leave it out", f->known);
    if (!m->head || nib_merge_is_skipped(o, f, head)) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "llm_int8_skip_modules does not name %s, so that the "
                    "head would be quantized too, which is not done here; add %s to the list",
                    head, head);
}

static const nib_weight *base_of(const nib_linear *l) { return l->frozen ? l->frozen : l->weight; }

/* Are other linears of the file low-bit than experts in one tensor?  Then what is dense was wanted
 * so. */
static bool has_low_bit(const nib_model *m)
{
    for (size_t i = 0; m->stored.format && i < m->linear_count; i++)
        if (!m->linears[i]->parameter && !nib_weight_is_dense(base_of(m->linears[i]))) return true;
    return false;
}

static bool ends_in_weight(const char *name)
{
    size_t n = strlen(name), end = strlen(".weight");

    return n > end && strcmp(name + n - end, ".weight") == 0;
}

/* Whether the item's matrix is to be encoded.  *listed: it stays dense, and config.json says it. */
static bool is_chosen(const nib_model *m, const nib_quantize_options *o, const nib_held *held,
                      const nib_merge_item *item, bool low_bit, bool *listed)
{
    const nib_linear *l = item->linear;
    const nib_format *f = held->format;

    *listed = false;
    if (!l || l == m->head || l->of_head || l->parameter || !ends_in_weight(item->plan.name) ||
        nib_quantize_leaves(held, l))
        return false;
    if (o->skip_count) return !nib_merge_is_skipped(o, f, l->name);
    *listed = f->skips && low_bit && nib_weight_is_dense(base_of(l));
    return !*listed;
}

/* --- one matrix --- */

typedef struct sum {
    const nib_merge_item *item;
    float *to, *delta; /* [out, in], [threads, in] */
    bool *bad;         /* [out] a row holds what is not finite */
} sum;

static void sum_row(void *arg, size_t row, unsigned worker)
{
    const sum *s = arg;
    const nib_weight *w = s->item->weight;
    float *to = s->to + row * w->in;

    nib_weight_decode(w, row, row + 1, to);
    if (s->item->branch)
        nib_merge_add_row(s->item->branch, false, row, s->delta + worker * w->in, to, w->in);
    s->bad[row] = false;
    for (size_t i = 0; i < w->in; i++) s->bad[row] |= !isfinite(to[i]);
}

static nib_status make_sum(nib_ctx *ctx, const nib_merge_item *item, float **out, nib_error *err)
{
    const nib_weight *w = item->weight;
    sum s = { .item = item, .to = nib_new_array(ctx, w->out, w->in * sizeof(float)),
              .delta = nib_new_array(ctx, nib_threads(ctx) * w->in, sizeof(float)),
              .bad = nib_new_array(ctx, w->out, sizeof(bool)) };
    nib_status status = NIB_OK;

    if (!s.to || !s.delta || !s.bad)
        status = nib_fail(err, NIB_E_NOMEM, "%zu x %zu values: out of memory", w->out, w->in);
    else nib_parallel_for(ctx, w->out, sum_row, &s);
    for (size_t r = 0; !status && r < w->out; r++)
        if (s.bad[r])
            status = nib_fail(err, NIB_E_NUMERIC, "row %zu holds a value that is not finite", r);
    nib_free(ctx, s.bad);
    nib_free(ctx, s.delta);
    if (status) nib_free(ctx, s.to);
    else *out = s.to;
    return status;
}

static nib_form form_of(const nib_merge_packed *p, const nib_merge_item *item)
{
    nib_form form = p->held.form;

    for (size_t i = 0; i < p->wide->count; i++)
        if (strcmp(p->wide->modules[i], item->linear->name) == 0) form = p->wide->form;
    form.dtype = item->plan.dtype;
    return form;
}

static nib_status encode(const nib_merge_packed *p, const nib_merge_item *item, nib_weight **out,
                         nib_error *err)
{
    const nib_weight *w = item->weight;
    const nib_form form = form_of(p, item);
    nib_weight *dense = NULL, *made = NULL;
    float *values = NULL;
    nib_status status = make_sum(p->ctx, item, &values, err);

    if (!status)
        status = nib_weight_dense(p->ctx, w->out, w->in, NIB_F32, values, NULL, &dense, err);
    if (!status) status = nib_form_encode(p->ctx, &form, dense, &made, err);
    if (!status && !nib_weight_finite(made))
        status = nib_fail(err, NIB_E_NUMERIC, "a scale is not finite");
    nib_weight_destroy(p->ctx, dense);
    nib_free(p->ctx, values);
    if (!status) {
        *out = made;
        return NIB_OK;
    }
    nib_weight_destroy(p->ctx, made);
    return nib_fail_in(err, status, "%s", item->plan.name);
}

/* --- all of them --- */

static nib_status plan_matrix(nib_merge_packed *p, nib_merge_matrix *m, nib_error *err)
{
    const nib_format *f = p->held.format;
    nib_merge_item *item = m->item;
    const nib_form form = form_of(p, item);
    nib_learned learned = { 0 };
    nib_weight *w = NULL;
    nib_status status = nib_quantize_check_class(&p->held, item->linear, item->plan.name, err);

    if (status) return status;
    item->kind = NIB_MERGE_PACKED;
    item->weight = item->linear->weight;
    item->branch = nib_branch_at(&item->linear->branches, 0);
    if (f->must_learn && f->must_learn(&p->held.form)) {
        status = encode(p, item, &w, err);
        if (status) return status;
        learned = f->learn(w);
        nib_weight_destroy(p->ctx, w);
    }
    status = f->plan(&form, item->weight->out, item->weight->in, learned, item->plan.name,
                     &m->parts, err);
    return status ? nib_fail_in(err, status, "%s", item->plan.name) : NIB_OK;
}

nib_status nib_merge_pack(nib_model *m, const nib_quantize_options *o, const nib_held *held,
                          const nib_merge_wide *wide, nib_merge_plan *plan, nib_merge_packed *out,
                          nib_error *err)
{
    nib_merge_packed p = { .ctx = m->ctx, .held = *held, .wide = wide };
    bool low_bit = has_low_bit(m);
    nib_status status = check_skips(m, o, held->format, err);

    if (status) return status;
    p.matrices = nib_new_array(m->ctx, plan->count, sizeof *p.matrices);
    p.dense = nib_new_array(m->ctx, plan->count + o->skip_count + 1, sizeof *p.dense);
    if (!p.matrices || !p.dense) {
        nib_merge_packed_free(&p);
        return nib_fail(err, NIB_E_NOMEM, "%zu tensors: out of memory", plan->count);
    }
    for (size_t i = 0; i < o->skip_count; i++) p.dense[p.dense_count++] = o->skip_modules[i];
    for (size_t i = 0; i < plan->count && !status; i++) {
        nib_merge_item *item = &plan->items[i];
        bool listed, chosen = is_chosen(m, o, held, item, low_bit, &listed);
        if (nib_should_stop(m->ctx))
            status = nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
        if (listed && !p.dense_count && m->head) p.dense[p.dense_count++] = m->head->name;
        if (listed) p.dense[p.dense_count++] = item->linear->name;
        if (status || !chosen) continue;
        p.matrices[p.count].item = item;
        status = plan_matrix(&p, &p.matrices[p.count++], err);
    }
    if (!status && !p.count)
        status = nib_fail(err, NIB_E_MISMATCH, "%s: no matrix to quantize among %zu tensors",
                          m->dir, plan->count);
    if (status) nib_merge_packed_free(&p);
    else *out = p;
    return status;
}

void nib_merge_packed_free(nib_merge_packed *p)
{
    if (!p->ctx) return;
    nib_free(p->ctx, p->matrices);
    nib_free(p->ctx, p->dense);
    *p = (nib_merge_packed){ 0 };
}

const nib_merge_matrix *nib_merge_packed_of(const nib_merge_packed *p, const nib_merge_item *item)
{
    size_t low = 0, high = p->count;

    while (low < high) {
        size_t at = low + (high - low) / 2;
        if (p->matrices[at].item < item) low = at + 1;
        else high = at;
    }
    assert(low < p->count && p->matrices[low].item == item);
    return &p->matrices[low];
}

nib_status nib_merge_write_packed(const nib_merge_packed *p, nib_tensor_writer *w,
                                  const nib_merge_matrix *m, nib_error *err)
{
    nib_weight *made = NULL;
    nib_parts_out *parts = nib_new(p->ctx, sizeof *parts);
    nib_status status = parts ? encode(p, m->item, &made, err)
                              : nib_fail(err, NIB_E_NOMEM, "%s: out of memory",
                                         m->item->plan.name);

    if (!status) status = p->held.format->tensors(made, m->item->plan.name, parts, err);
    for (size_t i = 0; !status && i < parts->count; i++)
        status = nib_tensor_writer_put(w, parts->parts[i].data, parts->parts[i].bytes, err);
    nib_weight_destroy(p->ctx, made);
    nib_free(p->ctx, parts);
    return status;
}
