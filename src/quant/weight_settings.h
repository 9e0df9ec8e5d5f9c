/* weight_settings.h - settings of schemes and formats, read by their keys.
 *
 * Keys are the libraries' own names; a dash is as good as an underscore.  A value NULL is null, the
 * default.  A list of settings ends with a key NULL; NULL is an empty one. */
#ifndef NIB_QUANT_WEIGHT_SETTINGS_H
#define NIB_QUANT_WEIGHT_SETTINGS_H

#include "base/base.h"
#include "nibble/model.h"

/* Settings whose values are made: texts in `room`. */
enum { NIB_SETTINGS_MOST = 12, NIB_SETTING_FLOAT_ROOM = 20 };
typedef struct nib_settings {
    nib_setting items[NIB_SETTINGS_MOST + 1];
    size_t count;
    char room[NIB_SETTINGS_MOST][NIB_SETTING_FLOAT_ROOM];
} nib_settings;

bool nib_setting_is(const nib_setting *s, const char *key);
/* The last value of a key; NULL: absent, or null. */
const char *nib_setting_value(const nib_setting *list, const char *key);

/* Read a value where there is one, and leave *out alone where not.  `where` stands in front of the
 * messages ("dir/config.json: ", or "").  NIB_E_INVALID: not such a value, with what is known. */
nib_status nib_setting_bool(const nib_setting *list, const char *where, const char *key, bool *out,
                            nib_error *err);
nib_status nib_setting_count(const nib_setting *list, const char *where, const char *key,
                             unsigned *out, nib_error *err);
nib_status nib_setting_float(const nib_setting *list, const char *where, const char *key,
                             float *out, nib_error *err); /* finite */
/* One of `words`, which end with NULL: its index. */
nib_status nib_setting_word(const nib_setting *list, const char *where, const char *key,
                            const char *const *words, unsigned *out, nib_error *err);

/* The shortest decimal that is read as `value`, with a point or an exponent: "6.0". */
void nib_setting_float_text(float value, char text[NIB_SETTING_FLOAT_ROOM]);
void nib_settings_put(nib_settings *to, const char *key, const char *value); /* value: a constant */
void nib_settings_put_count(nib_settings *to, const char *key, unsigned value);
void nib_settings_put_float(nib_settings *to, const char *key, float value);

#endif
