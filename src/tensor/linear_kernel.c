#include "tensor/linear_kernel.h"

#include "tensor/dnnl_matmul.h"
#include "tensor/few_rows.h"
#include "tensor/few_rows_back.h"
#include "tensor/gemm.h"

#include <string.h>

static bool always(void) { return true; }

static size_t no_scratch(const sp_linear *linear, size_t n_rows) {
    (void)linear, (void)n_rows;
    return 0;
}

/* Few rows wait for memory, and few_rows.h's products read it once. Both write y and tell whether
   rows are so few. */

static sp_few_rows few_rows_of(const sp_linear *linear, size_t n_rows) {
    return (sp_few_rows){.n_rows = n_rows, .n_out = linear->n_out, .n_in = linear->n_in};
}

static bool forward_few_f32(const sp_linear *linear, float *y, const float *x, size_t n_rows) {
    const sp_few_rows_kernel *few = sp_few_rows_chosen();
    if (n_rows > few->most_rows) return false;
    few->f32(few_rows_of(linear, n_rows), y, x, linear->weight_f32);
    return true;
}

static bool forward_few_bf16(const sp_linear *linear, float *y, const float *x, size_t n_rows) {
    const sp_few_rows_kernel *few = sp_few_rows_chosen();
    if (n_rows > few->most_rows) return false;
    few->bf16(few_rows_of(linear, n_rows), y, x, linear->weight_bf16);
    return true;
}

/* dx = dy weight + beta dx, where rows are few. */
static bool backward_few_bf16(const sp_linear *linear, float *dx, float beta, const float *dy,
                              size_t n_rows) {
    const sp_few_rows_back_kernel *few = sp_few_rows_back_chosen();
    if (n_rows > few->most_bf16) return false;
    if (beta == 0) memset(dx, 0, n_rows * linear->n_in * sizeof *dx);
    few->bf16(few_rows_of(linear, n_rows), dx, dy, linear->weight_bf16);
    return true;
}

static void multiply_f32(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                         void *scratch) {
    (void)scratch;
    const size_t n_out = linear->n_out, n_in = linear->n_in;
    if (forward_few_f32(linear, y, x, n_rows)) return;
    const sp_gemm size = {.m = n_rows, .n = n_out, .k = n_in, .alpha = 1};
    sp_gemm_nt(size, y, n_out, x, n_in, linear->weight_f32, n_in);
}

static void backward_input_f32(const sp_linear *linear, float *dx, float beta, const float *dy,
                               size_t n_rows, void *scratch) {
    (void)scratch;
    const size_t n_out = linear->n_out, n_in = linear->n_in;
    const sp_gemm size = {.m = n_rows, .n = n_in, .k = n_out, .alpha = 1, .beta = beta};
    sp_gemm_nn(size, dx, n_in, dy, n_out, linear->weight_f32, n_in);
}

const sp_linear_kernel sp_linear_kernel_f32 = {.name = "f32",
                                               .supported = always,
                                               .scratch_bytes = no_scratch,
                                               .multiply = multiply_f32,
                                               .backward_input = backward_input_f32};

/* bf16 by the CPU's own instructions: the activations are rounded to bf16 into scratch. */

static size_t scratch_bytes_dnnl(const sp_linear *linear, size_t n_rows) {
    const size_t wider = linear->n_in > linear->n_out ? linear->n_in : linear->n_out;
    return n_rows * wider * sizeof(uint16_t);
}

void sp_linear_round_to_bf16(uint16_t *out, const float *x, size_t n) {
    enum { PIECE = 8192 };
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i += PIECE)
        sp_f32_to_bf16(out + i, x + i, n - i < PIECE ? n - i : PIECE);
}

enum { FEW_BESIDE_BF16 = 4 }; /* the CPU's bf16 instructions are twice as fast as f32's */

static bool are_few_beside_bf16(size_t n_rows) {
    return n_rows <= FEW_BESIDE_BF16 && n_rows <= sp_few_rows_chosen()->most_rows;
}

static void convert_dnnl(const sp_linear *linear, const float *x, size_t n_rows, void *scratch) {
    if (!are_few_beside_bf16(n_rows)) sp_linear_round_to_bf16(scratch, x, n_rows * linear->n_in);
}

static void multiply_dnnl(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                          void *scratch) {
    if (are_few_beside_bf16(n_rows))
        (void)forward_few_bf16(linear, y, x, n_rows);
    else
        sp_dnnl_matmul_forward(linear->matmul, y, scratch, n_rows);
}

static void backward_input_dnnl(const sp_linear *linear, float *dx, float beta, const float *dy,
                                size_t n_rows, void *scratch) {
    if (n_rows <= FEW_BESIDE_BF16 && backward_few_bf16(linear, dx, beta, dy, n_rows)) return;
    sp_linear_round_to_bf16(scratch, dy, n_rows * linear->n_out);
    sp_dnnl_matmul_backward(linear->matmul, dx, beta, scratch, n_rows);
}

/* bf16 as a storage format: a panel of weight rows at a time becomes f32 in scratch. */

enum { PANEL_ROWS = 256 }; /* wide enough for a product at full speed, and 4 MiB at n_in 4096 */

static size_t scratch_bytes_panels(const sp_linear *linear, size_t n_rows) {
    const size_t rows = linear->n_out < PANEL_ROWS ? linear->n_out : PANEL_ROWS;
    return n_rows == 0 ? 0 : rows * linear->n_in * sizeof(float);
}

/* Writes weight rows [begin, begin + PANEL_ROWS) to panel, and returns how many there are. */
static size_t expand_panel(const sp_linear *linear, float *panel, size_t begin) {
    const size_t left = linear->n_out - begin, n_in = linear->n_in;
    const size_t n_panel = left < PANEL_ROWS ? left : PANEL_ROWS;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n_panel; i++)
        sp_bf16_to_f32(panel + i * n_in, linear->weight_bf16 + (begin + i) * n_in, n_in);
    return n_panel;
}

static void multiply_panels(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                            void *scratch) {
    const size_t n_out = linear->n_out, n_in = linear->n_in;
    if (n_rows == 0 || forward_few_bf16(linear, y, x, n_rows)) return;
    for (size_t begin = 0; begin < n_out; begin += PANEL_ROWS) {
        const size_t n_panel = expand_panel(linear, scratch, begin);
        const sp_gemm size = {.m = n_rows, .n = n_panel, .k = n_in, .alpha = 1};
        sp_gemm_nt(size, y + begin, n_out, x, n_in, scratch, n_in);
    }
}

static void backward_input_panels(const sp_linear *linear, float *dx, float beta, const float *dy,
                                  size_t n_rows, void *scratch) {
    const size_t n_out = linear->n_out, n_in = linear->n_in;
    if (n_rows == 0 || backward_few_bf16(linear, dx, beta, dy, n_rows)) return;
    for (size_t begin = 0; begin < n_out; begin += PANEL_ROWS) {
        const size_t n_panel = expand_panel(linear, scratch, begin);
        const sp_gemm size = {
            .m = n_rows, .n = n_in, .k = n_panel, .alpha = 1, .beta = begin == 0 ? beta : 1};
        sp_gemm_nn(size, dx, n_in, dy + begin, n_out, scratch, n_in);
    }
}

const sp_linear_kernel sp_linear_kernels_bf16[] = {
    {.name = "bf16, oneDNN",
     .supported = sp_dnnl_computes_bf16,
     .wants_matmul = true,
     .scratch_bytes = scratch_bytes_dnnl,
     .convert = convert_dnnl,
     .multiply = multiply_dnnl,
     .backward_input = backward_input_dnnl},
    {.name = "bf16 in f32 panels",
     .supported = always,
     .scratch_bytes = scratch_bytes_panels,
     .multiply = multiply_panels,
     .backward_input = backward_input_panels},
};
const size_t sp_linear_n_kernels_bf16 =
    sizeof sp_linear_kernels_bf16 / sizeof sp_linear_kernels_bf16[0];
