/* test_fields.c - nothing of a record is dropped without a word: masks of token records are obeyed,
 * system and history belong to the prompt, other fields are named; what is left out or cut off is a
 * warning with its code. */
#include "shape_support.h"

/* The warning of this code while the last data set was opened; NULL: none. */
static const char *warning(const char *code)
{
    nib_ctx *ctx = opened_with;

    for (size_t i = 0; i < nib_ctx_warning_count(ctx); i++)
        if (strcmp(nib_ctx_warning(ctx, i).code, code) == 0) return nib_ctx_warning(ctx, i).text;
    return NULL;
}

/* Opens the records; the warning of the code must hold `want`, or (NULL) must not be. */
static void check_warning(const char *name, const char *text, const char *code, const char *want)
{
    nib_data_options o = options(name, text);
    nib_dataset *d;
    nib_error err = { .message = "" };
    const char *got;

    REQUIRE(open_data(&o, &d, &err) == NIB_OK, "%s: %s", name, err.message);
    got = warning(code);
    CHECK(want ? got && strstr(got, want) : !got,
          "%s: %s: %s", name, code, got ? got : "no such warning");
    nib_dataset_close(d);
}

static void check_refused(const char *name, const char *text, const char *want)
{
    nib_data_options o = options(name, text);
    nib_dataset *d;
    nib_error err = { .message = "accepted" };

    CHECK(open_data(&o, &d, &err) && strstr(err.message, want), "%s: %s", name, err.message);
}

/* TRL 1.16: -100 where a mask is 0; labels win over masks; of two masks both must be 1. */
static void test_masks(void)
{
    static const struct { const char *text, *want; } cases[] = {
        { "{\"input_ids\": [34, 35, 36, 37], \"completion_mask\": [0, 0, 1, 1]}\n", "?@[AB]" },
        { "{\"input_ids\": [34, 35, 36, 37], \"assistant_masks\": [0, 1, 0, 1]}\n", "?[@]A[B]" },
        { "{\"input_ids\": [34, 35, 36, 37], \"assistant_masks\": [0, 1, 0, 1], "
          "\"completion_mask\": [0, 0, 1, 1]}\n", "?@A[B]" },
        { "{\"input_ids\": [34, 35, 36, 37], \"completion_mask\": [false, true, true, true]}\n",
          "?[@AB]" },
        { "{\"input_ids\": [34, 35, 36, 37], \"completion_mask\": [0, 0, 1, 1], "
          "\"labels\": [-100, 35, 36, 37]}\n", "?[@AB]" },
        { "{\"input_ids\": [34, 35, 36, 37], \"completion_mask\": null}\n", "[?@AB]" },
    };
    nib_data_options o;

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        o = options("ids.jsonl", cases[i].text);
        check_record(&o, 0, cases[i].want);
    }
    o = options("ids.jsonl", cases[0].text);
    o.train_on_prompt = true; /* completion_only_loss false */
    check_record(&o, 0, "[?@AB]");
    check_refused("a.jsonl", "{\"input_ids\": [34, 35], \"completion_mask\": [1]}\n",
                  "1 completion_mask for 2 input_ids");
    check_refused("b.jsonl", "{\"input_ids\": [34, 35], \"completion_mask\": [0, 2]}\n",
                  "element 1 of completion_mask");
    check_refused("c.jsonl", "{\"input_ids\": [34, 35], \"assistant_masks\": 1}\n",
                  "assistant_masks is a number");
}

static void test_system_and_history(void)
{
    nib_data_options o = options("a.jsonl",
        "{\"instruction\": \"Add\", \"output\": \"3\", \"system\": \"Be kind.\", "
        "\"history\": [[\"Hi\", \"Ho\"], [\"You?\", \"I.\"]]}\n");

    check_record(&o, 0, "Be kind.\n\n### Instruction:\nHi\n\n### Response:\nHo\n\n"
                        "### Instruction:\nYou?\n\n"
                        "### Response:\nI.\n\n### Instruction:\nAdd\n\n### Response:\n[3$]");
    o = options("b.jsonl", "{\"prompt\": \"Q:\", \"completion\": \" A\", \"system\": \"Be kind.\", "
                           "\"history\": [[\"Hi\", \"Ho\"]]}\n");
    check_record(&o, 0, "Be kind.\n\nHi\nHo\n\nQ:[ A$]");
    o = options("c.jsonl", "{\"prompt\": \"Q:\", \"completion\": \" A\", \"system\": \"\", "
                           "\"history\": []}\n");
    check_record(&o, 0, "Q:[ A$]");
    /* artidoro/qlora */
    o = options("d.jsonl", "{\"input\": \"Q: 1+1\\nA:\", \"output\": \" 2\"}\n");
    check_record(&o, 0, "Q: 1+1\nA:[ 2$]");
    check_refused("e.jsonl",
                  "{\"prompt\": \"Q\", \"completion\": \"A\", \"history\": [[\"one\"]]}\n",
                  "history[0]");
    check_refused("f.jsonl", "{\"prompt\": \"Q\", \"completion\": \"A\", \"system\": 1}\n",
                  "'system' is a number");
}

static void test_system_of_chats(void)
{
    static const char chat[] =
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}";
    char path[600];
    nib_data_options o = options("a.jsonl",
        "{\"system\": \"Answer like a pirate.\", \"conversations\": ["
        "{\"from\": \"human\", \"value\": \"Hi\"}, {\"from\": \"gpt\", \"value\": \"Ahoy.\"}]}\n"
        "{\"system\": \"Not this.\", \"conversations\": ["
        "{\"from\": \"system\", \"value\": \"This.\"}, {\"from\": \"human\", \"value\": \"Hi\"}, "
        "{\"from\": \"gpt\", \"value\": \"Ahoy.\"}]}\n");

    snprintf(path, sizeof path, "%s", put_file("c.jinja", chat));
    o.chat_template = path;
    check_record(&o, 0, "<system>Answer like a pirate.</s><user>Hi</s>[<assistant>Ahoy.</s>]");
    check_record(&o, 1, "<system>This.</s><user>Hi</s>[<assistant>Ahoy.</s>]");
    o = options("b.jsonl", "{\"system\": \"S\", \"messages\": ["
                           "{\"role\": \"user\", \"content\": \"Hi\"}, "
                           "{\"role\": \"assistant\", \"content\": \"Ho\"}]}\n");
    o.chat_template = path;
    check_record(&o, 0, "<system>S</s><user>Hi</s>[<assistant>Ho</s>]");
}

static void test_unused_fields(void)
{
    check_warning("a.jsonl", "{\"question\": \"a\", \"context\": \"b\", \"answer\": \"c\"}\n"
                  "{\"question\": \"a\", \"context\": null, \"id\": 3, \"answer\": \"d\"}\n"
                  "{\"question\": \"a\", \"id\": 4, \"answer\": \"d\"}\n",
                  "unused-fields", "'context' (1 record), 'id' (2 records)");
    check_warning("b.jsonl", "{\"question\": \"a\", \"context\": null, \"answer\": \"c\"}\n",
                  "unused-fields", NULL);
    check_warning("c.csv", "prompt,completion,source\na, b,x\n", "unused-fields",
                  "'source' (1 record)");
    check_warning("d.jsonl",
                  "{\"questions\": [{\"question\": \"a\", \"answer\": \"c\", \"hint\": \"h\"}], "
                  "\"title\": \"t\"}\n",
                  "unused-fields", "'title' (1 record), 'hint' (1 record)");
    {
        nib_data_options o = options("e.jsonl", "{\"a\": \"x\", \"b\": \"y\", \"c\": \"z\"}\n");
        nib_dataset *d;
        nib_error err = { .message = "" };

        o.template_text = "{a} {{b}} {c}";
        REQUIRE_OK(open_data(&o, &d, &err), err);
        CHECK(warning("unused-fields") && strstr(warning("unused-fields"), ": 'b' (1 record)"),
              "%s", warning("unused-fields"));
        nib_dataset_close(d);
    }
}

/* A classifier's record, where a model of words is trained: refused, but for a label that is null
 * or a template that says what is read.  Elsewhere texts have labels that nobody wants. */
static void test_labels(void)
{
    static const struct { const char *name, *text, *template, *says; bool matter; } cases[] = {
        { "a.jsonl", "{\"text\": \"a b\", \"label\": 1}\n", NULL,
          "a.jsonl: line 1: field 'label' beside 'text': CAUSAL_LM is trained on the text alone. "
          "For a classifier set task_type SEQ_CLS; to teach the label as an answer prompt_template "
          "'{text}' and completion_template ' {label}'; to leave it out template '{text}'", true },
        { "b.csv", "text,labels\na b,x\n", NULL, "field 'labels' beside 'text'", true },
        { "c.jsonl", "{\"text\": \"a b\", \"label\": null}\n", NULL, NULL, true },
        { "d.jsonl", "{\"text\": \"a b\", \"label\": 1}\n", "{text}", NULL, true },
        { "e.jsonl", "{\"text\": \"a b\", \"label\": 1}\n", NULL, NULL, false },
    };

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_ctx *ctx = test_ctx();
        nib_tokenizer *t = NULL;
        nib_data_options o = options(cases[i].name, cases[i].text);
        nib_dataset_source source = { .options = &o, .vocabulary = 2048,
                                      .labels_matter = cases[i].matter };
        nib_dataset *d = NULL;
        nib_error err = { .message = "" };

        o.template_text = cases[i].template;
        REQUIRE_OK(nib_tokenizer_open(ctx, test_data("models/pico"), &t, &err), err);
        source.tokenizer = t;
        CHECK(nib_dataset_open(ctx, &source, &d, &err) ==
                      (cases[i].says ? NIB_E_INVALID : NIB_OK) &&
                  (!cases[i].says || strstr(err.message, cases[i].says)),
              "%s: %s", cases[i].name, err.message);
        nib_dataset_close(d);
        nib_tokenizer_close(t);
    }
}

static void test_other_warnings(void)
{
    char text[4000] = "";
    nib_data_options o;
    nib_dataset *d;
    nib_error err = { .message = "" };

    check_warning("a.jsonl",
                  "{\"prompt\": \"Sentiment: \", \"completion\": \"positive\"}\n"
                  "{\"prompt\": \"a:\", \"completion\": \" b\"}\n",
                  "split-token", "1 of 2 records end their prompt inside a token");
    check_warning("b.jsonl", "{\"prompt\": \"Sentiment:\", \"completion\": \" positive\"}\n",
                  "split-token", NULL);
    check_warning("e.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"\"}\n", "empty-records",
                  "1 of 2 records");
    check_warning("f.jsonl",
                  "{\"input_ids\": [34, 35]}\n"
                  "{\"input_ids\": [34, 35], \"labels\": [-100, -100]}\n",
                  "nothing-trained", "1 of 2 records");
    for (int i = 0; i < 24; i++) strcat(text, "{\"prompt\": \"a\", \"completion\": \" b\"}\n");
    strcat(text, "{\"prompt\": \"one two three four five six seven\", \"completion\": \" end\"}\n");
    o = options("g.jsonl", text);
    o.max_seq_length = 6;
    REQUIRE_OK(open_data(&o, &d, &err), err);
    CHECK(warning("cut-off") && strstr(warning("cut-off"), "1 of 25 records (4.0 %)"),
          "%s", warning("cut-off"));
    nib_dataset_close(d);
}

int main(void)
{
    static const test_case cases[] = {
        { "masks", test_masks },
        { "system_and_history", test_system_and_history },
        { "system_of_chats", test_system_of_chats },
        { "unused_fields", test_unused_fields },
        { "labels", test_labels },
        { "other_warnings", test_other_warnings },
    };
    return test_main("fields", cases, NIB_COUNT(cases));
}
