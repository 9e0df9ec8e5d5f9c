/* test_smoothing.c - label smoothing and NEFTune's noise in whole runs: the losses are those of
 * transformers' LabelSmoother (tests/golden/make/smoothing_golden.py). */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "nibble/finetune.h"
#include "test.h"

typedef struct seen { double loss, grad_norm, eval_loss; } seen;

static void keep_step(void *user, const nib_step_report *r)
{
    ((seen *)user)->loss = r->loss;
    ((seen *)user)->grad_norm = r->grad_norm;
}
static void keep_evaluation(void *user, const nib_eval_report *r)
{
    ((seen *)user)->eval_loss = r->eval_loss;
}

/* One step that changes nothing, on one record, and an evaluation on the same. */
static seen losses(const char *ids, double smoothing, double noise)
{
    seen s = { 0 };
    nib_finetune_options o;
    nib_error err;
    char data[600], out[600];
    FILE *f;

    snprintf(data, sizeof data, "%s/d.jsonl", test_tmpdir());
    snprintf(out, sizeof out, "%s/out", test_tmpdir());
    f = fopen(data, "w");
    fprintf(f, "{\"input_ids\": [%s]}\n", ids);
    fclose(f);
    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.model.model = test_data("tests/golden/models/llama");
    o.model.compute_dtype = NIB_COMPUTE_FLOAT32;
    o.data.data = o.eval_data = data;
    o.output_dir = out;
    o.overwrite = true;
    o.train.eval_strategy = "epoch";
    o.train.learning_rate = 0;
    o.train.max_steps = 1;
    o.train.label_smoothing_factor = smoothing;
    o.train.neftune_noise_alpha = noise;
    o.on_step = keep_step;
    o.on_evaluate = keep_evaluation;
    o.user = &s;
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_OK, "%s", err.message);
    return s;
}

static void test_golden(void)
{
    FILE *f = fopen(test_data("tests/golden/train/smoothing.txt"), "r");
    double smoothing, want;
    char ids[100];
    int lines = 0;

    REQUIRE(f, "smoothing.txt");
    for (; fscanf(f, "%lf %99s %lf", &smoothing, ids, &want) == 3; lines++) {
        seen s = losses(ids, smoothing, 0);
        CHECK(fabs(s.loss - want) < 1e-5 && fabs(s.eval_loss - want) < 1e-5,
              "%g of %s: %.8g and %.8g, expected %.8g", smoothing, ids, s.loss, s.eval_loss, want);
    }
    fclose(f);
    CHECK(lines == 6, "%d lines", lines);
}

/* Noise is in the step alone, the same each time. */
static void test_noise(void)
{
    seen without = losses("1,5,9,33,7", 0, 0), with = losses("1,5,9,33,7", 0, 5),
         again = losses("1,5,9,33,7", 0, 5);

    CHECK(with.loss != without.loss && with.grad_norm != without.grad_norm, "no noise");
    CHECK(with.eval_loss == without.eval_loss, "noise in the evaluation");
    CHECK(with.loss == again.loss && with.grad_norm == again.grad_norm, "other noise");
}

static void test_ranges(void)
{
    nib_finetune_options o;
    nib_error err;

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.model.model = o.data.data = o.output_dir = "x";
    o.train.label_smoothing_factor = 1;
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_INVALID &&
          strstr(err.message, "label_smoothing_factor: 1 is not in [0, 1)"), "%s", err.message);
    o.train.label_smoothing_factor = 0;
    o.train.neftune_noise_alpha = -1;
    CHECK(nib_finetune(test_ctx(), &o, &err) == NIB_E_INVALID &&
          strstr(err.message, "neftune_noise_alpha: -1"), "%s", err.message);
}

int main(void)
{
    static const test_case cases[] = { { "golden", test_golden }, { "noise", test_noise },
                                       { "ranges", test_ranges } };
    return test_main("smoothing", cases, NIB_COUNT(cases));
}
