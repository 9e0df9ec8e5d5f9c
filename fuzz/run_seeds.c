/* run_seeds.c - a fuzz target without libFuzzer: every file of a directory, whole and cut short.
 *
 * Linked with each fuzz_*.c by the Makefile, so that the seeds are tests on every compiler and
 * under every sanitizer.  Usage: seeds_NAME DIR.  A target shows a fault by dying. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MOST_BYTES = 1 << 20, CUTS = 64 };

/* An exact copy each time, so that a sanitizer sees a read past the end. */
static void try_bytes(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);

    if (!copy) abort();
    memcpy(copy, data, bytes);
    LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
}

static int run_file(const char *path, uint8_t *room)
{
    FILE *f = fopen(path, "rb");
    size_t bytes;

    if (!f) return 0;
    bytes = fread(room, 1, MOST_BYTES, f);
    fclose(f);
    try_bytes(room, bytes);
    for (size_t i = 0; i < CUTS; i++) try_bytes(room, bytes * i / CUTS);
    return 1;
}

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    uint8_t *room = malloc(MOST_BYTES);
    struct dirent *e;
    char path[1024];
    int seeds = 0;

    if (!dir || !room) {
        printf("FAILED seeds: no directory %s\n", argc == 2 ? argv[1] : "is given");
        free(room);
        return 1;
    }
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        printf("%s\n", path); /* the last one printed is the one that dies */
        fflush(stdout);
        seeds += run_file(path, room);
    }
    closedir(dir);
    free(room);
    printf("%s seeds of %s: %d\n", seeds ? "ok" : "FAILED", argv[1], seeds);
    return seeds == 0;
}
