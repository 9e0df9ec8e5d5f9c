/* data_add.c - a token of the record at hand, and the record's end. */
#include "train/data_reader.h"

size_t nib_data_limit(const nib_data_reader *r)
{
    if (r->o->max_seq_length != NIB_OPEN) return (size_t)r->o->max_seq_length;
    return r->in->positions ? r->in->positions : INT32_MAX;
}

size_t nib_data_window(const nib_data_reader *r)
{
    enum { USUAL = 1024 }; /* TRL's max_length */

    return r->o->max_seq_length == NIB_OPEN ? nib_min(nib_data_limit(r), (size_t)USUAL)
                                            : nib_data_limit(r);
}

bool nib_data_is_too_long(nib_data_reader *r, size_t tokens)
{
    nib_data_counts *c = &r->d->counts;

    if (!r->o->long_records || strcmp(r->o->long_records, "drop") != 0) return false;
    c->too_long++;
    c->longest_left_out = nib_max(c->longest_left_out, tokens);
    return true;
}

nib_status nib_data_add_token(nib_data_reader *r, const char *where, int64_t id, uint8_t mark,
                              nib_error *err)
{
    if (id < 0 || id >= r->in->vocabulary) {
        const char *name = r->in->tokenizer && id >= 0 && id <= UINT32_MAX
                               ? nib_tokenizer_token(r->in->tokenizer, (uint32_t)id)
                               : NULL;
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: token %" PRId64 "%s%s%s is beyond the vocabulary of %u", where, id,
                        name ? " ('" : "", name ? name : "", name ? "')" : "", r->in->vocabulary);
    }
    return nib_dataset_add(r->d, where, (uint32_t)id, mark, err);
}

nib_status nib_data_end_record(nib_data_reader *r, const char *where, bool cut, nib_error *err)
{
    nib_dataset *d = r->d;
    size_t begin = nib_dataset_begin(d), targets = 0;

    d->counts.longest_read = (uint32_t)nib_max(d->counts.longest_read, d->used - begin);
    for (size_t i = begin + 1; i < d->used; i++) targets += d->trained[i];
    if (d->used > begin && !targets && cut) d->counts.cut_off++;
    if (d->used > begin && (targets || r->in->keep_all)) return nib_dataset_end(d, where, err);
    if (d->used == begin) d->counts.empty++;
    else d->counts.masked_out++;
    nib_dataset_drop(d);
    return NIB_OK;
}
