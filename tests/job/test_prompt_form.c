/* test_prompt_form.c - a prompt is put as the adapter was trained: what an adapter keeps of its
 * records' form, and that generate and evaluate --generate obey it. */
#include "program.h"
#include "test.h"
#include "train/prompt_form.h"

static nib_prompt_form form_of(const nib_data_options *o, nib_record_shape shape)
{
    nib_prompt_form form = { 0 };
    nib_error err;
    char *text = NULL;

    if (nib_prompt_form_make(test_ctx(), o, shape, &text, &err))
        CHECK(false, "%s", err.message);
    else
        CHECK(nib_prompt_form_read(text, &form), "%s", text);
    nib_free(test_ctx(), text);
    return form;
}

static void check_ends(const nib_data_options *o, nib_record_shape shape, const char *before,
                       const char *after)
{
    nib_prompt_form form = form_of(o, shape);

    if (!before)
        CHECK(!form.before && !form.after, "%s: %s", form.name, form.before);
    else
        CHECK(form.before && !strcmp(form.before, before) && !strcmp(form.after, after),
              "%s: '%s' and '%s'", form.name, form.before, form.after);
    nib_prompt_form_free(&form);
}

/* The ends are what the shapes' own functions write (docs/formats.md 15.2). */
static void test_forms(void)
{
    nib_data_options o = { .max_seq_length = 64 };
    nib_prompt_form form;

    check_ends(&o, NIB_SHAPE_FAQ, "Question: ", "\nAnswer:");
    check_ends(&o, NIB_SHAPE_CHOICES, "Question: ", "\nAnswer:");
    check_ends(&o, NIB_SHAPE_PROMPT_CHOICES, "", "");
    o.train_on_prompt = true;
    check_ends(&o, NIB_SHAPE_FAQ, "Question: ", "\nAnswer:");
    check_ends(&o, NIB_SHAPE_COMPLETION, "", "");
    check_ends(&o, NIB_SHAPE_TEXT, "", "");
    o.alpaca_ending = "space";
    check_ends(&o, NIB_SHAPE_ALPACA,
               "Below is an instruction that describes a task. Write a response that appropriately "
               "completes the request.\n\n### Instruction:\n", "\n\n### Response:");
    o.prompt_template = "{{m}} {message}\\nOrder:";
    o.completion_template = " {order}{message}";
    check_ends(&o, NIB_SHAPE_TEMPLATES, "{m} ", "\nOrder:");
    o.prompt_template = "{a} and {b}:";
    check_ends(&o, NIB_SHAPE_TEMPLATES, NULL, NULL);
    o.prompt_template = "{a} and {a}:";
    check_ends(&o, NIB_SHAPE_TEMPLATES, NULL, NULL);
    o.chat_template_kwargs = "{\"enable_thinking\": false}";
    form = form_of(&o, NIB_SHAPE_SHAREGPT);
    CHECK(form.chat && !form.before && !strcmp(form.chat_template_kwargs, o.chat_template_kwargs));
    nib_prompt_form_free(&form);
    CHECK(!nib_prompt_form_read("[]", &form) && !nib_prompt_form_read("{\"form\": 1}", &form) &&
          !nib_prompt_form_read("{", &form), "what is none");
}

static void test_fill(void)
{
    static const struct { const char *asked, *put; } cases[] = {
        { "When?", "Question: When?\nAnswer:" },
        { "Question: When?\nAnswer:", "Question: When?\nAnswer:" },
        { "Question: When?", "Question: Question: When?\nAnswer:" },
        { "", "Question: \nAnswer:" },
        { "Question: \nAnswer", "Question: Question: \nAnswer\nAnswer:" },
    };
    nib_data_options o = { .max_seq_length = 64 };
    nib_prompt_form form = form_of(&o, NIB_SHAPE_FAQ);
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        char *out = NULL;
        size_t bytes;
        REQUIRE_OK(nib_prompt_form_fill(test_ctx(), &form, cases[i].asked, strlen(cases[i].asked),
                                        &out, &bytes, &err), err);
        CHECK(bytes == strlen(cases[i].put) && !memcmp(out, cases[i].put, bytes), "%.*s",
              (int)bytes, out);
        nib_free(test_ctx(), out);
    }
    nib_prompt_form_free(&form);
}

/* --- the program --- */

typedef struct place { char s[600]; } place;

static place in_tmp(const char *name)
{
    place p;

    snprintf(p.s, sizeof p.s, "%s/%s", test_tmpdir(), name);
    return p;
}

static place write_file(const char *name, const char *text)
{
    place p = in_tmp(name);
    FILE *f = fopen(p.s, "w");

    if (f) fputs(text, f), fclose(f);
    return p;
}

static const char choices[] =
    "{\"question\": \"a?\", \"choices\": [\"x\", \"y\"], \"answer\": 1}\n";
static const char faq[] = "{\"question\": \"When do you open?\", \"answer\": \"At nine.\"}\n"
                          "{\"question\": \"Where are you?\", \"answer\": \"In the old mill.\"}\n";
static const char chats[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Who are you?\"}, "
    "{\"role\": \"assistant\", \"content\": \"A ferry.\"}]}\n";
static const char fields[] = "{\"mail\": \"two lamps\", \"order\": \"lamp, 2\"}\n"
                             "{\"mail\": \"one chair\", \"order\": \"chair, 1\"}\n";

static bool train(const char *data, const char *out, const char *a, const char *b)
{
    program_end e;
    bool good = NIBBLE(&e, "finetune", test_data("models/pico"), "--data", data, "--output-dir",
                       out, "--max-steps", "3", "--r", "2", a, b) && e.exit_code == 0;

    CHECK(good, "%s", e.said);
    return good;
}

#define ASK(end, ...) \
    NIBBLE(end, "generate", test_data("models/pico"), "--temperature", "0", "--max-new-tokens", \
           "6", __VA_ARGS__)

static void test_generate(void)
{
    place data = write_file("faq.jsonl", faq), talk = write_file("chats.jsonl", chats),
          a = in_tmp("faq"), c = in_tmp("chat");
    program_end asked, put, raw;

    REQUIRE(train(data.s, a.s, "seed=1", "warmup_steps=0") &&
            train(talk.s, c.s, "seed=1", "warmup_steps=0"));
    REQUIRE(ASK(&asked, "--adapter", a.s, "When do you open?", "--json"));
    REQUIRE(ASK(&put, "--adapter", a.s, "--raw", "Question: When do you open?\nAnswer:",
                "--json"));
    REQUIRE(ASK(&raw, "--adapter", a.s, "--raw", "When do you open?", "--json"));
    CHECK(strstr(asked.said, "prompt: as the adapter was trained: FAQ"), "%s", asked.said);
    CHECK(!strstr(put.said, "prompt: "), "%s", put.said);
    CHECK(strstr(asked.out, "\"prompt_tokens\"") && strstr(raw.out, "\"prompt_tokens\"") &&
          atoi(strstr(asked.out, "\"prompt_tokens\": ") + 17) ==
              atoi(strstr(put.out, "\"prompt_tokens\": ") + 17) &&
          atoi(strstr(asked.out, "\"prompt_tokens\": ") + 17) >
              atoi(strstr(raw.out, "\"prompt_tokens\": ") + 17),
          "%s%s%s", asked.out, put.out, raw.out);

    REQUIRE(ASK(&asked, "--adapter", c.s, "Who are you?"));
    REQUIRE(ASK(&put, "--adapter", c.s, "--chat", "Who are you?"));
    REQUIRE(ASK(&raw, "--adapter", c.s, "--raw", "Who are you?"));
    CHECK(asked.exit_code == 0 && !strcmp(asked.out, put.out) && strcmp(asked.out, raw.out),
          "'%s' '%s' '%s'", asked.out, put.out, raw.out);
    CHECK(strstr(asked.said, "prompt: by the chat template, as the adapter was trained"), "%s",
          asked.said);

    REQUIRE(ASK(&asked, "Who are you?"));
    REQUIRE(ASK(&put, "--chat", "Who are you?"));
    CHECK(!strcmp(asked.out, put.out) && strstr(asked.said, "prompt: by the model's chat template"),
          "%s%s", asked.out, asked.said);
    REQUIRE(ASK(&raw, "--raw", "Who are you?"));
    REQUIRE(ASK(&put, "--chat=false", "Who are you?"));
    CHECK(strcmp(asked.out, raw.out) && !strcmp(put.out, raw.out) && !strstr(put.said, "prompt: "),
          "'%s' '%s' %s", put.out, raw.out, put.said);
    REQUIRE(ASK(&raw, "--adapter", a.s, "--raw", "When do you open?"));
    REQUIRE(ASK(&put, "--adapter", a.s, "--no-chat", "When do you open?"));
    CHECK(put.exit_code == 0 && !strcmp(put.out, raw.out) && !strstr(put.said, "prompt: "),
          "'%s' '%s' %s", put.out, raw.out, put.said);
    REQUIRE(ASK(&put, "--no-chat", "--system", "Be brief.", "Who are you?"));
    CHECK(put.exit_code == 2 && strstr(put.said, "need --chat"), "%s", put.said);
    REQUIRE(ASK(&put, "--chat", "--raw", "Who are you?"));
    CHECK(put.exit_code == 2 && strstr(put.said, "exclude each other"), "%s", put.said);
}

static void test_evaluate(void)
{
    place data = write_file("fields.jsonl", fields), other = write_file("faq.jsonl", faq),
          a = in_tmp("fields");
    const char *model = test_data("models/pico");
    program_end e;

    REQUIRE(train(data.s, a.s, "prompt_template=Mail: {mail}\\nOrder:",
                  "completion_template= {order}"));
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", data.s, "--adapter", a.s,
                   "--predictions", in_tmp("p.jsonl").s, "--max-new-tokens", "2"));
    CHECK(e.exit_code == 0 && strstr(e.said, "records are put as the adapter was trained"), "%s",
          e.said);
    CHECK(strstr(e.out, "Mail: "), "the worst are shown with their prompts: %s", e.out);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", data.s, "--adapter", a.s,
                   "--raw"));
    CHECK(e.exit_code == 1 && strstr(e.said, "'mail'"), "no form of their own: %s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data", other.s, "--adapter", a.s,
                   "--raw", "--max-new-tokens", "2"));
    CHECK(e.exit_code == 0 && !strstr(e.said, "put otherwise"), "%s", e.said);
    a = in_tmp("faq");
    REQUIRE(train(other.s, a.s, "seed=1", "data_seed=1"));
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data",
                   write_file("chats.jsonl", chats).s, "--adapter", a.s, "--max-new-tokens", "2"));
    CHECK(e.exit_code == 0 && strstr(e.said, "their prompts are put otherwise"), "%s", e.said);
    /* what counts is the text around a question, not what the form is called */
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data",
                   write_file("choices.jsonl", choices).s, "--adapter", a.s));
    CHECK(e.exit_code == 0 && !strstr(e.said, "put otherwise"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", model, "--generate", "--data",
                   write_file("pairs.jsonl", "{\"prompt\": \"a\", \"completion\": \" b\"}\n").s,
                   "--adapter", a.s, "--max-new-tokens", "2"));
    CHECK(e.exit_code == 0 && strstr(e.said, "their prompts are put otherwise"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "inspect", a.s));
    CHECK(strstr(e.out, "\"before\":\"Question: \""), "%s", e.out);
}

static int prompt_tokens(const program_end *e)
{
    const char *at = strstr(e->out, "\"prompt_tokens\": ");

    return at ? atoi(at + 17) : -1;
}

/* A question to a model alone, as its files have it put; the number of tokens, -1: it failed. */
static int asked_tokens(const char *model, const char *wanted)
{
    program_end e;

    if (!NIBBLE(&e, "generate", model, "--temperature", "0", "--max-new-tokens", "2", "--json",
                "When do you open?"))
        return -1;
    CHECK(e.exit_code == 0 && strstr(e.said, wanted), "%s: '%s' is not in: %s", model, wanted,
          e.said);
    return prompt_tokens(&e);
}

/* What is made of an adapter, or trained whole, is asked as it was trained; what an adapter is
 * taken out of again is not. */
static void test_merged(void)
{
    static const char as_faq[] = "prompt: as the model was trained: FAQ",
                      as_model[] = "prompt: by the model's chat template";
    place data = write_file("faq.jsonl", faq), other = write_file("fields.jsonl", fields),
          a = in_tmp("faq"), b = in_tmp("fields"), merged = in_tmp("merged"),
          four = in_tmp("four"), direct = in_tmp("direct"), back = in_tmp("back"),
          full = in_tmp("full"), both = in_tmp("both"), own = in_tmp("own"),
          untied = in_tmp("untied"), talk = write_file("chats.jsonl", chats);
    const char *model = test_data("models/pico");
    program_end e;
    int tokens;

    REQUIRE(train(data.s, a.s, "seed=1", "warmup_steps=0"));
    REQUIRE(ASK(&e, "--adapter", a.s, "When do you open?", "--json"));
    REQUIRE((tokens = prompt_tokens(&e)) > 0, "%s", e.out);
    REQUIRE(NIBBLE(&e, "merge", model, merged.s, "--adapter", a.s) && e.exit_code == 0, "%s",
            e.said);
    CHECK(asked_tokens(merged.s, as_faq) == tokens, "merged");
    REQUIRE(NIBBLE(&e, "inspect", merged.s));
    CHECK(strstr(e.out, "\"before\":\"Question: \""), "%s", e.out);
    REQUIRE(NIBBLE(&e, "quantize", merged.s, four.s) && e.exit_code == 0, "%s", e.said);
    CHECK(asked_tokens(four.s, as_faq) == tokens, "quantized");
    REQUIRE(NIBBLE(&e, "merge", model, direct.s, "--adapter", a.s, "--format", "nf4") &&
            e.exit_code == 0, "%s", e.said);
    CHECK(asked_tokens(direct.s, as_faq) == tokens, "merged into low-bit weights");
    REQUIRE(NIBBLE(&e, "merge", merged.s, back.s, "--adapter", a.s, "--unmerge") &&
            e.exit_code == 0, "%s", e.said);
    CHECK(asked_tokens(back.s, as_model) != tokens, "taken out");
    /* a head of its own, so that all can be trained */
    REQUIRE(train(data.s, own.s, "modules_to_save=lm_head", "learning_rate=1e-2"));
    REQUIRE(NIBBLE(&e, "merge", model, untied.s, "--adapter", own.s) && e.exit_code == 0, "%s",
            e.said);
    REQUIRE(NIBBLE(&e, "finetune", untied.s, "--data", talk.s, "--output-dir", full.s,
                   "--max-steps", "1", "--full") && e.exit_code == 0, "%s", e.said);
    CHECK(asked_tokens(full.s, "prompt: by the chat template, as the model was trained") > 0);
    REQUIRE(NIBBLE(&e, "finetune", untied.s, "--data", data.s, "--output-dir", full.s,
                   "--max-steps", "1", "--full", "--overwrite") && e.exit_code == 0, "%s", e.said);
    CHECK(asked_tokens(full.s, as_faq) == tokens, "trained whole");

    REQUIRE(train(other.s, b.s, "prompt_template=Mail: {mail}\\nOrder:",
                  "completion_template= {order}"));
    REQUIRE(NIBBLE(&e, "evaluate", merged.s, "--generate", "--data", data.s, "--max-new-tokens",
                   "2"));
    CHECK(e.exit_code == 0 && !strstr(e.said, "put otherwise"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "merge", model, both.s, "--adapter", a.s, "--adapter", b.s) &&
            e.exit_code == 0, "%s", e.said);
    CHECK(strstr(e.said, "its prompts were put otherwise than those of"), "%s", e.said);
    CHECK(asked_tokens(both.s, as_faq) == tokens, "two that differ");
    REQUIRE(NIBBLE(&e, "merge", merged.s, both.s, "--adapter", b.s, "--overwrite") &&
            e.exit_code == 0, "%s", e.said);
    REQUIRE(NIBBLE(&e, "evaluate", both.s, "--generate", "--data", other.s, "--max-new-tokens",
                   "2"));
    CHECK(e.exit_code == 0 && strstr(e.said, "records are put as the model was trained"), "%s",
          e.said);
    REQUIRE(NIBBLE(&e, "evaluate", both.s, "--generate", "--data",
                   write_file("chats.jsonl", chats).s, "--max-new-tokens", "2", "--chat-template",
                   write_file("t.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}").s));
    CHECK(e.exit_code != 0 || strstr(e.said, "put otherwise"), "%s", e.said);
}

/* The chat template that was trained with in place of the model's is the merged model's. */
static void test_merged_template(void)
{
    place data = write_file("chats.jsonl", chats), a = in_tmp("chat"), merged = in_tmp("merged"),
          t = write_file("own.jinja", "{% for m in messages %}<{{ m.role }}> {{ m.content }} "
                                      "and so on and so on\n{% endfor %}"
                                      "{% if add_generation_prompt %}<assistant> {% endif %}");
    char chosen[700];
    program_end e;
    int tokens, plain;

    snprintf(chosen, sizeof chosen, "chat_template=%s", t.s);
    REQUIRE(train(data.s, a.s, chosen, "warmup_steps=0"));
    REQUIRE(ASK(&e, "--adapter", a.s, "When do you open?", "--json"));
    tokens = prompt_tokens(&e);
    REQUIRE(ASK(&e, "--chat", "When do you open?", "--json"));
    plain = prompt_tokens(&e);
    REQUIRE(tokens > 0 && tokens != plain, "%d and %d", tokens, plain);
    REQUIRE(NIBBLE(&e, "merge", test_data("models/pico"), merged.s, "--adapter", a.s) &&
            e.exit_code == 0, "%s", e.said);
    CHECK(asked_tokens(merged.s, "prompt: by the chat template, as the model was trained") ==
          tokens);
}

int main(void)
{
    static const test_case cases[] = {
        { "forms", test_forms },
        { "fill", test_fill },
        { "generate", test_generate },
        { "evaluate", test_evaluate },
        { "merged", test_merged },
        { "merged template", test_merged_template },
    };
    return test_main("test_prompt_form", cases, NIB_COUNT(cases));
}
