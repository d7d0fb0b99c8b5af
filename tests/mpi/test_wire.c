#include "tests/check.h"

#include "mpi/wire.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

/* ranks: 1 2 3 */
static sp_world *world;

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

/* Value i of what rank r says in micro-batch m. */
static float value(size_t r, size_t m, size_t i) {
    return (float)(r * 100 + m * 10) + (float)i / 7;
}

static float as_sent(float x, bool is_bf16) {
    uint16_t half = 0;
    if (is_bf16) {
        sp_f32_to_bf16(&half, &x, 1);
        sp_bf16_to_f32(&x, &half, 1);
    }
    return x;
}

/* Around the ring of ranks, all sends first, in an order that is not that of the receives; lengths
   from nothing to far beyond what MPI sends without the receiver. */
static void messages_arrive_whatever_their_order(void **state) {
    enum { N_MICRO = 5 };
    static const size_t lengths[N_MICRO] = {0, 1, 1000, 3000001, 17};
    for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
        sp_grid *grid = NULL;
        sp_wire *wire = NULL;
        const size_t n = (size_t)sp_world_size(world);
        must(sp_grid_create(&grid, world, n));
        must(sp_wire_create(&wire, grid, is_bf16));
        const size_t rank = sp_grid_pipeline_rank(grid), to = (rank + 1) % n;
        const size_t from = (rank + n - 1) % n;
        float *x = malloc(lengths[3] * sizeof *x);
        assert_non_null(x);
        for (int is_gradient = 0; is_gradient < 2 && n > 1; is_gradient++)
            for (size_t m = 0; m < N_MICRO; m++) {
                for (size_t i = 0; i < lengths[m]; i++)
                    x[i] = value(rank, m + 5 * (size_t)is_gradient, i);
                must(sp_wire_send(wire, to, (sp_transfer){1, m, is_gradient}, x, lengths[m]));
                memset(x, 0xFF, lengths[m] * sizeof *x); /* it was copied */
            }
        for (size_t m = N_MICRO; m-- > 0 && n > 1;)
            for (int is_gradient = 0; is_gradient < 2; is_gradient++) {
                must(sp_wire_receive(wire, from, (sp_transfer){1, m, is_gradient}, x, lengths[m]));
                for (size_t i = 0; i < lengths[m]; i++)
                    assert_true(x[i] ==
                                as_sent(value(from, m + 5 * (size_t)is_gradient, i), is_bf16));
            }
        free(x);
        sp_wire_destroy(wire);
        sp_grid_destroy(grid);
    }
}

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(messages_arrive_whatever_their_order)};
    const int n_failed = cmocka_run_group_tests_name("wire", tests, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
