/* unigram.c - a unigram model: of all ways to cut a piece into pieces of the vocabulary the one
 * with the greatest sum of scores (Kudo 2018; formats-encoder.md 10.4).
 *
 * Forward: from each character all pieces that begin there, shortest first; a place keeps the first
 * of equal sums, as the library does.  Backward: the tokens, neighbours that are unknown in one. */
#include <math.h>

#include "format/json.h"
#include "text/parts.h"
#include "text/schema.h"
#include "text/utf8.h"

enum { NOWHERE = UINT32_MAX };

/* --- reading --- */

static nib_status load_piece(nib_tokenizer *t, const json_t *j, size_t id, const char *where,
                             nib_error *err)
{
    const char *piece = json_string_value(json_array_get(j, 0));
    const json_t *score = json_array_get(j, 1);

    if (!piece || json_array_size(j) != 2 || !json_is_number(score) ||
        !isfinite(json_number_value(score)))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: model.vocab: entry %zu is not [\"piece\", score] with a finite score",
                        where, id);
    t->tokens[id] = piece;
    t->scores[id] = json_number_value(score);
    return NIB_OK;
}

/* Of a piece that occurs twice the later id counts: they are entered from behind. */
static nib_status index_pieces(nib_tokenizer *t, nib_error *err)
{
    size_t count = t->vocabulary_size;
    nib_trie_key *keys = nib_new_array(t->ctx, nib_max(count, 1), sizeof *keys);
    double least = INFINITY;
    bool good = keys != NULL;
    nib_status status;

    for (size_t i = count; i-- && good;) {
        uint32_t bytes = (uint32_t)strlen(t->tokens[i]);

        keys[i] = (nib_trie_key){ t->tokens[i], bytes, (int32_t)i };
        least = t->scores[i] < least ? t->scores[i] : least;
        good = nib_words_put(t->ctx, &t->vocabulary, t->tokens[i], bytes, (uint32_t)i);
    }
    t->unk_score = least - 10;
    status = good ? nib_trie_build(t->ctx, keys, count, &t->pieces, err)
                  : nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    nib_free(t->ctx, keys);
    return status;
}

nib_status nib_unigram_load(nib_tokenizer *t, const json_t *model, const char *where,
                            nib_error *err)
{
    const json_t *vocab = json_object_get(model, "vocab"), *unk = json_object_get(model, "unk_id");
    size_t count = json_array_size(vocab);
    nib_status status;

    t->kind = NIB_MODEL_UNIGRAM;
    if ((status = nib_schema_check(model, where, "model",
                                   "type:s? unk_id:u?~ vocab:a byte_fallback:b?", err)) ||
        (status = nib_json_get_bool(model, where, "byte_fallback", &t->byte_fallback, err)) ||
        (status = nib_ids_init(t, nib_max(count, 1), where, err)))
        return status;
    if (json_is_integer(unk) && (uint64_t)json_integer_value(unk) >= count)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: model.unk_id is %" JSON_INTEGER_FORMAT " of a vocabulary of %zu",
                        where, json_integer_value(unk), count);
    t->unk = json_is_integer(unk) ? json_integer_value(unk) : -1;
    t->vocabulary_size = count;
    t->scores = nib_new_array(t->ctx, nib_max(count, 1), sizeof *t->scores);
    if (!t->scores) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    for (size_t i = 0; i < count && !status; i++)
        status = load_piece(t, json_array_get(vocab, i), i, where, err);
    if (!status) status = index_pieces(t, err);
    if (!status) nib_byte_ids_find(t);
    return status;
}

/* --- the search --- */

static void offer(nib_lattice *to, double score, uint32_t id, uint32_t from)
{
    if (to->from == NOWHERE || score > to->score) *to = (nib_lattice){ score, id, from };
}

/* false: a character is unknown, and there is no unknown token. */
static bool search(const nib_tokenizer *t, const char *text, uint32_t bytes)
{
    nib_lattice *at = t->lattice;
    uint32_t n;

    at[0] = (nib_lattice){ 0 };
    for (uint32_t i = 1; i <= bytes; i++) at[i].from = NOWHERE;
    for (uint32_t i = 0; i < bytes; i += n) {
        double so_far = at[i].score;
        bool one = false; /* a piece of one character */
        uint32_t s = 0;

        n = (uint32_t)nib_utf8_length(text[i]);
        for (uint32_t k = i; k < bytes && (s = nib_trie_next(&t->pieces, s, (uint8_t)text[k]));
             k++) {
            int32_t id = t->pieces.units[s].value;

            if (id < 0) continue;
            offer(&at[k + 1], so_far + t->scores[id], (uint32_t)id, i);
            one |= k + 1 == i + n;
        }
        if (one) continue;
        if (t->unk < 0) return false;
        offer(&at[i + n], so_far + t->unk_score, (uint32_t)t->unk, i);
    }
    return true;
}

/* Turns the links around: at[i].from becomes where the token that begins at i ends. */
static void turn_around(nib_lattice *at, uint32_t bytes)
{
    uint32_t end = bytes, from, id = at[bytes].id;

    for (uint32_t i = at[bytes].from;; i = from) {
        uint32_t before = at[i].id;
        from = at[i].from;
        at[i].from = end;
        at[i].id = id;
        if (i == 0) break;
        id = before;
        end = i;
    }
}

/* What is in no piece: its bytes if the vocabulary has them all, else unknown. */
static nib_status emit_unknown(nib_tokenizer *t, size_t begin, size_t end, nib_tokens *out,
                               nib_error *err)
{
    int64_t known = nib_words_get(&t->vocabulary, t->work.text + begin, end - begin);
    bool bytes = t->byte_fallback && known < 0;
    nib_status status = NIB_OK;

    for (size_t i = begin; i < end && bytes; i++)
        bytes = t->byte_ids[(uint8_t)t->work.text[i]] >= 0;
    if (!bytes) return nib_emit(t, (uint32_t)(known >= 0 ? known : t->unk), begin, end, out, err);
    for (size_t i = begin; i < end && !status; i++)
        status = nib_emit(t, (uint32_t)t->byte_ids[(uint8_t)t->work.text[i]], begin, end, out, err);
    return status;
}

nib_status nib_unigram(nib_tokenizer *t, nib_range piece, nib_tokens *out, nib_error *err)
{
    size_t bytes = piece.end - piece.begin;
    const nib_lattice *at;
    nib_status status = NIB_OK;

    if (bytes >= NOWHERE)
        return nib_fail(err, NIB_E_UNSUPPORTED, "a text of %zu bytes without a cut", bytes);
    if (!nib_grow(t->ctx, &t->lattice, &t->lattice_capacity, bytes + 1, sizeof *t->lattice))
        return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
    if (!search(t, t->work.text + piece.begin, (uint32_t)bytes))
        return nib_fail(err, NIB_E_FORMAT,
                        "tokenizer.json: a character is in no piece, and the model has no unk_id");
    turn_around(t->lattice, (uint32_t)bytes);
    at = t->lattice;
    for (uint32_t i = 0, end; i < bytes && !status; i = end) {
        end = at[i].from;
        if (at[i].id != t->unk) {
            status = nib_emit(t, at[i].id, piece.begin + i, piece.begin + end, out, err);
            continue;
        }
        while (end < bytes && at[end].id == t->unk) end = at[end].from;
        status = emit_unknown(t, piece.begin + i, piece.begin + end, out, err);
    }
    return status;
}
