/* shapes.h - models of published shapes with random weights, made for a benchmark and gone after
 * it. */
#ifndef NIB_BENCH_SHAPES_H
#define NIB_BENCH_SHAPES_H

#include "model/model.h"

typedef struct bench_shape {
    const char *key, *name; /* key: as typed */
    const char *config;   /* config.json as published, the keys that matter */
    double linear;        /* parameters of the layers' linears */
    double head;          /* of the head */
    size_t width, layers; /* d and L of the count of work: of layers with attention */
} bench_shape;

extern const bench_shape bench_smollm2, bench_tinyllama, bench_llama2_7b;
/* All of them, and gemma3, qwen3, qwen3_5, lfm2 and granite_h; NULL: none of that key. */
const bench_shape *bench_shape_named(const char *key);

/* A directory of its own below TMPDIR with config.json; bench_remove_dir() ends it. */
char *bench_shape_dir(const bench_shape *s);
void bench_remove_dir(char *dir);
/* Adds a file to it. */
void bench_write(const char *dir, const char *name, const char *text);

/* The model, NF4 with double quantization, random weights. */
nib_model *bench_model(nib_ctx *ctx, const char *dir, nib_dtype compute);

#endif
