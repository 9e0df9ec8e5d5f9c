/* test_wrapper.c - text inside a model of several media: keys, names, what lies beside the text,
 * and which target_modules an adapter is stored with. */
#include <string.h>

#include "adapter/adapter.h"
#include "model/model.h"
#include "test.h"

static nib_status parse(nib_ctx *ctx, const char *text, nib_error *err)
{
    nib_config *config = NULL;
    json_t *json;
    nib_status status = nib_json_parse(text, strlen(text), "config.json", 0, &json, err);

    if (status) return status;
    status = nib_config_parse(ctx, json, "config.json", true, &config, err);
    nib_config_free(ctx, config);
    json_decref(json);
    return status;
}

static void test_refused(void)
{
    static const struct { const char *text, *says; } cases[] = {
        { "{\"model_type\": \"gemma3\"}", "text_config is missing" },
        { "{\"model_type\": \"gemma3\", \"text_config\": 3}", "text_config is no object" },
        { "{\"model_type\": \"gemma3\", \"text_config\": {\"model_type\": \"llama\"}}",
          "text_config.model_type is 'llama', known inside gemma3 are gemma3_text" },
        { "{\"model_type\": \"gemma3\", \"text_config\": {\"model_type\": 3}}", "not a text" },
        { "{\"model_type\": \"gemma3\", \"text_config\": {\"hidden_size\": -1}}",
          "config.json: text_config: hidden_size" },
        { "{\"model_type\": \"gemma3\", \"text_config\": {\"quantization_config\": {}}}",
          "quantization_config of its own" },
    };
    nib_ctx *ctx = test_ctx();
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_status status = parse(ctx, cases[i].text, &err);
        CHECK(status && strstr(err.message, cases[i].says), "%s: %s", cases[i].text,
              status ? err.message : "taken");
    }
}

/* Published files leave out what the class has: both read without a key of the text. */
static void test_defaults(void)
{
    static const struct { const char *text; size_t layers, vocabulary; bool tied; } cases[] = {
        { "{\"model_type\": \"gemma3\", \"text_config\": {}}", 26, 262208, true },
        { "{\"model_type\": \"gemma3\", \"text_config\": {\"num_hidden_layers\": 2}, "
          "\"tie_word_embeddings\": false}", 2, 262208, false },
        { "{\"model_type\": \"gemma3\", \"text_config\": {\"tie_word_embeddings\": false}, "
          "\"tie_word_embeddings\": true}", 26, 262208, true },
        { "{\"model_type\": \"mistral3\"}", 40, 131072, false },
    };
    nib_ctx *ctx = test_ctx();
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_config *config = NULL;
        nib_outline o = { 0 };
        json_t *json;

        REQUIRE_OK(nib_json_parse(cases[i].text, strlen(cases[i].text), "config.json", 0, &json,
                                  &err), err);
        REQUIRE_OK(nib_config_parse(ctx, json, "config.json", false, &config, &err), err);
        REQUIRE_OK(nib_outline_make(ctx, config, "config.json", &o, &err), err);
        CHECK(o.layers == cases[i].layers && o.vocabulary == cases[i].vocabulary &&
                  o.tied == cases[i].tied,
              "%s: %zu layers, %zu words, tied %d", cases[i].text, o.layers, o.vocabulary, o.tied);
        nib_config_free(ctx, config);
        json_decref(json);
    }
}

static void test_names(void)
{
    static const struct { const char *module, *library, *older; } cases[] = {
        { "model.norm", "model.language_model.norm", "language_model.model.norm" },
        { "lm_head.weight", "lm_head.weight", "language_model.lm_head.weight" },
    };
    const nib_wrapper *w = nib_wrapper_find("gemma3");
    char name[NIB_MODULE_NAME_ROOM];

    REQUIRE(w && !nib_wrapper_find("gemma3_text"));
    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_wrapper_module(w, cases[i].module, name);
        CHECK(strcmp(name, cases[i].library) == 0, "%s", name);
        CHECK(nib_wrapper_older(cases[i].library, name) && strcmp(name, cases[i].older) == 0, "%s",
              name);
        nib_wrapper_module(NULL, cases[i].module, name);
        CHECK(strcmp(name, cases[i].module) == 0, "%s", name);
    }
    CHECK(!nib_wrapper_older("model.vision_tower.norm", name));
    CHECK(nib_wrapper_is_beside(w, "vision_tower.norm"));
    CHECK(nib_wrapper_is_beside(w, "model.vision_tower.norm.weight"));
    CHECK(!nib_wrapper_is_beside(w, "vision_towers.norm"));
    CHECK(!nib_wrapper_is_beside(NULL, "vision_tower.norm"));
}

/* --- the model and its adapters --- */

typedef struct heard { int notes, warnings; char last[1000]; } heard;

static void hear(void *user, nib_message_kind kind, const char *text)
{
    heard *h = user;

    h->notes += kind == NIB_MESSAGE_NOTE && strstr(text, "of other media are not read");
    h->warnings += kind == NIB_MESSAGE_WARNING;
    snprintf(h->last, sizeof h->last, "%s", text);
}

static void check_targets(nib_model *m, const char *const *names, size_t count,
                          nib_peft_names_kind kind, const char *want)
{
    nib_peft_config config = nib_peft_config_default();
    nib_adapter *a = NULL;
    nib_error err;

    REQUIRE_OK(nib_peft_names_set(m->ctx, &config.target_modules, kind, names, count, &err), err);
    REQUIRE_OK(nib_adapter_create(m, &config, 0, 3, &a, &err), err);
    CHECK(strcmp(a->config.target_modules.names[0], want) == 0, "%s, expected %s",
          a->config.target_modules.names[0], want);
    CHECK(strncmp(a->params.items[0]->name, "base_model.model.model.language_model.layers.0.", 47)
              == 0, "%s", a->params.items[0]->name);
    nib_adapter_close(a);
    nib_peft_config_free(m->ctx, &config);
}

static void test_adapters(void)
{
    static const char *const names[] = { "q_proj", "v_proj" };
    static const char *const part[] = { "layers.0.mlp.up_proj" };
    heard h = { 0 };
    nib_ctx_options options = { .threads = 1, .message = hear, .message_user = &h };
    nib_model_options o = { .model = test_data("tests/golden/models/gemma3-wrapped") };
    nib_model *m = NULL;
    nib_ctx *ctx;
    nib_error err;

    REQUIRE_OK(nib_ctx_create(&options, &ctx, &err), err);
    REQUIRE_OK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
    CHECK(h.notes == 1 && h.warnings == 0, "%d notes, %d warnings: %s", h.notes, h.warnings,
          h.last);
    CHECK(strcmp(m->head->name, "lm_head") == 0, "%s", m->head->name);
    check_targets(m, names, 2, NIB_PEFT_LIST, ".*language_model\\..*\\.(q_proj|v_proj)");
    check_targets(m, NULL, 0, NIB_PEFT_ALL_LINEAR,
                  ".*language_model\\..*\\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|"
                  "down_proj)");
    check_targets(m, part, 1, NIB_PEFT_LIST, part[0]);
    nib_model_close(m);
    nib_ctx_destroy(ctx);
}

static const test_case cases[] = {
    { "what is no text that is known is refused", test_refused },
    { "keys that are absent are the class's", test_defaults },
    { "names in the library, in files and in old adapters", test_names },
    { "adapters mean the text alone", test_adapters },
};

int main(void) { return test_main("test_wrapper", cases, NIB_COUNT(cases)); }
