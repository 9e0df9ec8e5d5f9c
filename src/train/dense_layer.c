/* dense_layer.c - see dense_layer.h. */
#include "train/dense_layer.h"

#include <math.h>
#include <stdio.h>

static const char *const names[NIB_DENSE_FUNCTIONS] = {
    [NIB_DENSE_IDENTITY] = "torch.nn.modules.linear.Identity",
    [NIB_DENSE_TANH] = "torch.nn.modules.activation.Tanh",
    [NIB_DENSE_RELU] = "torch.nn.modules.activation.ReLU",
    [NIB_DENSE_GELU] = "torch.nn.modules.activation.GELU",
    [NIB_DENSE_SIGMOID] = "torch.nn.modules.activation.Sigmoid",
    [NIB_DENSE_SILU] = "torch.nn.modules.activation.SiLU",
};

const char *nib_dense_function_name(nib_dense_function f) { return names[f]; }
const char *nib_dense_function_list(void) { return "Identity, Tanh, ReLU, GELU, Sigmoid, SiLU"; }

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

bool nib_dense_function_parse(const char *name, nib_dense_function *f)
{
    for (int i = 0; i < NIB_DENSE_FUNCTIONS; i++)
        if (strcmp(last_part(names[i]), last_part(name)) == 0)
            return *f = (nib_dense_function)i, true;
    return false;
}

void nib_dense_free(nib_ctx *ctx, nib_dense *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        nib_free(ctx, list[i].path);
        nib_free(ctx, list[i].weight);
        nib_free(ctx, list[i].bias);
    }
    nib_free(ctx, list);
}

/* --- training --- */

static nib_param *add(nib_ctx *ctx, nib_params *params, const nib_dense *d, const char *part,
                      size_t rows, size_t cols, const float *values)
{
    char name[300];
    nib_param *p;

    snprintf(name, sizeof name, "%.200s.linear.%s", d->path, part);
    p = nib_params_add(ctx, params, name, rows, cols);
    if (!p) return NULL;
    memcpy(p->value, values, rows * cols * sizeof *values);
    p->wants_grad = p->apart = true;
    return p;
}

nib_status nib_dense_train(nib_ctx *ctx, nib_params *params, nib_dense *list, size_t count,
                           nib_error *err)
{
    for (size_t i = 0; i < count; i++) {
        nib_dense *d = &list[i];
        d->weight_param = add(ctx, params, d, "weight", d->out, d->in, d->weight);
        if (d->bias) d->bias_param = add(ctx, params, d, "bias", 1, d->out, d->bias);
        if (!d->weight_param || (d->bias && !d->bias_param))
            return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", d->path);
        if (d->bias) d->bias_param->kind = NIB_PARAM_BIAS;
    }
    return NIB_OK;
}

void nib_dense_forget(nib_dense *list, size_t count)
{
    for (size_t i = 0; i < count; i++) list[i].weight_param = list[i].bias_param = NULL;
}

/* --- the function --- */

static double value_of(nib_dense_function f, double z)
{
    switch (f) {
    case NIB_DENSE_TANH: return tanh(z);
    case NIB_DENSE_RELU: return fmax(z, 0);
    case NIB_DENSE_GELU: return 0.5 * z * (1 + erf(z * M_SQRT1_2));
    case NIB_DENSE_SIGMOID: return 1 / (1 + exp(-z));
    case NIB_DENSE_SILU: return z / (1 + exp(-z));
    case NIB_DENSE_IDENTITY: case NIB_DENSE_FUNCTIONS: break;
    }
    return z;
}

static double slope_of(nib_dense_function f, double z)
{
    double s = 1 / (1 + exp(-z));

    switch (f) {
    case NIB_DENSE_TANH: return 1 - tanh(z) * tanh(z);
    case NIB_DENSE_RELU: return z > 0;
    case NIB_DENSE_GELU:
        return 0.5 * (1 + erf(z * M_SQRT1_2)) + z * exp(-0.5 * z * z) * 0.3989422804014327;
    case NIB_DENSE_SIGMOID: return s * (1 - s);
    case NIB_DENSE_SILU: return s * (1 + z * (1 - s));
    case NIB_DENSE_IDENTITY: case NIB_DENSE_FUNCTIONS: break;
    }
    return 1;
}

/* --- forward and backward --- */

static float dot(size_t n, const float *a, const float *b)
{
    float sums[8] = { 0 }; /* eight, that do not wait for one another */
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 8; k++) sums[k] += a[i + k] * b[i + k];
    for (; i < n; i++) sums[i % 8] += a[i] * b[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

size_t nib_dense_trace(const nib_dense *list, size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++) width += 2 * list[i].out;
    return width;
}

size_t nib_dense_widest(const nib_dense *list, size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++) width = nib_max(width, list[i].out);
    return width;
}

const float *nib_dense_forward(const nib_dense *list, size_t count, size_t width, float *trace)
{
    const float *x = trace;

    trace += width;
    for (size_t i = 0; i < count; i++, trace += 2 * list[i - 1].out) {
        const nib_dense *d = &list[i];
        const float *weight = nib_dense_weight(d), *bias = nib_dense_bias(d);
        float *z = trace, *y = trace + d->out;
        for (size_t r = 0; r < d->out; r++) {
            z[r] = dot(d->in, weight + r * d->in, x) + (bias ? bias[r] : 0);
            y[r] = (float)value_of(d->function, (double)z[r]);
        }
        x = y;
    }
    return x;
}

void nib_dense_backward(const nib_dense *list, size_t count, size_t width, const float *trace,
                        float *dy, float *room, float *dx)
{
    const float *at = trace + nib_dense_trace(list, count, width);

    for (size_t i = count; i-- > 0;) {
        const nib_dense *d = &list[i];
        const float *weight = nib_dense_weight(d), *z = at - 2 * d->out, *x = z - d->in;
        float *to = i ? room : dx, *was = dy;

        memset(to, 0, d->in * sizeof *to);
        for (size_t r = 0; r < d->out; r++) {
            float dz = (float)(slope_of(d->function, (double)z[r]) * (double)dy[r]);
            float *dw = d->weight_param ? d->weight_param->grad + r * d->in : NULL;
            if (d->bias_param) d->bias_param->grad[r] += dz;
            for (size_t c = 0; dw && c < d->in; c++) dw[c] += dz * x[c];
            for (size_t c = 0; c < d->in; c++) to[c] += dz * weight[r * d->in + c];
        }
        at = z;
        dy = room;
        room = was;
    }
    if (!count) memcpy(dx, dy, width * sizeof *dx);
}
