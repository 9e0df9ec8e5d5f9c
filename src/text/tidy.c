/* tidy.c - see tidy.h.  Each step is a replacement that reads the bytes of the step before it: as
 * replacing in the whole text, one string after another, but without the whole text. */
#include "text/tidy.h"

typedef struct sink {
    nib_tidy *t;
    char *out;
    size_t used;
} sink;

/* Each begins with a blank that is left out; " ' " loses its second one too. */
static const char *const strings[NIB_TIDY_STEPS] = { " .",   " ?",  " !",  " ,",   " ' ",
                                                     " n't", " 'm", " 's", " 've", " 're" };

static void put(sink *s, size_t step, char c);

/* What a step has held back goes to the next one. */
static void let_go(sink *s, size_t step)
{
    size_t n = s->t->held[step];

    s->t->held[step] = 0;
    for (size_t i = 0; i < n; i++) put(s, step + 1, strings[step][i]);
}

/* A blank begins a string anew: inside them there is none but at the end of " ' ". */
static void put(sink *s, size_t step, char c)
{
    const char *string;

    if (step == NIB_TIDY_STEPS) {
        s->out[s->used++] = c;
        return;
    }
    string = strings[step];
    if (c != string[s->t->held[step]]) let_go(s, step);
    if (c != string[s->t->held[step]]) {
        put(s, step + 1, c);
    } else if (!string[++s->t->held[step]]) {
        size_t end = strlen(string) - (string[strlen(string) - 1] == ' ');
        s->t->held[step] = 0;
        for (size_t i = 1; i < end; i++) put(s, step + 1, string[i]);
    }
}

size_t nib_tidy_push(nib_tidy *t, const char *text, size_t bytes, char *out)
{
    sink s = { t, out, 0 };

    if (t->on)
        for (size_t i = 0; i < bytes; i++) put(&s, 0, text[i]);
    else if (bytes)
        memmove(out, text, bytes);
    return t->on ? s.used : bytes;
}

size_t nib_tidy_finish(nib_tidy *t, char *out)
{
    sink s = { t, out, 0 };

    for (size_t step = 0; step < NIB_TIDY_STEPS; step++) let_go(&s, step);
    return s.used;
}
