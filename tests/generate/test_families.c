/* test_families.c - every architecture variant, token by token: with keys, values and windows kept
 * from one to the next, the logits are those that transformers computes in one pass. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "generate/decoder.h"
#include "model/model.h"
#include "test.h"

enum { PROMPT = 5, CAPACITY = 64 };

static const nib_tensor *need(const nib_tensors *t, const char *name)
{
    const nib_tensor *found = nib_tensors_find(t, name);

    CHECK(found, "%s is missing", name);
    return found;
}

/* The logits of the last token against row `row` of the reference's. */
static void check_row(nib_decoder *d, const nib_tensor *want, size_t row, const char *variant)
{
    const float *logits = (const float *)want->data + row * want->shape[1];
    nib_logits got;
    float worst = 0;
    nib_error err;

    REQUIRE_OK(nib_decoder_logits(d, 0, &got, &err), err);
    for (size_t j = 0; j < got.count; j++)
        worst = fmaxf(worst, fabsf(got.values[j] - logits[got.ids ? got.ids[j] : j]));
    CHECK(got.count == want->shape[1] && worst <= 1e-4f, "%s: token %zu: logits differ by %g",
          variant, row, (double)worst);
}

static void decode(nib_model *m, const nib_tensors *expected, const char *variant)
{
    /* where the angles hang on the length, one pass over a long text has others at its beginning */
    bool brief = m->graph->length_switch || m->graph->length_grows;
    const nib_tensor *ids = need(expected, brief ? "ids.1" : "ids.0");
    const nib_tensor *want = need(expected, brief ? "logits.1" : "logits.0");
    nib_decoder *d = NULL;
    nib_state *state = NULL;
    nib_conversation c = { .slot = NIB_NO_SLOT };
    nib_error err;

    REQUIRE(ids && want);
    REQUIRE_OK(nib_decoder_create(m->ctx, m->graph, CAPACITY, 1, &d, &err), err);
    REQUIRE_OK(nib_state_create(m->ctx, m->graph, CAPACITY, &state, &err), err);
    c.state = state;
    REQUIRE_OK(nib_decoder_read(d, c, ids->data, PROMPT, 0, &err), err);
    check_row(d, want, PROMPT - 1, variant);
    for (size_t t = PROMPT; t < ids->elements; t++) {
        REQUIRE_OK(nib_decoder_next(d, &c, (const uint32_t *)ids->data + t, 1, 0, &err), err);
        check_row(d, want, t, variant);
    }
    nib_state_destroy(state);
    nib_decoder_destroy(d);
}

static void check_variant(nib_ctx *ctx, const char *dir, const char *variant)
{
    nib_model_options options = { .model = dir };
    nib_tensors *expected = NULL;
    nib_model *m = NULL;
    char path[600];
    nib_error err;

    snprintf(path, sizeof path, "%s/expected.safetensors", dir);
    REQUIRE_OK(nib_tensors_open(ctx, path, &expected, &err), err);
    REQUIRE_OK(nib_model_open(ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
    decode(m, expected, variant);
    nib_model_close(m);
    nib_tensors_close(expected);
}

static void test_variants(void)
{
    const char *top = test_data("tests/golden/models");
    DIR *d = opendir(top);
    nib_ctx *ctx = test_ctx();
    struct dirent *entry;
    int count = 0;

    REQUIRE(d, "%s cannot be read", top);
    while ((entry = readdir(d))) {
        char dir[512];
        if (entry->d_name[0] == '.') continue;
        snprintf(dir, sizeof dir, "%s/%s", top, entry->d_name);
        check_variant(ctx, dir, entry->d_name);
        count++;
    }
    closedir(d);
    CHECK(count >= 40, "%d variants", count);
}

int main(void)
{
    static const test_case cases[] = { { "token by token as in one pass", test_variants } };
    return test_main("families", cases, NIB_COUNT(cases));
}
