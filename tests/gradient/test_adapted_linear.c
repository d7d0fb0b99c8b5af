#include "tests/check.h"

#include "model/adapted_linear.h"
#include "model/dropout.h"
#include "tests/gradient/differences.h"
#include "tests/values.h"

#include <stdlib.h>

enum { N_IN = 7, N_OUT = 5, RANK = 3 };

/* An adapted linear layer as a block: what check_block() takes. */
typedef struct linear_block {
    sp_block block;
    sp_adapted_linear linear;
} linear_block;

static const sp_rows *rows_of(const sp_batch *batch) { return &batch->rows[SP_ENCODER]; }

static size_t n_out_rows(const sp_block *block, const sp_batch *batch) {
    return rows_of(batch)->n_rows;
}

static sp_cost cost(const sp_block *block, const sp_batch *batch) {
    return sp_adapted_linear_cost(&((const linear_block *)block)->linear, rows_of(batch)->n_rows);
}

static void forward(const sp_block *block, sp_batch *batch, float *y, const float *x, char *kept,
                    sp_arena *scratch) {
    const sp_rows *rows = rows_of(batch);
    sp_adapted_linear_forward(&((const linear_block *)block)->linear, y, (float *)(void *)kept, x,
                              rows->n_rows, batch->is_training ? rows : NULL, scratch);
}

static void backward(const sp_block *block, sp_batch *batch, float *dx, float *dy, const float *x,
                     char *kept, sp_arena *scratch) {
    const sp_adapted_linear *linear = &((const linear_block *)block)->linear;
    const sp_rows *rows = rows_of(batch);
    sp_adapted_linear_backward(linear, dx, 0, dy, sp_adapted_linear_reads_input(linear) ? x : NULL,
                               (float *)(void *)kept, rows->n_rows,
                               batch->is_training ? rows : NULL, scratch);
}

static const sp_block_kind kind = {.name = "linear",
                                   .n_out_rows = n_out_rows,
                                   .cost = cost,
                                   .forward = forward,
                                   .backward = backward};

typedef enum trained { FROZEN, LORA, LORA_WITH_DROPOUT, WEIGHT, WEIGHT_AND_BIAS } trained;

typedef struct fixture {
    linear_block subject;
    sp_params params;
    sp_linear *frozen;
    float weight[N_OUT * N_IN];
    sp_batch batch;
} fixture;

static void add_rows(sp_batch *batch, uint64_t sample, size_t n_rows) {
    int32_t seq = 0;
    assert_int_equal(sp_batch_add_seq(batch, SP_ENCODER, SP_NO_PARENT, sample, &seq), SP_OK);
    for (size_t r = 0; r < n_rows; r++)
        assert_int_equal(sp_batch_add_row(batch, SP_ENCODER, 0), SP_OK);
}

static void set_up(fixture *f, trained what) {
    *f = (fixture){.subject = {.block = {&kind, N_IN, N_OUT}}};
    sp_adapted_linear *linear = &f->subject.linear;
    *linear = (sp_adapted_linear){.n_in = N_IN, .n_out = N_OUT, .module = 11};
    if (what == WEIGHT || what == WEIGHT_AND_BIAS) {
        assert_int_equal(sp_params_declare(&f->params, &linear->weight, N_OUT, N_IN, "weight"),
                         SP_OK);
        if (what == WEIGHT_AND_BIAS)
            assert_int_equal(sp_params_declare(&f->params, &linear->bias, 0, N_OUT, "bias"), SP_OK);
    } else {
        fill_values(f->weight, N_OUT * N_IN, 5);
        assert_int_equal(sp_linear_wrap(&f->frozen, f->weight, NULL, N_OUT, N_IN), SP_OK);
        linear->frozen = f->frozen;
    }
    if (what == LORA || what == LORA_WITH_DROPOUT) {
        assert_int_equal(sp_params_declare(&f->params, &linear->lora_a, RANK, N_IN, "a"), SP_OK);
        assert_int_equal(sp_params_declare(&f->params, &linear->lora_b, N_OUT, RANK, "b"), SP_OK);
        linear->lora_scale = 1.5F;
        linear->lora_dropout = what == LORA_WITH_DROPOUT ? 0.4F : 0;
    }
    assert_int_equal(sp_params_allocate(&f->params), SP_OK);
    fill_params(&f->params, 21);
    assert_int_equal(sp_adapted_linear_bind(linear), SP_OK);
    f->batch.is_training = true;
    add_rows(&f->batch, 1234567, 4);
    add_rows(&f->batch, 99, 1);
    add_rows(&f->batch, UINT64_MAX, 3);
}

static void tear_down(fixture *f) {
    sp_batch_free(&f->batch);
    sp_adapted_linear_release(&f->subject.linear);
    sp_linear_destroy(f->frozen);
    sp_params_free(&f->params);
}

static void gradients_are_differences_whatever_is_trained(void **state) {
    for (trained what = FROZEN; what <= WEIGHT_AND_BIAS; what++) {
        fixture f;
        set_up(&f, what);
        float x[8 * N_IN];
        fill_values(x, 8 * N_IN, 3);
        check_block(&f.subject.block, &f.batch, x, 8, &f.params);
        assert_int_equal(sp_adapted_linear_reads_input(&f.subject.linear), what != FROZEN);
        tear_down(&f);
    }
}

/* y = W x + scale B A dropout(x), in f64. */
static void forward_is_its_definition(void **state) {
    for (int is_training = 0; is_training < 2; is_training++) {
        fixture f;
        set_up(&f, LORA_WITH_DROPOUT);
        const sp_adapted_linear *linear = &f.subject.linear;
        float x[8 * N_IN], dropped[8 * N_IN], y[8 * N_OUT], inner[8 * RANK];
        fill_values(x, 8 * N_IN, 3);
        memcpy(dropped, x, sizeof x);
        f.batch.is_training = is_training;
        const sp_rows *rows = rows_of(&f.batch);
        if (is_training)
            sp_dropout_forward(dropped, x, N_IN, rows, linear->module, linear->lora_dropout);
        sp_arena scratch = {0};
        assert_int_equal(
            sp_arena_reserve(&scratch, sp_adapted_linear_cost(linear, 8).bytes_scratch, "scratch"),
            SP_OK);
        sp_adapted_linear_forward(linear, y, inner, x, 8, is_training ? rows : NULL, &scratch);
        for (size_t r = 0; r < 8; r++)
            for (size_t i = 0; i < N_OUT; i++) {
                double sum = 0;
                for (size_t j = 0; j < N_IN; j++) {
                    double adapter = 0;
                    for (size_t k = 0; k < RANK; k++)
                        adapter += (double)linear->lora_b->value[i * RANK + k] *
                                   (double)linear->lora_a->value[k * N_IN + j];
                    sum += (double)f.weight[i * N_IN + j] * (double)x[r * N_IN + j] +
                           1.5 * adapter * (double)dropped[r * N_IN + j];
                }
                assert_close(y[r * N_OUT + i], sum, 1e-6);
            }
        assert_int_equal(scratch.used, 0); /* all given back */
        sp_arena_release(&scratch);
        tear_down(&f);
    }
}

static void beta_1_adds_to_the_input_gradient(void **state) {
    fixture f;
    set_up(&f, LORA_WITH_DROPOUT);
    const sp_adapted_linear *linear = &f.subject.linear;
    const sp_rows *rows = rows_of(&f.batch);
    float x[8 * N_IN], y[8 * N_OUT], dy[8 * N_OUT], inner[8 * RANK];
    float dx[8 * N_IN], added[8 * N_IN];
    fill_values(x, 8 * N_IN, 3);
    fill_values(dy, 8 * N_OUT, 4);
    memcpy(added, x, sizeof x);
    sp_arena scratch = {0};
    assert_int_equal(
        sp_arena_reserve(&scratch, sp_adapted_linear_cost(linear, 8).bytes_scratch, "scratch"),
        SP_OK);
    sp_adapted_linear_forward(linear, y, inner, x, 8, rows, &scratch);
    sp_adapted_linear_backward(linear, dx, 0, dy, x, inner, 8, rows, &scratch);
    sp_adapted_linear_backward(linear, added, 1, dy, x, inner, 8, rows, &scratch);
    for (size_t k = 0; k < 8 * N_IN; k++) assert_close(added[k], x[k] + dx[k], 1e-6);
    sp_arena_release(&scratch);
    tear_down(&f);
}

/* Whichever precisions stand side by side, and with as many rows as decoding and as training have. */
static void layers_of_one_input_give_the_bits_of_each_alone(void **state) {
    enum { N_LAYERS = 3, WIDTH = 96, MOST_ROWS = 70 };
    static const sp_precision precisions[][N_LAYERS] = {
        {SP_PRECISION_F32, SP_PRECISION_F32, SP_PRECISION_F32},
        {SP_PRECISION_BF16, SP_PRECISION_BF16, SP_PRECISION_BF16},
        {SP_PRECISION_INT8, SP_PRECISION_INT8, SP_PRECISION_INT8},
        {SP_PRECISION_INT8, SP_PRECISION_BF16, SP_PRECISION_INT8}};
    static const size_t n_rows[] = {0, 1, 3, 5, MOST_ROWS}, n_outs[N_LAYERS] = {40, 300, 7};
    static float values[N_LAYERS][300 * WIDTH], x[MOST_ROWS * WIDTH];
    static float y[N_LAYERS][MOST_ROWS * 300], alone[MOST_ROWS * 300];
    fill_values(x, MOST_ROWS * WIDTH, 3);
    for (size_t p = 0; p < sizeof precisions / sizeof precisions[0]; p++) {
        sp_linear *frozen[N_LAYERS];
        sp_adapted_linear linears[N_LAYERS];
        sp_adapted_output outputs[N_LAYERS];
        for (size_t i = 0; i < N_LAYERS; i++) {
            const sp_tensor weight = {
                .dtype = SP_F32, .n_dims = 2, .shape = {n_outs[i], WIDTH}, .data = values[i]};
            fill_values(values[i], n_outs[i] * WIDTH, (uint32_t)i);
            assert_int_equal(sp_linear_create(&frozen[i], &weight, NULL, precisions[p][i]), SP_OK);
            linears[i] =
                (sp_adapted_linear){.n_in = WIDTH, .n_out = n_outs[i], .frozen = frozen[i]};
            outputs[i] = (sp_adapted_output){.linear = &linears[i], .y = y[i]};
        }
        for (size_t r = 0; r < sizeof n_rows / sizeof n_rows[0]; r++) {
            const size_t n = n_rows[r];
            sp_arena scratch = {0};
            size_t most_bytes = 0;
            for (size_t i = 0; i < N_LAYERS; i++) {
                const size_t n_bytes = sp_adapted_linear_cost(&linears[i], n).bytes_scratch;
                if (n_bytes > most_bytes) most_bytes = n_bytes;
            }
            assert_int_equal(sp_arena_reserve(&scratch, most_bytes, "scratch"), SP_OK);
            sp_adapted_linear_forward_all(outputs, N_LAYERS, x, n, NULL, &scratch);
            for (size_t i = 0; i < N_LAYERS; i++) {
                sp_adapted_linear_forward(&linears[i], alone, NULL, x, n, NULL, &scratch);
                assert_memory_equal(y[i], alone, n * n_outs[i] * sizeof(float));
            }
            sp_arena_release(&scratch);
        }
        for (size_t i = 0; i < N_LAYERS; i++) sp_linear_destroy(frozen[i]);
    }
}

static void no_rows_do_nothing(void **state) {
    fixture f;
    set_up(&f, LORA_WITH_DROPOUT);
    sp_batch none = {.is_training = true};
    sp_arena scratch = {0};
    assert_int_equal(sp_arena_reserve(&scratch, 4096, "scratch"), SP_OK);
    f.subject.block.kind->forward(&f.subject.block, &none, NULL, NULL, NULL, &scratch);
    f.subject.block.kind->backward(&f.subject.block, &none, NULL, NULL, NULL, NULL, &scratch);
    for (size_t i = 0; i < f.params.n_values; i++) assert_true(f.params.grads[i] == 0);
    sp_arena_release(&scratch);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_differences_whatever_is_trained),
        cmocka_unit_test(forward_is_its_definition),
        cmocka_unit_test(beta_1_adds_to_the_input_gradient),
        cmocka_unit_test(layers_of_one_input_give_the_bits_of_each_alone),
        cmocka_unit_test(no_rows_do_nothing),
    };
    return cmocka_run_group_tests_name("adapted linear", tests, NULL, NULL);
}
