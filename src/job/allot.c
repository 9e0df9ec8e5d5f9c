/* allot.c - see allot.h. */
#include "job/allot.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_EXCHANGED = 1000 };

typedef struct step {
    double gain;     /* of error a byte */
    size_t part, to; /* to: the choice */
} step;

nib_status nib_allot_asked(uint64_t target_size, double target_bpw, bool *asked, const char **name,
                           nib_error *err)
{
    *name = target_size ? "target_size" : "target_bpw";
    *asked = target_size || target_bpw != 0;
    if (target_size && target_bpw != 0)
        return nib_fail(err, NIB_E_INVALID, "target_size and target_bpw: one of them says how much "
                        "room there is");
    if (!(target_bpw >= 0 && isfinite(target_bpw)))
        return nib_fail(err, NIB_E_INVALID, "target_bpw: expected bits a weight, more than 0, got "
                        "%g", target_bpw);
    return NIB_OK;
}

size_t nib_allot_choice_of(const nib_allot_part *p, nib_allot_which which)
{
    size_t best = 0;

    if (which == NIB_ALLOT_CHOSEN) return p->chosen;
    for (size_t i = 1; i < p->count; i++) {
        const nib_allot_choice *a = &p->choices[i], *b = &p->choices[best];
        bool less = a->bytes < b->bytes, equal = a->bytes == b->bytes;
        if (equal ? a->error < b->error : less == (which == NIB_ALLOT_LEAST)) best = i;
    }
    return best;
}

uint64_t nib_allot_bytes(const nib_allot_part *parts, size_t count, nib_allot_which which)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < count; i++)
        bytes += parts[i].choices[nib_allot_choice_of(&parts[i], which)].bytes;
    return bytes;
}

/* What changing from one choice to a larger one gains a byte; 0 or less: nothing. */
static double gain(const nib_allot_part *p, size_t from, size_t to)
{
    const nib_allot_choice *a = &p->choices[from], *b = &p->choices[to];

    return b->bytes > a->bytes ? p->weight * (a->error - b->error) / (double)(b->bytes - a->bytes)
                               : 0;
}

/* The corners of the lower hull behind the smallest choice. */
static size_t list_steps(const nib_allot_part *p, size_t part, step *to)
{
    size_t at = nib_allot_choice_of(p, NIB_ALLOT_LEAST), count = 0;

    for (;;) {
        size_t next = at;
        double most = 0;
        for (size_t i = 0; i < p->count; i++) {
            double g = gain(p, at, i);
            if (g > most || (g == most && g > 0 && p->choices[i].bytes > p->choices[next].bytes))
                most = g, next = i;
        }
        if (next == at) return count;
        to[count++] = (step){ most, part, next };
        at = next;
    }
}

static int by_gain(const void *a, const void *b)
{
    const step *x = a, *y = b;

    if (x->gain != y->gain) return x->gain > y->gain ? -1 : 1;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    return x->to < y->to ? -1 : x->to > y->to;
}

static uint64_t more_bytes(const nib_allot_part *p, size_t to)
{
    return p->choices[to].bytes - p->choices[p->chosen].bytes;
}

/* A step that does not fit ends its part's: those behind it are larger. */
static void take_steps(nib_allot_part *parts, const step *steps, size_t count, bool *ended,
                       uint64_t *left)
{
    for (size_t i = 0; i < count; i++) {
        nib_allot_part *p = &parts[steps[i].part];
        uint64_t more;
        if (ended[steps[i].part]) continue;
        more = more_bytes(p, steps[i].to);
        ended[steps[i].part] = more > *left;
        if (more > *left) continue;
        *left -= more;
        p->chosen = steps[i].to;
    }
}

/* What a part's error becomes with another choice, less what it is. */
static double change(const nib_allot_part *p, size_t to)
{
    return p->weight * (p->choices[to].error - p->choices[p->chosen].error);
}

/* The change of one part that lowers the error the most and fits; false: there is none. */
static bool fill(nib_allot_part *parts, size_t count, uint64_t *left)
{
    size_t part = count, to = 0;
    double most = 0;

    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < parts[i].count; k++) {
            const nib_allot_part *p = &parts[i];
            if (p->choices[k].bytes <= p->choices[p->chosen].bytes || more_bytes(p, k) > *left ||
                change(p, k) >= most)
                continue;
            most = change(p, k), part = i, to = k;
        }
    if (part == count) return false;
    *left -= more_bytes(&parts[part], to);
    parts[part].chosen = to;
    return true;
}

/* Gives part i a smaller choice for the sake of another's larger one, where that pays and fits. */
static bool exchange_one(nib_allot_part *parts, size_t count, size_t i, size_t less,
                         uint64_t *left)
{
    uint64_t freed = parts[i].choices[parts[i].chosen].bytes - parts[i].choices[less].bytes;
    double cost = change(&parts[i], less);
    double most = -cost - 1e-9 * fabs(cost); /* a true gain: two that are alike never trade */
    size_t part = count, to = 0;

    for (size_t j = 0; j < count; j++)
        for (size_t k = 0; k < parts[j].count; k++) {
            if (j == i || parts[j].choices[k].bytes <= parts[j].choices[parts[j].chosen].bytes ||
                more_bytes(&parts[j], k) > *left + freed || change(&parts[j], k) >= most)
                continue;
            most = change(&parts[j], k), part = j, to = k;
        }
    if (part == count) return false;
    *left = *left + freed - more_bytes(&parts[part], to);
    parts[i].chosen = less;
    parts[part].chosen = to;
    return true;
}

/* Mends what a large step that did not fit has left, where there are not too many pairs to look
 * at; every exchange lowers the error, so it ends. */
static bool exchange(nib_allot_part *parts, size_t count, uint64_t *left)
{
    bool any = false;

    for (size_t i = 0; i < count && count <= MOST_EXCHANGED; i++)
        for (size_t k = 0; k < parts[i].count; k++)
            if (parts[i].choices[k].bytes < parts[i].choices[parts[i].chosen].bytes)
                any |= exchange_one(parts, count, i, k, left);
    return any;
}

nib_status nib_allot(nib_ctx *ctx, nib_allot_part *parts, size_t count, uint64_t room,
                     nib_error *err)
{
    step *steps = nib_new_array(ctx, count, NIB_ALLOT_CHOICES * sizeof *steps);
    bool *ended = nib_new_array(ctx, count, sizeof *ended);
    uint64_t least = nib_allot_bytes(parts, count, NIB_ALLOT_LEAST), left;
    size_t step_count = 0;
    nib_status status = NIB_OK;

    assert(least <= room);
    left = room - least;
    if (!steps || !ended) {
        status = nib_fail(err, NIB_E_NOMEM, "%zu matrices to allot: out of memory", count);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        assert(parts[i].count && parts[i].count <= NIB_ALLOT_CHOICES && parts[i].weight > 0);
        parts[i].chosen = nib_allot_choice_of(&parts[i], NIB_ALLOT_LEAST);
        step_count += list_steps(&parts[i], i, steps + step_count);
    }
    qsort(steps, step_count, sizeof *steps, by_gain);
    take_steps(parts, steps, step_count, ended, &left);
    do {
        while (fill(parts, count, &left)) {}
    } while (exchange(parts, count, &left));
done:
    nib_free(ctx, steps);
    nib_free(ctx, ended);
    return status;
}
