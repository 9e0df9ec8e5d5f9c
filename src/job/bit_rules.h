/* bit_rules.h - GPTQModel's rules for single modules, in config.json:
 *
 *     "quantization_config": { "dynamic": {
 *         "-:^lm_head(\\.|$)": {},                           what stays dense: the format's own
 *         "+:^model\\.layers\\.0\\.q_proj$": {"bits": 8} } }
 *
 * Source: formats.md 6.3. */
#ifndef NIB_JOB_BIT_RULES_H
#define NIB_JOB_BIT_RULES_H

#include <jansson.h>

#include "base/base.h"

/* Adds the rule that `module` has so many bits to config's quantization_config, which is there.
 * NIB_E_NOMEM. */
nib_status nib_bit_rule_put(nib_ctx *ctx, json_t *config, const char *module, unsigned bits,
                            nib_error *err);

#endif
