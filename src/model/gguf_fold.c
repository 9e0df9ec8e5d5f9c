/* gguf_fold.c - factors of config.json that GGUF has no keys for: its tensors hold them multiplied,
 * and a model read from there has none.  The function is the same, the bits are not. */
#include <string.h>

#include "base/dtype.h"
#include "model/gguf_naming.h"

static float times(float v, float by, bool narrow)
{
    uint16_t half;

    v *= by;
    if (!narrow) return v;
    nib_convert(&half, NIB_F16, &v, NIB_F32, 1);
    return nib_f16_to_f32(half);
}

float nib_gguf_folded(const nib_gguf_fold *f, size_t row, bool narrow, float v)
{
    v = times(v, f->all, narrow);
    for (unsigned i = 0; i < f->parts; i++)
        if (row < f->part[i].end) return times(v, f->part[i].by, narrow);
    return v;
}

bool nib_gguf_folds(const nib_gguf_fold *f)
{
    bool some = f->all != 1;

    for (unsigned i = 0; i < f->parts; i++) some |= f->part[i].by != 1;
    return some;
}

nib_gguf_fold nib_gguf_fold_of(const nib_gguf_naming *n, const nib_model *m, const char *name)
{
    const char *layer = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
    nib_gguf_fold out = { .all = 1 };

    if (n->family->fold) n->family->fold(m->json, m->graph, layer ? layer + 1 : name, &out);
    return out;
}
