/* test_shapes.c - every shape of record from every container: what becomes of it, what is trained
 * of it, what is refused and in which words; chats with and without marks; what is held out. */
#include "shape_support.h"

static const char plain_chat[] =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";
static const char marked_chat[] =
    "{{ '[tools]' if tools else '' }}{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}{% else %}"
    "{{ m.content }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

#define ALPACA_TOP "Below is an instruction that describes a task"
#define ALPACA_REST                                                                                \
    " Write a response that appropriately completes the request.\n\n### Instruction:\nAdd\n\n"

static void test_plain_shapes(void)
{
    static const struct { const char *name, *text; size_t record; const char *want;
    } cases[] = {
        { "a.jsonl", "{\"text\": \"Hello there.\"}\n", 0, "[Hello there.$]" },
        { "a.json", "[{\"text\": \"one\"}, {\"text\": \"two\", \"extra\": 1}]", 1, "[two$]" },
        { "a.csv", "prompt,completion\n\"a, b:\",\" c \"\"d\"\"\"\n", 0, "a, b:[ c \"d\"$]" },
        { "a.tsv", "completion\tprompt\n no\tyes:\n", 0, "yes:[ no$]" },
        { "b.jsonl",
          "{\"instruction\": \"Add\", \"input\": \"1 2\", \"output\": \"3\", \"text\": \"x\"}\n", 0,
          ALPACA_TOP ", paired with an input that provides further context." ALPACA_REST
                     "### Input:\n1 2\n\n### Response:\n[3$]" },
        { "c.jsonl", "{\"instruction\": \"Add\", \"input\": \"\", \"output\": \"3\"}\n", 0,
          ALPACA_TOP "." ALPACA_REST "### Response:\n[3$]" },
        { "d.jsonl", "{\"instruction\": \"Add\", \"output\": \"3\"}\n", 0,
          ALPACA_TOP "." ALPACA_REST "### Response:\n[3$]" },
        { "faq.json",
          "{\"questions\": [{\"question\": \"Who?\", \"answer\": \"I.\"}, "
          "{\"question\": \"You?\", \"answer\": \"No.\"}]}",
          1, "Question: You?\nAnswer:[ No.$]" },
        { "faq.jsonl",
          "{\"questions\": [{\"question\": \"Who?\", \"answer\": \"I.\"}]}\n"
          "{\"questions\": [{\"question\": \"A?\", \"answer\": \"B\"}, "
          "{\"question\": \"You?\", \"answer\": \"No.\"}]}\n",
          2, "Question: You?\nAnswer:[ No.$]" },
        { "faq.csv", "question,answer\nWho?,I.\n", 0, "Question: Who?\nAnswer:[ I.$]" },
    };

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_data_options o = options(cases[i].name, cases[i].text);
        check_record(&o, cases[i].record, cases[i].want);
    }
}

static void test_plain_options(void)
{
    nib_data_options o = options("a.jsonl", "{\"instruction\": \"Add\", \"output\": \"3\"}\n");

    o.alpaca_ending = "space";
    check_record(&o, 0, ALPACA_TOP "." ALPACA_REST "### Response:[ 3$]");
    o.alpaca_ending = "none";
    check_record(&o, 0, ALPACA_TOP "." ALPACA_REST "### Response:[3$]");
    o = options("b.jsonl", "{\"prompt\": \"a:\", \"completion\": \" b\"}\n");
    o.train_on_prompt = true;
    check_record(&o, 0, "[a: b$]");
    o = options("c.jsonl", "{\"q\": \"a\", \"n\": 12, \"x\": null}\n");
    o.prompt_template = "{q}{{{n}}}\\n";
    o.completion_template = "{x}yes";
    check_record(&o, 0, "a{12}\n[yes$]");
    o = options("d.json", "{\"info\": [1], \"rows\": [{\"text\": \"in a field\"}]}");
    o.data_field = "rows";
    check_record(&o, 0, "[in a field$]");
}

static void test_chats(void)
{
    static const char turns[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, "
        "{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}, "
        "{\"role\": \"user\", \"content\": \"c\", \"name\": null}, "
        "{\"role\": \"assistant\", \"content\": \"d\"}]}\n";
    static const char
        whole[] = "<system>s</s><user>a</s><assistant>[b</s>]<user>c</s><assistant>[d</s>]";
    const char *templates[] = { put_file("plain.jinja", plain_chat),
                                put_file("marked.jinja", marked_chat) };
    char plain[600], marked[600];

    snprintf(plain, sizeof plain, "%s", templates[0]);
    snprintf(marked, sizeof marked, "%s", templates[1]);
    for (int i = 0; i < 2; i++) {
        nib_data_options o = options("a.jsonl", turns);
        o.chat_template = i ? marked : plain;
        check_record(&o, 0, whole);
        o.train_on_turns = "last";
        check_record(&o, 0,
                     "<system>s</s><user>a</s><assistant>b</s><user>c</s><assistant>[d</s>]");
        o.train_on_turns = "everything";
        check_record(&o, 0,
                     "[<system>s</s><user>a</s><assistant>b</s><user>c</s><assistant>d</s>]");
        o = options(
            "b.json",
            "[{\"conversations\": [{\"from\": \"system\", \"value\": \"s\"}, "
            "{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", \"value\": \"b\"}, "
            "{\"from\": \"user\", \"value\": \"c\"}, "
            "{\"from\": \"assistant\", \"value\": \"d\"}]}]");
        o.chat_template = i ? marked : plain;
        check_record(&o, 0, whole);
        o = options(
            "c.jsonl",
            "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}, "
            "{\"role\": \"assistant\", \"content\": \"b\"}, "
            "{\"role\": \"user\", \"content\": \"c\"}], "
            "\"completion\": [{\"role\": \"assistant\", \"content\": \"d\"}]}\n");
        o.chat_template = i ? marked : plain;
        check_record(&o, 0, "<user>a</s><assistant>b</s><user>c</s><assistant>[d</s>]");
        o.train_on_prompt = true;
        check_record(&o, 0, "[<user>a</s><assistant>b</s><user>c</s><assistant>d</s>]");
    }
    {
        nib_data_options o = options(
            "t.jsonl",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
            "{\"role\": \"assistant\", \"content\": \"b\"}], \"tools\": \"[{\\\"x\\\": 1}]\"}\n");
        o.chat_template = marked;
        check_record(&o, 0, "[tools]<user>a</s><assistant>[b</s>]");
    }
}

/* Values that no record would show to be without effect. */
static void test_refused_options(void)
{
    nib_data_options o = options("a.jsonl", "{\"input_ids\": [1, 2, 3]}\n");
    nib_dataset *d;
    nib_error err;

    o.long_records = "keep";
    CHECK(open_data(&o, &d, &err) == NIB_E_INVALID && strstr(err.message, "'keep' is not drop"),
          "%s", err.message);
    o.long_records = "drop";
    o.doc_stride = 64;
    CHECK(open_data(&o, &d, &err) == NIB_E_INVALID &&
              strstr(err.message, "doc_stride: 64 is of answers"), "%s", err.message);
    o.doc_stride = 128;
    REQUIRE_OK(open_data(&o, &d, &err), err);
    nib_dataset_close(d);
}

/* In ARC's records a label is looked for before a text, which may look like one. */
static void test_right_choice(void)
{
    static const struct { const char *record, *right; } cases[] = {
        { "{\"question\": \"q\", \"choices\": {\"text\": [\"2\", \"4\", \"1\", \"3\"], "
          "\"label\": [\"1\", \"2\", \"3\", \"4\"]}, \"answerKey\": \"1\"}\n", "2" },
        { "{\"question\": \"q\", \"choices\": {\"text\": [\"b\", \"a\"], "
          "\"label\": [\"x\", \"y\"]}, \"answerKey\": \"a\"}\n", "a" },
        { "{\"question\": \"q\", \"choices\": [\"B\", \"A\"], \"answer\": \"A\"}\n", "A" },
        { "{\"question\": \"q\", \"choices\": [\"b\", \"a\"], \"answer\": \"A\"}\n", "b" },
    };
    char want[80];

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_data_options o = options("arc.jsonl", cases[i].record);
        snprintf(want, sizeof want, "Question: q\nAnswer:[ %s$]", cases[i].right);
        check_record(&o, 0, want);
    }
}

/* strftime_now is the moment given; variables of a record reach the template. */
static void test_variables(void)
{
    const char *path = put_file(
        "v.jinja",
        "{{ strftime_now('%Y') }}{{ eos_token }}{{ kind }}{% for m in messages %}{{ m.role[0] }}:"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}");
    char copy[600];
    nib_data_options o;

    snprintf(copy, sizeof copy, "%s", path);
    o = options(
        "a.jsonl",
        "{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\"}], "
        "\"chat_template_kwargs\": {\"kind\": \"k\"}}\n");
    o.chat_template = copy;
    check_record(&o, 0, "1970$ka:[b]");
}

static void test_refusals(void)
{
    static const struct { const char *name, *text, *template_text, *says;
    } bad[] = {
        { "a.jsonl", "{\"text\": \"a\"}\n{\"text\": 3}\n", NULL,
          "line 2: field 'text' is a number, it should be a string (the records' shape is text)" },
        { "a.jsonl", "{\"text\": \"a\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n", NULL,
          "line 2: field 'text' is missing" },
        { "a.json", "[{\"prompt\": \"a\", \"completion\": null}]", NULL,
          "record 1: field 'completion' is null" },
        { "a.csv", "prompt,completion\na,\n", NULL, "line 2: field 'completion' is null" },
        { "a.jsonl", "{\"prompt\": \"\", \"completion\": \"b\"}\n", NULL,
          "line 1: all 1 tokens would be trained" },
        { "a.jsonl", "{\"instruction\": [1], \"output\": \"b\"}\n", NULL,
          "line 1: field 'instruction' is a list" },
        { "a.jsonl", "{\"instruction\": \"a\", \"input\": 3, \"output\": \"b\"}\n", NULL,
          "line 1: field 'input' is a number" },
        { "a.jsonl", "{\"question\": \"a\", \"answer\": {}}\n", NULL,
          "line 1: field 'answer' is an object" },
        { "a.json",
          "{\"questions\": [{\"question\": \"a\", \"answer\": \"b\"}, {\"question\": \"c\"}]}",
          NULL, "field 'answer' is missing" },
        { "a.jsonl", "{\"questions\": [{\"question\": \"a\"}]}\n", NULL,
          "line 1: questions[0]: field 'answer' is missing" },
        { "a.jsonl",
          "{\"question\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 0}\n"
          "{\"question\": \"a\", \"answer\": \"b\"}\n",
          NULL, "line 2: choices is missing" },
        { "a.jsonl", "{\"question\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": \"b c\"}\n",
          NULL, "line 1: answer is \"b c\", which is none of the 2 choices" },
        { "a.jsonl", "{\"a\": 1, \"b\": 2}\n", NULL,
          "line 1: no known shape; its fields are 'a', 'b'" },
        { "a.jsonl", "{\"text\": \"a\"}\n[1]\n", NULL,
          "line 2: a list, a record should be an object" },
        { "a.jsonl", "{\"input_ids\": 7}\n", NULL, "line 1: input_ids is a number" },
        { "a.jsonl", "{\"messages\": []}\n", plain_chat,
          "line 1: field 'messages' is an empty list" },
        { "a.jsonl", "{\"messages\": \"x\"}\n", plain_chat,
          "line 1: messages: line 1, column 1: not JSON" },
        { "a.jsonl", "{\"messages\": \"{}\"}\n", plain_chat,
          "line 1: field 'messages' is an object" },
        { "a.jsonl", "{\"messages\": [3]}\n", plain_chat, "line 1: messages[0] is a number" },
        { "a.jsonl", "{\"messages\": [{\"content\": \"x\"}]}\n", plain_chat,
          "messages[0]: role is missing" },
        { "a.jsonl", "{\"messages\": [{\"role\": \"gpt\", \"content\": \"x\"}]}\n", plain_chat,
          "no message has the role assistant, so nothing would be trained; the roles are 'gpt'" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\", \"weight\": 0.5}]}\n",
          plain_chat, "message 1: 'weight' is a number that is none of 0, 1, true, false" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\", \"train\": true, "
          "\"loss\": 0}]}\n",
          plain_chat, "'train' and 'loss' contradict each other" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\", \"train_detail\": []}]}\n",
          plain_chat, "'train_detail'" },
        { "a.jsonl", "{\"conversations\": [{\"from\": \"function_call\", \"value\": \"f(1)\"}]}\n",
          plain_chat, "conversations[0]" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], "
          "\"chat_template_kwargs\": \"[]\"}\n",
          plain_chat, "chat_template_kwargs is a list" },
        { "a.jsonl", "{\"messages\": [{\"role\": \"user\"}]}\n", plain_chat,
          "messages[0]: content is missing" },
        { "a.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": [3]}]}\n", plain_chat,
          "messages[0]: content[0] is a number" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", "
          "\"text\": \"a\"}, {\"type\": \"image\"}]}]}\n",
          plain_chat, "messages[0]: content[1] has type 'image': only text is computed here" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"user\", \"content\": "
          "[{\"type\": \"input_audio\"}]}]}\n",
          plain_chat, "content[0] has type 'input_audio'" },
        { "a.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n", plain_chat,
          "line 1: no message has the role assistant" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": \"[\"}\n",
          plain_chat, "line 1: tools" },
        { "a.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": {}}\n",
          plain_chat, "line 1: tools is an object" },
        { "a.jsonl", "{\"conversations\": [{\"from\": \"robot\", \"value\": \"x\"}]}\n", plain_chat,
          "the roles are 'robot'" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
          "{\"role\": \"assistant\", \"content\": \"b\"}]}\n",
          "{% for m in messages %}{{ messages | length }}{{ m.content | length }}{% endfor %}",
          "line 1: the first 1 messages rendered by themselves" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
          "{\"role\": \"assistant\", \"content\": \"b\"}]}\n",
          "x{{ messages[0].content }}{% if false %}{% generation %}{% endgeneration %}{% endif %}",
          "none of them wrote anything" },
        { "a.jsonl",
          "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
          "{\"role\": \"assistant\", \"content\": \"b\"}]}\n",
          "{% for m in messages %}\n{{ raise_exception('not ' ~ m.role) }}{% endfor %}",
          "not user" },
        { "a.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n",
          "a\nb{{ messages | nosuch }}", "line 2" },
    };
    nib_error err;
    nib_dataset *d;

    for (size_t i = 0; i < NIB_COUNT(bad); i++) {
        char chat[600];
        nib_data_options o = options(bad[i].name, bad[i].text);
        nib_status status;

        if (bad[i].template_text) {
            snprintf(chat, sizeof chat, "%s", put_file("c.jinja", bad[i].template_text));
            o.chat_template = chat;
        }
        err.message[0] = 0;
        status = open_data(&o, &d, &err);
        CHECK(status && strstr(err.message, bad[i].says), "case %zu: %s\n  %s", i, bad[i].text,
              status ? err.message : "accepted");
        nib_dataset_close(d);
    }
}

/* Bad records are left out on request, whatever is wrong with them; good ones keep their place. */
static void test_skip_bad(void)
{
    nib_data_options o = options(
        "a.jsonl",
        "nonsense\n{\"other\": 1}\n{\"text\": \"one\"}\n{\"text\": null}\n{\"text\": \"\"}\n"
        "{\"text\": \"two\"}\n{\"text\": \"one\"}\n");
    nib_dataset *d;
    nib_error err = { .message = "" };
    nib_data_counts c;

    CHECK(open_data(&o, &d, &err) && strstr(err.message, "line 1"), "%s", err.message);
    o.skip_bad = true;
    REQUIRE_OK(open_data(&o, &d, &err), err);
    c = nib_dataset_counts(d);
    CHECK(nib_dataset_count(d) == 3 && c.bad == 3 && c.empty == 1 && c.duplicates == 1 &&
              c.ends == 3,
          "%d kept, %d bad, %d empty, %d duplicates, %d ends", (int)nib_dataset_count(d),
          (int)c.bad, (int)c.empty, (int)c.duplicates, (int)c.ends);
    nib_dataset_close(d);
    o = options("b.jsonl", "{\"other\": 1}\n");
    o.skip_bad = true;
    CHECK(open_data(&o, &d, &err) == NIB_E_FORMAT && strstr(err.message, "1 bad; the first: ") &&
              strstr(err.message, "'other'"),
          "%s", err.message);
}

/* --- many records: some hundred are encoded at once --- */

enum { MANY = 700, FAR = 290, WRONG = 300 }; /* FAR's tokens are beyond the vocabulary */

static uint32_t greatest_id(nib_tokenizer *t, const char *text)
{
    nib_tokens tokens = { 0 };
    nib_error err = { .message = "" };
    uint32_t most = 0;

    CHECK(nib_tokenizer_encode(t, text, strlen(text), true, &tokens, NULL, &err) == NIB_OK, "%s",
          err.message);
    for (size_t i = 0; i < tokens.count; i++) most = nib_max(most, tokens.items[i].id);
    nib_tokens_free(test_ctx(), &tokens);
    return most;
}

/* Records 0, 1 ... of digits; FAR and WRONG (of which a field is no string) are bad. */
static const char *many_records(void)
{
    static char text[MANY * 80];
    size_t used = 0;

    for (int i = 0; i < MANY; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"prompt\": %s%d:\", \"completion\": \"%s%d\"}\n",
                                 i == WRONG ? "1, \"x\": \"" : "\"", i,
                                 i == FAR ? " the story" : "", i * 7);
    return text;
}

/* The same records, counts and first bad one for any number of threads, in the file's order: what
 * is found while a record is read comes after what is found when those before it are encoded. */
static void test_many(void)
{
    nib_data_options o = options("a.jsonl", many_records());
    const char *dir = test_data("models/pico");

    for (int round = 0; round < 4; round++) {
        nib_ctx *ctx = test_ctx_threads(round % 2 ? 3 : 1, NULL);
        nib_error err = { .message = "" };
        nib_dataset *d = NULL;
        nib_tokenizer *t;
        nib_dataset_source source;
        nib_status status;

        REQUIRE_OK(nib_tokenizer_open(ctx, dir, &t, &err), err);
        source = (nib_dataset_source){ .options = &o, .model_dir = dir, .tokenizer = t,
                                       .vocabulary = greatest_id(t, "0123456789:") + 1 };
        REQUIRE(greatest_id(t, " the story") >= source.vocabulary, "of another tokenizer");
        o.skip_bad = round >= 2;
        status = nib_dataset_open(ctx, &source, &d, &err);
        if (!o.skip_bad) {
            CHECK(status == NIB_E_MISMATCH && strstr(err.message, "line 291"), "%s", err.message);
        } else {
            REQUIRE_OK(status, err);
            CHECK(nib_dataset_count(d) == MANY - 2 && nib_dataset_counts(d).bad == 2 &&
                      nib_dataset_counts(d).records == MANY, "%zu records", nib_dataset_count(d));
            for (int i = 0, at = 0; i < MANY; i++) {
                nib_tokens tokens = { 0 };
                char want[40];
                nib_record r;

                if (i == FAR || i == WRONG) continue;
                snprintf(want, sizeof want, "%d:%d", i, i * 7);
                r = nib_dataset_record(d, (size_t)at++);
                REQUIRE_OK(nib_tokenizer_encode(t, want, strlen(want), true, &tokens, NULL, &err),
                           err);
                CHECK(r.length == tokens.count + 1, "record %d: %u tokens", i, r.length);
                for (size_t k = 0; k < tokens.count && k < r.length; k++)
                    CHECK(r.ids[k] == tokens.items[k].id, "record %d, token %zu", i, k);
                nib_tokens_free(ctx, &tokens);
            }
        }
        nib_dataset_close(d);
        nib_tokenizer_close(t);
    }
}

static void test_truncation(void)
{
    nib_data_options o = options(
        "a.jsonl",
        "{\"prompt\": \"one two three four five six seven\", \"completion\": \" end\"}\n"
        "{\"prompt\": \"a\", \"completion\": \" b c d e f g h i\"}\n");
    nib_dataset *d;
    nib_error err = { .message = "" };
    nib_data_counts c;

    o.max_seq_length = 6;
    CHECK(open_data(&o, &d, &err) == NIB_E_INVALID &&
              strstr(err.message,
                     "1 of 2 records (50.0 %) have no trained token among their first 6"),
          "more than 5 %% cannot be meant: %s", err.message);
    o.skip_bad = true;
    REQUIRE_OK(open_data(&o, &d, &err), err);
    c = nib_dataset_counts(d);
    CHECK(nib_dataset_count(d) == 1 && c.truncated == 2 && c.masked_out == 1 && c.longest == 6 &&
              c.ends == 0,
          "%d kept, %d cut, %d masked, %d ends", (int)nib_dataset_count(d), (int)c.truncated,
          (int)c.masked_out, (int)c.ends);
    nib_dataset_close(d);
}

static void test_hold_out(void)
{
    char text[4096] = "";
    nib_dataset *d, *held[2] = { 0 };
    nib_error err = { .message = "" };
    nib_data_options o;
    uint64_t tokens;

    for (int i = 0; i < 20; i++)
        sprintf(text + strlen(text), "{\"input_ids\": [%d, %d, 1]}\n", 100 + i, i % 7);
    o = options("a.jsonl", text);
    for (int round = 0; round < 2; round++) {
        REQUIRE_OK(open_data(&o, &d, &err), err);
        tokens = nib_dataset_counts(d).tokens;
        REQUIRE_OK(nib_dataset_hold_out(d, round ? 5 : 0.21, 7, &held[round], &err), err);
        CHECK(nib_dataset_count(held[round]) == 5 && nib_dataset_count(d) == 15, "%zu and %zu",
              nib_dataset_count(held[round]), nib_dataset_count(d));
        CHECK(nib_dataset_counts(d).tokens + nib_dataset_counts(held[round]).tokens == tokens,
              "tokens");
        /* together they are all, in the file's order */
        for (size_t i = 0, k = 0, h = 0; i < 20; i++) {
            bool first = k < 15 && nib_dataset_record(d, k).ids[0] == 100 + i;
            CHECK(first || (h < 5 && nib_dataset_record(held[round], h).ids[0] == 100 + i),
                  "record %zu is in neither", i);
            if (first) k++;
            else h++;
        }
        CHECK(nib_dataset_hold_out(d, 15, 7, &held[round], &err) == NIB_E_INVALID &&
                  nib_dataset_hold_out(d, 1.5, 7, &held[round], &err) == NIB_E_INVALID &&
                  nib_dataset_hold_out(d, 0, 7, &held[round], &err) == NIB_E_INVALID,
              "nothing would be left");
        nib_dataset_close(d);
    }
    for (size_t i = 0; i < 5; i++)
        CHECK(nib_dataset_record(held[0], i).ids[0] == nib_dataset_record(held[1], i).ids[0],
              "the seed chooses record %zu", i);
    nib_dataset_close(held[0]);
    nib_dataset_close(held[1]);
}

/* The longest that was read counts with what is held out, or has nothing to train. */
static void test_longest(void)
{
    nib_data_options o = options("a.jsonl", "{\"input_ids\": [1, 2, 3]}\n"
                                            "{\"input_ids\": [4, 5, 6, 7]}\n"
                                            "{\"input_ids\": [8, 9, 10, 11]}\n");
    nib_dataset *d, *held;
    nib_error err;

    REQUIRE_OK(open_data(&o, &d, &err), err);
    REQUIRE_OK(nib_dataset_hold_out(d, 2, 7, &held, &err), err);
    CHECK(nib_dataset_counts(d).longest_read == 4, "%u", nib_dataset_counts(d).longest_read);
    nib_dataset_close(d);
    nib_dataset_close(held);
    o = options("a.jsonl", "{\"input_ids\": [1, 2, 3]}\n"
                           "{\"input_ids\": [4, 5, 6, 7], \"labels\": [-100, -100, -100, -100]}\n");
    REQUIRE_OK(open_data(&o, &d, &err), err);
    CHECK(nib_dataset_counts(d).longest == 3 && nib_dataset_counts(d).longest_read == 4, "%u",
          nib_dataset_counts(d).longest_read);
    nib_dataset_close(d);
}

/* Every allocation of reading a chat fails once. */
static void test_allocations(void)
{
    char chat[600];
    nib_data_options o = options(
        "a.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
        "{\"role\": \"assistant\", \"content\": \"b\"}]}\n");
    bool ended = false;
    size_t n = 1;

    snprintf(chat, sizeof chat, "%s", put_file("c.jinja", plain_chat));
    o.chat_template = chat;
    for (; n < 30000 && !ended; n += n > 300 ? 23 : 1) {
        test_heap heap = { .fail_at = n };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_tokenizer *t = NULL;
        nib_dataset *d = NULL;
        nib_error err = { .message = "" };
        nib_status status = nib_tokenizer_open(ctx, test_data("models/pico"), &t, &err);
        nib_dataset_source source = { .options = &o, .model_dir = test_data("models/pico"),
                                      .tokenizer = t, .vocabulary = 2048 };

        if (!status) status = nib_dataset_open(ctx, &source, &d, &err);
        ended = heap.calls < n;
        CHECK(!ended || status == NIB_OK, "allocation %zu: %s", n, err.message);
        nib_dataset_close(d);
        nib_tokenizer_close(t);
        nib_ctx_warnings_clear(ctx);
        CHECK(heap.live == 0, "allocation %zu: %zu blocks leaked", n, heap.live);
        test_ctx_release(ctx);
    }
    CHECK(ended && n > 50, "%zu allocations were tried", n);
}

int main(void)
{
    static const test_case cases[] = { { "plain_shapes", test_plain_shapes },
                                       { "plain_options", test_plain_options },
                                       { "chats", test_chats },
                                       { "refused_options", test_refused_options },
                                       { "right_choice", test_right_choice },
                                       { "variables", test_variables },
                                       { "refusals", test_refusals },
                                       { "skip_bad", test_skip_bad },
                                       { "many", test_many },
                                       { "truncation", test_truncation },
                                       { "hold_out", test_hold_out },
                                       { "longest", test_longest },
                                       { "allocations", test_allocations } };
    return test_main("shapes", cases, NIB_COUNT(cases));
}
