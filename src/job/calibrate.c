/* calibrate.c - see calibrate.h; a layer at a time. */
#include "job/calibrate.h"

#include "job/calibrate_walk.h"

static nib_status calibrate_segment(nib_walk *w, int segment, nib_error *err)
{
    nib_status status = nib_walk_observe(w, segment, w->awq ? nib_walk_awq : nib_walk_encode, err);

    return status ? status : nib_walk_store(w, segment, err);
}

/* Pages of the dense matrices, which are not read again. */
static void give_back(const nib_walk *w, int segment)
{
    size_t first, end;

    nib_walk_segment(w, segment, &first, &end);
    for (size_t i = first; i < end; i++) {
        const nib_tensor *t = nib_tensors_find(w->model->tensors, w->targets[i].t->tensor);
        if (t) nib_filemap_release(t->map, t->data, (size_t)t->bytes);
    }
}

static nib_status run_segment(nib_walk *w, int segment, nib_error *err)
{
    size_t first, end;
    bool passed; /* by AWQ, which runs the layer as it was, once */
    nib_status status = NIB_OK;

    nib_walk_segment(w, segment, &first, &end);
    passed = w->awq && first < end && !w->c->store.layers[segment];
    if (first < end && !w->c->store.layers[segment]) status = calibrate_segment(w, segment, err);
    if (!status && first < end) status = nib_walk_use(w, segment, err);
    give_back(w, segment);
    if (!status && !passed && w->done < w->count) status = nib_walk_pass(w, segment, NULL, err);
    return status;
}

nib_status nib_calibrate(nib_ctx *ctx, nib_calibration *c, nib_error *err)
{
    nib_walk w = { .ctx = ctx, .c = c, .o = c->options, .observer = { .ctx = ctx },
                   .start = nib_clock_seconds() };
    nib_status status = nib_walk_open(&w, err);

    if (!status && c->bits) status = nib_walk_measure(&w, err);
    w.start = nib_clock_seconds(); /* the time left is that of encoding */
    for (int s = 0; !status && s < w.model->graph->segments && w.done < w.count; s++)
        status = run_segment(&w, s, err);
    nib_walk_close(&w);
    return status;
}
