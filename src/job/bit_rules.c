/* bit_rules.c - see bit_rules.h. */
#include "job/bit_rules.h"

#include "format/jsontext.h"

nib_status nib_bit_rule_put(nib_ctx *ctx, json_t *config, const char *module, unsigned bits,
                            nib_error *err)
{
    json_t *quantization = json_object_get(config, "quantization_config");
    json_t *rules = json_object_get(quantization, "dynamic");
    nib_text t = { .ctx = ctx };
    bool good;

    if (!rules) {
        json_object_set_new(quantization, "dynamic", json_object());
        rules = json_object_get(quantization, "dynamic");
    }
    nib_text_puts(&t, "+:^");
    for (const char *c = module; *c; c++) { /* a dot is one, not any character */
        if (*c == '.') nib_text_puts(&t, "\\");
        nib_text_put(&t, c, 1);
    }
    nib_text_puts(&t, "$");
    good = !t.failed && !json_object_set_new(rules, t.data, json_pack("{s:i}", "bits", (int)bits));
    nib_text_free(&t);
    return good ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "config.json: out of memory");
}
