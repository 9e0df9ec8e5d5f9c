/* verb_tokenize.c - nibble tokenize: a line of text, a line of ids; with --json a list or a string
 * a line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

static nib_status encode_line(session *s, nib_text_codec *codec, const char *line, size_t bytes,
                              bool special)
{
    const uint32_t *ids;
    size_t count;
    nib_status status = nib_text_codec_encode(codec, line, bytes, special, &ids, &count, &s->err);

    if (status) return status;
    if (s->json) putchar('[');
    for (size_t i = 0; i < count; i++) printf(!i ? "%u" : s->json ? ", %u" : " %u", ids[i]);
    puts(s->json ? "]" : "");
    return NIB_OK;
}

static nib_status decode_line(session *s, nib_text_codec *codec, char *line)
{
    uint32_t *ids = NULL;
    size_t count = 0, room = 0, bytes;
    const char *text;
    nib_status status = NIB_OK;

    for (char *p = strtok(line, " \t"); p && !status; p = strtok(NULL, " \t")) {
        char *end;
        unsigned long id = strtoul(p, &end, 10);
        if (*end || id > UINT32_MAX) {
            snprintf(s->err.message, sizeof s->err.message, "'%s' is not a token id", p);
            status = NIB_E_FORMAT;
        } else if (count == room) {
            uint32_t *grown = realloc(ids, (room = room * 2 + 64) * sizeof *ids);
            if (!grown)
                status = NIB_E_NOMEM,
                snprintf(s->err.message, sizeof s->err.message, "out of memory");
            else ids = grown;
        }
        if (!status) ids[count++] = (uint32_t)id;
    }
    if (!status) status = nib_text_codec_decode(codec, ids, count, false, &text, &bytes, &s->err);
    if (!status && s->json) print_json_string(stdout, text, bytes);
    for (size_t i = 0, end; !status && !s->json && i < bytes; i = end) {
        const char *newline = memchr(text + i, '\n', bytes - i);
        end = newline ? (size_t)(newline - text) : bytes;
        print_text(stdout, text + i, end - i);
        if (newline) fputs("\\n", stdout), end++;
    }
    if (!status) putchar('\n');
    free(ids);
    return status;
}

static void place_error(session *s, size_t line)
{
    char message[sizeof s->err.message];

    snprintf(message, sizeof message, "standard input: line %zu: %.900s", line, s->err.message);
    memcpy(s->err.message, message, sizeof message);
}

int verb_tokenize(int argc, char **argv)
{
    session s = { 0 };
    bool decode = false, special = true;
    nib_text_codec *codec = NULL;
    char *line = NULL;
    size_t room = 0, number = 0;
    ssize_t n;
    nib_status status;
    int code;
    option options[] = {
        { "decode", OPTION_FLAG, &decode, NULL, "ids to text; newlines are printed as \\n" },
        { "special-tokens", OPTION_FLAG, &special, NULL,
          "--no-special-tokens leaves out BOS and its like" },
        STRICT_OPTION(&s),
        SESSION_OPTIONS(&s),
    };
    verb v = { .name = "tokenize", .arguments = "MODEL [--decode] < text",
               .summary = "Token ids, one line a line.",
               .options = options, .option_count = sizeof options / sizeof *options,
               .positional_wanted = 1, .model_first = true };

    if ((code = options_parse(&v, argc, argv)) || (code = session_begin(&s))) return code;
    status = nib_text_codec_open(s.ctx, v.positional[0], &codec, &s.err);
    while (!status && (errno = 0, n = getline(&line, &room, stdin)) >= 0) {
        number++;
        if (n && line[n - 1] == '\n') line[--n] = 0;
        status = decode ? decode_line(&s, codec, line)
                        : encode_line(&s, codec, line, (size_t)n, special);
        if (status) place_error(&s, number);
    }
    if (!status && !feof(stdin)) {
        status = errno == EINTR ? NIB_E_INTERRUPTED : NIB_E_IO;
        snprintf(s.err.message, sizeof s.err.message, "standard input: %s",
                 status == NIB_E_IO ? strerror(errno) : "interrupted");
    }
    free(line);
    nib_text_codec_close(codec);
    return session_end(&s, status);
}
