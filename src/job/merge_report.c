/* merge_report.c - see merge_report.h. */
#include "job/merge_report.h"

#include <math.h>

#include "base/outname.h"

enum { LISTED = 10, SHOWN = 3, LINE_BYTES = 160 };
static const double most_loss = .02; /* nats a token that a merge may lose */

/* What was kept, against which merge_min_gain is held. */
static double kept_of(const nib_merge_measured *m)
{
    return m->verified ? m->losses.kept : m->all.survived;
}

/* An adapter that gains nothing on the records has no share to lose; its loss may rise all the
 * same.  Without records a part counts that is not owed to chance, and one above 1 as one below:
 * noise that is greater than the change has some part of it, of either sign. */
bool nib_merge_is_enough(const nib_merge_measured *m, double least)
{
    if (m->verified)
        return m->losses.merged - m->losses.adapter <= most_loss &&
               (isnan(m->losses.kept) || m->losses.kept >= least);
    return !m->survivors.count || isnan(m->all.survived) || /* the adapter changes nothing */
           1 - fabs(1 - m->all.survived) - 2 * m->all.standard_error >= least;
}

/* --- JSON --- */

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *survival_json(nib_survival s)
{
    return json_pack("{s:o, s:o, s:o, s:I}", "survived", number(s.survived), "standard_error",
                     number(s.standard_error), "noise", number(s.noise), "rows",
                     (json_int_t)s.rows);
}

static json_t *loss_json(const nib_merge_losses *l)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "base", number(l->base),
                     "adapter", number(l->adapter), "merged", number(l->merged), "gain_kept",
                     number(l->kept), "kl_divergence", number(l->divergence),
                     "kl_divergence_standard_error", number(l->divergence_error),
                     "top1_agreement", number(l->agreement), "records", (json_int_t)l->records,
                     "tokens", (json_int_t)l->tokens);
}

static json_t *matrices_json(const nib_merge_measured *m)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < m->survivors.count; i++) {
        json_t *one = survival_json(nib_survival_of(&m->survivors.items[i].sums));
        if (one) json_object_set_new(one, "module", json_string(m->survivors.items[i].name));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *answers_json(const nib_merge_measured *m)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < m->answer_count; i++) {
        const nib_merge_answer *a = &m->answers[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "prompt", a->prompt,
                                              "adapter", a->adapter, "merged", a->merged, "same",
                                              a->same));
    }
    return list;
}

static json_t *adapters_json(const nib_merge_facts *f)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < f->count; i++)
        json_array_append_new(list, json_pack("{s:s, s:f}", "name", nib_last_part(f->list[i].dir),
                                              "weight", f->list[i].weight));
    return list;
}

json_t *nib_merge_report_json(const nib_merge_measured *m, const nib_merge_facts *f)
{
    const char *records = m->verified ? nib_last_part(m->records.name) : NULL;

    return json_pack("{s:s, s:o, s:s, s:I, s:I, s:I, s:s, s:s?, s:o, s:o, s:o, s:o}", "model",
                     nib_last_part(f->model), "adapters", adapters_json(f), "form", f->result->form,
                     "matrices_encoded", (json_int_t)f->result->matrices, "matrices_in_8_bits",
                     (json_int_t)f->result->wide, "bytes",
                     (json_int_t)f->result->bytes, "space", m->verified ? "inputs" : "weights",
                     "records", records, "survival", survival_json(m->all), "loss",
                     m->verified ? loss_json(&m->losses) : json_null(), "answers", answers_json(m),
                     "matrices", matrices_json(m));
}

/* --- words --- */

/* The matrices that kept the least, at most `most` of them. */
static size_t find_worst(const nib_merge_measured *m, size_t most, size_t *out)
{
    size_t count = 0;

    for (size_t i = 0; i < m->survivors.count; i++) {
        double s = nib_survival_of(&m->survivors.items[i].sums).survived;
        size_t at = count;
        if (isnan(s)) continue;
        while (at && s < nib_survival_of(&m->survivors.items[out[at - 1]].sums).survived) at--;
        if (at == most) continue;
        count = nib_min(count + 1, most);
        for (size_t k = count - 1; k > at; k--) out[k] = out[k - 1];
        out[at] = i;
    }
    return count;
}

/* A text in one line, cut to a length that ends with a character. */
static void put_line(nib_text *t, const char *label, const char *text)
{
    size_t n = strlen(text), cut = nib_min(n, LINE_BYTES);

    while (cut < n && cut && ((uint8_t)text[cut] & 0xc0) == 0x80) cut--;
    nib_text_puts(t, label);
    for (size_t i = 0; i < cut; i++) {
        char c = (uint8_t)text[i] < ' ' ? ' ' : text[i];
        nib_text_put(t, &c, 1);
    }
    nib_text_puts(t, cut < n ? " ...\n" : "\n");
}

static void put_survival(const nib_merge_measured *m, nib_text *t)
{
    nib_text_printf(t, "survived: %.3f +- %.3f of the adapter's change, with noise of %.2f beside "
                       "it (%zu matrices; ", m->all.survived, m->all.standard_error, m->all.noise,
                    m->survivors.count);
    if (m->verified)
        nib_text_puts(t, "on what they read of the records)\n");
    else
        nib_text_puts(t, "in the weights alone: --verify FILE measures on records)\n");
}

static void put_losses(const nib_merge_losses *l, nib_text *t)
{
    nib_text_printf(t, "loss: %.4f without the adapter, %.4f with it, %.4f merged; ", l->base,
                    l->adapter, l->merged);
    if (isfinite(l->kept)) nib_text_printf(t, "%.1f %% of its gain is kept", 100 * l->kept);
    else nib_text_puts(t, "it gains nothing on these records");
    if (isfinite(l->divergence))
        nib_text_printf(t, "; KL %.4f +- %.4f, %.1f %% of %" PRIu64 " tokens agree", l->divergence,
                        l->divergence_error, 100 * l->agreement, l->tokens);
    nib_text_puts(t, "\n");
}

void nib_merge_report_text(const nib_merge_measured *m, nib_text *t)
{
    size_t worst[SHOWN], count = find_worst(m, SHOWN, worst);

    if (!m->survivors.count) nib_text_puts(t, "survived: the adapter changes no matrix\n");
    else put_survival(m, t);
    for (size_t i = 0; i < count; i++) {
        const nib_survivor *s = &m->survivors.items[worst[i]];
        nib_text_printf(t, "%s%.3f in ", i ? ", " : "least: ", nib_survival_of(&s->sums).survived);
        nib_text_puts(t, s->name);
    }
    if (count) nib_text_puts(t, "\n");
    if (!m->verified) return;
    put_losses(&m->losses, t);
    for (size_t i = 0; i < nib_min(m->answer_count, SHOWN); i++) {
        put_line(t, "prompt:  ", m->answers[i].prompt);
        put_line(t, "adapter: ", m->answers[i].adapter);
        put_line(t, "merged:  ", m->answers[i].same ? "(the same)" : m->answers[i].merged);
    }
}

/* --- README.md --- */

static void put_front(const nib_merge_facts *f, nib_text *t)
{
    nib_text_puts(t, "---\nbase_model: ");
    nib_text_json_string(t, nib_last_part(f->model), true); /* a YAML double-quoted string too */
    nib_text_puts(t, "\nlibrary_name: transformers\ntags:\n- merged\n---\n\n");
}

static void put_numbers(nib_survival s, nib_text *t)
{
    nib_text_printf(t, "%.3f | %.3f | %.3f | %" PRIu64 " |\n", s.survived, s.standard_error,
                    s.noise, s.rows);
}

static void put_table(const nib_merge_measured *m, nib_text *t)
{
    size_t worst[LISTED], count = find_worst(m, LISTED, worst);

    nib_text_puts(t, "| matrix | survived | standard error | noise | rows |\n"
                     "|---|---|---|---|---|\n| all | ");
    put_numbers(m->all, t);
    for (size_t i = 0; i < count; i++) {
        const nib_survivor *s = &m->survivors.items[worst[i]];
        nib_text_puts(t, "| ");
        nib_text_puts(t, s->name);
        nib_text_puts(t, " | ");
        put_numbers(nib_survival_of(&s->sums), t);
    }
}

void nib_merge_report_page(const nib_merge_measured *m, const nib_merge_facts *f, nib_text *t)
{
    put_front(f, t);
    nib_text_puts(t, "# A merged model\n\n`");
    nib_text_puts(t, nib_last_part(f->model));
    nib_text_puts(t, "` with");
    for (size_t i = 0; i < f->count; i++) {
        nib_text_printf(t, "%s %g times `", i ? "," : "", f->list[i].weight);
        nib_text_puts(t, nib_last_part(f->list[i].dir));
        nib_text_puts(t, "`");
    }
    nib_text_printf(t, " in its weights, by nibble " NIB_VERSION ".  Linears: %s", f->result->form);
    if (f->result->wide)
        nib_text_printf(t, ", %" PRIu64 " of %" PRIu64 " in 8 bits", f->result->wide,
                        f->result->matrices);
    nib_text_puts(t, ".\n\n");
    nib_text_puts(t, "## What survived\n\nOf the adapter's change of each matrix, what is in the "
                     "stored one (1: all, 0: nothing), and the noise beside it as a part of the "
                     "change; ");
    nib_text_puts(t, m->verified ? "on rows that the matrices read of the records below"
                                 : "of each weight alike, without samples");
    nib_text_puts(t, ".  The least ones; all are in `merge_report.json`.\n\n");
    put_table(m, t);
    if (!m->verified) return;
    nib_text_printf(t, "\n## On %" PRIu64 " records of `", m->losses.records);
    nib_text_puts(t, nib_last_part(m->records.name));
    nib_text_puts(t, "`\n\n");
    put_losses(&m->losses, t);
}

/* --- advice --- */

void nib_merge_report_advice(const nib_merge_measured *m, const nib_merge_facts *f, nib_text *t)
{
    const nib_quantize_options *q = &f->options->quantize;
    bool low = strcmp(f->result->form, "dense") != 0;
    double kept = kept_of(m), mb = 1e-6;

    if (isfinite(kept))
        nib_text_printf(t, "%.3f of the adapter's %s is kept", kept,
                        m->verified ? "gain in loss" : "change of the weights");
    if (isfinite(kept) && !m->verified)
        nib_text_printf(t, " (standard error %.3f)", m->all.standard_error);
    if (!isfinite(kept)) nib_text_puts(t, "the adapter gains nothing on the records");
    if (m->verified)
        nib_text_printf(t, ", and the loss rises by %.4f nats a token (at most %g is taken)",
                        m->losses.merged - m->losses.adapter, most_loss);
    nib_text_puts(t, ". What helps: ");
    if (low && !q->calibration.data)
        nib_text_printf(t, "(1) codes calibrated on the training data, --format gptq "
                           "--calibration-data FILE: about the same size, %.1f MB more on the disk "
                           "meanwhile, and two passes over its records; ",
                        (double)f->dense_bytes * mb);
    else if (low)
        nib_text_puts(t, "(1) more calibration data (--num-calibration-samples), or smaller groups "
                         "(--group-size 32: 12 % larger); ");
    else if (f->route && strcmp(f->route, "original") == 0)
        nib_text_puts(t, "(1) --route decoded: into the weights that the adapter was trained on; ");
    else if (f->dtype != NIB_F32)
        nib_text_printf(t, "(1) --dtype float32: %.1f MB; ", 2 * (double)f->dense_bytes * mb);
    if (low && strcmp(f->result->form, "int8") != 0 && !f->options->mixed_bits)
        nib_text_printf(t, "(2) 8 bits for the damaged matrices, --format gptq --mixed-bits auto, "
                           "at most the %.1f MB of --format int8 in place of %.1f MB; ",
                        (double)f->int8_bytes * mb, (double)f->result->bytes * mb);
    nib_text_printf(t, "(3) the adapter kept beside the base, which no merge can damage: %.1f MB "
                       "and %.1f %% more work a token",
                    (double)f->adapter_bytes * mb, 100 * f->share);
}
