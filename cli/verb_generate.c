/* verb_generate.c - nibble generate. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

typedef struct generate {
    session s;
    nib_generator *g;
    nib_generate_options o;
    option_list adapters, stops;
    option_pairs settings; /* of weights */
    const char *prompt, *prompts, *use, *compute;
    int chat; /* -1: not given */
    bool raw;
    char last;
} generate;

static bool on_text(void *user, const char *text, size_t bytes)
{
    generate *g = user;

    print_text(stdout, text, bytes);
    if (bytes) g->last = text[bytes - 1];
    return fflush(stdout) == 0;
}

/* {"prompt", "completion"} and, when `counts`, what it took, on a line of its own; the warnings of
 * that session, or NULL: they have a line before the answers. */
static void print_answer(const char *prompt, size_t bytes, const nib_generate_result *r,
                         bool counts, const session *warnings)
{
    printf("{\"prompt\": ");
    print_json_string(stdout, prompt, bytes);
    printf(", \"completion\": ");
    print_json_string(stdout, r->text, r->bytes);
    if (counts) {
        printf(
            ", \"prompt_tokens\": %llu, \"new_tokens\": %llu, \"guessed_tokens\": %llu, "
            "\"stop_reason\": \"%s\", \"prefill_seconds\": ",
            (unsigned long long)r->prompt_tokens, (unsigned long long)r->new_tokens,
            (unsigned long long)r->guessed_tokens, r->stop_reason);
        print_json_number(stdout, r->prefill_seconds);
        printf(", \"decode_seconds\": ");
        print_json_number(stdout, r->decode_seconds);
        printf(", \"peak_memory_bytes\": %llu", (unsigned long long)r->peak_memory_bytes);
    }
    if (warnings) print_json_member_warnings(stdout, warnings);
    printf("}\n");
}

/* The first new token comes from the prompt: one less passes through the model. */
static void report_speed(generate *g, const nib_generate_result *r)
{
    char speed[40] = "";

    if (r->new_tokens > 1 && r->decode_seconds > 0)
        snprintf(speed, sizeof speed, ", %.1f a second",
                 (double)(r->new_tokens - 1) / r->decode_seconds);
    session_line(&g->s, "%llu prompt tokens in %.2f s, %llu new ones%s",
                 (unsigned long long)r->prompt_tokens, r->prefill_seconds,
                 (unsigned long long)r->new_tokens, speed);
}

static nib_status one_prompt(generate *g)
{
    nib_generate_result r = { 0 };
    nib_status status;

    g->o.on_text = g->s.json ? NULL : on_text;
    g->o.user = g;
    status = nib_generator_run(g->g, g->prompt, strlen(g->prompt), &g->o, &r, &g->s.err);
    if (status) return status;
    if (g->s.json) {
        print_answer(g->prompt, strlen(g->prompt), &r, true, &g->s);
    } else if (g->s.live && g->last != '\n') {
        putchar('\n');
    }
    fflush(stdout);
    report_speed(g, &r);
    nib_generate_result_free(g->g, &r);
    return NIB_OK;
}

/* Puts the file and the line before a message. */
static nib_status line_error(generate *g, size_t number, nib_status status, const char *what)
{
    char message[sizeof g->s.err.message];

    snprintf(message, sizeof message, "%.400s: line %zu: %.500s", g->prompts, number, what);
    memcpy(g->s.err.message, message, sizeof message);
    return status;
}

/* Which adapter answers where the prompt does not say: --active-adapter's, the only one, or of
 * several none. */
static void choose_adapter(generate *g)
{
    g->o.adapter = g->use;
    g->o.no_adapter = g->adapters.count > 1 && !g->use;
}

/* One line of a prompts file: {"prompt": ..., "adapter": NAME or null}. */
static nib_status one_line(generate *g, const char *line, size_t bytes, size_t number)
{
    json_t *j = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, NULL);
    const json_t *prompt = json_object_get(j, "prompt"), *adapter = json_object_get(j, "adapter");
    nib_generate_result r = { 0 };
    nib_status status = NIB_OK;

    if (!json_is_string(prompt) ||
        (adapter && !json_is_null(adapter) && !json_is_string(adapter))) {
        status = line_error(
            g, number, NIB_E_FORMAT,
            j ? "not an object with a string 'prompt' (and perhaps a string 'adapter')"
              : "not JSON; each line is an object as {\"prompt\": \"...\"}, with double quotes");
        goto done;
    }
    g->o.on_text = NULL;
    choose_adapter(g);
    if (adapter) {
        g->o.adapter = json_string_value(adapter);
        g->o.no_adapter = json_is_null(adapter);
    }
    status = nib_generator_run(g->g, json_string_value(prompt), json_string_length(prompt), &g->o,
                               &r, &g->s.err);
    if (status) {
        line_error(g, number, status, g->s.err.message);
        goto done;
    }
    print_answer(json_string_value(prompt), json_string_length(prompt), &r, g->s.json,
                 NULL);
    fflush(stdout);
    nib_generate_result_free(g->g, &r);
done:
    json_decref(j);
    return status;
}

static nib_status all_lines(generate *g)
{
    FILE *f = fopen(g->prompts, "r");
    char *line = NULL;
    size_t room = 0, number = 0;
    ssize_t bytes;
    nib_status status = NIB_OK;

    while (f && !status && (bytes = getline(&line, &room, f)) >= 0) {
        number++;
        if (line[strspn(line, " \t\r\n")]) status = one_line(g, line, (size_t)bytes, number);
    }
    if (!f || (!status && !feof(f))) { /* a directory can be opened but not read */
        snprintf(g->s.err.message, sizeof g->s.err.message, "%s: %s", g->prompts, strerror(errno));
        status = NIB_E_IO;
    }
    free(line);
    if (f) fclose(f);
    return status;
}

/* DIR or NAME=DIR; a directory that exists as written is one, '=' or not. */
static void choose_adapters(verb *v, const option_list *list, nib_adapter_choice *out)
{
    for (size_t i = 0; i < list->count; i++) {
        char *equals = strchr(list->items[i], '='), *slash = strchr(list->items[i], '/');
        bool named = equals && !(slash && slash < equals);
        if (named) *equals = 0;
        out[i] = (nib_adapter_choice){
            .name = named ? list->items[i] : NULL,
            .dir = options_place(v, named ? equals + 1 : list->items[i]),
        };
    }
}

static nib_status run(generate *g, verb *v, nib_model_options *model)
{
    nib_adapter_choice adapters[OPTION_LIST_ROOM];
    char text[1024];
    nib_status status;

    choose_adapters(v, &g->adapters, adapters);
    g->o.stop = g->stops.items;
    g->o.stop_count = g->stops.count;
    choose_adapter(g);
    status = nib_generator_open(g->s.ctx, model, adapters, g->adapters.count, &g->g, &g->s.err);
    if (!status) status = nib_generator_describe(g->g, &g->o, text, sizeof text, &g->s.err);
    if (!status) session_line(&g->s, "%s", text);
    if (!status) status = g->prompts ? all_lines(g) : one_prompt(g);
    nib_generator_close(g->g);
    return status;
}

/* Which prompt it is and how it is put; 0, or the exit status where options do not go together. */
static int settle_prompt(generate *g, const verb *v)
{
    if (v->positional_count > 1 && (g->prompt || g->prompts))
        return options_misuse(v, "unexpected argument '%s' beside --prompt%s", v->positional[1],
                              g->prompts ? "s" : "");
    if (v->positional_count > 1) g->prompt = v->positional[1];
    if (!g->prompt == !g->prompts)
        return options_misuse(v, "expected one of TEXT, --prompt and --prompts, got %s",
                              g->prompt ? "both" : "none");
    g->o.chat = g->chat == 1;
    if (g->o.chat && g->raw) return options_misuse(v, "--chat and --raw exclude each other");
    g->o.as_trained = !g->raw && g->chat != 0;
    if (!g->o.chat && (g->o.system || g->o.chat_template || g->o.chat_template_kwargs))
        return options_misuse(v,
                              "--system, --chat-template and --chat-template-kwargs need --chat");
    if (g->prompt && g->adapters.count > 1 && !g->use)
        return options_misuse(v, "several adapters: missing option --active-adapter NAME");
    return 0;
}

int verb_generate(int argc, char **argv)
{
    static generate g; /* large: not on the stack */
    nib_model_options model = { 0 };
    int code;

    nib_generate_defaults(&g.o);
    g.chat = -1;
    option options[] = {
        { "prompt", OPTION_STRING, &g.prompt, "TEXT", "the text to continue" },
        { "prompts", OPTION_STRING, &g.prompts, "FILE",
          "jsonl of {prompt, adapter?}, answered as jsonl in order; --json adds counts and times" },
        { "chat", OPTION_CHOICE, &g.chat, NULL,
          "the prompt is what a user says: the chat template is applied; default: as the adapter "
          "was trained, without one where the model has a template; --no-chat is --raw" },
        { "raw", OPTION_FLAG, &g.raw, NULL, "the prompt is taken as it stands" },
        { "system", OPTION_STRING, &g.o.system, "TEXT", "with --chat: a system message before it" },
        { "chat-template", OPTION_STRING, &g.o.chat_template, "FILE",
          "with --chat: Jinja, in place of the model's own" },
        { "chat-template-kwargs", OPTION_STRING, &g.o.chat_template_kwargs, "JSON",
          "with --chat: more variables of the template, as '{\"enable_thinking\": false}'" },
        { "adapter", OPTION_LIST, &g.adapters, "[NAME=]DIR", "may be repeated" },
        { "active-adapter", OPTION_STRING, &g.use, "NAME", "which of several adapters answers" },
        { "max-new-tokens", OPTION_COUNT, &g.o.max_new_tokens, "256",
          "default: generation_config.json's, else 256" },
        { "max-length", OPTION_COUNT, &g.o.max_length, "512",
          "of prompt and text together, in tokens; max-new-tokens wins" },
        { "min-new-tokens", OPTION_NATURAL, &g.o.min_new_tokens, "8",
          "no end token before so many" },
        { "min-length", OPTION_NATURAL, &g.o.min_length, "16",
          "the same, the prompt's tokens counted" },
        { "prompt-lookup-num-tokens", OPTION_NATURAL, &g.o.prompt_lookup_num_tokens, "3",
          "guesses at a time, from what came before: faster, the same text; 0: none" },
        { "float32-matmul-precision", OPTION_STRING, &g.o.float32_matmul_precision, "high",
          "of new tokens in float32: high (some 16 bits, faster) or highest" },
        { "do-sample", OPTION_CHOICE, &g.o.do_sample, NULL, "sample, or --no-do-sample" },
        { "temperature", OPTION_FLOAT, &g.o.temperature, "0.7", "0 is greedy" },
        { "top-k", OPTION_NATURAL, &g.o.top_k, "50", "of the likeliest tokens; 0: of all" },
        { "top-p", OPTION_FLOAT, &g.o.top_p, "0.9",
          "of the likeliest that together have this probability" },
        { "min-p", OPTION_FLOAT, &g.o.min_p, "0.05",
          "of those with this fraction of the likeliest's probability" },
        { "typical-p", OPTION_FLOAT, &g.o.typical_p, "0.95",
          "of the tokens whose surprise is nearest to the expected, "
          "that together have this probability" },
        { "epsilon-cutoff", OPTION_FLOAT, &g.o.epsilon_cutoff, "3e-4",
          "of those at least so likely; 0: of all" },
        { "eta-cutoff", OPTION_FLOAT, &g.o.eta_cutoff, "3e-4",
          "the same, lower where many tokens are likely" },
        { "no-repeat-ngram-size", OPTION_NATURAL, &g.o.no_repeat_ngram_size, "3",
          "no so many tokens in a row come twice; 0: they may" },
        { "repetition-penalty", OPTION_FLOAT, &g.o.repetition_penalty, "1.1",
          "above 1 makes tokens that came before less likely" },
        { "seed", OPTION_SEED, &g.o.seed, "42", "of sampling" },
        { "stop", OPTION_LIST, &g.stops, "TEXT", "end before this text; may be repeated" },
        MODEL_OPTIONS(&g.settings, &model.quantize_experts, &g.compute),
        STRICT_OPTION(&g.s),
        SESSION_OPTIONS(&g.s),
    };
    static const char *const common[] = {
        "prompt", "prompts", "chat", "system", "adapter", "active-adapter", "max-new-tokens",
        "min-new-tokens", "do-sample", "temperature", "top-k", "top-p", "min-p",
        "no-repeat-ngram-size", "repetition-penalty", "seed", "stop", "load-in-4bit",
        "load-in-8bit", "compute-dtype", "threads", "json", NULL
    };
    verb v = { .name = "generate", .arguments = "MODEL (TEXT | --prompt TEXT | --prompts FILE)",
               .summary = "Only the continuation goes to standard output.", .options = options,
               .option_count = sizeof options / sizeof *options, .positional_wanted = 1,
               .positional_most = 2, .model_first = true, .common = common };

    if ((code = options_parse(&v, argc, argv))) return code;
    if ((code = settle_prompt(&g, &v))) return code;
    model.compute_dtype = compute_of(&v, g.compute, &code);
    if (code) return code;
    model.model = v.positional[0];
    model.settings = g.settings.items;
    g.s.json_lines = g.prompts != NULL;
    if ((code = session_begin(&g.s))) return code;
    return session_end(&g.s, run(&g, &v, &model));
}
