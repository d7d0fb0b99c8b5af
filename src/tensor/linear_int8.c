#include "tensor/few_rows.h"
#include "tensor/few_rows_back.h"
#include "tensor/gemm.h"
#include "tensor/linear_kernel.h"
#include "tensor/quantize.h"
#include "tensor/vector.h"

#include <string.h>

static bool always(void) { return true; }

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

static size_t aligned(size_t n_bytes) { return (n_bytes + 63) & ~(size_t)63; }

/* Outputs that are multiplied and then scaled while they lie in a cache: 512 rows of 1024 are 2 MiB. */
enum { FORWARD_PANEL = 1024 };

enum { PANEL_ROWS = 256 }; /* weight rows expanded at once, as for bf16 */

/* Forward: room to quantise in, x, the scales of its rows. */
typedef struct layout {
    void *room, *values;
    sp_row_scale *scales;
    size_t n_bytes;
} layout;

static layout lay_out(const sp_linear *linear, size_t n_rows, size_t value_bytes, char *scratch) {
    const size_t room = sp_quantize_room_bytes(linear->n_in);
    const size_t values = aligned(n_rows * linear->n_in * value_bytes);
    return (layout){.room = scratch,
                    .values = scratch + room,
                    .scales = (void *)(scratch + room + values),
                    .n_bytes = room + values + n_rows * sizeof(sp_row_scale)};
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* Of forward, which quantises n_quantised of its rows, or backward, whichever wants more. */
static size_t scratch_bytes(const sp_linear *linear, size_t n_rows, size_t n_quantised,
                            size_t value_bytes) {
    const size_t row_bytes = linear->n_in * sizeof(float);
    const size_t panel = min_size(linear->n_out, PANEL_ROWS) * row_bytes;
    const size_t turned = min_size(n_rows, SP_FEW_ROWS_BACK) * row_bytes;
    const size_t forward = lay_out(linear, n_quantised, value_bytes, NULL).n_bytes;
    return n_rows == 0 ? 0 : most(forward, most(panel, turned));
}

static size_t scratch_bytes_u8(const sp_linear *linear, size_t n_rows) {
    return scratch_bytes(linear, n_rows, n_rows, sizeof(uint8_t));
}

static size_t scratch_bytes_s16(const sp_linear *linear, size_t n_rows) {
    const size_t n_few = min_size(n_rows, sp_few_rows_chosen()->most_rows);
    return scratch_bytes(linear, n_rows, n_few, sizeof(int16_t));
}

/* Sums of integers are made in y itself, whose values are as wide. */

static void convert_u8(const sp_linear *linear, const float *x, size_t n_rows, void *scratch) {
    const layout at = lay_out(linear, n_rows, sizeof(uint8_t), scratch);
    sp_quantize_rows_u8(at.values, at.scales, x, n_rows, linear->n_in, at.room);
}

static void multiply_u8(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                        void *scratch) {
    (void)x;
    const size_t n_out = linear->n_out, n_in = linear->n_in;
    const sp_int8_weight *weight = &linear->int8;
    const sp_few_rows_kernel *few = sp_few_rows_chosen();
    if (n_rows == 0) return;
    const layout at = lay_out(linear, n_rows, sizeof(uint8_t), scratch);
    if (n_rows <= few->most_rows) {
        const sp_few_rows size = {.n_rows = n_rows, .n_out = n_out, .n_in = n_in};
        few->u8s8(size, (int32_t *)(void *)y, at.values, weight->values);
        sp_quantize_finish(y, n_out, at.scales, weight->scales, weight->sums, n_rows, n_out);
        return;
    }
    for (size_t i = 0; i < n_out; i += FORWARD_PANEL) {
        const size_t n = min_size(n_out - i, FORWARD_PANEL);
        sp_dnnl_gemm_u8s8((int32_t *)(void *)y + i, n_out, at.values, weight->values + i * n_in,
                          n_rows, n, n_in);
        sp_quantize_finish(y + i, n_out, at.scales, weight->scales + i, weight->sums + i, n_rows,
                           n);
    }
}

/* Without VNNI integers are no faster than f32 where rows are many: then x stays as it is, and the
   weight becomes f32 in panels. */
static bool are_few(size_t n_rows) { return n_rows <= sp_few_rows_chosen()->most_rows; }

static void convert_s16(const sp_linear *linear, const float *x, size_t n_rows, void *scratch) {
    if (!are_few(n_rows)) return;
    const layout at = lay_out(linear, n_rows, sizeof(int16_t), scratch);
    sp_quantize_rows_s16(at.values, at.scales, x, n_rows, linear->n_in, at.room);
}

static void multiply_s16(const sp_linear *linear, float *y, size_t n_rows, void *scratch) {
    const sp_few_rows size = {.n_rows = n_rows, .n_out = linear->n_out, .n_in = linear->n_in};
    const sp_int8_weight *weight = &linear->int8;
    const layout at = lay_out(linear, n_rows, sizeof(int16_t), scratch);
    sp_few_rows_chosen()->s16s8(size, (int32_t *)(void *)y, at.values, weight->values);
    sp_quantize_finish(y, size.n_out, at.scales, weight->scales, weight->sums, n_rows, size.n_out);
}

static size_t expand_panel(const sp_linear *linear, float *panel, size_t begin) {
    const size_t n_in = linear->n_in, n = min_size(linear->n_out - begin, PANEL_ROWS);
    const sp_int8_weight *weight = &linear->int8;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        sp_quantize_expand(panel + i * n_in, weight->values + (begin + i) * n_in,
                           weight->scales[begin + i], n_in);
    return n;
}

static void multiply_few_or_panels(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                                   void *scratch) {
    const size_t n_out = linear->n_out, n_in = linear->n_in;
    if (n_rows == 0) return;
    if (are_few(n_rows)) {
        multiply_s16(linear, y, n_rows, scratch);
        return;
    }
    for (size_t begin = 0; begin < n_out; begin += PANEL_ROWS) {
        const size_t n = expand_panel(linear, scratch, begin);
        const sp_gemm size = {.m = n_rows, .n = n, .k = n_in, .alpha = 1};
        sp_gemm_nt(size, y + begin, n_out, x, n_in, scratch, n_in);
    }
}

/* H is linear: few rows are summed turned, over the weight as it is stored, and turned back at the end. */
static bool backward_few(const sp_linear *linear, float *dx, float beta, const float *dy,
                         size_t n_rows, void *scratch) {
    const size_t n_in = linear->n_in, n = n_rows * n_in;
    const sp_few_rows_back_kernel *few = sp_few_rows_back_chosen();
    const sp_few_rows size = {.n_rows = n_rows, .n_out = linear->n_out, .n_in = n_in};
    float *sums = beta == 0 ? dx : scratch;
    if (n_rows > few->most_s8) return false;
    memset(sums, 0, n * sizeof *sums);
    few->s8(size, sums, dy, linear->int8.values, linear->int8.scales);
    sp_quantize_turn(sums, n_rows, n_in);
    if (beta != 0) sp_vector_add(dx, sums, n);
    return true;
}

static void backward_input(const sp_linear *linear, float *dx, float beta, const float *dy,
                           size_t n_rows, void *scratch) {
    const size_t n_out = linear->n_out, n_in = linear->n_in;
    if (n_rows == 0 || backward_few(linear, dx, beta, dy, n_rows, scratch)) return;
    for (size_t begin = 0; begin < n_out; begin += PANEL_ROWS) {
        const size_t n = expand_panel(linear, scratch, begin);
        const sp_gemm size = {
            .m = n_rows, .n = n_in, .k = n, .alpha = 1, .beta = begin == 0 ? beta : 1};
        sp_gemm_nn(size, dx, n_in, dy + begin, n_out, scratch, n_in);
    }
}

const sp_linear_kernel sp_linear_kernels_int8[] = {
    {.name = "int8 by VNNI",
     .supported = sp_dnnl_computes_int8,
     .scratch_bytes = scratch_bytes_u8,
     .convert = convert_u8,
     .multiply = multiply_u8,
     .backward_input = backward_input},
    {.name = "int8 with few rows in 16 bits",
     .supported = always,
     .scratch_bytes = scratch_bytes_s16,
     .convert = convert_s16,
     .multiply = multiply_few_or_panels,
     .backward_input = backward_input},
};
const size_t sp_linear_n_kernels_int8 =
    sizeof sp_linear_kernels_int8 / sizeof sp_linear_kernels_int8[0];
