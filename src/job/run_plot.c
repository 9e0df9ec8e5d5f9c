/* run_plot.c - see run_plot.h. */
#include "job/run_plot.h"

#include <math.h>
#include <stdio.h>

enum {
    ROWS = 12, MARGIN = 10, /* of characters: the height, and the values' column on the left */
    LETTERS = 16,           /* characters from one letter of a run to the next */
    TRAIN_LOSS = 2          /* of an NIB_LOG_TRAIN entry's values */
};

typedef struct canvas {
    nib_ctx *ctx;
    size_t width;             /* in characters, without the margin */
    size_t across, down;      /* dots of a character */
    bool several;
    uint8_t *dots;            /* [ROWS, width] bits of braille; in ASCII 1 */
    uint8_t *owner;           /* [ROWS, width] the run that is there, from 1; 255: several */
    uint8_t *letter;          /* [ROWS, width] a run's letter in place of dots, or 0 */
    uint64_t first, last;     /* steps */
    double least, greatest;
    bool logarithmic;
} canvas;

/* --- values --- */

static bool value_of(const nib_log_entry *e, nib_log_kind kind, double *value)
{
    if (e->kind != kind) return false;
    *value = e->values[kind == NIB_LOG_TRAIN ? (int)TRAIN_LOSS : (int)NIB_EVAL_LOSS];
    return isfinite(*value);
}

/* The number of values of all runs, and what they span. */
static size_t span(canvas *c, const nib_plot_run *runs, size_t count, nib_log_kind kind)
{
    size_t n = 0;
    double v;

    c->first = UINT64_MAX;
    c->last = 0;
    c->least = INFINITY;
    c->greatest = -INFINITY;
    for (size_t r = 0; r < count; r++)
        for (size_t i = 0; i < runs[r].state->log_count; i++) {
            const nib_log_entry *e = &runs[r].state->log[i];
            if (!value_of(e, kind, &v)) continue;
            c->first = nib_min(c->first, e->step);
            c->last = nib_max(c->last, e->step);
            c->least = fmin(c->least, v);
            c->greatest = fmax(c->greatest, v);
            n++;
        }
    c->logarithmic = n && c->least > 0 && c->greatest >= 20 * c->least;
    return n;
}

static double on_scale(const canvas *c, double v) { return c->logarithmic ? log(v) : v; }

/* The dot of a value, from the top; that of a step, from the left. */
static size_t dot_row(const canvas *c, double v)
{
    double low = on_scale(c, c->least), high = on_scale(c, c->greatest);
    double place = high > low ? (high - on_scale(c, v)) / (high - low) : .5;

    return (size_t)lround(place * (double)(ROWS * c->down - 1));
}

static size_t dot_column(const canvas *c, uint64_t step)
{
    size_t most = c->width * c->across - 1;

    return c->last > c->first ? (size_t)llround((double)(step - c->first) /
                                                (double)(c->last - c->first) * (double)most)
                              : most / 2;
}

/* --- drawing --- */

static void set_dot(canvas *c, size_t x, size_t y, size_t run)
{
    /* Unicode's order: the first three rows of both columns, then the fourth */
    static const uint8_t bits[4][2] = { { 1, 8 }, { 2, 16 }, { 4, 32 }, { 64, 128 } };
    size_t at = y / c->down * c->width + x / c->across;
    uint8_t mine = (uint8_t)(run + 1);

    c->dots[at] |= c->down == 4 ? bits[y % 4][x % 2] : 1;
    c->owner[at] = c->owner[at] && c->owner[at] != mine ? 255 : mine;
}

static void draw_line(canvas *c, size_t x0, size_t y0, size_t x1, size_t y1, size_t run)
{
    size_t dx = x1 - x0, dy = y1 > y0 ? y1 - y0 : y0 - y1, n = nib_max(dx, dy);

    for (size_t i = 0; i <= n; i++) {
        double part = n ? (double)i / (double)n : 0;
        set_dot(c, x0 + (size_t)lround(part * (double)dx),
                (size_t)lround((double)y0 + part * ((double)y1 - (double)y0)), run);
    }
}

/* A run's letter stands at its value in every so many characters, each run's elsewhere. */
static void put_letters(canvas *c, size_t x0, size_t y0, size_t x1, size_t y1, size_t run)
{
    size_t from = x0 / c->across, to = x1 / c->across;

    for (size_t x = from; c->several && x <= to; x++) {
        double part = to > from ? (double)(x - from) / (double)(to - from) : 1;
        size_t y = (size_t)lround((double)y0 + part * ((double)y1 - (double)y0));
        if (x % LETTERS == (run * 5 + 3) % LETTERS)
            c->letter[y / c->down * c->width + x] = (uint8_t)('a' + run);
    }
}

/* False: the run has no value. */
static bool draw_run(canvas *c, const nib_trainer_state *s, nib_log_kind kind, size_t run)
{
    bool any = false;
    size_t x0 = 0, y0 = 0;

    for (size_t i = 0; i < s->log_count; i++) {
        double v;
        size_t x, y;
        if (!value_of(&s->log[i], kind, &v)) continue;
        x = dot_column(c, s->log[i].step);
        y = dot_row(c, v);
        if (!any || x < x0) x0 = x, y0 = y; /* a history goes forward */
        draw_line(c, x0, y0, x, y, run);
        put_letters(c, x0, y0, x, y, run);
        any = true;
        x0 = x;
        y0 = y;
    }
    return any;
}

/* --- writing --- */

static void put_braille(nib_text *t, uint8_t dots)
{
    const char bytes[3] = { (char)0xe2, (char)(0xa0 | dots >> 6), (char)(0x80 | (dots & 63)) };

    nib_text_put(t, bytes, sizeof bytes);
}

static void put_character(const canvas *c, nib_text *t, size_t at)
{
    char one = c->letter[at]            ? (char)c->letter[at]
               : !c->dots[at]           ? ' '
               : c->owner[at] == 255    ? '#'
               : c->several             ? (char)('a' + c->owner[at] - 1)
                                        : '*';

    if (c->dots[at] && !c->letter[at] && c->down == 4) put_braille(t, c->dots[at]);
    else nib_text_put(t, &one, 1);
}

/* The value at the middle of a row. */
static double row_value(const canvas *c, size_t row)
{
    double low = on_scale(c, c->least), high = on_scale(c, c->greatest);
    double v = high - (high - low) * (double)row / (ROWS - 1);

    return c->logarithmic ? exp(v) : v;
}

static void put_canvas(const canvas *c, nib_text *t)
{
    char number[32];

    for (size_t row = 0; row < ROWS; row++) {
        size_t end = c->width;
        /* the ends and the middle have their values */
        if (row == 0 || row == ROWS - 1 || row == ROWS / 2)
            nib_text_printf(t, "%*.4g |", (int)MARGIN - 2, row_value(c, row));
        else nib_text_printf(t, "%*s |", (int)MARGIN - 2, "");
        while (end && !c->dots[row * c->width + end - 1] && !c->letter[row * c->width + end - 1])
            end--;
        for (size_t x = 0; x < end; x++) put_character(c, t, row * c->width + x);
        nib_text_puts(t, "\n");
    }
    nib_text_printf(t, "%*s+", (int)MARGIN - 1, "");
    for (size_t x = 0; x < c->width; x++) nib_text_puts(t, "-");
    snprintf(number, sizeof number, "%" PRIu64, c->first);
    nib_text_printf(t, "\n%*s%s%*" PRIu64 "\n", (int)MARGIN, "", number,
                    (int)(c->width - strlen(number)), c->last);
}

static void put_panel(canvas *c, const nib_plot_run *runs, size_t count, nib_log_kind kind,
                      nib_text *t)
{
    bool drawn[NIB_PLOT_MOST];

    memset(c->dots, 0, ROWS * c->width);
    memset(c->owner, 0, ROWS * c->width);
    memset(c->letter, 0, ROWS * c->width);
    for (size_t r = 0; r < count; r++) drawn[r] = draw_run(c, runs[r].state, kind, r);
    nib_text_printf(t, "\n%s by step%s\n", kind == NIB_LOG_TRAIN ? "loss" : "eval_loss",
                    c->logarithmic ? ", logarithmic" : "");
    put_canvas(c, t);
    for (size_t r = 0; r < count && c->several; r++)
        nib_text_printf(t, "%*c  %.400s%s\n", (int)MARGIN + 1, (int)('a' + r), runs[r].name,
                        drawn[r] ? "" : ": none");
}

nib_status nib_plot_losses(nib_ctx *ctx, const nib_plot_run *runs, size_t count, size_t columns,
                           bool ascii, nib_text *t, nib_error *err)
{
    canvas c = { .ctx = ctx, .across = ascii ? 1 : 2, .down = ascii ? 1 : 4, .several = count > 1 };
    bool any = false;
    nib_status status = NIB_OK;

    assert(count <= NIB_PLOT_MOST);
    c.width = nib_min(nib_max(columns, (size_t)40), (size_t)400) - MARGIN;
    c.dots = nib_new_array(ctx, ROWS, c.width);
    c.owner = nib_new_array(ctx, ROWS, c.width);
    c.letter = nib_new_array(ctx, ROWS, c.width);
    if (!c.dots || !c.owner || !c.letter) {
        status = nib_fail(err, NIB_E_NOMEM, "runs: out of memory for a plot");
        goto done;
    }
    for (int kind = NIB_LOG_TRAIN; kind <= NIB_LOG_EVAL; kind++)
        if (span(&c, runs, count, (nib_log_kind)kind)) {
            put_panel(&c, runs, count, (nib_log_kind)kind, t);
            any = true;
        }
    if (!any) nib_text_puts(t, "\nno run has logged a loss yet\n");
done:
    nib_free(ctx, c.dots);
    nib_free(ctx, c.owner);
    nib_free(ctx, c.letter);
    return status;
}
