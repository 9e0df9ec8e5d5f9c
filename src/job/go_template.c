/* go_template.c - see modelfile.h.
 *
 * A template is asked what it writes around contents, with marks in the place of contents:
 *
 *     [user]                          P mark Q
 *     [user, assistant, user]         P mark M mark N mark Q
 *     [user, assistant]               P mark M mark T
 *     [system, user]                  X mark Y mark Q
 *
 * The texts before and behind each role follow: what M and Q begin with in common is behind a
 * user's words, what N and T begin with in common behind the assistant's, the rest of N before a
 * user's, where P ends with it, else what P and N end with in common.  Chats of several shapes are
 * then written in both ways; where one differs, the template is not of this kind and nothing is
 * made of it. */
#include <stdio.h>
#include <time.h>

#include "job/modelfile.h"

enum { ROLES = 3, MOST_TURNS = 5, A_YEAR = 400 * 86400 };

static const char *const roles[ROLES] = { "system", "user", "assistant" };
enum { SYSTEM, USER, ASSISTANT };

typedef struct go {
    nib_ctx *ctx;
    nib_chat *chat;
    const char *bos;        /* that programs put before the text themselves; "" */
    char *before[ROLES], *behind[ROLES];
    char *opening;          /* where no system message is the first; */
    bool always;            /* or also where one is */
    char *prompt;           /* after the last message */
    bool takes_system;
} go;

static const char *const marks[MOST_TURNS] = { "[[nib0]]", "[[nib1]]", "[[nib2]]", "[[nib3]]",
                                               "[[nib4]]" };

/* --- rendering --- */

/* What the template makes of turns of these roles with these contents, and, where the last is a
 * user's, the prompt for an answer; *text stays NULL where it raises. */
static nib_status render(const go *g, const int *who, const char *const *said, size_t count,
                         char **text, nib_error *err)
{
    json_t *messages = json_array();
    nib_jinja_output out = { 0 };
    nib_chat_turns turns = { .messages = messages };
    size_t skip;
    nib_status status;

    for (size_t i = 0; i < count; i++)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", roles[who[i]], "content",
                                                  said[i]));
    status = nib_chat_render(g->chat, &turns, count, who[count - 1] == USER, &out, err);
    if (!status) {
        skip = strlen(g->bos);
        if (out.bytes < skip || memcmp(out.text, g->bos, skip) != 0) skip = 0;
        *text = nib_sprintf(g->ctx, "%.*s", (int)(out.bytes - skip), out.text + skip);
        if (!*text) status = nib_fail(err, NIB_E_NOMEM, "the chat template: out of memory");
    }
    nib_jinja_output_free(g->ctx, &out);
    json_decref(messages);
    return status == NIB_E_INVALID ? NIB_OK : status;
}

/* Cuts `text` at the marks 0 to count - 1; false: one is not there, or not in their order. */
static bool cut(char *text, size_t count, char **pieces)
{
    for (size_t i = 0; i < count; i++) {
        char *at = strstr(text, marks[i]);
        if (!at) return false;
        *at = 0;
        pieces[i] = text;
        text = at + strlen(marks[i]);
    }
    pieces[count] = text;
    for (size_t i = 0; i < count; i++)
        if (strstr(text, marks[i])) return false;
    return true;
}

/* Not within a special token's text, "<|us". */
static size_t common_begin(const char *a, const char *b)
{
    size_t n = 0, whole;

    while (a[n] && a[n] == b[n]) n++;
    for (whole = n; whole && a[whole - 1] != '>' && a[whole - 1] != '<';) whole--;
    return whole && a[whole - 1] == '<' ? whole - 1 : n;
}

static size_t common_end(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b), n = 0;

    while (n < na && n < nb && a[na - 1 - n] == b[nb - 1 - n]) n++;
    return n;
}

static bool keep(const go *g, char **to, const char *text, size_t bytes)
{
    *to = nib_sprintf(g->ctx, "%.*s", (int)bytes, text);
    return *to != NULL;
}

/* --- the texts of each role --- */

/* Of the renderings' pieces; tail: T.  False: no memory. */
static bool take_turns(go *g, char *const one[2], char *const three[4], const char *tail)
{
    size_t behind = common_begin(three[1], one[1]);
    size_t p = strlen(one[0]), n = strlen(three[2]);
    size_t ends = common_end(one[0], three[2]), before = n - common_begin(three[2], tail);

    if (before > ends) before = ends;
    return keep(g, &g->behind[USER], one[1], behind) &&
           keep(g, &g->before[ASSISTANT], three[1] + behind, strlen(three[1] + behind)) &&
           keep(g, &g->prompt, one[1] + behind, strlen(one[1] + behind)) &&
           keep(g, &g->before[USER], one[0] + p - before, before) &&
           keep(g, &g->opening, one[0], p - before) &&
           keep(g, &g->behind[ASSISTANT], three[2], n - before);
}

/* False: what follows a system message does not end as what stands before a user's. */
static bool take_system(go *g, char *two[3])
{
    size_t y = strlen(two[1]), before = strlen(g->before[USER]), opening = strlen(g->opening);

    if (y < before || strcmp(two[1] + y - before, g->before[USER]) != 0) return false;
    g->always = strncmp(two[0], g->opening, opening) == 0;
    if (g->always) two[0] += opening;
    return keep(g, &g->before[SYSTEM], two[0], strlen(two[0])) &&
           keep(g, &g->behind[SYSTEM], two[1], y - before);
}

static nib_status find_texts(go *g, const char **why, nib_error *err)
{
    static const int turns[] = { USER, ASSISTANT, USER }, with_system[] = { SYSTEM, USER };
    char *text[4] = { NULL }, *one[2], *three[4], *two[3], *ended[3];
    nib_status status = render(g, turns, marks, 1, &text[0], err);

    if (!status) status = render(g, turns, marks, 3, &text[1], err);
    if (!status) status = render(g, with_system, marks, 2, &text[2], err);
    if (!status) status = render(g, turns, marks, 2, &text[3], err);
    if (status) goto done;
    if (!text[0] || !text[1] || !text[3] || !cut(text[0], 1, one) || !cut(text[1], 3, three) ||
        !cut(text[3], 2, ended))
        *why = "it does not repeat the contents turn by turn";
    else if (!take_turns(g, one, three, ended[2]))
        status = nib_fail(err, NIB_E_NOMEM, "the chat template: out of memory");
    else if (text[2] && (!cut(text[2], 2, two) || !take_system(g, two)))
        *why = "a system message is not one of its own";
    g->takes_system = text[2] != NULL;
done:
    for (size_t i = 0; i < NIB_COUNT(text); i++) nib_free(g->ctx, text[i]);
    return status;
}

/* --- do both say the same? --- */

/* As Ollama expands the texts; NULL: no memory. */
static char *expand(const go *g, const int *who, const char *const *said, size_t count)
{
    char *text = nib_sprintf(g->ctx, "%s", who[0] == SYSTEM && !g->always ? "" : g->opening);
    char *longer;

    for (size_t i = 0; text && i <= count; i++) {
        longer = i < count ? nib_sprintf(g->ctx, "%s%s%s%s", text, g->before[who[i]], said[i],
                                         g->behind[who[i]])
                           : nib_sprintf(g->ctx, "%s%s", text, g->prompt);
        nib_free(g->ctx, text);
        text = longer;
    }
    return text;
}

static nib_status compare(const go *g, const char **why, nib_error *err)
{
    static const struct { int who[MOST_TURNS]; size_t count; } chats[] = {
        { { USER }, 1 }, { { USER, ASSISTANT, USER }, 3 }, { { SYSTEM, USER }, 2 },
        { { USER, ASSISTANT, USER, ASSISTANT, USER }, 5 }, { { SYSTEM, USER, ASSISTANT, USER }, 4 },
    };
    static const char *const said[MOST_TURNS] = { "Hello, who are you?", "A friend.", "2 < 3?",
                                                  "Yes:\nit is.", "Good." };
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(chats) && !status && !*why; i++) {
        char *want = NULL, *got;
        if (chats[i].who[0] == SYSTEM && !g->takes_system) continue;
        status = render(g, chats[i].who, said, chats[i].count, &want, err);
        if (status) break;
        got = expand(g, chats[i].who, said, chats[i].count);
        if (!got) status = nib_fail(err, NIB_E_NOMEM, "the chat template: out of memory");
        else if (!want || strcmp(want, got) != 0) *why = "a turn depends on those around it";
        nib_free(g->ctx, want);
        nib_free(g->ctx, got);
    }
    return status;
}

/* --- the text --- */

static bool can_be_said(const go *g)
{
    const char *all[] = { g->before[SYSTEM], g->behind[SYSTEM], g->before[USER], g->behind[USER],
                          g->before[ASSISTANT], g->behind[ASSISTANT], g->opening, g->prompt };

    for (size_t i = 0; i < NIB_COUNT(all); i++) {
        if (!all[i] || !*all[i]) continue;
        if (strstr(all[i], "{{") || strstr(all[i], "\"\"\"")) return false;
        if (all[i][strlen(all[i]) - 1] == '{') return false; /* "{{" of an action comes behind */
    }
    return true;
}

static char *write_go(const go *g)
{
    char *opening = g->opening, *system = NULL, *all = NULL;
    bool system_first = g->takes_system && !g->always;

    if (g->takes_system)
        system = nib_sprintf(g->ctx, "{{ if eq .Role \"system\" }}%s{{ .Content }}%s{{ else if ",
                             g->before[SYSTEM], g->behind[SYSTEM]);
    else system = nib_sprintf(g->ctx, "{{ if ");
    if (system)
        all = nib_sprintf(g->ctx, "%s%s%s{{ range .Messages }}%seq .Role \"user\" }}%s{{ .Content "
                          "}}%s{{ else if eq .Role \"assistant\" }}%s{{ .Content }}%s{{ end }}"
                          "{{ end }}%s",
                          system_first ? "{{ if ne (index .Messages 0).Role \"system\" }}" : "",
                          opening, system_first ? "{{ end }}" : "", system, g->before[USER],
                          g->behind[USER], g->before[ASSISTANT], g->behind[ASSISTANT], g->prompt);
    nib_free(g->ctx, system);
    return all;
}

/* --- the whole --- */

static nib_status open_chat(go *g, const char *model, nib_tokenizer *t, int64_t now, nib_error *err)
{
    const nib_chat_source source = { .model_dir = model, .tokenizer = t, .now = now };

    nib_chat_close(g->chat);
    g->chat = NULL;
    return nib_chat_open(g->ctx, &source, &g->chat, err);
}

/* A template that prints the date prints another one later. */
static nib_status check_date(go *g, const char *model, nib_tokenizer *t, const char **why,
                             nib_error *err)
{
    static const int who[] = { USER };
    char *text[2] = { NULL };
    nib_status status = render(g, who, marks, 1, &text[0], err);

    if (!status) status = open_chat(g, model, t, (int64_t)time(NULL) + A_YEAR, err);
    if (!status) status = render(g, who, marks, 1, &text[1], err);
    if (!status && text[0] && text[1] && strcmp(text[0], text[1]) != 0) *why = "it prints the date";
    nib_free(g->ctx, text[0]);
    nib_free(g->ctx, text[1]);
    return status;
}

static const char *bos_of(nib_ctx *ctx, nib_tokenizer *t)
{
    const nib_special_tokens *s = nib_tokenizer_special(t);
    nib_tokens ids = { 0 };
    nib_error ignored;
    bool adds = s->bos.id >= 0 &&
                !nib_tokenizer_encode(t, "a", 1, true, &ids, NULL, &ignored) && ids.count &&
                ids.items[0].id == (uint32_t)s->bos.id;

    nib_tokens_free(ctx, &ids);
    return adds ? nib_tokenizer_token(t, (uint32_t)s->bos.id) : "";
}

/* The first token of what is written behind the assistant's words. */
static int64_t end_of(const go *g, const nib_tokenizer *t)
{
    const char *text = g->behind[ASSISTANT];
    size_t bytes;
    char *first;
    int64_t id;

    text += strspn(text, " \n");
    bytes = strcspn(text, " \n");
    first = bytes ? nib_sprintf(g->ctx, "%.*s", (int)bytes, text) : NULL;
    id = first ? nib_tokenizer_find(t, first) : -1;
    nib_free(g->ctx, first);
    return id;
}

nib_status nib_go_template_make(nib_ctx *ctx, const char *model, nib_tokenizer *t,
                                nib_go_template *out, nib_error *err)
{
    go g = { .ctx = ctx, .bos = t ? bos_of(ctx, t) : "" };
    nib_go_template made = { .end = -1 };
    nib_status status = open_chat(&g, model, t, (int64_t)time(NULL), err);

    if (status == NIB_E_IO) {
        made.why = "there is none";
        status = NIB_OK;
    } else if (!status) {
        status = check_date(&g, model, t, &made.why, err);
        if (!status && !made.why) status = find_texts(&g, &made.why, err);
        if (!status && !made.why) status = compare(&g, &made.why, err);
        if (!status && !made.why && !can_be_said(&g)) made.why = "it holds {{ or \"\"\" itself";
    }
    if (!status && !made.why) {
        made.text = write_go(&g);
        if (t) made.end = end_of(&g, t);
        if (!made.text) status = nib_fail(err, NIB_E_NOMEM, "the chat template: out of memory");
    }
    for (int i = 0; i < ROLES; i++) {
        nib_free(ctx, g.before[i]);
        nib_free(ctx, g.behind[i]);
    }
    nib_free(ctx, g.opening);
    nib_free(ctx, g.prompt);
    nib_chat_close(g.chat);
    if (!status) *out = made;
    return status;
}

void nib_go_template_free(nib_ctx *ctx, nib_go_template *g)
{
    nib_free(ctx, g->text);
    *g = (nib_go_template){ 0 };
}
