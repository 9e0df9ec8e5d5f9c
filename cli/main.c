/* main.c - nibble VERB ... */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "completion.h"
#include "option_words.h"
#include "session.h"

static const struct { const char *name; int (*run)(int, char **); const char *summary; } verbs[] = {
    { "pull", verb_pull, "a model of the hub by its name, into its cache" },
    { "quantize", verb_quantize, "a model directory or GGUF file into a low-bit directory" },
    { "add-tokens", verb_add_tokens, "a model with rows for new tokens" },
    { "finetune", verb_finetune, "train a LoRA adapter on a frozen model, or all of it" },
    { "runs", verb_runs, "training runs side by side" },
    { "convert-recipe", verb_convert_recipe, "another tool's recipe into one for finetune" },
    { "preview", verb_preview, "what a training run would see of a data file" },
    { "generate", verb_generate, "text from a model, with or without adapters" },
    { "evaluate", verb_evaluate, "loss and perplexity, or a classifier's scores, on a data file" },
    { "perplexity", verb_perplexity, "how well a text is predicted, as papers measure it" },
    { "predict", verb_predict, "what a classifier says of records" },
    { "embed", verb_embed, "texts as vectors, from an encoder" },
    { "merge", verb_merge, "adapters into a model: dense, or in a low-bit format" },
    { "export", verb_export, "a model, with or without an adapter, as a GGUF file" },
    { "inspect", verb_inspect, "what a model, an adapter or a file holds" },
    { "tokenize", verb_tokenize, "text to token ids and back" },
    { "doctor", verb_doctor, "what this machine has and what nibble uses of it" },
};

static void print_verbs(FILE *to)
{
    fprintf(to, "usage: nibble VERB ...   (nibble VERB --help: its options)\n\n");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        fprintf(to, "  %-14s %s\n", verbs[i].name, verbs[i].summary);
    fprintf(to, "\nnibble --version, nibble completion bash|zsh|fish\n");
}

static void print_version(void)
{
    nib_library_version library;
    const char *name;

    printf("nibble %s (commit %s)\ninstruction sets:", nib_version(), nib_commit());
    for (size_t i = 0; (name = nib_instruction_set(i)); i++) printf(" %s", name);
    if (!nib_instruction_set(0)) printf(" none with kernels of their own");
    printf("\nlibraries:");
    for (size_t i = 0; nib_library_at(i, &library); i++)
        printf("%s %s %s", i ? "," : "", library.name, library.version);
    putchar('\n');
}

/* `nibble completion SHELL`: each verb writes its own options (options_parse()). */
static int print_completion(int argc, char **argv)
{
    const completion_shell *shell = argc == 1 ? completion_find(argv[0]) : NULL;
    char request[32], generate[] = "--generate";

    if (!shell) {
        fprintf(stderr, "usage: nibble completion bash|zsh|fish\nnibble completion: ");
        if (argc == 1) fprintf(stderr, "expected bash, zsh or fish, got '%s'\n", argv[0]);
        else fprintf(stderr, "expected one argument, got %d\n", argc);
        return 2;
    }
    snprintf(request, sizeof request, "--help=%s", shell->name);
    fputs(shell->head, stdout);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        shell->verb(verbs[i].name, verbs[i].summary);
    fputs(shell->middle, stdout);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        verbs[i].run(1, (char *[]){ request });
        if (verbs[i].run == verb_evaluate) verbs[i].run(2, (char *[]){ generate, request });
    }
    fputs(shell->tail, stdout);
    return 0;
}

static int unknown_verb(const char *name)
{
    const char *like = verb_word_synonym(name);

    for (size_t i = 0; i < sizeof verbs / sizeof *verbs && !like; i++)
        if (option_word_distance(name, verbs[i].name) <= strlen(name) / 4) like = verbs[i].name;
    fprintf(stderr, "usage: nibble VERB ...\nnibble: unknown verb '%s'%s%s; the verbs are", name,
            like ? ", perhaps " : "", like ? like : "");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        fprintf(stderr, "%s %s", i ? "," : "", verbs[i].name);
    fputs(" (see nibble --help)\n", stderr);
    return 2;
}

static int run(int argc, char **argv)
{
    const char *name;
    int code;

    if (argc < 2) {
        print_verbs(stderr);
        fputs("nibble: missing verb\n", stderr);
        return 2;
    }
    if (strcmp(argv[1], "--version") == 0) {
        print_version();
        return 0;
    }
    if (strcmp(argv[1], "completion") == 0) return print_completion(argc - 2, argv + 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_verbs(stdout);
        return 0;
    }
    name = verb_word_alias(argv[1]);
    if (!name) name = argv[1];
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(name, verbs[i].name) == 0) {
            code = verbs[i].run(argc - 2, argv + 2);
            return code < 0 ? 0 : code; /* -1: help was asked for */
        }
    return unknown_verb(argv[1]);
}

/* What was printed may be lost up to the last moment: then it is no success.  A reader who has gone
 * knows that, so a closed pipe gets no message. */
int main(int argc, char **argv)
{
    int code = run(argc, argv);
    bool lost = ferror(stdout) != 0;

    errno = 0;
    if (fclose(stdout)) lost = true; /* close() is the last to say that a disk is full */
    if (!lost) return code;
    if (errno != EPIPE && !session_pipe_closed())
        fprintf(stderr, "nibble: standard output: %s\n",
                errno ? strerror(errno) : "a write failed");
    return code ? code : 1;
}
