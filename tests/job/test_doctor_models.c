/* test_doctor_models.c - doctor --models: the table's shapes are the published models' by their
 * numbers of parameters, and what does not fit is not counted as fitting. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "job/known_models.h"
#include "program.h"
#include "test.h"

/* Millions, as the models' cards and safetensors' indices count them, tied embeddings once. */
static const struct { const char *name; double millions; } published[] = {
    { "SmolLM2-135M", 134.515 }, { "Gemma-3-270M", 268.098 }, { "LFM2-350M", 354.484 },
    { "SmolLM2-360M", 361.821 }, { "Granite-4.0-350M", 352.379 }, { "Qwen2.5-0.5B", 494.033 },
    { "Qwen3-0.6B", 596.050 }, { "LFM2-700M", 742.489 }, { "Gemma-3-1B", 999.886 },
    { "LFM2-1.2B", 1170.341 }, { "Llama-3.2-1B", 1235.814 }, { "Qwen2.5-1.5B", 1543.714 },
    { "Granite-4.0-1B", 1631.751 }, { "SmolLM2-1.7B", 1711.377 }, { "Qwen3-1.7B", 1720.575 },
    { "Qwen2.5-3B", 3085.939 }, { "Llama-3.2-3B", 3212.750 }, { "Phi-4-mini", 3836.022 },
    { "Qwen3-4B", 4022.468 }, { "Mistral-7B", 7248.024 }, { "Qwen2.5-7B", 7615.617 },
    { "Llama-3.1-8B", 8030.261 },
};

static double number(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

static bool flag(const json_t *row, const char *key)
{
    return json_is_true(json_object_get(row, key));
}

static const json_t *find(const json_t *models, const char *name)
{
    const json_t *row;
    size_t i;

    json_array_foreach(models, i, row)
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0) return row;
    return NULL;
}

static void check_row(const json_t *row, double available)
{
    const char *name = json_string_value(json_object_get(row, "name"));
    double train = number(row, "train_bytes"), answer = number(row, "answer_bytes");

    CHECK(flag(row, "train_fits") == (train <= available) &&
              flag(row, "answer_fits") == (answer <= available), "%s", name);
    /* four bits a weight at the least, and training has gradients and what is kept besides */
    CHECK(answer > number(row, "parameters") / 2 && train > answer * 1.2, "%s: %g and %g", name,
          train, answer);
    CHECK(number(row, "train_hours") > number(row, "parameters") / 1e15 &&
              number(row, "answer_hours") > 1e-9, "%s: %g and %g h", name,
          number(row, "train_hours"), number(row, "answer_hours"));
}

static void test_table(void)
{
    json_t *report;
    const json_t *models, *small, *large;
    program_end e;

    REQUIRE(NIBBLE(&e, "doctor", "--models", "--json"));
    REQUIRE(e.exit_code == 0 && (report = json_loads(e.out, 0, NULL)), "%s%s", e.out, e.said);
    models = json_object_get(report, "models");
    CHECK(json_array_size(models) == NIB_COUNT(published) && !nib_known_model_at(22));
    for (size_t i = 0; i < NIB_COUNT(published); i++) {
        const json_t *row = find(models, published[i].name);
        double millions = number(row, "parameters") / 1e6;
        CHECK(row && fabs(millions / published[i].millions - 1) < 2e-4,
              "%s: %.3f million, expected %.3f", published[i].name, millions,
              published[i].millions);
        if (row) check_row(row, number(report, "available_bytes") * 1.02);
    }
    small = find(models, "SmolLM2-135M");
    large = find(models, "Llama-3.1-8B");
    CHECK(number(large, "train_hours") > 30 * number(small, "train_hours") &&
              number(large, "answer_hours") > 20 * number(small, "answer_hours"),
          "in proportion to the work");
    json_decref(report);
}

static void test_no_room(void)
{
    program_end e;

    setenv("TMPDIR", "/nowhere", 1);
    REQUIRE(NIBBLE(&e, "doctor", "--models"));
    CHECK(e.exit_code == 1 && strstr(e.said, "/nowhere/nibble-doctor-"), "%s", e.said);
    REQUIRE(NIBBLE(&e, "doctor"));
    CHECK(e.exit_code == 0 && strstr(e.out, "processor"), "%s", e.out);
}

int main(void)
{
    static const test_case cases[] = { { "table", test_table }, { "no room", test_no_room } };
    return test_main("doctor models", cases, NIB_COUNT(cases));
}
