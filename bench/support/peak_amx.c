/* peak_amx.c - products of tiles in registers: four tiles of sums, 32 terms a step. */
#include "bench.h"
#include "kernel/tiles_amx.h"

double bench_loop_amx(uint64_t rounds)
{
    tile_shapes s = { .palette = 1 };
    tile_state t;

    for (size_t i = 0; i < NIB_TILES; i++) {
        s.rows[i] = NIB_TILE_ROWS;
        s.bytes[i] = NIB_TILE_BYTES;
    }
    TILE_SHAPES(&t, &s);
    for (uint64_t r = 0; r < rounds; r++) {
        TILE_PRODUCT(&t, 0, 4, 6);
        TILE_PRODUCT(&t, 1, 4, 7);
        TILE_PRODUCT(&t, 2, 5, 6);
        TILE_PRODUCT(&t, 3, 5, 7);
    }
    TILE_RELEASE(&t);
    return (double)rounds * 4 * NIB_TILE_ROWS * NIB_TILE_ROWS * NIB_TILE_BYTES;
}
