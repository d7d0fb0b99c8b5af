#include "tests/check.h"

#include "model/embed_block.h"
#include "tests/gradient/differences.h"
#include "tests/values.h"

enum { VOCABULARY = 6, D = 5, N_SPECIAL = 3, N_TAKEN = 4 };

/* Tokens with repeats, special rows -1 .. -3, and beyond them the rows of the block before, one of
   them twice. */
static const int32_t ids[] = {4, -1, 4, 0, -3, -4, -7, -6, -1, 5, -5, -5, -2};
enum { N_ROWS = sizeof ids / sizeof ids[0] };

typedef struct fixture {
    float table[VOCABULARY * D];
    sp_tensor frozen;
    sp_params params;
    sp_embedding embedding;
    sp_batch batch;
    sp_block *block;
    float x[N_TAKEN * D];
} fixture;

static void set_up(fixture *f, bool is_trained, bool is_special_frozen) {
    *f = (fixture){.embedding = {.d_model = D}};
    fill_values(f->table, VOCABULARY * D, 1);
    fill_values(f->x, N_TAKEN * D, 2);
    f->frozen =
        (sp_tensor){.dtype = SP_F32, .n_dims = 2, .shape = {VOCABULARY, D}, .data = f->table};
    if (is_trained)
        assert_int_equal(
            sp_params_declare(&f->params, &f->embedding.trained, VOCABULARY, D, "table"), SP_OK);
    else
        f->embedding.frozen = &f->frozen;
    assert_int_equal(sp_params_declare(&f->params, &f->embedding.special, N_SPECIAL, D, "special"),
                     SP_OK);
    f->embedding.special->is_frozen = is_special_frozen;
    assert_int_equal(sp_params_allocate(&f->params), SP_OK);
    fill_params(&f->params, 9);

    int32_t seq = 0;
    assert_int_equal(sp_batch_add_seq(&f->batch, SP_DECODER, SP_NO_PARENT, 0, &seq), SP_OK);
    for (size_t r = 0; r < N_ROWS; r++)
        assert_int_equal(sp_batch_add_row(&f->batch, SP_DECODER, ids[r]), SP_OK);
    f->batch.n_taken = N_TAKEN;
    assert_int_equal(sp_embed_block_create(&f->block, &f->embedding, SP_DECODER, true), SP_OK);
}

static void tear_down(fixture *f) {
    f->block->kind->destroy(f->block);
    f->batch.n_taken = 0;
    sp_batch_free(&f->batch);
    sp_params_free(&f->params);
}

static void gradients_are_differences_whatever_is_trained(void **state) {
    static const bool cases[][2] = {{false, false}, {false, true}, {true, false}, {true, true}};
    for (size_t i = 0; i < 4; i++) {
        fixture f;
        set_up(&f, cases[i][0], cases[i][1]);
        assert_int_equal(f.block->n_in, D);
        check_block(f.block, &f.batch, f.x, N_TAKEN, &f.params);
        tear_down(&f);
    }
}

/* Over a frozen table, the adapter and positions, frozen or trained. */
static void adapter_and_positions_get_their_differences(void **state) {
    float positions[N_ROWS * D];
    fill_values(positions, N_ROWS * D, 12);
    const sp_tensor frozen = {
        .dtype = SP_F32, .n_dims = 2, .shape = {N_ROWS, D}, .data = positions};
    for (int is_trained = 0; is_trained < 2; is_trained++) {
        fixture f;
        set_up(&f, false, false);
        sp_params params = {0};
        assert_int_equal(sp_params_declare(&params, &f.embedding.lora_a, 2, VOCABULARY, "a"),
                         SP_OK);
        assert_int_equal(sp_params_declare(&params, &f.embedding.lora_b, D, 2, "b"), SP_OK);
        f.embedding.lora_scale = 0.75F;
        if (is_trained)
            assert_int_equal(
                sp_params_declare(&params, &f.embedding.trained_positions, N_ROWS, D, "positions"),
                SP_OK);
        else
            f.embedding.frozen_positions = &frozen;
        assert_int_equal(sp_params_allocate(&params), SP_OK);
        fill_params(&params, 20);
        check_block(f.block, &f.batch, f.x, N_TAKEN, &params);
        sp_params_free(&params);
        tear_down(&f);
    }
}

static void a_row_is_copied_from_where_its_id_says(void **state) {
    for (int is_trained = 0; is_trained < 2; is_trained++) {
        fixture f;
        float y[N_ROWS * D];
        set_up(&f, is_trained, false);
        sp_arena scratch = {0};
        f.block->kind->forward(f.block, &f.batch, y, f.x, NULL, &scratch);
        const float *table = is_trained ? f.embedding.trained->value : f.table;
        const float *special = f.embedding.special->value;
        assert_memory_equal(y + 0 * D, table + 4 * D, sizeof(float[D]));   /* token 4 */
        assert_memory_equal(y + 9 * D, table + 5 * D, sizeof(float[D]));   /* token 5 */
        assert_memory_equal(y + 1 * D, special + 0 * D, sizeof(float[D])); /* -1 */
        assert_memory_equal(y + 4 * D, special + 2 * D, sizeof(float[D])); /* -3 */
        assert_memory_equal(y + 5 * D, f.x + 0 * D, sizeof(float[D]));     /* -4 */
        assert_memory_equal(y + 6 * D, f.x + 3 * D, sizeof(float[D]));     /* -7 */
        tear_down(&f);
    }
}

static void a_first_block_has_no_input(void **state) {
    fixture f;
    set_up(&f, true, false);
    sp_block *first = NULL;
    assert_int_equal(sp_embed_block_create(&first, &f.embedding, SP_ENCODER, false), SP_OK);
    assert_int_equal(first->n_in, 0);
    assert_int_equal(first->n_out, D);
    int32_t seq = 0;
    static const int32_t without_x[] = {3, -3, 1, 3, -1, -2, 0, 2, 4, 5};
    f.batch.n_taken = 2; /* the encoder's own rows, which this block makes */
    assert_int_equal(sp_batch_add_seq(&f.batch, SP_ENCODER, SP_NO_PARENT, 0, &seq), SP_OK);
    for (size_t r = 0; r < sizeof without_x / sizeof without_x[0]; r++)
        assert_int_equal(sp_batch_add_row(&f.batch, SP_ENCODER, without_x[r]), SP_OK);
    check_block(first, &f.batch, NULL, 0, &f.params);
    first->kind->destroy(first);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_differences_whatever_is_trained),
        cmocka_unit_test(adapter_and_positions_get_their_differences),
        cmocka_unit_test(a_row_is_copied_from_where_its_id_says),
        cmocka_unit_test(a_first_block_has_no_input),
    };
    return cmocka_run_group_tests_name("embed block", tests, NULL, NULL);
}
