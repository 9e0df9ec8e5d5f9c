/* sentencepiece.c - see sentencepiece.h. */
#include "text/sentencepiece.h"

#include <math.h>

#include "text/utf8.h"

enum { MOST_PIECES = 1 << 22 };

typedef struct reader {
    const uint8_t *base;
    size_t at, end;
    const char *where;
} reader;

/* One field: a number, or for the wire type 2 the range of its bytes. */
typedef struct field {
    uint64_t number, value;
    unsigned wire;
    size_t begin, bytes;
} field;

static nib_status broken(const reader *r, const char *what, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s: byte %zu: %s; expected a SentencePiece model", r->where,
                    r->at, what);
}

static nib_status read_varint(reader *r, uint64_t *out, nib_error *err)
{
    uint64_t value = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t b;

        if (r->at == r->end) return broken(r, "a number passes the end", err);
        b = r->base[r->at++];
        value |= (uint64_t)(b & 127) << shift;
        if (b < 128) {
            *out = value;
            return NIB_OK;
        }
    }
    return broken(r, "a number of more than ten bytes", err);
}

static nib_status read_field(reader *r, field *f, nib_error *err)
{
    uint64_t key = 0, length = 0;
    nib_status status = read_varint(r, &key, err);

    if (status) return status;
    *f = (field){ .number = key >> 3, .wire = (unsigned)(key & 7) };
    if (f->number == 0) return broken(r, "field 0", err);
    switch (f->wire) {
    case 0: return read_varint(r, &f->value, err);
    case 1: length = 8; break;
    case 2:
        status = read_varint(r, &length, err);
        if (status) return status;
        break;
    case 5: length = 4; break;
    default: return broken(r, "a field of an unknown kind", err);
    }
    if (length > r->end - r->at) return broken(r, "a field passes the end", err);
    f->begin = r->at;
    f->bytes = (size_t)length;
    r->at += f->bytes;
    return NIB_OK;
}

static reader inside(const reader *r, const field *f)
{
    return (reader){ r->base, f->begin, f->begin + f->bytes, r->where };
}

static nib_status check_piece(const reader *r, const nib_spm_piece *p, size_t number,
                              nib_error *err)
{
    const char *what = p->bytes > NIB_PIECE_MOST_BYTES ? "is too long"
                       : !isfinite(p->score)           ? "has a score that is not finite"
                                                       : NULL;

    for (size_t i = 0, n; i < p->bytes && !what; i += n) {
        n = nib_utf8_valid(p->text + i, p->bytes - i);
        if (n == 0 || p->text[i] == 0) what = "is no UTF-8";
    }
    return what ? nib_fail(err, NIB_E_FORMAT, "%s: piece %zu %s", r->where, number, what) : NIB_OK;
}

static nib_status read_piece(nib_ctx *ctx, reader r, nib_spm *m, nib_error *err)
{
    nib_spm_piece p = { .text = "", .type = 1 };
    nib_status status = NIB_OK;

    while (r.at < r.end && !status) {
        field f;

        status = read_field(&r, &f, err);
        if (status) return status;
        if (f.number == 1 && f.wire == 2) {
            if (f.bytes > UINT32_MAX) return broken(&r, "a piece is too long", err);
            p.text = (const char *)r.base + f.begin;
            p.bytes = (uint32_t)f.bytes;
        } else if (f.number == 2 && f.wire == 5) {
            uint32_t bits = nib_load_le32(r.base + f.begin);
            memcpy(&p.score, &bits, sizeof bits);
        } else if (f.number == 3 && f.wire == 0) {
            p.type = f.value < 16 ? (int)f.value : 0;
        }
    }
    status = check_piece(&r, &p, m->count, err);
    if (status) return status;
    if (m->count == MOST_PIECES) return broken(&r, "too many pieces", err);
    if (!nib_grow(ctx, &m->pieces, &m->capacity, m->count + 1, sizeof p))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", r.where);
    m->pieces[m->count++] = p;
    return NIB_OK;
}

static nib_status read_trainer(reader r, nib_spm *m, nib_error *err)
{
    nib_status status = NIB_OK;

    while (r.at < r.end && !status) {
        field f;

        status = read_field(&r, &f, err);
        if (status) return status;
        if (f.number == 3 && f.wire == 0) m->model_type = (int64_t)f.value;
        if (f.number == 40 && f.wire == 0) m->unk_id = (int32_t)f.value;
        if (f.number == 45 && f.wire == 2) {
            m->unk_piece = (const char *)r.base + f.begin;
            m->unk_piece_bytes = f.bytes;
        }
    }
    return NIB_OK;
}

static nib_status read_normalizer(reader r, nib_spm *m, nib_error *err)
{
    nib_status status = NIB_OK;

    while (r.at < r.end && !status) {
        field f;

        status = read_field(&r, &f, err);
        if (status) return status;
        if (f.number == 2 && f.wire == 2 && f.bytes) {
            m->charsmap = r.base + f.begin;
            m->charsmap_bytes = f.bytes;
        }
    }
    return NIB_OK;
}

nib_status nib_spm_read(nib_ctx *ctx, const uint8_t *bytes, size_t count, const char *where,
                        nib_spm *out, nib_error *err)
{
    reader r = { bytes, 0, count, where };
    nib_spm m = { .model_type = NIB_SPM_UNIGRAM, .unk_piece = "<unk>", .unk_piece_bytes = 5 };
    nib_status status = NIB_OK;

    while (r.at < r.end && !status) {
        field f;

        status = read_field(&r, &f, err);
        if (status) break;
        if (f.wire != 2) continue;
        if (f.number == 1) status = read_piece(ctx, inside(&r, &f), &m, err);
        if (f.number == 2) status = read_trainer(inside(&r, &f), &m, err);
        if (f.number == 3) status = read_normalizer(inside(&r, &f), &m, err);
    }
    if (!status && m.count == 0)
        status = nib_fail(err, NIB_E_FORMAT, "%s: no pieces; expected a SentencePiece model",
                          where);
    if (status) nib_spm_free(ctx, &m);
    else *out = m;
    return status;
}

void nib_spm_free(nib_ctx *ctx, nib_spm *m)
{
    nib_free(ctx, m->pieces);
    *m = (nib_spm){ 0 };
}
