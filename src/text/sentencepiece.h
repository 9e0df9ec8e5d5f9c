/* sentencepiece.h - a SentencePiece model file: the pieces and what normalizes before them.
 *
 * A protobuf message (sentencepiece_model.proto): 1 repeated piece {1 text, 2 score, 3 type},
 * 2 trainer_spec {3 model_type, 35 byte_fallback, 40 unk_id, 45 unk_piece}, 3 normalizer_spec
 * {2 precompiled_charsmap}.  Fields that are not known are passed over, as protobuf does. */
#ifndef NIB_TEXT_SENTENCEPIECE_H
#define NIB_TEXT_SENTENCEPIECE_H

#include "base/base.h"

enum { NIB_PIECE_CONTROL = 3, NIB_PIECE_USER = 4, NIB_PIECE_MOST_BYTES = 1024 };
enum { NIB_SPM_UNIGRAM = 1, NIB_SPM_BPE = 2 };

typedef struct nib_spm_piece {
    const char *text; /* borrowed from the file's bytes, not ended */
    uint32_t bytes;
    float score;
    int type;
} nib_spm_piece;

typedef struct nib_spm {
    nib_spm_piece *pieces;
    size_t count, capacity;
    int64_t model_type, unk_id;
    const char *unk_piece;
    size_t unk_piece_bytes;
    const uint8_t *charsmap; /* NULL: none */
    size_t charsmap_bytes;
} nib_spm;

/* Reads a file's bytes, which must stay as long as `out`.  NIB_E_FORMAT with `where` and the byte:
 * a field that passes the end of the file or of its message, a piece that is no UTF-8, holds a NUL
 * or is longer than NIB_PIECE_MOST_BYTES, a score that is not finite, no pieces. */
nib_status nib_spm_read(nib_ctx *ctx, const uint8_t *bytes, size_t count, const char *where,
                        nib_spm *out, nib_error *err);
void nib_spm_free(nib_ctx *ctx, nib_spm *m);

#endif
