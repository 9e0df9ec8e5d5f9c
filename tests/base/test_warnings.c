/* test_warnings.c - warnings: sent when they arise, once; kept with their code;
 * repeated as a block; an error with `strict`. */
#include <string.h>

#include "base/base.h"
#include "test.h"

typedef struct heard { int notes, warnings, summaries; char last[4096]; } heard;

static void hear(void *user, nib_message_kind kind, const char *text)
{
    heard *h = user;

    h->notes += kind == NIB_MESSAGE_NOTE;
    h->warnings += kind == NIB_MESSAGE_WARNING;
    h->summaries += kind == NIB_MESSAGE_SUMMARY;
    snprintf(h->last, sizeof h->last, "%s", text);
}

static nib_ctx *context(heard *h, bool strict)
{
    nib_ctx_options o = { .threads = 1, .strict = strict, .message = hear, .message_user = h };
    nib_ctx *ctx = NULL;
    nib_error err;

    return nib_ctx_create(&o, &ctx, &err) ? NULL : ctx;
}

static void test_once_and_again(void)
{
    heard h = { 0 };
    nib_ctx *ctx = context(&h, false);
    nib_error err;

    REQUIRE(ctx != NULL);
    nib_warn_code(ctx, "unused-fields", "field '%s' is not used", "a");
    nib_warn_code(ctx, "unused-fields", "field '%s' is not used", "a");
    nib_note(ctx, "a note");
    nib_warn(ctx, "something else");
    CHECK(h.warnings == 2 && h.notes == 1, "%d warnings, %d notes", h.warnings, h.notes);
    REQUIRE(nib_ctx_warning_count(ctx) == 2, "%zu", nib_ctx_warning_count(ctx));
    CHECK(strcmp(nib_ctx_warning(ctx, 0).code, "unused-fields") == 0);
    CHECK(strcmp(nib_ctx_warning(ctx, 0).text, "field 'a' is not used") == 0);
    CHECK(strcmp(nib_ctx_warning(ctx, 1).code, "general") == 0);
    CHECK(nib_warnings_check(ctx, &err) == NIB_OK, "not strict");
    nib_warnings_repeat(ctx);
    CHECK(h.summaries == 1 &&
              strcmp(h.last, "2 things to look at:\n  - field 'a' is not used\n"
                             "  - something else") == 0,
          "%s", h.last);
    nib_warnings_repeat(ctx);
    CHECK(h.summaries == 1, "nothing new, nothing repeated");
    nib_warn_code(ctx, "unused-fields", "field '%s' is not used", "a"); /* another job's */
    nib_warnings_repeat(ctx);
    CHECK(h.warnings == 3 && h.summaries == 2 && strstr(h.last, "1 thing to look at:\n"),
          "%s", h.last);
    nib_ctx_destroy(ctx);
}

static void test_strict(void)
{
    heard h = { 0 };
    nib_ctx *ctx = context(&h, true);
    nib_error err = { .message = "" };

    REQUIRE(ctx != NULL);
    CHECK(nib_warnings_check(ctx, &err) == NIB_OK, "nothing to look at: %s", err.message);
    nib_note(ctx, "a note is no warning");
    CHECK(nib_warnings_check(ctx, &err) == NIB_OK, "%s", err.message);
    nib_warn(ctx, "one");
    nib_warn(ctx, "two");
    CHECK(nib_warnings_check(ctx, &err) == NIB_E_INVALID &&
              strcmp(err.message, "strict: 2 warnings; the first: one") == 0, "%s", err.message);
    nib_ctx_destroy(ctx);
}

/* What cannot be kept is sent all the same, and nothing is lost of memory. */
static void test_without_memory(void)
{
    test_heap plain = { 0 };

    test_ctx_release(test_ctx_heap(&plain)); /* the context's own blocks, taken before it counts */
    for (size_t fail_at = 0; fail_at < 8; fail_at++) {
        test_heap heap = { 0 };
        nib_ctx *ctx = test_ctx_heap(&heap);

        heap.fail_at = fail_at ? heap.calls + fail_at : 0;
        nib_warn(ctx, "one");
        nib_warn(ctx, "two");
        nib_warnings_repeat(ctx);
        CHECK(nib_ctx_warning_count(ctx) <= 2 && (fail_at || nib_ctx_warning_count(ctx) == 2));
        test_ctx_release(ctx);
        CHECK(heap.live == plain.live, "call %zu: %zu blocks are left", fail_at,
              heap.live - plain.live);
    }
}

static const test_case cases[] = {
    { "once_and_again", test_once_and_again },
    { "strict", test_strict },
    { "without_memory", test_without_memory },
};

int main(void) { return test_main("test_warnings", cases, NIB_COUNT(cases)); }
