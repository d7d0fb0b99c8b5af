#include "pcc/converter.h"

#include "base/rng.h"
#include "tensor/gelu.h"
#include "tensor/rmsnorm.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

static const float NORM_EPS = 1e-6F;
/* Of near-identity: small enough for GELU to be linear, and large enough for Adam's steps not to be
   coarse beside it. */
static const float SMALL = 1.0F / 16;

typedef struct converter_block {
    sp_block block;
    const sp_converter *converter;
} converter_block;

static sp_status declare_linear(sp_adapted_linear *linear, sp_params *params, size_t n_in,
                                size_t n_out, const char *name) {
    *linear = (sp_adapted_linear){.n_in = n_in, .n_out = n_out};
    SP_TRY(sp_params_declare(params, &linear->weight, n_out, n_in, "converter.%s.weight", name));
    return sp_params_declare(params, &linear->bias, 0, n_out, "converter.%s.bias", name);
}

sp_status sp_converter_declare(sp_converter *converter, sp_params *params, size_t d_encoder,
                               size_t d_decoder) {
    SP_TRY(sp_params_declare(params, &converter->norm, 0, d_encoder, "converter.norm.weight"));
    SP_TRY(declare_linear(&converter->in, params, d_encoder, d_decoder, "in"));
    return declare_linear(&converter->out, params, d_decoder, d_decoder, "out");
}

static sp_status bind_linear(sp_adapted_linear *linear, uint64_t seed) {
    const float bound = 1 / sqrtf((float)linear->n_in);
    sp_param *const both[] = {linear->weight, linear->bias};
    for (size_t i = 0; i < 2; i++) {
        const sp_stream stream = sp_stream_of(seed, both[i]->name);
        sp_stream_uniform(&stream, 0, both[i]->value, both[i]->n_values, -bound, bound);
    }
    return sp_adapted_linear_bind(linear);
}

sp_status sp_converter_bind(sp_converter *converter, uint64_t seed) {
    for (size_t i = 0; i < converter->norm->n_values; i++) converter->norm->value[i] = 1;
    SP_TRY(bind_linear(&converter->in, seed));
    return bind_linear(&converter->out, seed);
}

static void fill_diagonal(sp_adapted_linear *linear, float value) {
    for (size_t i = 0; i < linear->n_in; i++) linear->weight->value[i * linear->n_in + i] = value;
}

/* The inverse of the norm's weight, of size 1 on average; values near 0, which say nothing, count as a
   tenth of the others. */
static void undo_norm(float *inverse, const float *weight, size_t d) {
    double squares = 0;
    for (size_t i = 0; i < d; i++) squares += (double)weight[i] * (double)weight[i];
    const float size = (float)sqrt(squares / (double)d), least = size / 10;
    for (size_t i = 0; i < d; i++)
        inverse[i] = size > 0 ? copysignf(size / fmaxf(fabsf(weight[i]), least), weight[i]) : 1;
}

sp_status sp_converter_bind_identity(sp_converter *converter, float size,
                                     const float *norm_weight) {
    const size_t d = converter->in.n_in;
    assert(d == converter->in.n_out);
    for (size_t i = 0; i < d; i++) converter->norm->value[i] = 1;
    if (norm_weight != NULL) undo_norm(converter->norm->value, norm_weight, d);
    fill_diagonal(&converter->in, SMALL);
    fill_diagonal(&converter->out, 2 * size / SMALL);
    SP_TRY(sp_adapted_linear_bind(&converter->in));
    return sp_adapted_linear_bind(&converter->out);
}

sp_status sp_converter_outline(sp_converter *converter) {
    SP_TRY(sp_adapted_linear_bind(&converter->in));
    return sp_adapted_linear_bind(&converter->out);
}

void sp_converter_release(sp_converter *converter) {
    sp_adapted_linear_release(&converter->in);
    sp_adapted_linear_release(&converter->out);
}

/* What forward keeps, [n_taken, ..]: the norm's output, before and after the activation. */
typedef struct kept_rows {
    float *rstd, *normed, *inner, *activated;
} kept_rows;

static size_t matrix_bytes(size_t n, size_t d) { return sp_arena_bytes(n * d * sizeof(float)); }

static kept_rows lay_out(char *kept, const sp_converter *converter, size_t n) {
    const size_t d_encoder = converter->in.n_in, d_decoder = converter->in.n_out;
    char *normed = kept + matrix_bytes(n, 1), *inner = normed + matrix_bytes(n, d_encoder);
    return (kept_rows){.rstd = (float *)(void *)kept,
                       .normed = (float *)(void *)normed,
                       .inner = (float *)(void *)inner,
                       .activated = (float *)(void *)(inner + matrix_bytes(n, d_decoder))};
}

static size_t n_rows_of(const sp_block *block, const sp_batch *batch) {
    (void)block;
    return batch->n_taken;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    const sp_converter *converter = ((const converter_block *)block)->converter;
    const size_t n = batch->n_taken;
    const size_t d_encoder = converter->in.n_in, d_decoder = converter->in.n_out;
    const sp_cost in = sp_adapted_linear_cost(&converter->in, n);
    const sp_cost out = sp_adapted_linear_cost(&converter->out, n);
    return (sp_cost){
        .flop_forward = in.flop_forward + out.flop_forward,
        .flop_backward = in.flop_backward + out.flop_backward,
        .bytes_kept =
            matrix_bytes(n, 1) + matrix_bytes(n, d_encoder) + 2 * matrix_bytes(n, d_decoder),
        .bytes_scratch = matrix_bytes(n, d_decoder) + matrix_bytes(n, d_encoder) +
                         in.bytes_scratch + out.bytes_scratch,
    };
}

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch) {
    const sp_converter *converter = ((const converter_block *)block)->converter;
    const size_t n = batch->n_taken;
    const kept_rows at = lay_out(kept, converter, n);
    const sp_rmsnorm norm = sp_rmsnorm_make(converter->norm->value, converter->in.n_in, NORM_EPS);
    sp_rmsnorm_forward(&norm, at.normed, at.rstd, x, n);
    sp_adapted_linear_forward(&converter->in, at.inner, NULL, at.normed, n, NULL, scratch);
    sp_gelu_forward(at.activated, at.inner, n * converter->in.n_out);
    sp_adapted_linear_forward(&converter->out, y, NULL, at.activated, n, NULL, scratch);
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch) {
    const sp_converter *converter = ((const converter_block *)block)->converter;
    const size_t n = batch->n_taken;
    const size_t d_encoder = converter->in.n_in, d_decoder = converter->in.n_out;
    const kept_rows at = lay_out(kept, converter, n);
    float *dinner = sp_arena_push(scratch, n * d_decoder * sizeof(float));
    float *dnormed = sp_arena_push(scratch, n * d_encoder * sizeof(float));
    sp_adapted_linear_backward(&converter->out, dinner, 0, dy, at.activated, NULL, n, NULL,
                               scratch);
    sp_gelu_backward(dinner, dinner, at.inner, n * d_decoder);
    sp_adapted_linear_backward(&converter->in, dnormed, 0, dinner, at.normed, NULL, n, NULL,
                               scratch);
    const sp_rmsnorm norm = sp_rmsnorm_make(converter->norm->value, d_encoder, NORM_EPS);
    sp_rmsnorm_backward(&norm, dx, 0, converter->norm->grad, dnormed, x, at.rstd, n);
}

static void destroy(sp_block *block) { free(block); }

static const sp_block_kind kind = {.name = "converter",
                                   .n_in_rows = n_rows_of,
                                   .n_out_rows = n_rows_of,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward,
                                   .destroy = destroy};

sp_status sp_converter_block_create(sp_block **block, const sp_converter *converter) {
    converter_block *self = malloc(sizeof *self);
    if (self == NULL) return sp_fail(SP_FAILURE, "no memory for a block");
    *self = (converter_block){.block = {&kind, converter->in.n_in, converter->in.n_out},
                              .converter = converter};
    *block = &self->block;
    return SP_OK;
}
