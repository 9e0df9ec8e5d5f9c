/* block_encode_fit.c - the unit of scales that makes their weighted squared error small (formats.md
 * 12.4, formats-quant.md 7.11).  Sums run in the order of the index, for ggml's bits. */
#include "quant/block_encode_parts.h"

enum { SCALES = NIB_ENCODE_PARTS, MOST_SCALE = 63, SWEEPS = 5 };

static int scale_code(float iscale, float x)
{
    int l = nib_nearest(iscale * x);

    return l > MOST_SCALE ? MOST_SCALE : l;
}

/* The inverse unit, of a few, with the smallest error. */
static float best_inverse(const float *x, const float *w, float most)
{
    float best = 0, found = (float)MOST_SCALE / most;

    for (int t = -5; t <= 4; t++) { /* the plain one first */
        int step = t == -5 ? 0 : t;
        float iscale = (0.1f * (float)step + (float)MOST_SCALE) / most, error = 0;
        float scale = 1 / iscale;
        if (t == 0) continue;
        for (int i = 0; i < SCALES; i++) {
            float d = x[i] - scale * (float)scale_code(iscale, x[i]);
            error += w[i] * d * d;
        }
        if (t > -5 && !(error < best)) continue;
        best = error;
        found = iscale;
    }
    return found;
}

/* One pass over the codes, each for the others as they are; true: one changed. */
static bool sweep(const float *x, const float *w, uint8_t *codes, float *xl, float *l2)
{
    bool changed = false;

    for (int i = 0; i < SCALES; i++) {
        float l = (float)codes[i], a = *xl - w[i] * x[i] * l, b = *l2 - w[i] * l * l;
        int code;
        if (!(a > 0 && b > 0)) continue;
        code = nib_nearest(x[i] * b / a);
        if (code > MOST_SCALE) code = MOST_SCALE;
        if (code == codes[i]) continue;
        a += w[i] * x[i] * (float)code;
        b += w[i] * (float)code * (float)code;
        if (!(a * a * *l2 > *xl * *xl * b)) continue;
        codes[i] = (uint8_t)code;
        *xl = a;
        *l2 = b;
        changed = true;
    }
    return changed;
}

float nib_fit_scales(const float *x, const float *w, uint8_t *codes)
{
    float most = 0, iscale, xl = 0, l2 = 0;

    for (int i = 0; i < SCALES; i++) most = x[i] > most ? x[i] : most;
    memset(codes, 0, SCALES);
    if (most < 1e-15f) return 0;
    iscale = best_inverse(x, w, most);
    for (int i = 0; i < SCALES; i++) {
        codes[i] = (uint8_t)scale_code(iscale, x[i]);
        xl += w[i] * x[i] * (float)codes[i];
        l2 += w[i] * (float)codes[i] * (float)codes[i];
    }
    for (int i = 0; i < SWEEPS && sweep(x, w, codes, &xl, &l2); i++) continue;
    return l2 > 0 ? xl / l2 : 0;
}
