/* session.c - signals, streams, messages and text on terminals. */
#include "session.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop_signal, pipe_closed;

/* The first signal asks for an orderly end, the second ends at once. */
static void on_stop(int signal_number)
{
    if (stop_signal) _exit(128 + signal_number);
    stop_signal = signal_number;
}

/* Without a handler that does nothing else, the write would end the program. */
static void on_pipe(int signal_number)
{
    (void)signal_number;
    pipe_closed = 1;
}

int session_stopped(void) { return stop_signal; }

bool session_pipe_closed(void) { return pipe_closed != 0; }

/* The file mapped at `address`, from the kernel's list of maps, with calls that a signal handler
 * may make:
 *
 *     7f00a000-7f00c000 r--p 00000000 08:01 1234    /path of the file
 *
 * "" when it is not found. */
static void name_map(uintptr_t address, char *name, size_t room)
{
    enum { RANGE, FIELDS, NAME, SKIP } part = RANGE;
    uintptr_t number = 0, from = 0;
    size_t used = 0;
    char text[512];
    ssize_t n;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

    *name = 0;
    while (fd >= 0 && (n = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            char c = text[i];
            if (c == '\n') {
                if (part == NAME) goto done;
                part = RANGE;
                number = 0;
            } else if (part == RANGE && c == '-') {
                from = number;
                number = 0;
            } else if (part == RANGE && c == ' ') {
                part = from <= address && address < number ? FIELDS : SKIP;
            } else if (part == RANGE) {
                number = number * 16 + (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
            } else if (part == FIELDS && c == '/') { /* no other field has one */
                part = NAME;
            }
            if (part == NAME && used + 1 < room) name[used++] = c;
        }
done:
    name[used] = 0;
    if (fd >= 0) close(fd);
}

/* A file under a map was cut short or cannot be read any more. */
static void on_bus(int signal_number, siginfo_t *info, void *context)
{
    static const char begin[] = "nibble: ",
                      end[] = ": was truncated, replaced or became unreadable while it was used\n";
    char line[4096 + sizeof begin + sizeof end];
    size_t used = sizeof begin - 1;

    (void)signal_number, (void)context;
    memcpy(line, begin, used);
    name_map((uintptr_t)info->si_addr, line + used, 4096);
    if (!line[used]) memcpy(line + used, "a model file", sizeof "a model file");
    used += strlen(line + used);
    memcpy(line + used, end, sizeof end - 1);
    if (write(2, line, used + sizeof end - 1) < 0) _exit(1);
    _exit(1);
}

static int should_stop(void *user)
{
    (void)user;
    return stop_signal != 0;
}

static void on_message(void *user, nib_message_kind kind, const char *text)
{
    session *s = user;

    session_line(s, "%s%s", kind == NIB_MESSAGE_WARNING ? "warning: " : "", text);
    if (kind != NIB_MESSAGE_SUMMARY || !s->json || !s->json_lines) return;
    printf("{");
    print_json_warnings(stdout, s);
    printf("}\n");
    fflush(stdout);
}

int session_begin(session *s)
{
    static const int stops[] = { SIGINT, SIGTERM, SIGHUP };
    int allowed = nib_threads_allowed();
    nib_ctx_options o = { .threads = s->threads, .strict = s->strict, .message = on_message,
                          .message_user = s, .should_stop = should_stop };
    struct sigaction a = { .sa_handler = on_stop };

    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) sigaction(stops[i], &a, NULL);
    a.sa_handler = on_pipe;
    sigaction(SIGPIPE, &a, NULL);
    a = (struct sigaction){ .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
    sigaction(SIGBUS, &a, NULL);
    s->live = isatty(2) && !getenv("NO_COLOR");
    if (o.threads > allowed && o.threads <= 4096) { /* beyond that it is refused */
        session_line(s, "threads %d: this process may use %d", o.threads, allowed);
        o.threads = allowed;
    }
    if (nib_ctx_create(&o, &s->ctx, &s->err) == NIB_OK) return 0;
    fprintf(stderr, "nibble: %s\n", s->err.message);
    return 1;
}

int session_end(session *s, nib_status status)
{
    int code = status == NIB_OK ? 0 : 1;

    if (s->line_open) fprintf(stderr, "\n");
    if (status) {
        fprintf(stderr, "nibble: ");
        print_text(stderr, s->err.message, strlen(s->err.message));
        fprintf(stderr, "\n");
    }
    if (status == NIB_E_INTERRUPTED && stop_signal) code = 128 + stop_signal;
    nib_ctx_destroy(s->ctx);
    return code;
}

void session_line(session *s, const char *format, ...)
{
    char fixed[8192], *text = fixed, *longer = NULL;
    va_list args, again;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(fixed, sizeof fixed, format, args);
    if (n >= (int)sizeof fixed && (longer = malloc((size_t)n + 1))) { /* a block of warnings */
        vsnprintf(longer, (size_t)n + 1, format, again);
        text = longer;
    }
    va_end(again);
    va_end(args);
    if (s->line_open) fprintf(stderr, "\r\033[K");
    s->line_open = false;
    for (char *line = text, *end; line; line = end) { /* a line at a time: newlines are ours */
        end = strchr(line, '\n');
        if (end) *end++ = 0;
        print_text(stderr, line, strlen(line));
        fputc('\n', stderr);
    }
    free(longer);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void session_progress(void *user, const char *what, double share)
{
    session *s = user;

    if (!s->live || now() - s->progress_shown < 0.1) return;
    s->progress_shown = now();
    s->line_open = true;
    fprintf(stderr, "\r\033[K%s %3.0f %%", what, 100 * share);
}

void session_sources(session *s, const nib_source_report *sources, size_t count)
{
    for (size_t i = 0; i < count; i++)
        session_line(s, "data: %s: %llu records, %llu of them an epoch (weight %g)",
                     sources[i].path, (unsigned long long)sources[i].records,
                     (unsigned long long)sources[i].per_epoch, sources[i].weight);
}

/* --- text --- */

static bool is_hidden(uint32_t c)
{
    return (c < 32 && c != '\n' && c != '\t') || (c >= 127 && c < 160) ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
           c == 0x200f || c == 0x061c;
}

/* Bytes of the character at p and its code point; 0: broken. */
static size_t read_character(const char *p, size_t left, uint32_t *c)
{
    uint8_t b = (uint8_t)p[0];
    size_t n = b < 0x80 ? 1 : b < 0xc2 ? 0 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 0;

    if (n > left) return 0;
    *c = n == 1 ? b : b & (0xffu >> (n + 1));
    for (size_t k = 1; k < n; k++) {
        if (((uint8_t)p[k] & 0xc0) != 0x80) return 0;
        *c = *c << 6 | ((uint8_t)p[k] & 63u);
    }
    return n;
}

void print_text(FILE *to, const char *text, size_t bytes)
{
    if (!isatty(fileno(to))) {
        fwrite(text, 1, bytes, to);
        return;
    }
    for (size_t i = 0; i < bytes;) {
        uint32_t c = 0;
        size_t n = read_character(text + i, bytes - i, &c);

        if (n == 0) fprintf(to, "\\x%02x", (uint8_t)text[i]);
        else if (is_hidden(c)) fprintf(to, "\\u%04x", c);
        else fwrite(text + i, 1, n, to);
        i += n ? n : 1;
    }
}

void print_json_string(FILE *to, const char *text, size_t bytes)
{
    bool terminal = isatty(fileno(to));

    fputc('"', to);
    for (size_t i = 0, n; i < bytes; i += n) {
        uint32_t c = 0;
        n = read_character(text + i, bytes - i, &c);
        if (n == 0) fputs("\xef\xbf\xbd", to), n = 1; /* JSON is UTF-8: U+FFFD */
        else if (c == '"' || c == '\\') fprintf(to, "\\%c", (char)c);
        else if (c == '\n') fputs("\\n", to);
        else if (c == '\t') fputs("\\t", to);
        else if (c < 32 || (terminal && is_hidden(c))) fprintf(to, "\\u%04x", c);
        else fwrite(text + i, 1, n, to);
    }
    fputc('"', to);
}

void print_json_number(FILE *to, double x)
{
    char text[40];

    if (!isfinite(x)) {
        fputs("null", to);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    fputs(text, to);
}

void print_json_member_sources(FILE *to, const nib_source_report *sources, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fputs(i ? ", {\"path\": " : ", \"sources\": [{\"path\": ", to);
        print_json_string(to, sources[i].path, strlen(sources[i].path));
        fputs(", \"weight\": ", to);
        print_json_number(to, sources[i].weight);
        fprintf(to, ", \"records\": %llu, \"records_an_epoch\": %llu}%s",
                (unsigned long long)sources[i].records, (unsigned long long)sources[i].per_epoch,
                i + 1 == count ? "]" : "");
    }
}

void print_json_warnings(FILE *to, const session *s)
{
    fputs("\"warnings\": [", to);
    for (size_t i = 0; i < nib_ctx_warning_count(s->ctx); i++) {
        nib_warning w = nib_ctx_warning(s->ctx, i);
        fputs(i ? ", {\"code\": " : "{\"code\": ", to);
        print_json_string(to, w.code, strlen(w.code));
        fputs(", \"text\": ", to);
        print_json_string(to, w.text, strlen(w.text));
        fputc('}', to);
    }
    fputc(']', to);
}

void print_json_member_warnings(FILE *to, const session *s)
{
    if (!nib_ctx_warning_count(s->ctx)) return;
    fputs(", ", to);
    print_json_warnings(to, s);
}

nib_task task_of(const verb *v, const char *name, bool all, int *code)
{
    static const struct { const char *name; nib_task task; } known[] = {
        { "CAUSAL_LM", NIB_TASK_CAUSAL_LM }, { "SEQ_CLS", NIB_TASK_SEQ_CLS },
        { "TOKEN_CLS", NIB_TASK_TOKEN_CLS }, { "QUESTION_ANS", NIB_TASK_QUESTION_ANS },
        { "FEATURE_EXTRACTION", NIB_TASK_FEATURE_EXTRACTION },
        { "MASKED_LM", NIB_TASK_MASKED_LM },
    };
    size_t count = sizeof known / sizeof *known - (all ? 0 : 2);

    for (size_t i = 0; name && i < count; i++)
        if (strcmp(name, known[i].name) == 0) return known[i].task;
    if (name)
        *code = options_misuse(v, "--task-type: expected CAUSAL_LM, SEQ_CLS, TOKEN_CLS, "
                               "QUESTION_ANS%s, got '%s'",
                               all ? ", FEATURE_EXTRACTION or MASKED_LM" : "", name);
    return NIB_TASK_AUTO;
}

nib_compute compute_of(const verb *v, const char *name, int *code)
{
    static const char *const names[] = { "auto", "float32", "bfloat16", "float16" };
    static const nib_compute values[] = { NIB_COMPUTE_AUTO, NIB_COMPUTE_FLOAT32,
                                          NIB_COMPUTE_BFLOAT16, NIB_COMPUTE_FLOAT16 };

    for (size_t i = 0; i < 4; i++)
        if (!name || strcmp(name, names[i]) == 0) return values[i];
    *code = options_misuse(v, "--compute-dtype: expected auto, float32, bfloat16 or float16, "
                              "got '%s'", name);
    return NIB_COMPUTE_AUTO;
}
