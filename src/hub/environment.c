/* environment.c - see environment.h. */
#include "hub/environment.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <strings.h>

#include "base/hub.h"
#include "base/outname.h"

enum { MOST_TOKEN = 4096 };

static bool is_true(const char *name)
{
    static const char *const words[] = { "1", "ON", "YES", "TRUE" };
    const char *value = nib_hub_variable(name);

    for (size_t i = 0; value && i < NIB_COUNT(words); i++)
        if (strcasecmp(value, words[i]) == 0) return true;
    return false;
}

static nib_status read_endpoint(nib_ctx *ctx, nib_hub_settings *s, nib_error *err)
{
    const char *given = nib_hub_variable("HF_ENDPOINT");

    if (!given) given = "https://huggingface.co";
    if (strncasecmp(given, "https://", 8) != 0 && strncasecmp(given, "http://", 7) != 0)
        return nib_fail(err, NIB_E_INVALID,
                        "HF_ENDPOINT: '%s' is no address of a hub, such as https://host", given);
    s->endpoint = nib_beside(ctx, given, "");
    return s->endpoint ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "HF_ENDPOINT: out of memory");
}

/* --- the token --- */

static nib_status find_token_path(nib_ctx *ctx, nib_hub_settings *s, nib_error *err)
{
    const char *given = nib_hub_variable("HF_TOKEN_PATH");
    char path[PATH_MAX];

    if (!given && nib_hub_home("/token", path, sizeof path)) given = path;
    s->token_path = given ? nib_strdup(ctx, given) : NULL;
    if (given && !s->token_path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", given);
    return NIB_OK;
}

/* Without the blanks and line ends around it; "" is none. */
static nib_status take_token(nib_ctx *ctx, nib_hub_settings *s, const char *text, const char *from,
                             nib_error *err)
{
    size_t n;

    text += strspn(text, " \t\r\n");
    n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1])) n--;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 127)
            return nib_fail(err, NIB_E_INVALID, "%s: character %zu is none of a token: it has "
                            "letters, digits and signs without blanks", from, i + 1);
    if (!n) return NIB_OK;
    s->token = nib_strndup(ctx, text, n);
    return s->token ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", from);
}

static nib_status read_token_file(nib_ctx *ctx, nib_hub_settings *s, nib_error *err)
{
    char text[MOST_TOKEN + 1];
    nib_status status;
    size_t n;
    FILE *f = fopen(s->token_path, "rb");

    if (!f && (errno == ENOENT || errno == ENOTDIR)) return NIB_OK;
    if (!f) return nib_fail(err, NIB_E_IO, "%s: %s; it may hold a token", s->token_path,
                            strerror(errno));
    n = fread(text, 1, MOST_TOKEN, f);
    if (ferror(f)) {
        status = nib_fail(err, NIB_E_IO, "%s: %s; it may hold a token", s->token_path,
                          strerror(errno));
    } else if (n == MOST_TOKEN) {
        status = nib_fail(err, NIB_E_INVALID, "%s: more than %d bytes, which is no token",
                          s->token_path, MOST_TOKEN - 1);
    } else {
        text[n] = 0;
        status = take_token(ctx, s, text, s->token_path, err);
    }
    explicit_bzero(text, sizeof text);
    fclose(f);
    return status;
}

static nib_status read_token(nib_ctx *ctx, nib_hub_settings *s, nib_error *err)
{
    const char *name = nib_hub_variable("HF_TOKEN") ? "HF_TOKEN" : "HUGGING_FACE_HUB_TOKEN";
    nib_status status = find_token_path(ctx, s, err);

    s->withheld = is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN");
    if (status || s->withheld) return status;
    if (nib_hub_variable(name)) return take_token(ctx, s, nib_hub_variable(name), name, err);
    return s->token_path ? read_token_file(ctx, s, err) : NIB_OK;
}

nib_status nib_hub_settings_read(nib_ctx *ctx, nib_hub_settings *out, nib_error *err)
{
    nib_status status;

    *out = (nib_hub_settings){ .offline = is_true("HF_HUB_OFFLINE") ||
                                          is_true("TRANSFORMERS_OFFLINE") };
    status = read_endpoint(ctx, out, err);
    if (!status) status = read_token(ctx, out, err);
    if (status) nib_hub_settings_free(ctx, out);
    return status;
}

void nib_hub_settings_free(nib_ctx *ctx, nib_hub_settings *s)
{
    if (s->token) explicit_bzero(s->token, strlen(s->token));
    nib_free(ctx, s->token);
    nib_free(ctx, s->token_path);
    nib_free(ctx, s->endpoint);
    *s = (nib_hub_settings){ 0 };
}
