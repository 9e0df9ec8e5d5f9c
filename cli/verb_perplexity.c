/* verb_perplexity.c - nibble perplexity. */
#include <string.h>

#include "session.h"

typedef struct printer {
    session s; /* first: progress is the session's */
    bool compared;
} printer;

/* The tokens are the library's until it returns: they are printed before the numbers. */
static void on_worst(void *user, const nib_worst_token *tokens, size_t count)
{
    const printer *p = user;

    printf(p->s.json ? "{\"worst\": [" : "worst tokens (%s):\n",
           p->compared ? "divergence, loss, the reference's loss" : "loss");
    for (size_t i = 0; i < count; i++) {
        const nib_worst_token *t = &tokens[i];
        if (p->s.json) {
            printf("%s{\"position\": %llu, \"text\": ", i ? ", " : "",
                   (unsigned long long)t->position);
            print_json_string(stdout, t->text, strlen(t->text));
            printf(", \"loss\": ");
            print_json_number(stdout, t->loss);
            if (p->compared) {
                printf(", \"reference_loss\": ");
                print_json_number(stdout, t->reference_loss);
                printf(", \"divergence\": ");
                print_json_number(stdout, t->divergence);
            }
            printf("}");
            continue;
        }
        printf("%10llu  ", (unsigned long long)t->position);
        if (p->compared) printf("%8.4f %8.4f %8.4f  ", t->divergence, t->loss, t->reference_loss);
        else printf("%8.4f  ", t->loss);
        print_text(stdout, t->text, strlen(t->text));
        printf("\n");
    }
    if (p->s.json) printf("], ");
}

static void print_member(const char *name, double value)
{
    printf(", \"%s\": ", name);
    print_json_number(stdout, value);
}

static void print_result_json(const nib_perplexity_result *r, const session *s)
{
    printf("\"tokens\": %llu, \"windows\": %llu, \"predicted\": %llu",
           (unsigned long long)r->tokens, (unsigned long long)r->windows,
           (unsigned long long)r->predicted);
    print_member("loss", r->loss);
    print_member("perplexity", r->perplexity);
    print_member("perplexity_error", r->perplexity_error);
    if (r->compared) {
        print_member("reference_loss", r->reference_loss);
        print_member("reference_perplexity", r->reference_perplexity);
        print_member("divergence", r->divergence);
        print_member("divergence_error", r->divergence_error);
        print_member("divergence_worst", r->divergence_worst);
        print_member("agreement", r->agreement);
    }
    print_member("seconds", r->seconds);
    print_json_member_warnings(stdout, s);
    printf("}\n");
}

static void print_result(const nib_perplexity_result *r)
{
    printf("perplexity %.4f +- %.4f\nloss %.6f\n%llu of %llu tokens predicted, in %llu windows\n",
           r->perplexity, r->perplexity_error, r->loss, (unsigned long long)r->predicted,
           (unsigned long long)r->tokens, (unsigned long long)r->windows);
    if (!r->compared) return;
    printf("reference perplexity %.4f\nreference loss %.6f\n"
           "KL divergence from the reference %.6f +- %.6f, at most %.4f\n"
           "likeliest token the same %.2f %%\n",
           r->reference_perplexity, r->reference_loss, r->divergence, r->divergence_error,
           r->divergence_worst, 100 * r->agreement);
}

static int preset_of(const verb *v, const char *name, nib_perplexity_preset *preset)
{
    *preset = NIB_PERPLEXITY_GPTQ;
    if (!name || strcmp(name, "gptq") == 0) return 0;
    if (strcmp(name, "llama.cpp") != 0)
        return options_misuse(v, "--preset: expected gptq or llama.cpp, got '%s'", name);
    *preset = NIB_PERPLEXITY_LLAMA_CPP;
    return 0;
}

int verb_perplexity(int argc, char **argv)
{
    printer p = { 0 };
    nib_perplexity_options o = { .on_progress = session_progress, .on_worst = on_worst,
                                 .user = &p };
    nib_perplexity_result r;
    const char *compute = NULL, *preset = NULL;
    option_pairs settings = { 0 };
    nib_status status;
    option options[] = {
        { "data", OPTION_STRING, &o.data, "FILE",
          "a .txt file, whole; or the field text of records, joined by two line breaks" },
        { "preset", OPTION_STRING, &preset, "gptq",
          "gptq: the papers' windows, side by side; llama.cpp: the second half of each" },
        { "context-length", OPTION_COUNT, &o.context_length, "2048",
          "tokens of a window; of llama.cpp 512" },
        { "stride", OPTION_COUNT, &o.stride, "N",
          "a window begins each N tokens, each token is predicted once" },
        { "reference", OPTION_PLACE, &o.reference, "MODEL2",
          "also: KL divergence, agreement and worst tokens against this model" },
        { "adapter", OPTION_PLACE, &o.adapter, "DIR", "a PEFT adapter on MODEL" },
        { "worst", OPTION_COUNT, &o.worst, "10", "how many of the worst tokens are listed" },
        MODEL_OPTIONS(&settings, &o.model.quantize_experts, &compute),
        STRICT_OPTION(&p.s),
        SESSION_OPTIONS(&p.s),
    };
    verb v = { .name = "perplexity", .arguments = "MODEL --data FILE",
               .summary = "Perplexity of a text by the protocol of the papers or of llama.cpp.",
               .options = options,
               .option_count = sizeof options / sizeof *options, .positional_wanted = 1,
               .model_first = true };
    int code = options_parse(&v, argc, argv);

    if (code) return code;
    if (!o.data) return options_misuse(&v, "missing option --data");
    if ((code = preset_of(&v, preset, &o.preset))) return code;
    o.model.compute_dtype = compute_of(&v, compute, &code);
    if (code) return code;
    o.model.model = v.positional[0];
    o.model.settings = settings.items;
    p.compared = o.reference != NULL;
    if ((code = session_begin(&p.s))) return code;
    status = nib_perplexity(p.s.ctx, &o, &r, &p.s.err);
    if (!status && p.s.json) print_result_json(&r, &p.s);
    else if (!status) print_result(&r);
    return session_end(&p.s, status);
}
