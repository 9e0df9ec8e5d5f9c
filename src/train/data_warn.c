/* data_warn.c - what a person should look at before training on the data: each a warning by itself,
 * with its numbers and what to do. */
#include <stdio.h>

#include "train/data_reader.h"

/* Above this fraction of records of which nothing is left to train, the limit is a mistake. */
static const double most_cut_off = 0.05;

static nib_status warn_too_long(nib_data_reader *r, nib_error *err)
{
    const nib_data_counts *c = &r->d->counts;
    bool open = r->o->max_seq_length == NIB_OPEN;
    double fraction = (double)c->too_long / (double)(c->records ? c->records : 1);
    char text[600];

    if (!c->too_long) return NIB_OK;
    snprintf(text, sizeof text,
             "%.300s: %" PRIu64 " of %" PRIu64 " records (%.1f %%) are longer than %s, %zu tokens; "
             "the longest has %" PRIu64,
             nib_data_name(r->o), c->too_long, c->records, 100 * fraction,
             open ? "the model allows" : "max_seq_length", nib_data_limit(r), c->longest_left_out);
    if (!r->o->skip_bad && fraction > most_cut_off)
        return nib_fail(err, NIB_E_INVALID,
                        "%s: %s, cut them with long_records cut, or leave them out with skip_bad",
                        text, open ? "make them shorter" : "raise max_seq_length");
    nib_warn_code(r->ctx, "too-long", "%s; they are left out (long_records drop)", text);
    return NIB_OK;
}

static nib_status warn_cut_off(nib_data_reader *r, nib_error *err)
{
    const nib_data_counts *c = &r->d->counts;
    double fraction = (double)c->cut_off / (double)(c->records ? c->records : 1);
    char text[600];

    if (!c->cut_off) return NIB_OK;
    snprintf(text, sizeof text,
             "%.300s: %" PRIu64 " of %" PRIu64
             " records (%.1f %%) have no trained token among their "
             "first %zu (max_seq_length)",
             nib_data_name(r->o), c->cut_off, c->records, 100 * fraction, nib_data_limit(r));
    if (!r->in->keep_all && !r->o->skip_bad && fraction > most_cut_off)
        return nib_fail(err, NIB_E_INVALID,
                        "%s: raise max_seq_length, or leave them out with skip_bad", text);
    nib_warn_code(r->ctx, "cut-off", "%s%s", text, r->in->keep_all ? "" : " and are left out");
    return NIB_OK;
}

static void warn_left_out(nib_data_reader *r)
{
    const nib_data_counts *c = &r->d->counts;
    uint64_t masked = c->masked_out - (r->in->keep_all ? 0 : c->cut_off);

    if (c->empty)
        nib_warn_code(r->ctx, "empty-records",
                      "%s: %" PRIu64 " of %" PRIu64
                      " records are left out: an empty text or completion",
                      nib_data_name(r->o), c->empty, c->records);
    if (masked)
        nib_warn_code(r->ctx, "nothing-trained",
                      "%s: %" PRIu64 " of %" PRIu64
                      " records are left out: all their tokens are masked",
                      nib_data_name(r->o), masked, c->records);
    if (c->bad)
        nib_warn_code(r->ctx, "bad-records",
                      "%s: %" PRIu64 " of %" PRIu64 " records are bad and were left out (skip_bad)",
                      nib_data_name(r->o), c->bad, c->records);
}

nib_status nib_data_warn(nib_data_reader *r, nib_error *err)
{
    const nib_data_counts *c = &r->d->counts;
    char fields[700];
    nib_status status = warn_too_long(r, err);

    if (!status) status = warn_cut_off(r, err);
    if (status) return status;
    warn_left_out(r);
    nib_data_list_unused(r, fields, sizeof fields);
    if (*fields)
        nib_warn_code(r->ctx, "unused-fields", "%.200s: not used (the shape is %s): %s",
                      nib_data_name(r->o), nib_shape_name(r->d->shape), fields);
    if (c->split)
        nib_warn_code(
            r->ctx, "split-token",
            "%s: %" PRIu64 " of %" PRIu64 " records end their prompt inside a token; training "
            "begins with that token, which generation will not see so: end prompts before a "
            "space, not behind it",
            nib_data_name(r->o), c->split, c->records);
    return NIB_OK;
}
