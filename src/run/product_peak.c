#include "run/product_peak.h"

#include "base/clock.h"
#include "base/memory.h"
#include "run/models.h"
#include "tensor/linear.h"

#include <omp.h>
#include <stdlib.h>

/* The weight is a layer's of a small model, 4 MiB; rows grow with the threads, up to 32 MiB, so that each
   has as much to do, some 10 ms a product on an AVX2 core. */
enum { WIDTH = 1024, ROWS_A_THREAD = 256, MOST_ROWS = 8192, RUNS = 6 };

static size_t count_rows(void) {
    const size_t n = (size_t)omp_get_max_threads() * ROWS_A_THREAD;
    return n < MOST_ROWS ? n : MOST_ROWS;
}

static double best_rate(const sp_linear *linear, float *y, const float *x, size_t n_rows,
                        void *scratch) {
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        const double begin_s = sp_clock_seconds();
        sp_linear_forward(linear, y, x, n_rows, scratch);
        const double seconds = sp_clock_seconds() - begin_s;
        const double rate = 2.0 * (double)n_rows * WIDTH * WIDTH / seconds;
        if (seconds > 0 && rate > best) best = rate;
    }
    return best;
}

static sp_status measure(double *rate, sp_precision precision, float *weight, float *x, float *y) {
    const size_t n_rows = count_rows();
    const sp_tensor tensor = {
        .dtype = SP_F32, .n_dims = 2, .shape = {WIDTH, WIDTH}, .data = weight};
    sp_linear *linear = NULL;
    void *scratch = NULL;
    for (size_t i = 0; i < (size_t)WIDTH * WIDTH; i++) weight[i] = 0.01f;
    for (size_t i = 0; i < n_rows * WIDTH; i++) x[i] = 0.5f;
    SP_TRY(sp_linear_create(&linear, &tensor, NULL, precision));
    const sp_status status =
        sp_alloc(&scratch, sp_linear_scratch_bytes(linear, n_rows), "a measurement");
    if (status == SP_OK) *rate = best_rate(linear, y, x, n_rows, scratch);
    free(scratch);
    sp_linear_destroy(linear);
    return status;
}

sp_status sp_product_peak_measure(double *flop_per_second, const sp_run_config *config) {
    sp_precision of_encoder, of_decoder;
    sp_models_precisions(config, &of_encoder, &of_decoder);
    const bool is_bf16 = of_encoder == SP_PRECISION_BF16 || of_decoder == SP_PRECISION_BF16;
    const sp_precision precision =
        is_bf16 && sp_linear_computes_bf16() ? SP_PRECISION_BF16 : SP_PRECISION_F32;
    const size_t n_values = count_rows() * WIDTH;
    void *weight = NULL, *x = NULL, *y = NULL;
    sp_status status =
        sp_alloc_array(&weight, (size_t)WIDTH * WIDTH, sizeof(float), "a measurement");
    if (status == SP_OK) status = sp_alloc_array(&x, n_values, sizeof(float), "a measurement");
    if (status == SP_OK) status = sp_alloc_array(&y, n_values, sizeof(float), "a measurement");
    if (status == SP_OK) status = measure(flop_per_second, precision, weight, x, y);
    free(y);
    free(x);
    free(weight);
    return status;
}
