/* test_unfinished.c - the adapter of an interrupted run says so, until the run is at its end; its
 * README.md names what the run knows and no directory. */
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "run_support.h"
#include "test.h"

static int steps_done, steps_wanted;
static char warned[1000];

static void count_step(void *user, const nib_step_report *r)
{
    (void)user;
    (void)r;
    steps_done++;
}
static int should_stop(void *user)
{
    (void)user;
    return steps_wanted && steps_done >= steps_wanted;
}
static void keep_warning(void *user, nib_message_kind kind, const char *text)
{
    (void)user;
    if (kind == NIB_MESSAGE_WARNING) snprintf(warned, sizeof warned, "%s", text);
}

static nib_status train(nib_finetune_options o, int steps, nib_error *err)
{
    nib_ctx_options options = { .threads = 1, .should_stop = should_stop,
                                .message = keep_warning };
    nib_ctx *ctx;
    nib_status status = nib_ctx_create(&options, &ctx, err);

    steps_done = 0;
    steps_wanted = steps;
    *warned = 0;
    o.on_step = count_step;
    if (!status) status = nib_finetune(ctx, &o, err);
    nib_ctx_destroy(ctx);
    return status;
}

/* What the adapter's file says; "": nothing. */
static void read_note(const char *dir, char note[100])
{
    char path[700];
    nib_tensors *t = NULL;
    nib_error err;

    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    REQUIRE_OK(nib_tensors_open(test_ctx(), path, &t, &err), err);
    snprintf(note, 100, "%s", nib_tensors_metadata(t, "nibble.unfinished")
                                  ? nib_tensors_metadata(t, "nibble.unfinished") : "");
    nib_tensors_close(t);
}

static bool readme_has(const char *dir, const char *text)
{
    size_t n = 0;
    char *bytes = run_bytes(dir, "README.md", &n);
    bool found = bytes && memmem(bytes, n, text, strlen(text));

    CHECK(bytes, "no README.md");
    free(bytes);
    return found;
}

static void test_interrupted(void)
{
    nib_finetune_options whole = run_options("whole"), o = run_options("stopped"), on;
    char note[100];
    nib_error err;

    REQUIRE_OK(train(whole, 0, &err), err);
    read_note(whole.output_dir, note);
    CHECK(!*note && !readme_has(whole.output_dir, "Not the end"), "%s", note);
    CHECK(readme_has(whole.output_dir, "- steps: 7 of 7") &&
          readme_has(whole.output_dir, "- data: `data.jsonl`, 5 records") &&
          readme_has(whole.output_dir, "base_model: llama-gqa-tied\n"), "the README's facts");
    CHECK(!readme_has(whole.output_dir, test_tmpdir()) &&
          !readme_has(whole.output_dir, "More Information"), "the README's rest");

    CHECK(train(o, 3, &err) == NIB_E_INTERRUPTED, "%s", err.message);
    read_note(o.output_dir, note);
    CHECK(strcmp(note, "interrupted after step 3 of 7") == 0, "'%s'", note);
    CHECK(readme_has(o.output_dir, "**Not the end of its run: interrupted after step 3 of 7.**"));

    /* begun from: a warning, and the new run's own end */
    on = run_options("from");
    on.adapter = o.output_dir;
    on.model.settings = whole.model.settings;
    REQUIRE_OK(train(on, 0, &err), err);
    CHECK(strstr(warned, "the run that wrote this adapter was interrupted after step 3 of 7"),
          "%s", warned);
    read_note(on.output_dir, note);
    CHECK(!*note, "%s", note);

    REQUIRE_OK(train(o, 0, &err), err);
    read_note(o.output_dir, note);
    CHECK(!*note && !readme_has(o.output_dir, "Not the end"), "%s", note);
    CHECK(run_same(whole.output_dir, o.output_dir, "adapter_model.safetensors"), "other bytes");
}

int main(void)
{
    static const test_case cases[] = { { "interrupted", test_interrupted } };
    return test_main("unfinished", cases, NIB_COUNT(cases));
}
