/* options.c - reading command lines. */
#include "options.h"

#include "nibble/hub.h"
#include "nibble/recipe.h"
#include "completion.h"
#include "option_words.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void print_usage_line(const verb *v, FILE *to)
{
    fprintf(to, "usage: nibble %s %s%s[options]\n", v->name, v->arguments,
            *v->arguments ? " " : "");
}

/* Is it among the options that most people use? */
static bool is_common(const verb *v, const option *o)
{
    for (size_t i = 0; v->common && v->common[i]; i++)
        if (strcmp(v->common[i], o->name) == 0) return true;
    return !v->common;
}

/* all: also those that few people use. */
static void print_usage(const verb *v, bool all, FILE *to)
{
    const char *heading = NULL;
    size_t hidden = 0;

    print_usage_line(v, to);
    fprintf(to, "%s\n%s", v->summary, v->heading ? "" : "\n");
    for (size_t i = 0; i < v->option_count; i++) {
        const option *o = &v->options[i];
        char left[80];
        if (v->heading && v->heading(o->name)) heading = v->heading(o->name);
        if (!o->help) continue;
        if (!all && !is_common(v, o)) {
            hidden++;
            continue;
        }
        if (heading) fprintf(to, "%s%s:\n", all ? "\n" : "", heading);
        heading = NULL;
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->example ? " " : "",
                 o->example ? o->example : "");
        fprintf(to, "  %-38s %s\n", left, o->help);
    }
    if (hidden)
        fprintf(to, "%zu more options: nibble %s --help all\n", hidden, v->name);
}

/* Text for mdoc(7): a minus is no hyphen, and a dot at the start of a line no request. */
static void print_mdoc(const char *text, FILE *to)
{
    if (*text == '.') fputs("\\&", to);
    for (; *text; text++)
        fputs(*text == '-' ? "\\-" : *text == '\\' ? "\\e" : (char[]){ *text, 0 }, to);
}

/* The same options for the manual page, which tools/man.sh puts together. */
static void print_manual(const verb *v, FILE *to)
{
    bool open = false;

    for (size_t i = 0; i < v->option_count; i++) {
        const option *o = &v->options[i];
        const char *heading = v->heading ? v->heading(o->name) : NULL;
        if (!o->help) continue;
        if (heading && open) fputs(".El\n", to);
        if (heading) fprintf(to, ".Pp\n%s:\n", heading);
        if (heading || !open) fputs(".Bl -tag -width Ds\n", to);
        open = true;
        fputs(".It Fl \\-", to);
        print_mdoc(o->name, to);
        if (o->example) fputs(" Ar ", to), print_mdoc(o->example, to);
        fputc('\n', to);
        print_mdoc(o->help, to);
        fputc('\n', to);
    }
    if (open) fputs(".El\n", to);
}

/* What `--help=FORM` asks for: every option, the manual's part, or a shell's. */
static int print_form(const verb *v, const char *form)
{
    const completion_shell *shell = completion_find(form);

    if (strcmp(form, "all") == 0) print_usage(v, true, stdout);
    else if (strcmp(form, "mdoc") == 0) print_manual(v, stdout);
    else if (shell) shell->options(v);
    else return options_misuse(v, "--help: expected all, got '%s'", form);
    return -1;
}

int options_misuse(const verb *v, const char *format, ...)
{
    va_list args;

    print_usage_line(v, stderr);
    fprintf(stderr, "nibble %s: ", v->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " (see nibble %s --help)\n", v->name);
    return 2;
}

/* The words of v->arguments are positional but for an option and the word behind it. */
static int missing_argument(const verb *v)
{
    const char *word = v->arguments;
    size_t index = 0;

    for (;;) {
        size_t n = strcspn(word, " ");
        if (strncmp(word, "--", 2) == 0) {
            word += n + (word[n] == ' ');
            n = strcspn(word, " ");
        } else if (index++ == v->positional_count) {
            return options_misuse(v, "missing argument %.*s", (int)n, word);
        }
        if (!word[n]) return options_misuse(v, "missing argument");
        word += n + 1;
    }
}

/* The option whose name is most like this one; NULL when more than a fifth of it would have to
 * change: then it is another word. */
static const char *nearest(const verb *v, const char *name)
{
    const char *best = NULL;
    size_t least = 0;

    for (size_t i = 0; i < v->option_count; i++) {
        size_t d = option_word_distance(name, v->options[i].name);
        if (!best || d < least) best = v->options[i].name, least = d;
    }
    return best && least <= strlen(name) / 5 ? best : NULL;
}

static option *find_exact(verb *v, const char *name)
{
    for (size_t i = 0; i < v->option_count; i++)
        if (strcmp(v->options[i].name, name) == 0) return &v->options[i];
    return NULL;
}

/* What means the same comes before what looks the same: --rank is nearest to --bank. */
static int unknown_option(verb *v, const char *name)
{
    const char *key, *like;

    for (size_t i = 0; (like = option_word_synonym(name, i)); i++)
        if (find_exact(v, strncmp(like, "no-", 3) == 0 ? like + 3 : like))
            return options_misuse(v, "unknown option --%s; here it is --%s", name, like);
    key = v->repeats ? nib_recipe_key_of_others(name) : NULL;
    if (key) return options_misuse(v, "unknown option --%s; here it is %s", name, key);
    like = nearest(v, name);
    return options_misuse(v, "unknown option --%s%s%s", name, like ? "; the nearest is --" : "",
                          like ? like : "");
}

/* An option by its name or, where the verb has none of that name, by an alias. */
static option *find(verb *v, const char *name)
{
    option *o = find_exact(v, name);
    const char *other;

    for (size_t i = 0; !o && (other = option_word_alias(name, i)); i++) o = find_exact(v, other);
    return o;
}

static bool is_flag(const option *o)
{
    return o->kind == OPTION_FLAG || o->kind == OPTION_CHOICE || o->kind == OPTION_PAIR_FLAG;
}

static bool add_pair(option_pairs *pairs, const char *name, const char *value)
{
    if (pairs->count == OPTION_PAIR_ROOM) return false;
    pairs->items[pairs->count].key = name;
    pairs->items[pairs->count++].value = value;
    return true;
}

/* The words of recipes (YAML's), in any case, so that Python's True and False are among them. */
static bool read_truth(const char *text, bool *out)
{
    static const char *const words[] = { "true", "yes", "on", "false", "no", "off" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(text, words[i]) == 0) return *out = i < 3, true;
    return false;
}

/* Of a word by itself behind a flag: nothing that could be a file. */
static bool is_truth_word(const char *text)
{
    return text && (strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0);
}

static bool set_flag(const option *o, bool on)
{
    if (o->kind == OPTION_PAIR_FLAG) return add_pair(o->target, o->name, on ? "true" : "false");
    if (o->kind == OPTION_FLAG) *(bool *)o->target = on;
    else *(int *)o->target = on;
    return true;
}

/* Digits only: no sign, no blanks, no other base. */
static bool read_whole(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    if (!*text || text[strspn(text, "0123456789")]) return false;
    errno = 0;
    *out = strtoull(text, NULL, 10);
    return !errno && *out >= least && *out <= most;
}

/* Neither nan nor 0x1p3, which strtod() takes; nor 1e999. */
static bool read_float(const char *text, double *out)
{
    char *end;

    if (!*text || text[strspn(text, "+-.0123456789eE")]) return false;
    *out = strtod(text, &end);
    return end != text && !*end && isfinite(*out);
}

/* A decimal number and a unit: B or none, kB, MB, GB, TB of 1000, KiB, MiB, GiB, TiB of 1024. */
static bool read_size(const char *text, uint64_t *out)
{
    static const struct { const char *name; double bytes; } units[] = {
        { "", 1 }, { "B", 1 }, { "KB", 1e3 }, { "MB", 1e6 }, { "GB", 1e9 }, { "TB", 1e12 },
        { "KiB", 1024 }, { "MiB", 1048576 }, { "GiB", 1073741824 }, { "TiB", 1099511627776 },
    };
    size_t digits = strspn(text, ".0123456789");
    char number[40];
    double n;

    if (!digits || digits >= sizeof number) return false;
    memcpy(number, text, digits);
    number[digits] = 0;
    if (!read_float(number, &n)) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(text + digits, units[i].name) != 0) continue;
        n *= units[i].bytes;
        *out = n < 1e18 ? (uint64_t)n : 0;
        return *out > 0;
    }
    return false;
}

static bool add_items(option_list *list, char *text)
{
    if (!list->commas || strncmp(text, "regex:", 6) == 0) { /* an expression may hold commas */
        if (list->count == OPTION_LIST_ROOM) return false;
        list->items[list->count++] = text;
        return true;
    }
    for (char *p = strtok(text, ","); p; p = strtok(NULL, ",")) {
        if (list->count == OPTION_LIST_ROOM) return false;
        list->items[list->count++] = p;
    }
    return true;
}

static const char *expected(const option *o)
{
    switch (o->kind) {
    case OPTION_COUNT: return "an integer of 1 or more";
    case OPTION_NATURAL: case OPTION_SEED: return "an integer of 0 or more";
    case OPTION_FLOAT: return "a decimal number";
    case OPTION_SIZE: return "a size, such as 3.9GB, 800MB or 1GiB";
    case OPTION_LIST: return "fewer values";
    default: return "a value";
    }
}

const char *options_place(verb *v, const char *name)
{
    char *place = v->places + v->places_used;

    if (!nib_hub_find(name, place, sizeof v->places - v->places_used)) return name;
    v->places_used += strlen(place) + 1;
    return place;
}

static bool set_value(verb *v, const option *o, char *text)
{
    uint64_t n;

    switch (o->kind) {
    case OPTION_COUNT: case OPTION_NATURAL:
        if (!read_whole(text, o->kind == OPTION_COUNT, INT32_MAX, &n)) return false;
        *(int *)o->target = (int)n;
        return true;
    case OPTION_SEED: return read_whole(text, 0, UINT64_MAX, o->target);
    case OPTION_FLOAT: return read_float(text, o->target);
    case OPTION_SIZE: return read_size(text, o->target);
    case OPTION_STRING: *(const char **)o->target = text; return true;
    case OPTION_PLACE: *(const char **)o->target = options_place(v, text); return true;
    case OPTION_LIST: return add_items(o->target, text);
    case OPTION_PAIR: return add_pair(o->target, o->name, text);
    case OPTION_FLAG: case OPTION_CHOICE: case OPTION_PAIR_FLAG: break;
    }
    return false;
}

static bool takes_one(const verb *v, const option *o)
{
    return o->kind != OPTION_LIST && !(v->repeats && v->repeats(o->name));
}

/* Does the verb take this word as an argument without a name? */
static bool has_argument(const verb *v, const char *word)
{
    const char *found = v->arguments;
    size_t n = strlen(word);

    while ((found = strstr(found, word))) {
        bool begins = found == v->arguments || strchr(" [", found[-1]);
        if (begins && (!found[n] || strchr(" ]|", found[n]))) return true;
        found += n;
    }
    return false;
}

/* Where MODEL or OUT lies when it is given by a name; NULL: the verb has none, or the name is
 * another. */
static const char **place_of(verb *v, const char *name)
{
    if (strcmp(name, "model") == 0 && has_argument(v, "MODEL")) return &v->model;
    if (strcmp(name, "output") == 0 && has_argument(v, "OUT")) return &v->output;
    return NULL;
}

static int set_place(const verb *v, const char **place, const char *name, const char *value,
                     const char *next, bool *took_next)
{
    if (!value) value = next, *took_next = true;
    if (!value) return options_misuse(v, "--%s: missing value, such as DIR", name);
    if (*place)
        return options_misuse(v, "--%s is given twice, '%s' and '%s': it takes one value", name,
                              *place, value);
    *place = value;
    return 0;
}

/* MODEL is the first of the arguments and OUT the last. */
static int place_named(verb *v)
{
    size_t most = v->positional_most ? v->positional_most : v->positional_wanted;
    size_t named = (v->model != NULL) + (v->output != NULL);

    if (named && v->positional_count + named > most)
        return options_misuse(v, "unexpected argument '%s' beside %s", v->positional[0],
                              v->output ? "--output" : "--model");
    if (v->model) {
        memmove(v->positional + 1, v->positional, v->positional_count * sizeof *v->positional);
        v->positional[0] = v->model;
        v->positional_count++;
    }
    if (v->output && v->positional_count + 1 < v->positional_wanted)
        return missing_argument(v); /* MODEL: OUT must not be taken for it */
    if (v->output) v->positional[v->positional_count++] = v->output;
    return 0;
}

/* The few letters that everybody types; any other is refused by its name. */
static const char *long_name(char letter)
{
    return letter == 'm' ? "model" : letter == 'o' ? "output" : letter == 'p' ? "prompt" : NULL;
}

/* given [option_count]: the values that options had before. */
static int parse_one(verb *v, char *argument, char *next, const char **given, bool *took_next)
{
    char name[128], *value = strchr(argument, '=');
    size_t n = value ? (size_t)(value - argument) : strlen(argument);
    const char **place;
    bool off = false;
    option *o;

    *took_next = false;
    if (n >= sizeof name) return options_misuse(v, "unknown option --%s", argument);
    for (size_t i = 0; i < n; i++)
        name[i] = argument[i] == '_' ? '-' : (char)tolower((unsigned char)argument[i]);
    name[n] = 0;
    if (value) value++;
    o = find(v, name);
    if (!o && (place = place_of(v, name))) return set_place(v, place, name, value, next, took_next);
    if (!o && strncmp(name, "no-", 3) == 0) {
        o = find(v, name + 3);
        off = true;
        if (o && !is_flag(o)) o = NULL;
    }
    if (!o) return unknown_option(v, name);
    if (is_flag(o)) {
        bool on = true;
        if (!value && !off && is_truth_word(next)) value = next, *took_next = true;
        if (value && !read_truth(value, &on))
            return options_misuse(v, "--%s: expected true or false, got '%s'", o->name, value);
        if (!set_flag(o, on != off)) return options_misuse(v, "too many options");
        return 0;
    }
    if (!value) {
        if (!next)
            return options_misuse(v, "--%s: missing value, such as %s", o->name, o->example);
        value = next;
        *took_next = true;
    }
    if (takes_one(v, o) && given[o - v->options] && strcmp(given[o - v->options], value) != 0)
        return options_misuse(v, "--%s is given twice, '%s' and '%s': it takes one value", o->name,
                              given[o - v->options], value);
    given[o - v->options] = value;
    if (!set_value(v, o, value))
        return options_misuse(v, "--%s: expected %s, got '%s'", o->name, expected(o), value);
    return 0;
}

static int parse_short(verb *v, const char *argument, char *next, const char **given,
                       bool *took_next)
{
    const char *name = argument[2] ? NULL : long_name(argument[1]);
    char text[16];

    *took_next = false;
    if (!name)
        return options_misuse(v, "unknown option %s: those of one letter are -h, -m MODEL, -o OUT "
                                 "and -p PROMPT, all others begin with --", argument);
    snprintf(text, sizeof text, "%s", name);
    return parse_one(v, text, next, given, took_next);
}

int options_parse(verb *v, int argc, char **argv)
{
    bool only_positional = false;
    int code;
    const char *given[OPTION_PAIR_ROOM + 64] = { 0 };

    assert(v->option_count <= sizeof given / sizeof *given);
    for (int i = 0; i < argc; i++) {
        bool took_next;

        if (!only_positional && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            print_usage(v, i + 1 < argc && strcmp(argv[i + 1], "all") == 0, stdout);
            return -1;
        }
        if (!only_positional && strncmp(argv[i], "--help=", 7) == 0)
            return print_form(v, argv[i] + 7);
        if (!only_positional && strcmp(argv[i], "--") == 0) {
            only_positional = true;
            continue;
        }
        if (!only_positional && argv[i][0] == '-' && argv[i][1] && argv[i][1] != '-') {
            code = parse_short(v, argv[i], i + 1 < argc ? argv[i + 1] : NULL, given, &took_next);
            if (code) return code;
            i += took_next;
            continue;
        }
        if (only_positional || strncmp(argv[i], "--", 2) != 0) {
            if (v->positional_count ==
                (v->positional_most ? v->positional_most : v->positional_wanted))
                return options_misuse(v, "unexpected argument '%s'", argv[i]);
            v->positional[v->positional_count++] = argv[i];
            continue;
        }
        code = parse_one(v, argv[i] + 2, i + 1 < argc ? argv[i + 1] : NULL, given,
                         &took_next);
        if (code) return code;
        i += took_next;
    }
    if ((code = place_named(v))) return code;
    if (v->positional_count < v->positional_wanted) return missing_argument(v);
    if (v->model_first && v->positional_count)
        v->positional[0] = options_place(v, v->positional[0]);
    return 0;
}
