/* random.c - Philox 4x32-10, MT19937, torch's randperm. */
#include "base/random.h"

#include <math.h>

/* Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
void nib_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];

    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void nib_dropout_factors(float p, const uint32_t key[2], const uint32_t counter[4],
                         float factors[4])
{
    uint32_t bits[4];

    nib_philox(key, counter, bits);
    for (int i = 0; i < 4; i++) factors[i] = nib_unit_float(bits[i]) < p ? 0 : 1 / (1 - p);
}

/* A normal value of two numbers (Box and Muller 1958). */
static float normal_of(uint32_t first, uint32_t second, double deviation)
{
    double radius = sqrt(-2 * log(((double)first + 1) * 0x1p-32));
    return (float)(deviation * radius * cos(2 * 3.14159265358979323846 * (double)second * 0x1p-32));
}

void nib_normal_fill(float *to, size_t n, const uint32_t key[2], uint32_t a, uint32_t b,
                     double deviation)
{
    for (size_t i = 0; i < n; i += 2) {
        const uint32_t counter[4] = { (uint32_t)(i / 2), (uint32_t)(i / 2 >> 32), a, b };
        uint32_t bits[4];

        nib_philox(key, counter, bits);
        to[i] = normal_of(bits[0], bits[1], deviation);
        if (i + 1 < n) to[i + 1] = normal_of(bits[2], bits[3], deviation);
    }
}

/* Matsumoto and Nishimura 1998. */
typedef struct mt19937 { uint32_t state[624]; unsigned next; } mt19937;

static void mt19937_seed(mt19937 *g, uint32_t seed)
{
    g->state[0] = seed;
    for (uint32_t i = 1; i < 624; i++)
        g->state[i] = 1812433253u * (g->state[i - 1] ^ g->state[i - 1] >> 30) + i;
    g->next = 624;
}

static void mt19937_refill(mt19937 *g)
{
    for (unsigned i = 0; i < 624; i++) {
        uint32_t y = (g->state[i] & 0x80000000u) | (g->state[(i + 1) % 624] & 0x7fffffffu);
        g->state[i] = g->state[(i + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    g->next = 0;
}

static uint32_t mt19937_next(mt19937 *g)
{
    uint32_t y;

    if (g->next >= 624) mt19937_refill(g);
    y = g->state[g->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

void nib_torch_randperm(uint32_t *order, uint32_t n, uint64_t seed)
{
    mt19937 g;

    mt19937_seed(&g, (uint32_t)seed); /* torch keeps the low 32 bits for this generator */
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = 0; i + 1 < n; i++) {
        uint32_t j = i + mt19937_next(&g) % (n - i), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}
