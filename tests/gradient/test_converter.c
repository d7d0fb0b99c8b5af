#include "tests/check.h"

#include "pcc/converter.h"
#include "tests/gradient/differences.h"
#include "tests/values.h"

enum { D_ENCODER = 5, D_DECODER = 9, N = 4 };

static void set_up(sp_converter *converter, sp_params *params) {
    *converter = (sp_converter){0};
    *params = (sp_params){0};
    assert_int_equal(sp_converter_declare(converter, params, D_ENCODER, D_DECODER), SP_OK);
    assert_int_equal(sp_params_allocate(params), SP_OK);
    assert_int_equal(sp_converter_bind(converter, 3), SP_OK);
}

static void gradients_are_differences(void **state) {
    sp_converter converter;
    sp_params params;
    sp_block *block = NULL;
    float memory[N * D_ENCODER];
    set_up(&converter, &params);
    fill_params(&params, 2);
    fill_values(memory, N * D_ENCODER, 7);
    sp_batch batch = {.n_taken = N, .is_training = true};
    assert_int_equal(sp_converter_block_create(&block, &converter), SP_OK);
    check_block(block, &batch, memory, N, &params);
    block->kind->destroy(block);
    sp_converter_release(&converter);
    sp_params_free(&params);
}

/* y = x weight^T + bias in f64. */
static void multiply(double *y, const double *x, const sp_adapted_linear *linear) {
    for (size_t i = 0; i < linear->n_out; i++) {
        y[i] = (double)linear->bias->value[i];
        for (size_t j = 0; j < linear->n_in; j++)
            y[i] += x[j] * (double)linear->weight->value[i * linear->n_in + j];
    }
}

static void slots_are_their_definition(void **state) {
    sp_converter converter;
    sp_params params;
    sp_block *block = NULL;
    float memory[N * D_ENCODER], slots[N * D_DECODER];
    set_up(&converter, &params);
    fill_params(&params, 2);
    fill_values(memory, N * D_ENCODER, 7);
    sp_batch batch = {.n_taken = N};
    assert_int_equal(sp_converter_block_create(&block, &converter), SP_OK);
    const sp_cost cost = block->kind->cost(block, &batch);
    sp_arena arena = {0};
    assert_int_equal(
        sp_arena_reserve(
            &arena, sp_arena_bytes(cost.bytes_kept) + sp_arena_bytes(cost.bytes_scratch), "a pass"),
        SP_OK);
    char *kept = sp_arena_push(&arena, cost.bytes_kept);
    block->kind->forward(block, &batch, slots, memory, kept, &arena);
    for (size_t r = 0; r < N; r++) {
        double squares = 0, normed[D_ENCODER], inner[D_DECODER], out[D_DECODER];
        for (size_t i = 0; i < D_ENCODER; i++) squares += pow((double)memory[r * D_ENCODER + i], 2);
        for (size_t i = 0; i < D_ENCODER; i++)
            normed[i] = (double)memory[r * D_ENCODER + i] / sqrt(squares / D_ENCODER + 1e-6) *
                        (double)converter.norm->value[i];
        multiply(inner, normed, &converter.in);
        for (size_t i = 0; i < D_DECODER; i++) inner[i] *= 0.5 * (1 + erf(inner[i] / sqrt(2)));
        multiply(out, inner, &converter.out);
        for (size_t i = 0; i < D_DECODER; i++) assert_close(slots[r * D_DECODER + i], out[i], 1e-5);
    }
    sp_arena_release(&arena);
    block->kind->destroy(block);
    sp_converter_release(&converter);
    sp_params_free(&params);
}

/* Uniform in +- 1 / sqrt(n_in): all inside, and some beyond 0.8 of it on either side. */
static void check_uniform(const sp_param *param, size_t n_in) {
    const float bound = 1 / sqrtf((float)n_in);
    float least = 0, most = 0;
    for (size_t i = 0; i < param->n_values; i++) {
        least = fminf(least, param->value[i]);
        most = fmaxf(most, param->value[i]);
    }
    assert_true(least >= -bound && least < -0.5F * bound);
    assert_true(most <= bound && most > 0.5F * bound);
}

static void first_values_are_torchs_and_follow_the_seed(void **state) {
    sp_converter a, b;
    sp_params of_a, of_b;
    set_up(&a, &of_a);
    set_up(&b, &of_b);
    for (size_t i = 0; i < D_ENCODER; i++) assert_true(a.norm->value[i] == 1);
    check_uniform(a.in.weight, D_ENCODER);
    check_uniform(a.in.bias, D_ENCODER);
    check_uniform(a.out.weight, D_DECODER);
    check_uniform(a.out.bias, D_DECODER);
    assert_memory_equal(of_a.values, of_b.values, of_a.n_values * sizeof(float));
    sp_converter_release(&b);
    assert_int_equal(sp_converter_bind(&b, 4), SP_OK);
    assert_memory_not_equal(a.in.weight->value, b.in.weight->value,
                            a.in.weight->n_values * sizeof(float));
    sp_converter_release(&a);
    sp_converter_release(&b);
    sp_params_free(&of_a);
    sp_params_free(&of_b);
}

/* Slots of memory that a norm with a weight made: the rows before its weight, at the size asked for. */
static void near_the_identity_slots_are_rows_before_the_last_norm(void **state) {
    enum { D = 8 };
    static const float SIZE = 0.13F;
    static const float norm_weight[D] = {0.5F, 2, -1, 0.1F, 3, 0.7F, 1.5F, 1};
    sp_converter converter = {0};
    sp_params params = {0};
    sp_block *block = NULL;
    float rows[N * D], memory[N * D], slots[N * D];
    assert_int_equal(sp_converter_declare(&converter, &params, D, D), SP_OK);
    assert_int_equal(sp_params_allocate(&params), SP_OK);
    assert_int_equal(sp_converter_bind_identity(&converter, SIZE, norm_weight), SP_OK);
    double squares = 0;
    for (size_t i = 0; i < D; i++) squares += pow((double)norm_weight[i], 2);
    const float least = (float)sqrt(squares / D) / 10; /* above one of the weights */
    fill_values(rows, N * D, 7);
    for (size_t i = 0; i < N * D; i++)
        memory[i] =
            rows[i] * copysignf(fmaxf(fabsf(norm_weight[i % D]), least), norm_weight[i % D]);
    sp_batch batch = {.n_taken = N};
    assert_int_equal(sp_converter_block_create(&block, &converter), SP_OK);
    sp_arena arena = {0};
    assert_int_equal(sp_arena_reserve(&arena, 1 << 16, "a pass"), SP_OK);
    char *kept = sp_arena_push(&arena, block->kind->cost(block, &batch).bytes_kept);
    block->kind->forward(block, &batch, slots, memory, kept, &arena);
    for (size_t r = 0; r < N; r++) {
        const float *row = rows + r * D, *slot = slots + r * D;
        double dot = 0, of_row = 0, of_slot = 0;
        for (size_t i = 0; i < D; i++) {
            dot += (double)row[i] * (double)slot[i];
            of_row += pow((double)row[i], 2);
            of_slot += pow((double)slot[i], 2);
        }
        assert_true(dot / sqrt(of_row * of_slot) > 0.99);
        const double size =
            sqrt(of_slot / D) / (double)SIZE; /* 1, but for how weights and row go */
        assert_true(size > 0.5 && size < 2);
    }
    sp_arena_release(&arena);
    block->kind->destroy(block);
    sp_converter_release(&converter);
    sp_params_free(&params);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(slots_are_their_definition),
        cmocka_unit_test(first_values_are_torchs_and_follow_the_seed),
        cmocka_unit_test(near_the_identity_slots_are_rows_before_the_last_norm),
    };
    return cmocka_run_group_tests_name("converter", tests, NULL, NULL);
}
