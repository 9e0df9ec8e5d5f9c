/* tfevents.h - writing TensorBoard's event files (formats.md 13).
 *
 *     record: u64 length, u32 masked CRC-32C of the length's bytes, data, u32 masked CRC-32C of
 * data data:   an Event message: wall_time, step, and a file_version, a Summary or a SessionLog
 *
 * Only appended to; each event is one write(2), so that a killed run leaves whole records but
 * perhaps the last. */
#ifndef NIB_FORMAT_TFEVENTS_H
#define NIB_FORMAT_TFEVENTS_H

#include "base/base.h"

typedef struct nib_tfevents nib_tfevents;

/* Makes a new file events.out.tfevents.<seconds>.<host>.<pid>.<n> in `dir`, which exists, with its
 * first record.  seconds: now, or later than every event file that is there: readers take them in
 * the order of their names.  NIB_E_IO, NIB_E_NOMEM. */
nib_status nib_tfevents_create(nib_ctx *ctx, const char *dir, nib_tfevents **out, nib_error *err);

/* A SessionLog START: a reader forgets what earlier files say of steps >= `step`. */
nib_status nib_tfevents_start(nib_tfevents *w, double wall_time, uint64_t step, nib_error *err);

/* A scalar.  tag: at most 200 bytes. */
nib_status nib_tfevents_scalar(nib_tfevents *w, double wall_time, uint64_t step, const char *tag,
                               float value, nib_error *err);

nib_status nib_tfevents_sync(nib_tfevents *w, nib_error *err);
void nib_tfevents_close(nib_tfevents *w); /* NULL is fine */

/* The record of one event, as bytes: returns their number.  out has NIB_TFEVENTS_RECORD bytes; tag
 * NULL: the file's first record; value NULL: SessionLog START. */
enum { NIB_TFEVENTS_RECORD = 320 };
size_t nib_tfevents_record(uint8_t *out, double wall_time, uint64_t step, const char *tag,
                           const float *value);

#endif
