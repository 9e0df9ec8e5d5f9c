/* unicode_form.c - Unicode's normal forms, each character keeping the range of the input it comes
 * from.
 *
 * Decompose, sort the marks, compose (Unicode Standard Annex 15), with a count beside each
 * character that says how much of the input it stands for, as the `tokenizers` library counts:
 *
 *      0   takes the place of one character of the input
 *      1   is new: it has the range of the character before
 *     -n   takes the place of one and swallows n more, whose ranges are lost
 *
 * A character that decomposes gives a 0 and then ones; composing two adds their counts and takes
 * one away. So the counts always use up the input, whatever sorting has done to the order. */
#include <stdlib.h>
#include <utf8proc.h>

#include "text/parts.h"
#include "text/unicode_sets.h"
#include "text/utf8.h"

typedef struct point {
    utf8proc_int32_t c;
    int class;        /* canonical combining class */
    ptrdiff_t change;
    size_t number;    /* its place before sorting, which keeps equals in order */
} point;

typedef struct former {
    nib_tokenizer *t;
    utf8proc_option_t options;
    bool composes;
    point *points;    /* one cluster */
    size_t count, capacity;
    size_t at;        /* bytes of the input that are used up */
} former;

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

/* Characters that normalization may join to what stands before them. */
static bool attaches(uint32_t c)
{
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
    return p->combining_class != 0 || p->category == UTF8PROC_CATEGORY_MN ||
           p->category == UTF8PROC_CATEGORY_MC || (c >= 0x1160 && c <= 0x11ff);
}

static nib_status decompose(former *f, uint32_t c, nib_error *err)
{
    utf8proc_int32_t parts[32]; /* the longest there is has 18 */
    utf8proc_ssize_t n = 1;

    if (c < 128 || nib_unicode_in(NIB_SET_LATE_FORMS, c)) parts[0] = (utf8proc_int32_t)c;
    else n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, 32, f->options, NULL);

    if (n < 0 || n > 32)
        return nib_fail(err, NIB_E_FORMAT, "tokenizer: U+%04" PRIX32 " cannot be normalized", c);
    if (!nib_grow(f->t->ctx, &f->points, &f->capacity, f->count + (size_t)n, sizeof *f->points))
        return no_memory(err);
    for (utf8proc_ssize_t i = 0; i < n; i++, f->count++)
        f->points[f->count] = (point){ parts[i], utf8proc_get_property(parts[i])->combining_class,
                                       i > 0, f->count };
    return NIB_OK;
}

static int by_class(const void *a, const void *b)
{
    const point *p = a, *q = b;

    if (p->class != q->class) return p->class < q->class ? -1 : 1;
    return p->number < q->number ? -1 : 1;
}

/* Marks between two starters are put in the order of their classes. */
static void sort_marks(former *f)
{
    for (size_t i = 0, end; i < f->count; i = end) {
        for (end = i + 1; end < f->count && f->points[i].class && f->points[end].class;) end++;
        if (end - i > 1) qsort(f->points + i, end - i, sizeof *f->points, by_class);
    }
}

/* The one character that two make, if there is one. */
static bool compose_two(const former *f, utf8proc_int32_t first, utf8proc_int32_t second,
                        utf8proc_int32_t *out)
{
    utf8proc_int32_t pair[2] = { first, second };

    if (utf8proc_normalize_utf32(pair, 2, f->options) != 1) return false;
    *out = pair[0];
    return true;
}

/* Each mark or starter joins the last starter unless something between blocks it. */
static void compose(former *f)
{
    size_t starter = SIZE_MAX, kept = 0;
    int last = -1; /* class of what was kept since the starter; -1: nothing */

    for (size_t i = 0; i < f->count; i++) {
        point p = f->points[i];
        if (starter != SIZE_MAX && (last < 0 || last < p.class) &&
            compose_two(f, f->points[starter].c, p.c, &f->points[starter].c)) {
            f->points[starter].change += p.change - 1;
            continue;
        }
        if (p.class == 0) starter = kept, last = -1;
        else last = p.class;
        f->points[kept++] = p;
    }
    f->count = kept;
}

/* Writes the cluster, each character with its range, and uses up the input by the counts. */
static bool put_points(former *f)
{
    bool good = true;

    for (size_t i = 0; i < f->count && good; i++)
        good = nib_put_changed(f->t, &f->at, (uint32_t)f->points[i].c, f->points[i].change);
    return good;
}

nib_status nib_unicode_form(nib_tokenizer *t, int options, nib_error *err)
{
    former f = { .t = t, .options = (utf8proc_option_t)(options | UTF8PROC_STABLE),
                 .composes = (options & UTF8PROC_COMPOSE) != 0 };
    const nib_work *in = &t->work;
    nib_status status = NIB_OK;

    while (f.at < in->bytes && !status) {
        size_t end = f.at;
        f.count = 0;
        do {
            status = decompose(&f, nib_utf8_read(in->text + end), err);
            end += nib_utf8_length(in->text[end]);
        } while (!status && end < in->bytes && attaches(nib_utf8_read(in->text + end)));
        if (status) break;
        sort_marks(&f);
        if (f.composes) compose(&f);
        if (!put_points(&f)) status = no_memory(err);
    }
    nib_free(t->ctx, f.points);
    return status;
}
