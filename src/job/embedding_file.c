/* embedding_file.c - see embedding_file.h. */
#include "job/embedding_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/outfile.h"
#include "format/safetensors.h"

typedef enum form { FORM_NONE, FORM_NPY, FORM_TENSORS, FORM_LINES } form;

struct nib_embedding_file {
    nib_ctx *ctx;
    form form;
    size_t width;
    nib_outfile *file;          /* of .npy and .jsonl */
    nib_tensor_writer *tensors;
    nib_text line;
};

static form form_of(const char *path)
{
    static const struct { const char *ending; form form; } known[] = {
        { ".npy", FORM_NPY }, { ".safetensors", FORM_TENSORS }, { ".jsonl", FORM_LINES },
    };
    size_t n = strlen(path);

    for (size_t i = 0; i < NIB_COUNT(known); i++) {
        size_t e = strlen(known[i].ending);
        if (n > e && strcmp(path + n - e, known[i].ending) == 0) return known[i].form;
    }
    return FORM_NONE;
}

nib_status nib_embedding_file_check(const char *path, nib_error *err)
{
    return form_of(path) ? NIB_OK
                         : nib_fail(err, NIB_E_INVALID, "%s: embeddings are written to names that "
                                    "end in .safetensors, .npy or .jsonl", path);
}

/* numpy's format 1.0: the header ends where 64 divides the offset. */
static nib_status write_npy_header(nib_outfile *f, size_t texts, size_t width, nib_error *err)
{
    char header[192];
    int n = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': "
                     "(%zu, %zu), }", texts, width);
    int bytes = (int)nib_round_up((size_t)n + 11, 64) - 10;
    const unsigned char size[2] = { (unsigned char)(bytes & 255), (unsigned char)(bytes >> 8) };
    nib_status status = nib_outfile_write(f, "\x93NUMPY\x01\x00", 8, err);

    if (!status) status = nib_outfile_write(f, size, 2, err);
    return status ? status : nib_outfile_printf(f, err, "%-*s\n", bytes - 1, header);
}

static nib_status create_tensors(nib_embedding_file *f, const char *path, size_t texts,
                                 nib_error *err)
{
    const nib_tensor_plan plan = { .name = "embeddings", .dtype = NIB_F32, .rank = 2,
                                   .shape = { texts, f->width } };
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *dir = slash ? nib_sprintf(f->ctx, "%.*s", (int)(slash - path + 1), path)
                      : nib_strdup(f->ctx, ".");
    char *stem = nib_sprintf(f->ctx, "%.*s", (int)(strlen(name) - strlen(".safetensors")), name);
    nib_status status = dir && stem ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: no memory", path);

    if (!status && !*stem)
        status = nib_fail(err, NIB_E_INVALID, "%s: a name is missing before .safetensors", path);
    if (!status)
        status = nib_tensor_writer_create(f->ctx, dir, stem, &plan, 1, 0, &f->tensors, err);
    nib_free(f->ctx, dir);
    nib_free(f->ctx, stem);
    return status;
}

nib_status nib_embedding_file_create(nib_ctx *ctx, const char *path, size_t texts, size_t width,
                                     nib_embedding_file **out, nib_error *err)
{
    nib_status status = nib_embedding_file_check(path, err);
    nib_embedding_file *f = status ? NULL : nib_new(ctx, sizeof *f);

    if (status) return status;
    if (!f) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    *f = (nib_embedding_file){ .ctx = ctx, .form = form_of(path), .width = width,
                               .line = { .ctx = ctx } };
    status = f->form == FORM_TENSORS ? create_tensors(f, path, texts, err)
                                     : nib_outfile_create(ctx, path, &f->file, err);
    if (!status && f->form == FORM_NPY) status = write_npy_header(f->file, texts, width, err);
    if (status) goto done;
    *out = f;
    f = NULL; /* handed over */
done:
    nib_embedding_file_discard(f);
    return status;
}

nib_status nib_embedding_file_put(nib_embedding_file *f, const float *row, nib_error *err)
{
    if (f->form == FORM_TENSORS)
        return nib_tensor_writer_put(f->tensors, row, f->width * sizeof *row, err);
    if (f->form == FORM_NPY)
        return nib_outfile_write(f->file, row, f->width * sizeof *row, err);
    nib_embedding_line(&f->line, row, f->width);
    nib_text_puts(&f->line, "\n");
    if (f->line.failed) return nib_fail(err, NIB_E_NOMEM, "embeddings: out of memory");
    return nib_outfile_write(f->file, f->line.data, f->line.bytes, err);
}

nib_status nib_embedding_file_commit(nib_embedding_file *f, nib_error *err)
{
    nib_status status = f->form == FORM_TENSORS ? nib_tensor_writer_commit(f->tensors, err)
                                                : nib_outfile_commit(f->file, err);

    f->tensors = NULL;
    f->file = NULL;
    nib_embedding_file_discard(f);
    return status;
}

void nib_embedding_file_discard(nib_embedding_file *f)
{
    if (!f) return;
    nib_tensor_writer_discard(f->tensors);
    nib_outfile_discard(f->file);
    nib_text_free(&f->line);
    nib_free(f->ctx, f);
}

static void put_float(nib_text *line, float x)
{
    char digits[32];

    for (int n = 6; n <= 9; n++) {
        snprintf(digits, sizeof digits, "%.*g", n, (double)x);
        if (strtof(digits, NULL) == x) break;
    }
    nib_text_puts(line, digits);
}

void nib_embedding_line(nib_text *line, const float *row, size_t width)
{
    line->bytes = 0;
    nib_text_puts(line, "{\"embedding\": [");
    for (size_t i = 0; i < width; i++) {
        if (i) nib_text_puts(line, ", ");
        put_float(line, row[i]);
    }
    nib_text_puts(line, "]}");
}
