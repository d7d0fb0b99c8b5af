#include "tensor/linear.h"

#include "base/memory.h"
#include "tensor/cpu.h"
#include "tensor/gemm.h"
#include "tensor/linear_kernel.h"
#include "tensor/quantize.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *const sp_precision_names[SP_N_PRECISIONS] = {
    [SP_PRECISION_F32] = "f32", [SP_PRECISION_BF16] = "bf16", [SP_PRECISION_INT8] = "int8"};

static const sp_linear_kernel *choose_kernel(sp_precision precision) {
    if (precision == SP_PRECISION_F32) return &sp_linear_kernel_f32;
    const sp_linear_kernel *kernel =
        precision == SP_PRECISION_INT8 ? sp_linear_kernels_int8 : sp_linear_kernels_bf16;
    while (!kernel->supported()) kernel++; /* the last runs anywhere */
    return kernel;
}

static sp_status check_shapes(const sp_tensor *weight, const sp_tensor *bias) {
    if (weight->n_dims != 2 || weight->shape[0] == 0 || weight->shape[1] == 0)
        return sp_fail(SP_BAD_DATA, "a linear layer's weight has %zu dimensions, not [out, in]",
                       weight->n_dims);
    if (bias != NULL && (bias->n_dims != 1 || bias->shape[0] != weight->shape[0]))
        return sp_fail(SP_BAD_DATA, "a bias of %zu values does not fit %zu outputs",
                       sp_tensor_n_values(bias), weight->shape[0]);
    return SP_OK;
}

static bool is_plain(const sp_tensor *tensor, sp_dtype dtype, size_t alignment) {
    return tensor->dtype == dtype && tensor->n_interleaved_heads == 0 && !tensor->is_transposed &&
           (uintptr_t)tensor->data % alignment == 0;
}

static sp_status copy_as_f32(sp_linear *linear, const sp_tensor *weight) {
    SP_TRY(sp_alloc_array(&linear->owned_weight, linear->n_out * linear->n_in, sizeof(float),
                          "a weight in f32"));
    sp_tensor_read_rows(weight, linear->owned_weight, 0, linear->n_out);
    linear->weight_f32 = linear->owned_weight;
    linear->owned_bytes += linear->n_out * linear->n_in * sizeof(float);
    return SP_OK;
}

/* Writes `rows` [n, n_in], f32 of the weight's rows from `begin` on, to the copy; may overwrite them. */
typedef void store_rows(sp_linear *linear, float *rows, size_t begin, size_t n);

static void store_bf16(sp_linear *linear, float *rows, size_t begin, size_t n) {
    const size_t n_in = linear->n_in;
    sp_linear_round_to_bf16((uint16_t *)linear->owned_weight + begin * n_in, rows, n * n_in);
}

static void store_int8(sp_linear *linear, float *rows, size_t begin, size_t n) {
    sp_int8_weight *int8 = &linear->int8;
    sp_quantize_weight(int8->values + begin * linear->n_in, int8->scales + begin,
                       int8->sums + begin, rows, n, linear->n_in);
}

static sp_status convert_in_panels(sp_linear *linear, const sp_tensor *weight, store_rows *store) {
    enum { ROWS = 256 };
    const size_t n_out = linear->n_out;
    void *rows = NULL;
    SP_TRY(sp_alloc_array(&rows, ROWS * linear->n_in, sizeof(float), "a weight's conversion"));
    for (size_t begin = 0; begin < n_out; begin += ROWS) {
        const size_t n = n_out - begin < ROWS ? n_out - begin : ROWS;
        sp_tensor_read_rows(weight, rows, begin, n);
        store(linear, rows, begin, n);
    }
    free(rows);
    return SP_OK;
}

static sp_status copy_as_bf16(sp_linear *linear, const sp_tensor *weight) {
    const size_t n_values = linear->n_out * linear->n_in;
    SP_TRY(sp_alloc_array(&linear->owned_weight, n_values, sizeof(uint16_t), "a weight in bf16"));
    linear->weight_bf16 = linear->owned_weight;
    linear->owned_bytes += n_values * sizeof(uint16_t);
    return convert_in_panels(linear, weight, store_bf16);
}

static sp_status copy_as_int8(sp_linear *linear, const sp_tensor *weight) {
    const size_t n_out = linear->n_out, n_in = linear->n_in;
    void *scales = NULL, *sums = NULL;
    if (n_in > SP_MOST_INT8_IN)
        return sp_fail(SP_BAD_DATA, "int8 sums rows of %d values at most, not of %zu; use bf16",
                       SP_MOST_INT8_IN, n_in);
    SP_TRY(sp_alloc_array(&linear->owned_weight, n_out * n_in, 1, "a weight in int8"));
    SP_TRY(sp_alloc_array(&scales, n_out, sizeof(float), "scales of a weight"));
    linear->int8.scales = scales;
    SP_TRY(sp_alloc_array(&sums, n_out, sizeof(int32_t), "sums of a weight"));
    linear->int8.sums = sums;
    linear->int8.values = linear->owned_weight;
    linear->owned_bytes += n_out * (n_in + sizeof(float) + sizeof(int32_t));
    return convert_in_panels(linear, weight, store_int8);
}

static bool is_used_in_place(const sp_tensor *weight, sp_precision precision) {
    if (precision == SP_PRECISION_F32) return is_plain(weight, SP_F32, sizeof(float));
    return precision == SP_PRECISION_BF16 && is_plain(weight, SP_BF16, sizeof(uint16_t));
}

size_t sp_linear_copied_bytes(const sp_tensor *weight, sp_precision precision) {
    const size_t n_values = sp_tensor_n_values(weight);
    if (is_used_in_place(weight, precision)) return 0;
    if (precision == SP_PRECISION_F32) return n_values * sizeof(float);
    if (precision == SP_PRECISION_BF16) return n_values * sizeof(uint16_t);
    return n_values + weight->shape[0] * (sizeof(float) + sizeof(int32_t));
}

static sp_status take_weight(sp_linear *linear, const sp_tensor *weight, sp_precision precision) {
    const bool is_in_place = is_used_in_place(weight, precision);
    switch (precision) {
    case SP_PRECISION_F32:
        if (!is_in_place) return copy_as_f32(linear, weight);
        linear->weight_f32 = weight->data;
        return SP_OK;
    case SP_PRECISION_BF16:
        if (!is_in_place) return copy_as_bf16(linear, weight);
        linear->weight_bf16 = weight->data;
        return SP_OK;
    default:
        return copy_as_int8(linear, weight);
    }
}

static sp_status take_bias(sp_linear *linear, const sp_tensor *bias) {
    void *copy = NULL;
    SP_TRY(sp_alloc_array(&copy, linear->n_out, sizeof(float), "a bias"));
    sp_tensor_read_rows(bias, copy, 0, 1);
    linear->bias = linear->owned_bias = copy;
    linear->owned_bytes += linear->n_out * sizeof(float);
    return SP_OK;
}

bool sp_linear_computes_bf16(void) { return sp_dnnl_computes_bf16(); }

sp_status sp_linear_create(sp_linear **linear, const sp_tensor *weight, const sp_tensor *bias,
                           sp_precision precision) {
    SP_TRY(check_shapes(weight, bias));
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof(sp_linear), "a linear layer"));
    sp_linear *self = block;
    *self = (sp_linear){
        .kernel = choose_kernel(precision), .n_out = weight->shape[0], .n_in = weight->shape[1]};
    sp_status status = take_weight(self, weight, precision);
    if (status == SP_OK && bias != NULL) status = take_bias(self, bias);
    if (status == SP_OK && self->kernel->wants_matmul)
        status = sp_dnnl_matmul_create(&self->matmul, self->weight_bf16, self->n_out, self->n_in);
    if (status != SP_OK) {
        sp_linear_destroy(self);
        return status;
    }
    *linear = self;
    return SP_OK;
}

sp_status sp_linear_wrap(sp_linear **linear, const float *weight, const float *bias, size_t n_out,
                         size_t n_in) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof(sp_linear), "a linear layer"));
    *linear = block;
    **linear = (sp_linear){.kernel = &sp_linear_kernel_f32,
                           .n_out = n_out,
                           .n_in = n_in,
                           .weight_f32 = weight,
                           .bias = bias};
    return SP_OK;
}

sp_status sp_linear_outline(sp_linear **linear, size_t n_out, size_t n_in, sp_precision precision) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof(sp_linear), "a linear layer"));
    *linear = block;
    **linear = (sp_linear){.kernel = choose_kernel(precision), .n_out = n_out, .n_in = n_in};
    return SP_OK;
}

void sp_linear_destroy(sp_linear *linear) {
    if (linear == NULL) return;
    sp_dnnl_matmul_destroy(linear->matmul);
    free(linear->int8.sums);
    free(linear->int8.scales);
    free(linear->owned_bias);
    free(linear->owned_weight);
    free(linear);
}

size_t sp_linear_n_in(const sp_linear *linear) { return linear->n_in; }

size_t sp_linear_n_out(const sp_linear *linear) { return linear->n_out; }

size_t sp_linear_owned_bytes(const sp_linear *linear) { return linear->owned_bytes; }

const char *sp_linear_kernel_name(const sp_linear *linear) { return linear->kernel->name; }

size_t sp_linear_scratch_bytes(const sp_linear *linear, size_t n_rows) {
    return linear->kernel->scratch_bytes(linear, n_rows);
}

SP_CLONES static void add_row(float *restrict y, const float *restrict x, size_t n) {
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

static void multiply(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                     void *scratch) {
    linear->kernel->multiply(linear, y, x, n_rows, scratch);
    if (linear->bias == NULL) return;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++) add_row(y + r * linear->n_out, linear->bias, linear->n_out);
}

void sp_linear_forward(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                       void *scratch) {
    if (linear->kernel->convert != NULL && n_rows > 0)
        linear->kernel->convert(linear, x, n_rows, scratch);
    multiply(linear, y, x, n_rows, scratch);
}

void sp_linear_forward_after(const sp_linear *linear, const sp_linear *before, float *y,
                             const float *x, size_t n_rows, void *scratch) {
    assert(before->n_in == linear->n_in);
    if (before->kernel == linear->kernel)
        multiply(linear, y, x, n_rows, scratch);
    else
        sp_linear_forward(linear, y, x, n_rows, scratch);
}

void sp_linear_backward_input(const sp_linear *linear, float *dx, float beta, const float *dy,
                              size_t n_rows, void *scratch) {
    assert(beta == 0 || beta == 1);
    linear->kernel->backward_input(linear, dx, beta, dy, n_rows, scratch);
}

/* A block of columns belongs to one thread, which adds the rows in their order. */
static void add_column_sums(float *dbias, const float *dy, size_t n_rows, size_t n_out) {
    enum { BLOCK = 64 };
#pragma omp parallel for schedule(static)
    for (size_t begin = 0; begin < n_out; begin += BLOCK) {
        const size_t n = n_out - begin < BLOCK ? n_out - begin : BLOCK;
        double sum[BLOCK] = {0};
        for (size_t r = 0; r < n_rows; r++)
            for (size_t i = 0; i < n; i++) sum[i] += (double)dy[r * n_out + begin + i];
        for (size_t i = 0; i < n; i++) dbias[begin + i] += (float)sum[i];
    }
}

void sp_linear_backward_weight(float *dweight, float *dbias, const float *dy, const float *x,
                               size_t n_rows, size_t n_out, size_t n_in) {
    const sp_gemm size = {.m = n_out, .n = n_in, .k = n_rows, .alpha = 1, .beta = 1};
    sp_gemm_tn(size, dweight, n_in, dy, n_out, x, n_in);
    if (dbias != NULL) add_column_sums(dbias, dy, n_rows, n_out);
}

void sp_linear_read_row(const sp_linear *linear, float *out, size_t row) {
    const size_t n_in = linear->n_in;
    if (linear->weight_f32 != NULL)
        memcpy(out, linear->weight_f32 + row * n_in, n_in * sizeof(float));
    else if (linear->int8.values != NULL)
        sp_quantize_expand(out, linear->int8.values + row * n_in, linear->int8.scales[row], n_in);
    else
        sp_bf16_to_f32(out, linear->weight_bf16 + row * n_in, n_in);
}
