/* completion.c - see completion.h.
 *
 * A verb's name may have a second word, an option: `evaluate --generate` has the options of that
 * table once the word is on the line. */
#include "completion.h"

#include <stdio.h>
#include <string.h>

#include "option_words.h"

static bool takes_value(const option *o)
{
    return o->kind != OPTION_FLAG && o->kind != OPTION_CHOICE && o->kind != OPTION_PAIR_FLAG;
}

static bool takes_file(const option *o)
{
    return o->example && (o->kind == OPTION_PLACE || strstr(o->example, "FILE") ||
                          strstr(o->example, "DIR"));
}

/* The verb of a table's name, and behind it the option that must be there too; "" for none. */
static const char *second_word(const verb *v, char first[32])
{
    size_t n = strcspn(v->name, " ");

    snprintf(first, 32, "%.*s", (int)n, v->name);
    return v->name[n] ? v->name + n + 1 : "";
}

/* The text, with `mark` before each character of `special`; inside '...' of a shell that ends the
 * quotation for a quote. */
static void put_escaped(const char *text, const char *special, const char *quote)
{
    for (; *text; text++) {
        if (*text == '\'') fputs(quote, stdout);
        else if (strchr(special, *text)) printf("\\%c", *text);
        else putchar(*text);
    }
}

/* --- bash --- */

static const char bash_head[] =
    "# bash completion for nibble, written by `nibble completion bash`.\n"
    "_nibble() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    local verb=${COMP_WORDS[1]} flags='' values='' files='' verbs=''\n"
    "    COMPREPLY=()\n";

static void bash_verb(const char *name, const char *summary)
{
    const char *alias;

    (void)summary; /* bash shows names only */
    printf("    verbs+=' %s'\n", name);
    for (size_t i = 0; (alias = verb_word_alias_of(name, i)); i++)
        printf("    [ \"$verb\" != %s ] || verb=%s\n", alias, name);
}

/* Where = breaks words, as in bash's own settings, it is a word by itself. */
static const char bash_middle[] =
    "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$verbs --help --version\" -- \"$word\")\n"
    "        return\n"
    "    fi\n"
    "    if [ \"$word\" = = ]; then\n"
    "        word=''\n"
    "    elif [ \"$before\" = = ]; then\n"
    "        before=${COMP_WORDS[COMP_CWORD-2]}\n"
    "    fi\n";

static void bash_list(const verb *v, const char *name, bool value, bool file)
{
    bool open = false;

    for (size_t i = 0; i < v->option_count; i++) {
        const option *o = &v->options[i];
        if (!o->help || takes_value(o) != value || (value && takes_file(o) != file)) continue;
        if (!open) printf("        %s='", name);
        printf("%s--%s", open ? " " : "", o->name);
        open = true;
    }
    if (open) printf("'\n");
}

static void bash_options(const verb *v)
{
    char first[32];
    const char *second = second_word(v, first);

    printf("    if [ \"$verb\" = %s ]", first);
    if (*second) printf(" && [[ \" ${COMP_WORDS[*]} \" == *' %s '* ]]", second);
    printf("; then\n");
    bash_list(v, "flags", false, false);
    bash_list(v, "values", true, false);
    bash_list(v, "files", true, true);
    printf("    fi\n");
}

static const char bash_tail[] =
    "    if [[ \" $values \" == *\" $before \"* ]]; then\n"
    "        return\n"
    "    elif [[ $word == -* && \" $files \" != *\" $before \"* ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$flags $values $files --help\" -- \"$word\")\n"
    "    else\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
    "    fi\n"
    "}\n"
    "complete -F _nibble nibble\n";

/* --- zsh --- */

static const char zsh_head[] =
    "#compdef nibble\n"
    "# zsh completion for nibble, written by `nibble completion zsh`.\n"
    "_nibble() {\n"
    "    local -a verbs options\n"
    "    local verb=$words[2]\n";

static void zsh_verb(const char *name, const char *summary)
{
    const char *alias;

    printf("    verbs+=('%s:", name);
    put_escaped(summary, ":\\", "'\\''");
    printf("')\n");
    for (size_t i = 0; (alias = verb_word_alias_of(name, i)); i++)
        printf("    [[ $verb == %s ]] && verb=%s\n", alias, name);
}

static const char zsh_middle[] =
    "    if (( CURRENT == 2 )); then\n"
    "        _describe verb verbs\n"
    "        return\n"
    "    fi\n";

static void zsh_options(const verb *v)
{
    char first[32];
    const char *second = second_word(v, first);

    printf("    if [[ $verb == %s ]]", first);
    if (*second) printf(" && (( ${words[(I)%s]} ))", second);
    printf("; then\n        options=(\n");
    for (size_t i = 0; i < v->option_count; i++) {
        const option *o = &v->options[i];
        if (!o->help) continue;
        printf("            '%s--%s%s[", o->kind == OPTION_LIST ? "*" : "", o->name,
               takes_value(o) ? "=" : "");
        put_escaped(o->help, "[]:\\", "'\\''");
        putchar(']');
        if (takes_value(o)) {
            putchar(':');
            put_escaped(o->example ? o->example : "VALUE", ":\\", "'\\''");
            printf(":%s", takes_file(o) ? "_files" : "");
        }
        printf("'\n");
    }
    printf("        )\n    fi\n");
}

static const char zsh_tail[] =
    "    _arguments $options '(- *)--help[show the options]' '*:argument:_files'\n"
    "}\n"
    "_nibble \"$@\"\n";

/* --- fish --- */

static void fish_verb(const char *name, const char *summary)
{
    printf("complete -c nibble -n __fish_use_subcommand -f -a %s -d '", name);
    put_escaped(summary, "\\", "\\'");
    printf("'\n");
}

static void fish_options(const verb *v)
{
    char first[32];
    const char *second = second_word(v, first), *alias;

    for (size_t i = 0; i < v->option_count; i++) {
        const option *o = &v->options[i];
        if (!o->help) continue;
        printf("complete -c nibble -n '__fish_seen_subcommand_from %s", first);
        for (size_t k = 0; (alias = verb_word_alias_of(first, k)); k++) printf(" %s", alias);
        if (*second) printf("; and __fish_contains_opt %s", second + strspn(second, "-"));
        printf("' -l %s%s -d '", o->name,
               !takes_value(o) ? "" : takes_file(o) ? " -r -F" : " -x");
        put_escaped(o->help, "\\", "\\'");
        printf("'\n");
    }
}

static const char fish_head[] =
    "# fish completion for nibble, written by `nibble completion fish`.\n";

static const completion_shell shells[] = {
    { "bash", bash_head, bash_middle, bash_tail, bash_verb, bash_options },
    { "zsh", zsh_head, zsh_middle, zsh_tail, zsh_verb, zsh_options },
    { "fish", fish_head, "", "", fish_verb, fish_options },
};

const completion_shell *completion_find(const char *name)
{
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (strcmp(shells[i].name, name) == 0) return &shells[i];
    return NULL;
}
