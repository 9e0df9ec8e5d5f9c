/* answer_scores.c - see answer_scores.h. */
#include "job/answer_scores.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "text/unicode_sets.h"
#include "text/utf8.h"

typedef struct points { /* a text by characters */
    uint32_t *c;
    size_t count;
} points;

const char *nib_answer_score_name(nib_answer_score which)
{
    static const char *const names[] = { "exact",       "exact_match",        "contains",
                                         "regex",       "json_valid",         "json_fields",
                                         "rouge_l",     "chrf",               "json_schema",
                                         "json_schema_fields", "acc",         "acc_norm",
                                         "acc_bytes" };
    return names[which];
}

bool nib_answer_score_named(const char *name, nib_answer_score *out)
{
    static const nib_answer_score known[] = {
        NIB_ANSWER_EXACT,       NIB_ANSWER_EXACT_MATCH, NIB_ANSWER_CONTAINS, NIB_ANSWER_JSON_VALID,
        NIB_ANSWER_JSON_FIELDS, NIB_ANSWER_ROUGE_L,     NIB_ANSWER_CHRF,
    };

    if (strcmp(name, "rougeL") == 0) name = nib_answer_score_name(NIB_ANSWER_ROUGE_L);
    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strcmp(nib_answer_score_name(known[i]), name) == 0) return *out = known[i], true;
    return false;
}

static bool is_quote(uint32_t c)
{
    return c == '"' || c == '\'' || c == '`' || (c >= 0x2018 && c <= 0x201f) || c == 0xab ||
           c == 0xbb;
}

/* --- forms of a text --- */

static nib_status read_points(nib_ctx *ctx, const char *text, points *out, nib_error *err)
{
    size_t bytes = strlen(text);

    out->c = nib_new_array(ctx, bytes + 1, sizeof *out->c);
    if (!out->c) return nib_fail(err, NIB_E_NOMEM, "an answer of %zu bytes: out of memory", bytes);
    for (size_t i = 0; i < bytes;) {
        size_t n = nib_utf8_valid(text + i, bytes - i);
        if (out->count == NIB_MOST_ANSWER)
            return nib_fail(err, NIB_E_INVALID, "a text of more than %d characters is not scored",
                            NIB_MOST_ANSWER);
        out->c[out->count++] = n ? nib_utf8_read(text + i) : 0xfffd;
        i += n ? n : 1;
    }
    return NIB_OK;
}

/* Without blanks at its ends. */
static points trimmed(points p)
{
    while (p.count && nib_is_python_space(*p.c)) p.c++, p.count--;
    while (p.count && nib_is_python_space(p.c[p.count - 1])) p.count--;
    return p;
}

/* In place. */
static points normalised(points p)
{
    points out = { p.c, 0 };
    bool blank = false;

    for (size_t i = 0; i < p.count; i++) {
        if (nib_is_python_space(p.c[i])) {
            blank = true;
            continue;
        }
        if (blank && out.count) out.c[out.count++] = ' ';
        blank = false;
        out.c[out.count++] = nib_unicode_lower(p.c[i]);
    }
    while (out.count) {
        uint32_t c = out.c[out.count - 1];
        if (c != ' ' && !is_quote(c) && (c > 0x7f || !strchr(".,;:!?", (int)c))) break;
        out.count--;
    }
    while (out.count && (is_quote(*out.c) || *out.c == ' ')) out.c++, out.count--;
    return out;
}

static bool same(points a, points b)
{
    return a.count == b.count && memcmp(a.c, b.c, a.count * sizeof *a.c) == 0;
}

static bool holds(points text, points part)
{
    if (!part.count) return false;
    for (size_t i = 0; i + part.count <= text.count; i++)
        if (memcmp(text.c + i, part.c, part.count * sizeof *part.c) == 0) return true;
    return false;
}

/* --- chrF --- */

/* Up to six characters of 21 bits each. */
typedef struct gram { uint64_t first, second; } gram;

static int compare_grams(const void *a, const void *b)
{
    const gram *x = a, *y = b;

    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return (x->second > y->second) - (x->second < y->second);
}

static size_t make_grams(points p, size_t order, gram *out)
{
    size_t count = p.count >= order ? p.count - order + 1 : 0;

    for (size_t i = 0; i < count; i++) {
        out[i] = (gram){ 0 };
        for (size_t k = 0; k < order; k++) {
            uint64_t *half = k < 3 ? &out[i].first : &out[i].second;
            *half = *half << 21 | p.c[i + k];
        }
    }
    if (count) qsort(out, count, sizeof *out, compare_grams);
    return count;
}

static void without_blanks(points *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->count; i++)
        if (!nib_is_python_space(p->c[i])) p->c[n++] = p->c[i];
    p->count = n;
}

/* Both lose their blanks. */
static nib_status count_grams(nib_ctx *ctx, points answer, points wanted,
                              uint32_t out[NIB_CHRF_ORDER][3], nib_error *err)
{
    gram *a = nib_new_array(ctx, answer.count + 1, sizeof *a),
         *w = nib_new_array(ctx, wanted.count + 1, sizeof *w);

    without_blanks(&answer);
    without_blanks(&wanted);
    for (size_t n = 1; a && w && n <= NIB_CHRF_ORDER; n++) {
        size_t na = make_grams(answer, n, a), nw = make_grams(wanted, n, w), both = 0;
        for (size_t i = 0, k = 0; i < na && k < nw;) {
            int order = compare_grams(&a[i], &w[k]);
            if (order == 0) both++;
            i += order <= 0;
            k += order >= 0;
        }
        out[n - 1][0] = nw ? (uint32_t)na : 0; /* as sacrebleu counts */
        out[n - 1][1] = (uint32_t)nw;
        out[n - 1][2] = (uint32_t)both;
    }
    bool good = a && w;
    nib_free(ctx, a);
    nib_free(ctx, w);
    return good ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "chrF: out of memory");
}

double nib_chrf_score(const double counts[NIB_CHRF_ORDER][3])
{
    double precision = 0, recall = 0;
    int orders = 0;

    for (size_t i = 0; i < NIB_CHRF_ORDER; i++) {
        if (counts[i][0] <= 0 || counts[i][1] <= 0) continue;
        precision += counts[i][2] / counts[i][0];
        recall += counts[i][2] / counts[i][1];
        orders++;
    }
    if (!orders || precision + recall <= 0) return 0;
    precision /= orders;
    recall /= orders;
    return 5 * precision * recall / (4 * precision + recall); /* beta 2 */
}

/* --- ROUGE-L --- */

typedef struct word { const uint32_t *c; size_t count; } word;

/* Runs of a-z and 0-9 in lower case, as rouge-score has them; p becomes lower case. */
static size_t make_words(points p, word *out)
{
    size_t count = 0;
    bool inside = false;

    for (size_t i = 0; i < p.count; i++) {
        uint32_t c = nib_unicode_lower(p.c[i]);
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (letter && !inside) out[count++] = (word){ p.c + i, 0 };
        if (letter) out[count - 1].count++;
        inside = letter && p.c[i] != 0x130; /* which becomes i and an accent */
        p.c[i] = c;
    }
    return count;
}

static nib_status rouge_l(nib_ctx *ctx, points answer, points wanted, double *out, nib_error *err)
{
    word *a = nib_new_array(ctx, answer.count + 1, sizeof *a),
         *w = nib_new_array(ctx, wanted.count + 1, sizeof *w);
    uint32_t *row = nib_new_array(ctx, wanted.count + 1, sizeof *row); /* zeroed */
    nib_status status = NIB_OK;
    size_t na, nw;

    *out = 0;
    if (!a || !w || !row) {
        status = nib_fail(err, NIB_E_NOMEM, "ROUGE-L: out of memory");
        goto done;
    }
    na = make_words(answer, a);
    nw = make_words(wanted, w);
    for (size_t i = 0; i < na; i++) {
        uint32_t corner = 0;
        for (size_t k = 0; k < nw; k++) {
            uint32_t up = row[k + 1];
            bool equal = a[i].count == w[k].count &&
                         memcmp(a[i].c, w[k].c, a[i].count * sizeof *a[i].c) == 0;
            row[k + 1] = equal ? corner + 1 : nib_max(up, row[k]);
            corner = up;
        }
    }
    if (na && nw && row[nw]) {
        double precision = (double)row[nw] / (double)na, recall = (double)row[nw] / (double)nw;
        *out = 2 * precision * recall / (precision + recall);
    }
done:
    nib_free(ctx, a);
    nib_free(ctx, w);
    nib_free(ctx, row);
    return status;
}

/* --- JSON --- */

static void score_json(const char *answer, const char *wanted, double *valid, double *fields)
{
    json_t *w = json_loads(wanted, JSON_REJECT_DUPLICATES, NULL), *a;
    const char *key;
    json_t *value;
    size_t same_values = 0;

    *valid = *fields = (double)NAN;
    if (!w) return;
    a = json_loads(answer, JSON_REJECT_DUPLICATES, NULL);
    *valid = a != NULL;
    json_object_foreach(w, key, value) {
        const json_t *there = json_object_get(a, key);
        same_values += there && json_equal(value, there);
    }
    if (json_object_size(w)) *fields = (double)same_values / (double)json_object_size(w);
    json_decref(w);
    json_decref(a);
}

bool nib_answer_score_applies(nib_answer_score which, const char *wanted)
{
    double valid, fields;

    if (which != NIB_ANSWER_JSON_VALID && which != NIB_ANSWER_JSON_FIELDS) return true;
    score_json("", wanted, &valid, &fields);
    return !isnan(which == NIB_ANSWER_JSON_VALID ? valid : fields);
}

void nib_answer_score_means(const nib_answer_scores *scores, size_t records,
                            const uint32_t *drawn, double out[NIB_ANSWER_SCORES])
{
    double sums[NIB_ANSWER_SCORES] = { 0 }, grams[NIB_CHRF_ORDER][3] = { 0 };
    size_t counts[NIB_ANSWER_SCORES] = { 0 };

    for (size_t i = 0; i < records; i++) {
        const nib_answer_scores *one = &scores[drawn ? drawn[i] : i];
        for (size_t s = 0; s < NIB_ANSWER_SCORES; s++) {
            if (isnan(one->of[s])) continue;
            sums[s] += one->of[s];
            counts[s]++;
        }
        for (size_t n = 0; n < NIB_CHRF_ORDER; n++)
            for (size_t k = 0; k < 3; k++) grams[n][k] += one->chrf[n][k];
    }
    for (size_t s = 0; s < NIB_ANSWER_SCORES; s++)
        out[s] = counts[s] ? sums[s] / (double)counts[s] : (double)NAN;
    if (counts[NIB_ANSWER_CHRF])
        out[NIB_ANSWER_CHRF] = nib_chrf_score((const double(*)[3])grams);
}

nib_status nib_answer_score_one(nib_ctx *ctx, const char *answer, const char *wanted,
                                nib_answer_scores *out, nib_error *err)
{
    points p[2][3] = { 0 }; /* answer and wanted text: as they are, and two that are changed */
    double *of = out->of;
    nib_status status = NIB_OK;

    *out = (nib_answer_scores){ 0 };
    of[NIB_ANSWER_REGEX] = (double)NAN;
    of[NIB_ANSWER_JSON_SCHEMA] = of[NIB_ANSWER_JSON_SCHEMA_FIELDS] = (double)NAN;
    of[NIB_ANSWER_ACC] = of[NIB_ANSWER_ACC_NORM] = of[NIB_ANSWER_ACC_BYTES] = (double)NAN;
    for (size_t i = 0; i < 6 && !status; i++)
        status = read_points(ctx, i % 2 ? wanted : answer, &p[i % 2][i / 2], err);
    if (!status) status = rouge_l(ctx, p[0][1], p[1][1], &of[NIB_ANSWER_ROUGE_L], err);
    if (!status) {
        points a = normalised(p[0][2]), w = normalised(p[1][2]);
        of[NIB_ANSWER_EXACT_MATCH] = same(a, w);
        of[NIB_ANSWER_CONTAINS] = holds(a, w);
        of[NIB_ANSWER_EXACT] = same(trimmed(p[0][0]), trimmed(p[1][0]));
        score_json(answer, wanted, &of[NIB_ANSWER_JSON_VALID], &of[NIB_ANSWER_JSON_FIELDS]);
        status = count_grams(ctx, p[0][0], p[1][0], out->chrf, err);
    }
    if (!status) {
        double counts[NIB_CHRF_ORDER][3];
        for (size_t i = 0; i < NIB_CHRF_ORDER; i++)
            for (size_t k = 0; k < 3; k++) counts[i][k] = out->chrf[i][k];
        of[NIB_ANSWER_CHRF] = nib_chrf_score((const double(*)[3])counts);
    }
    for (size_t i = 0; i < 6; i++) nib_free(ctx, p[i % 2][i / 2].c);
    return status;
}
