/* test_chat.c - what of a chat is trained, with templates whose renderings do not nest and others,
 * and how fast; masks of turns; what is refused. */
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "test.h"
#include "text/chat.h"

static const char tokens[] = "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";

static void put_file(const char *name, const char *text)
{
    char path[700];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", test_tmpdir(), name);
    f = fopen(path, "w");
    if (f) fputs(text, f), fclose(f);
}

static nib_chat *open_chat(nib_ctx *ctx, const char *template)
{
    nib_chat_source source = { .model_dir = test_tmpdir() };
    nib_tokenizer *t = NULL;
    nib_chat *c = NULL;
    json_t *base = NULL;
    char path[700];
    nib_error err;

    put_file("tokenizer_config.json", tokens);
    put_file("chat_template.jinja", template);
    snprintf(path, sizeof path, "%s/tokenizer.json", test_tmpdir());
    if (nib_json_read(ctx, test_data("tests/golden/special/base-0.json"), 0, &base, &err) ||
        json_dump_file(base, path, 0) || nib_tokenizer_open(ctx, source.model_dir, &t, &err))
        CHECK(false, "%s", path);
    source.tokenizer = t;
    CHECK(!nib_chat_open(ctx, &source, &c, &err), "%s", err.message);
    nib_tokenizer_close(t); /* a chat needs it no longer */
    json_decref(base);
    return c;
}

static bool is_off(const json_t *m, const char *key)
{
    const json_t *v = json_object_get(m, key);
    return json_is_false(v) || (json_is_integer(v) && json_integer_value(v) == 0);
}

/* Against turns that a search found in transformers' renderings, or that the template marks
 * (make/turns_golden.py). */
static void check_turns(const char *path, size_t least)
{
    nib_ctx *ctx = test_ctx();
    json_t *all = NULL, *one;
    nib_error err;
    size_t i;

    REQUIRE_OK(nib_json_read(ctx, test_data(path), 0, &all, &err), err);
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "template"));
        const json_t *messages = json_object_get(one, "messages"),
                     *want = json_object_get(one, "trained");
        nib_chat *c = open_chat(
            ctx, json_string_value(json_object_get(json_object_get(all, "templates"), name)));
        bool masked[64] = { false };
        nib_chat_turns turns = { .messages = messages, .masked = masked,
                                 .tools = json_object_get(one, "tools") };
        nib_jinja_output out = { 0 };
        nib_status status;

        for (size_t k = 0; k < json_array_size(messages); k++) {
            const json_t *m = json_array_get(messages, k);
            masked[k] = is_off(m, "weight") || is_off(m, "train") || is_off(m, "loss");
        }
        status = nib_chat_render_trained(c, &turns, 0, NIB_CHAT_LOSS_ALL_TURNS, &out, NULL, &err);
        CHECK(!status, "%s, case %zu: %s", name, i, err.message);
        if (!status) {
            CHECK(!strcmp(out.text, json_string_value(json_object_get(one, "text"))),
                  "%s, case %zu: %s", name, i, out.text);
            CHECK(out.span_count == json_array_size(want), "%s, case %zu: %zu turns", name, i,
                  out.span_count);
            for (size_t k = 0; k < nib_min(out.span_count, json_array_size(want)); k++) {
                const char *text = json_string_value(json_array_get(want, k));
                size_t n = out.spans[k].end - out.spans[k].begin;
                CHECK(n == strlen(text) && !memcmp(out.text + out.spans[k].begin, text, n),
                      "%s, case %zu, turn %zu:\n got  %.*s\n want %s", name, i, k, (int)n,
                      out.text + out.spans[k].begin, text);
            }
        }
        nib_jinja_output_free(ctx, &out);
        nib_chat_close(c);
    }
    CHECK(i >= least, "%zu cases", i);
    json_decref(all);
}

static void test_turns(void)
{
    check_turns("tests/golden/chat/turns.json", 60);
}

/* A system message, thinking and calls of tools, for the template of each family; with generation
 * blocks and without. */
static void test_five_turns(void)
{
    check_turns("tests/golden/chat/five_turns.json", 20);
}

static json_t *long_chat(size_t turns)
{
    json_t *list = json_array();

    for (size_t i = 0; i < turns; i++) {
        char text[60];
        snprintf(text, sizeof text, "%s number %zu", i % 2 ? "answer" : "question", i);
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "role", i % 2 ? "assistant" : "user", "content", text));
    }
    return list;
}

/* A long chat is rendered a few times and not once for each of its turns: counted by the words the
 * template asks for, so that no clock is needed.  Its time: an 800-turn chat in hundredths of a
 * second. */
static void test_long(void)
{
    static const char nested[] =
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}";
    nib_ctx *ctx = test_ctx();
    nib_chat *c = open_chat(ctx, nested);
    json_t *chat = long_chat(800);
    nib_chat_turns turns = { .messages = chat };
    nib_jinja_output out = { 0 };
    nib_error err;
    double start = nib_clock_seconds();

    REQUIRE_OK(nib_chat_render_trained(c, &turns, 0, NIB_CHAT_LOSS_ALL_TURNS, &out, NULL, &err),
               err);
    CHECK(nib_clock_seconds() - start < 3, "%g seconds",
          nib_clock_seconds() - start); /* ten times the aim */
    CHECK(out.span_count == 400, "%zu turns", out.span_count);
    for (size_t i = 0; i < out.span_count; i++) {
        char want[60];
        size_t n = out.spans[i].end - out.spans[i].begin;
        snprintf(want, sizeof want, "answer number %zu</s>", 2 * i + 1);
        CHECK(n == strlen(want) && !memcmp(out.text + out.spans[i].begin, want, n),
              "turn %zu: %.*s", i, (int)n, out.text + out.spans[i].begin);
    }
    nib_jinja_output_free(ctx, &out);
    nib_chat_close(c);
    json_decref(chat);
}

/* Marks: the turns of a mask, the last one and those of a completion differ by number. */
static void test_marks(void)
{
    static const char marked
        [] = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}"
             "{{ m.content }}|{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    nib_ctx *ctx = test_ctx();
    nib_chat *c = open_chat(ctx, marked);
    json_t *chat = long_chat(6);
    bool masked[6] = { [3] = true };
    nib_chat_turns turns = { .messages = chat, .masked = masked };
    nib_jinja_output out = { 0 };
    nib_error err;

    REQUIRE_OK(nib_chat_render_trained(c, &turns, 0, NIB_CHAT_LOSS_ALL_TURNS, &out, NULL, &err),
               err);
    CHECK(out.span_count == 2 && !memcmp(out.text + out.spans[1].begin, "answer number 5|", 16),
          "%s", out.text);
    nib_jinja_output_free(ctx, &out);
    REQUIRE_OK(nib_chat_render_trained(c, &turns, 2, NIB_CHAT_LOSS_ALL_TURNS, &out, NULL, &err),
               err);
    CHECK(out.span_count == 1, "%zu turns of the completion", out.span_count);
    nib_jinja_output_free(ctx, &out);
    REQUIRE_OK(nib_chat_render_trained(c, &turns, 0, NIB_CHAT_LOSS_LAST_TURN, &out, NULL, &err),
               err);
    CHECK(out.span_count == 1 && !memcmp(out.text + out.spans[0].begin, "answer number 5|", 16),
          "%s", out.text);
    nib_jinja_output_free(ctx, &out);
    nib_chat_close(c);
    json_decref(chat);
}

/* Everything but masked turns; and an empty reasoning part is counted. */
static void test_everything(void)
{
    static const char plain[] =
        "{% for m in messages %}<{{ m.role }}>"
        "{{ '<think>\n\n</think>\n\n' if m.role == 'assistant' }}{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}";
    nib_ctx *ctx = test_ctx();
    nib_chat *c = open_chat(ctx, plain);
    json_t *chat = long_chat(4);
    bool masked[4] = { [1] = true };
    nib_chat_turns turns = { .messages = chat, .masked = masked };
    nib_jinja_output out = { 0 };
    uint64_t empty = 0;
    nib_error err;

    REQUIRE_OK(nib_chat_render_trained(c, &turns, 0, NIB_CHAT_LOSS_EVERYTHING, &out, &empty, &err),
               err);
    CHECK(out.span_count == 2 && !empty, "%zu spans, %d", out.span_count, (int)empty);
    CHECK(!memcmp(out.text + out.spans[1].begin, "<user>question number 2", 23), "%s",
          out.text + out.spans[1].begin);
    nib_jinja_output_free(ctx, &out);
    REQUIRE_OK(nib_chat_render_trained(c, &turns, 0, NIB_CHAT_LOSS_ALL_TURNS, &out, &empty, &err),
               err);
    CHECK(out.span_count == 1 && empty == 1, "%zu spans, %d", out.span_count, (int)empty);
    CHECK(!memcmp(out.text + out.spans[0].begin, "answer number 3</s>", 19), "%s",
          out.text + out.spans[0].begin);
    nib_jinja_output_free(ctx, &out);
    nib_chat_close(c);
    json_decref(chat);
}

int main(void)
{
    static const test_case cases[] = { { "turns", test_turns },
                                       { "five turns of each family", test_five_turns },
                                       { "long", test_long },
                                       { "marks", test_marks },
                                       { "everything", test_everything } };
    return test_main("chat", cases, NIB_COUNT(cases));
}
