/* Pages: how many there are, and that what is read through them is what a whole pass reads. */
#include "tests/check.h"

#include "model/kv_cache.h"
#include "model/language_model.h"
#include "tests/tiny_model.h"
#include "tests/values.h"

#include <stdlib.h>

enum { D = 12 };

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static const tiny_shape plain = {.d_model = D,
                                 .n_layers = 2,
                                 .n_heads = 6,
                                 .n_kv_heads = 2,
                                 .head_dim = 4,
                                 .d_ffn = 17,
                                 .vocab_size = 61};
static const tiny_shape windowed = {.d_model = D,
                                    .n_layers = 2,
                                    .n_heads = 6,
                                    .n_kv_heads = 2,
                                    .head_dim = 4,
                                    .d_ffn = 17,
                                    .vocab_size = 61,
                                    .family = "mistral",
                                    .options = "{\"sliding_window\": 100}"};

typedef struct subject {
    tiny_model model;
    sp_language_model language_model;
    sp_transformer *transformer;
    sp_kv_cache cache;
} subject;

static void open_subject(subject *s, const tiny_shape *shape) {
    *s = (subject){0};
    tiny_model_create(&s->model, shape, 5, SP_WEIGHTS_ALL);
    must(sp_language_model_create(&s->language_model, &s->model.weights));
    s->transformer = s->language_model.transformer;
    must(sp_transformer_reserve(s->transformer, 2048));
    sp_kv_cache_init(&s->cache, s->transformer);
}

static void close_subject(subject *s) {
    sp_kv_cache_release(&s->cache);
    sp_language_model_destroy(&s->language_model);
    tiny_model_release(&s->model);
}

/* x [n_rows, D] become hidden states. */
static void extend(subject *s, float *x, const sp_extension *extensions, size_t n) {
    sp_arena arena = {0};
    size_t n_rows = 0, n_keys = 0;
    for (size_t e = 0; e < n; e++) {
        must(sp_kv_cache_reserve(&s->cache, extensions[e].seq, extensions[e].n_rows));
        n_rows += extensions[e].n_rows;
        n_keys += 4096;
    }
    must(sp_arena_reserve(&arena, sp_extend_scratch_bytes(s->transformer, n_rows, n, n_keys),
                          "test"));
    sp_transformer_extend(s->transformer, &s->cache, x, extensions, n, &arena);
    sp_arena_release(&arena);
}

static size_t open_seq(subject *s, ptrdiff_t parent) {
    size_t seq = 0;
    must(sp_kv_cache_open(&s->cache, &seq, parent, false));
    return seq;
}

/* Rows in pieces, over what a closed sequence left in the pages, as one piece in fresh ones. */
static void pages_are_used_again(void **state) {
    enum { N = 300, PIECE = 77 };
    const tiny_shape *shapes[] = {&plain, &windowed};
    for (size_t i = 0; i < 2; i++) {
        subject s;
        open_subject(&s, shapes[i]);
        float *x = malloc(2 * N * D * sizeof *x), *once = x + N * D;
        fill_values(once, N * D, 3);
        const size_t first = open_seq(&s, -1);
        extend(&s, once, &(sp_extension){first, N}, 1);
        assert_int_equal(s.cache.n_pages, 3);
        sp_kv_cache_close(&s.cache, first);
        for (size_t round = 0; round < 5; round++) {
            const size_t seq = open_seq(&s, -1);
            fill_values(x, N * D, 3);
            for (size_t begin = 0; begin < N; begin += PIECE)
                extend(&s, x + begin * D,
                       &(sp_extension){seq, N - begin < PIECE ? N - begin : PIECE}, 1);
            for (size_t k = 0; k < N * D; k++) assert_close(x[k], once[k], 1e-5);
            sp_kv_cache_close(&s.cache, seq);
            assert_int_equal(s.cache.n_pages, 3);
        }
        free(x);
        close_subject(&s);
    }
}

/* A parent's page is there once, and a child's rows are those of a sequence that has both. */
static void children_read_their_parents_pages(void **state) {
    enum { N_PARENT = 150, N_CHILD = 20, N_CHILDREN = 4, N = N_PARENT + N_CHILD };
    subject s;
    open_subject(&s, &plain);
    float *rows = malloc((N_CHILDREN * N + N_PARENT + N_CHILDREN * N_CHILD) * D * sizeof *rows);
    float *alone = rows, *family = rows + N_CHILDREN * N * D;
    fill_values(family, (N_PARENT + N_CHILDREN * N_CHILD) * D, 7);
    const size_t parent = open_seq(&s, -1);
    size_t children[N_CHILDREN], lone[N_CHILDREN];
    for (size_t i = 0; i < N_CHILDREN; i++) {
        children[i] = open_seq(&s, (ptrdiff_t)parent);
        const float *own = family + (N_PARENT + i * N_CHILD) * D;
        memcpy(alone + i * N * D, family, N_PARENT * D * sizeof *alone);
        memcpy(alone + (i * N + N_PARENT) * D, own, N_CHILD * D * sizeof *alone);
    }
    /* the parent and two children in one call, and the others later */
    const sp_extension together[] = {
        {parent, N_PARENT}, {children[0], N_CHILD}, {children[1], N_CHILD}};
    const sp_extension later[] = {{children[2], N_CHILD}, {children[3], N_CHILD}};
    extend(&s, family, together, 3);
    extend(&s, family + (N_PARENT + 2 * N_CHILD) * D, later, 2);
    assert_int_equal(s.cache.n_pages, 2 + N_CHILDREN);
    for (size_t i = 0; i < N_CHILDREN; i++) {
        lone[i] = open_seq(&s, -1);
        extend(&s, alone + i * N * D, &(sp_extension){lone[i], N}, 1);
        for (size_t k = 0; k < N_CHILD * D; k++)
            assert_close(family[(N_PARENT + i * N_CHILD) * D + k],
                         alone[(i * N + N_PARENT) * D + k], 1e-5);
    }
    for (size_t i = 0; i < N_CHILDREN; i++) sp_kv_cache_close(&s.cache, children[i]);
    sp_kv_cache_close(&s.cache, parent);
    free(rows);
    close_subject(&s);
}

static void pages_behind_the_window_are_given_back(void **state) {
    enum { N = 1500, PIECE = 60 };
    subject s;
    open_subject(&s, &windowed);
    float x[PIECE * D];
    const size_t seq = open_seq(&s, -1);
    for (size_t begin = 0; begin < N; begin += PIECE) {
        fill_values(x, PIECE * D, (uint32_t)begin);
        extend(&s, x, &(sp_extension){seq, PIECE}, 1);
    }
    assert_int_equal(s.cache.seqs[seq].len, N);
    assert_in_range(s.cache.n_pages, 2, 3); /* of 100 rows that are seen and 60 new ones */
    close_subject(&s);
}

/* bf16 is kept where weights are bf16, and is as near as bf16 is. */
static void weights_below_f32_keep_bf16(void **state) {
    enum { N = 200 };
    subject f32, bf16;
    open_subject(&f32, &plain);
    open_subject(&bf16, &plain);
    bf16.model.weights.precision = SP_PRECISION_BF16;
    sp_kv_cache_init(&bf16.cache, bf16.transformer);
    assert_false(f32.cache.is_bf16);
    assert_true(bf16.cache.is_bf16);
    float *x = malloc(2 * N * D * sizeof *x), *rounded = x + N * D, most = 0;
    fill_values(x, N * D, 3);
    fill_values(rounded, N * D, 3);
    extend(&f32, x, &(sp_extension){open_seq(&f32, -1), N}, 1);
    extend(&bf16, rounded, &(sp_extension){open_seq(&bf16, -1), N}, 1);
    for (size_t k = 0; k < N * D; k++) {
        assert_close(rounded[k], x[k], 2e-2);
        most = fmaxf(most, fabsf(rounded[k] - x[k]));
    }
    assert_true(most > 0);
    free(x);
    close_subject(&f32);
    close_subject(&bf16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_used_again),
        cmocka_unit_test(children_read_their_parents_pages),
        cmocka_unit_test(pages_behind_the_window_are_given_back),
        cmocka_unit_test(weights_below_f32_keep_bf16),
    };
    return cmocka_run_group_tests_name("kv_cache", tests, NULL, NULL);
}
