/* spans.c - see spans.h.  Precision, recall and F1 over all spans count each span once (micro). */
#include "job/spans.h"

#include <stdio.h>

static bool is_outside(const char *label) { return strcmp(label, "O") == 0; }

static bool marks(const char *label)
{
    return strchr("BIES", label[0]) && label[0] && label[1] == '-' && label[2];
}

bool nib_labels_mark_spans(const nib_labels *l, size_t count)
{
    bool some = false;
    char room[24];

    for (size_t i = 0; i < count; i++) {
        const char *name = nib_label_name(l, i, room);
        if (!is_outside(name) && !marks(name)) return false;
        some |= marks(name);
    }
    return some;
}

static size_t type_named(nib_spans *s, const char *name)
{
    char cut[sizeof *s->names];
    size_t i = 0;

    snprintf(cut, sizeof cut, "%s", name);
    while (i < s->types && strcmp(s->names[i], cut) != 0) i++;
    if (i == s->types) memcpy(s->names[s->types++], cut, sizeof cut);
    return i;
}

nib_status nib_spans_create(nib_ctx *ctx, const nib_labels *labels, size_t count, nib_spans *out,
                            nib_error *err)
{
    nib_spans s = { .ctx = ctx, .labels = count };

    *out = s;
    if (labels->kind != NIB_LABEL_TAGS || !nib_labels_mark_spans(labels, count)) return NIB_OK;
    s.tags = nib_new_array(ctx, count, 1);
    s.type_of = nib_new_array(ctx, count, sizeof *s.type_of);
    s.scores = nib_new_array(ctx, count, sizeof *s.scores);
    s.names = nib_new_array(ctx, count, sizeof *s.names);
    s.hits = nib_new_array(ctx, count, sizeof *s.hits);
    s.said = nib_new_array(ctx, count, sizeof *s.said);
    s.right = nib_new_array(ctx, count, sizeof *s.right);
    *out = s;
    if (!s.tags || !s.type_of || !s.scores || !s.names || !s.hits || !s.said || !s.right) {
        nib_spans_free(out);
        return nib_fail(err, NIB_E_NOMEM, "scores: out of memory for %zu tags", count);
    }
    for (size_t i = 0; i < count; i++) {
        char room[24];
        const char *name = nib_label_name(labels, i, room);
        out->tags[i] = name[0];
        out->type_of[i] = is_outside(name) ? SIZE_MAX : type_named(out, name + 2);
    }
    nib_spans_clear(out);
    return NIB_OK;
}

void nib_spans_free(nib_spans *s)
{
    if (!s->ctx) return;
    nib_free(s->ctx, s->tags);
    nib_free(s->ctx, s->type_of);
    nib_free(s->ctx, s->scores);
    nib_free(s->ctx, s->names);
    nib_free(s->ctx, s->hits);
    nib_free(s->ctx, s->said);
    nib_free(s->ctx, s->right);
    *s = (nib_spans){ 0 };
}

static void begin_sentence(nib_spans *s)
{
    s->here = s->there = (nib_span_reader){ .tag = 'O', .type = SIZE_MAX };
    s->place = 0;
}

void nib_spans_clear(nib_spans *s)
{
    if (!s->types) return;
    memset(s->hits, 0, s->types * sizeof *s->hits);
    memset(s->said, 0, s->types * sizeof *s->said);
    memset(s->right, 0, s->types * sizeof *s->right);
    begin_sentence(s);
}

/* --- conlleval's rules --- */

static bool ends(char before, char tag, bool same)
{
    if (before == 'O') return false;
    if (before == 'E' || before == 'S') return true;
    return tag == 'B' || tag == 'S' || tag == 'O' || !same;
}

static bool begins(char before, char tag, bool same)
{
    if (tag == 'O') return false;
    if (tag == 'B' || tag == 'S') return true;
    return before == 'E' || before == 'S' || before == 'O' || !same;
}

/* The reader meets a tag; true: a span of *type that began at *begin ended before it. */
static bool meet(nib_span_reader *r, char tag, size_t type, size_t place, nib_span_reader *ended)
{
    bool end = ends(r->tag, tag, r->type == type);

    *ended = *r;
    if (begins(r->tag, tag, r->type == type)) r->begin = place;
    r->tag = tag;
    r->type = type;
    return end;
}

static void meet_both(nib_spans *s, char said, size_t said_type, char right, size_t right_type)
{
    nib_span_reader a, b;
    bool x = meet(&s->here, said, said_type, s->place, &a);
    bool y = meet(&s->there, right, right_type, s->place, &b);

    if (x) s->said[a.type]++;
    if (y) s->right[b.type]++;
    if (x && y && a.type == b.type && a.begin == b.begin) s->hits[a.type]++;
    s->place++;
}

void nib_spans_add(nib_spans *s, size_t said, size_t right)
{
    if (s->types)
        meet_both(s, s->tags[said], s->type_of[said], s->tags[right], s->type_of[right]);
}

void nib_spans_end(nib_spans *s)
{
    if (!s->types) return;
    meet_both(s, 'O', SIZE_MAX, 'O', SIZE_MAX);
    begin_sentence(s);
}

static double ratio(uint64_t a, uint64_t b) { return b ? (double)a / (double)b : 0; }

static nib_class_scores scores_of(uint64_t hits, uint64_t said, uint64_t right)
{
    return (nib_class_scores){ .precision = ratio(hits, said), .recall = ratio(hits, right),
                               .f1 = ratio(2 * hits, said + right), .support = right };
}

void nib_spans_scores(nib_spans *s, nib_scores *scores)
{
    uint64_t hits = 0, said = 0, right = 0;
    nib_class_scores all;

    if (!s->types) return;
    for (size_t i = 0; i < s->types; i++) {
        s->scores[i] = scores_of(s->hits[i], s->said[i], s->right[i]);
        s->scores[i].name = s->names[i];
        hits += s->hits[i];
        said += s->said[i];
        right += s->right[i];
    }
    all = scores_of(hits, said, right);
    scores->overall_precision = all.precision;
    scores->overall_recall = all.recall;
    scores->overall_f1 = all.f1;
    scores->span_types = s->types;
    scores->spans = s->scores;
}
