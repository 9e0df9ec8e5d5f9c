/* shape_message.c - one message of a chat: checked, its names made those of templates, and whether
 * it is trained.
 *
 * Roles are the template's affair: what it has no words for it refuses or passes over.  ShareGPT's
 * and LLaMA-Factory's names under "from" become those that templates know. */
#include <math.h>

#include "format/json.h"
#include "train/shape.h"

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* The names under "from"; others are roles as they are. */
static const char *role_of(const char *from)
{
    static const char *const roles[][2] = {
        { "human", "user" },         { "gpt", "assistant" },           { "chatgpt", "assistant" },
        { "bing", "assistant" },     { "bard", "assistant" },          { "model", "assistant" },
        { "bot", "assistant" },      { "function", "tool" },           { "observation", "tool" },
        { "tool_response", "tool" }, { "function_call", "assistant" }, { "tool_call", "assistant" }
    };

    for (size_t i = 0; i < NIB_COUNT(roles); i++)
        if (strcmp(roles[i][0], from) == 0) return roles[i][1];
    return from;
}

static bool is_call(const char *from)
{
    return strcmp(from, "function_call") == 0 || strcmp(from, "tool_call") == 0;
}

/* A picture, sound or film, as the libraries name parts of a message, or NULL. */
static const char *medium_of(const char *type)
{
    static const char *const media[] = { "image", "image_url", "input_image", "video", "video_url",
                                         "audio", "audio_url", "input_audio", "file" };

    for (size_t i = 0; i < NIB_COUNT(media); i++)
        if (strcmp(type, media[i]) == 0) return media[i];
    return NULL;
}

static nib_status check_part(const json_t *part, const char *place, size_t i, nib_error *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));

    if (!type)
        return nib_fail(err, NIB_E_FORMAT, "%s: content[%zu] is %s without a string 'type'", place,
                        i, nib_shape_kind(part));
    if (medium_of(type))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: content[%zu] has type '%s': only text is computed here", place, i,
                        type);
    return NIB_OK;
}

/* A string; null where tools are called; or a list of {"type", ...}. */
static nib_status check_content(const json_t *message, const char *place, nib_error *err)
{
    const json_t *content = nib_shape_field(message, "content"), *part;
    size_t i;

    if (json_is_string(content)) return NIB_OK;
    if (!content && nib_shape_field(message, "tool_calls")) return NIB_OK;
    if (!json_is_array(content))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: content is %s, it should be a string, or a list of parts; null only "
                        "beside tool_calls",
                        place, nib_shape_kind(json_object_get(message, "content")));
    json_array_foreach(content, i, part)
    {
        nib_status status = check_part(part, place, i, err);
        if (status) return status;
    }
    return NIB_OK;
}

/* LLaMA-Factory's function_call: the JSON of {"name", "arguments"}, or of a list of them, becomes
 * tool_calls. */
static nib_status set_calls(json_t *message, const json_t *value, const char *place, nib_error *err)
{
    json_t *read = NULL, *calls = json_array(), *one;
    size_t i;
    nib_status status = calls ? NIB_OK : no_memory(place, err);

    if (!status && json_is_string(value))
        status = nib_json_parse(json_string_value(value), json_string_length(value), place,
                                NIB_JSON_ANY_VALUE, &read, err);
    else
        read = json_incref((json_t *)(uintptr_t)value);
    if (!status && json_is_object(read)) { /* a call by itself */
        one = read;
        read = json_pack("[o]", one);
        if (!read) status = no_memory(place, err);
    }
    if (!status && (!json_is_array(read) || !json_array_size(read)))
        status = nib_fail(
            err, NIB_E_FORMAT,
            "%s: a function_call is the JSON of {\"name\", \"arguments\"} or of a list "
            "of them",
            place);
    if (!status) json_array_foreach(read, i, one)
        {
            if (!json_is_string(json_object_get(one, "name")) || !json_object_get(one, "arguments"))
                status = nib_fail(err, NIB_E_FORMAT,
                                  "%s: call %zu has no string 'name' and 'arguments'", place,
                                  i + 1);
            else if (json_array_append_new(
                         calls, json_pack("{s:s, s:O}", "type", "function", "function", one)))
                status = no_memory(place, err);
            if (status) break;
        }
    if (!status && (json_object_set(message, "tool_calls", calls) ||
                    json_object_set_new(message, "content", json_string(""))))
        status = no_memory(place, err);
    json_decref(read);
    json_decref(calls);
    return status;
}

/* The other members: null ones are left out, for tables have them where other rows have something,
 * and a template may ask whether they are there. */
static nib_status copy_members(json_t *message, const json_t *from, bool renamed, const char *place,
                               nib_error *err)
{
    const char *key;
    json_t *value, *calls = NULL;
    nib_status status = NIB_OK;

    json_object_foreach((json_t *)(uintptr_t)from, key, value)
    {
        bool known = renamed && (strcmp(key, "from") == 0 || strcmp(key, "value") == 0);
        if (json_is_null(value) || known || json_object_get(message, key)) continue;
        if (strcmp(key, "tool_calls") == 0 && json_is_string(value)) { /* the JSON text of them */
            status = nib_json_parse(json_string_value(value), json_string_length(value), place,
                                    NIB_JSON_ANY_VALUE, &calls, err);
            if (status) return nib_fail_in(err, status, "%s: tool_calls", place);
            if (json_is_null(calls))
                json_decref(calls);
            else if (json_object_set_new(message, key, calls))
                return no_memory(place, err);
        } else if (json_object_set(message, key, value))
            return no_memory(place, err);
    }
    return NIB_OK;
}

nib_status nib_shape_message(const json_t *from, const char *place, json_t **out, nib_error *err)
{
    const json_t *role = nib_shape_field(from, "role"), *old = json_object_get(from, "from"),
                 *value;
    const char *name = json_string_value(role ? role : old);
    bool renamed = !role && old;
    json_t *message;
    nib_status status = NIB_OK;

    if (!json_is_object(from))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s is %s, it should be an object with a role and content", place,
                        nib_shape_kind(from));
    if (!name)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, it should be a string", place,
                        renamed ? "from" : "role", nib_shape_kind(role ? role : old));
    message = json_object();
    if (!message) return no_memory(place, err);
    *out = message;
    if (json_object_set_new(message, "role", json_string(renamed ? role_of(name) : name)))
        return no_memory(place, err);
    value = json_object_get(from, renamed ? "value" : "content");
    if (renamed && is_call(name))
        status = set_calls(message, value, place, err);
    else if (value && json_object_set(message, "content", (json_t *)(uintptr_t)value))
        status = no_memory(place, err);
    if (!status) status = copy_members(message, from, renamed, place, err);
    return status ? status : check_content(message, place, err);
}

/* --- what is trained --- */

/* false and 0, true and 1; other weights would scale the loss. */
static bool read_flag(const json_t *value, bool *out)
{
    double number = json_is_number(value) ? json_number_value(value) : (double)NAN;

    if (json_is_boolean(value)) return *out = json_is_true(value), true;
    *out = number != 0;
    return number == 0 || number == 1;
}

nib_status nib_shape_masked(const json_t *message, const char *place, bool *masked, bool *asked,
                            nib_error *err)
{
    static const struct {
        const char *name;
        bool masks;
    } flags[] = { { "weight", false }, { "train", false },     { "training", false },
                  { "loss", false },   { "trainable", false }, { "mask", true } };
    static const char *const details[] = { "train_detail", "training_detail" };
    bool any = false, flag = false;
    const char *first = NULL;

    *masked = *asked = false;
    for (size_t i = 0; i < NIB_COUNT(details); i++)
        if (nib_shape_field(message, details[i]))
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: '%s', parts of a turn that are trained or not, is not computed "
                            "here; whole turns are masked by \"weight\": 0",
                            place, details[i]);
    for (size_t i = 0; i < NIB_COUNT(flags); i++) {
        const json_t *value = nib_shape_field(message, flags[i].name);
        bool yes;

        if (!value) continue;
        if (!read_flag(value, &yes))
            return nib_fail(
                err, NIB_E_FORMAT,
                "%s: '%s' is %s that is none of 0, 1, true, false: a turn is trained or "
                "it is not",
                place, flags[i].name, nib_shape_kind(value));
        if (any && (yes != flags[i].masks) != flag)
            return nib_fail(err, NIB_E_FORMAT, "%s: '%s' and '%s' contradict each other", place,
                            first, flags[i].name);
        flag = yes != flags[i].masks;
        any = true;
        first = flags[i].name;
    }
    *masked = any && !flag;
    *asked = any && flag && strcmp(first, "mask") != 0;
    return NIB_OK;
}
