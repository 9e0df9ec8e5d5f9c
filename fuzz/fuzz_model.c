/* fuzz_model.c - any config.json with any header of model.safetensors, opened as a model directory.
 *
 *     config.json  NUL  JSON of the header  NUL  the first bytes of the data
 *
 * The data continues with zeros up to the greatest offset that the header names (a sparse file in
 * memory), so a seed needs only those bytes that are read while binding: quant_state and tables.
 * What is opened is bound whole, and the last row of each linear is decoded. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/json.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MOST_DATA = 1 << 20 };

static char dir[64];

static void tidy(void)
{
    static const char *const names[] = { "config.json", "model.safetensors" };
    char path[128];

    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static FILE *create(const char *name)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f) abort();
    return f;
}

static void put(FILE *f, const void *data, size_t bytes)
{
    if (bytes && fwrite(data, 1, bytes, f) != bytes) abort();
}

/* The greatest end of a tensor that the header names; 0: it names none. */
static size_t data_bytes(const char *text, size_t bytes)
{
    json_t *header, *tensor;
    const char *name;
    size_t end = 0;
    nib_error err;

    if (nib_json_parse(text, bytes, "header", 0, &header, &err)) return 0;
    json_object_foreach(header, name, tensor) {
        json_int_t last =
            json_integer_value(json_array_get(json_object_get(tensor, "data_offsets"), 1));
        if (last > 0 && (uint64_t)last > end) end = (size_t)last;
    }
    json_decref(header);
    return end;
}

static void write_weights(const uint8_t *header, size_t bytes)
{
    const uint8_t *data = memchr(header, 0, bytes);
    size_t header_bytes = data ? (size_t)(data - header) : bytes;
    size_t given = data ? bytes - header_bytes - 1 : 0;
    size_t all = data_bytes((const char *)header, header_bytes);
    uint8_t length[8];
    FILE *f = create("model.safetensors");

    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header_bytes >> 8 * i);
    put(f, length, sizeof length);
    put(f, header, header_bytes);
    put(f, data ? data + 1 : header, nib_min(given, all));
    if (fflush(f) || (all <= MOST_DATA && ftruncate(fileno(f), (off_t)(8 + header_bytes + all))))
        abort();
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    const uint8_t *header = memchr(data, 0, bytes);
    nib_model *m;
    nib_error err;
    FILE *f;

    if (!header) return 0;
    if (!ctx) {
        if (nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
        snprintf(dir, sizeof dir, "%s/nibble-fuzz-XXXXXX",
                 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
        if (!mkdtemp(dir) || atexit(tidy)) abort();
    }
    f = create("config.json");
    put(f, data, (size_t)(header - data));
    fclose(f);
    write_weights(header + 1, bytes - (size_t)(header + 1 - data));
    if (nib_model_open(ctx, &(nib_model_options){ .model = dir }, NIB_F32,
                       (nib_model_progress){ 0 }, &m, &err))
        return 0;
    for (size_t i = 0; i < m->linear_count; i++) {
        nib_weight *w = m->linears[i]->weight;
        float *row = malloc(w->in * sizeof *row);
        if (!row || !w->out) abort();
        nib_weight_decode(w, w->out - 1, w->out, row);
        free(row);
    }
    nib_model_close(m);
    return 0;
}
