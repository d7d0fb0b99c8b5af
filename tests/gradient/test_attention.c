#include "tests/check.h"

#include "tensor/attention.h"
#include "tensor/tensor.h"
#include "tests/values.h"

#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>

/* A batch and everything that the two passes make of it. Rows carry a margin, whose values must
   stay as they are. */
typedef struct batch {
    sp_attention_shape shape;
    const sp_attention_seq *seqs;
    size_t n_seqs, n_rows, q_width, kv_width, ld_q, ld_kv;
    float *q, *k, *v, *d_o; /* inputs */
    float *o, *lse;         /* forward */
    float *dq, *dk, *dv;    /* backward */
    bool *visible;          /* [n_rows, n_rows]: may this row see that one? */
    void *scratch;
} batch;

static float *make_values(size_t n, uint32_t seed) {
    float *values = malloc((n + 1) * sizeof *values);
    assert_non_null(values);
    fill_values(values, n, seed);
    return values;
}

static void make_visible(batch *b) {
    b->visible = calloc(b->n_rows * b->n_rows + 1, sizeof *b->visible);
    assert_non_null(b->visible);
    for (size_t s = 0; s < b->n_seqs; s++) {
        const sp_attention_seq *seq = &b->seqs[s];
        for (size_t r = 0; r < seq->len; r++) {
            bool *row = b->visible + (seq->begin + r) * b->n_rows;
            const sp_attention_seq *parent = seq->parent >= 0 ? &b->seqs[seq->parent] : NULL;
            const size_t before = parent != NULL ? parent->len : 0, window = b->shape.window;
            for (size_t j = 0; j <= before + r; j++)
                if (window == 0 || before + r - j < window)
                    row[j < before ? parent->begin + j : seq->begin + j - before] = true;
        }
    }
}

static batch make_batch(sp_attention_shape shape, const sp_attention_seq *seqs, size_t n_seqs) {
    const sp_attention_seq *last = &seqs[n_seqs - 1];
    batch b = {.shape = shape, .seqs = seqs, .n_seqs = n_seqs, .n_rows = last->begin + last->len};
    b.q_width = shape.n_heads * shape.head_dim;
    b.kv_width = shape.n_kv_heads * shape.head_dim;
    b.ld_q = b.q_width + 3;
    b.ld_kv = b.kv_width + 1;
    b.q = make_values(b.n_rows * b.ld_q, 1);
    b.k = make_values(b.n_rows * b.ld_kv, 2);
    b.v = make_values(b.n_rows * b.ld_kv, 3);
    b.d_o = make_values(b.n_rows * b.q_width, 4);
    b.o = make_values(b.n_rows * b.q_width, 5);
    b.lse = make_values(b.n_rows * shape.n_heads, 6);
    b.dq = make_values(b.n_rows * b.ld_q, 7);
    b.dk = make_values(b.n_rows * b.ld_kv, 8);
    b.dv = make_values(b.n_rows * b.ld_kv, 9);
    for (size_t i = 0; i < b.n_rows * b.ld_q; i++) b.q[i] *= 4; /* softmaxes that are not flat */
    make_visible(&b);
    const size_t n_bytes = (sp_attention_scratch_bytes(&shape) + 63) & ~(size_t)63;
    b.scratch = aligned_alloc(64, n_bytes);
    assert_non_null(b.scratch);
    return b;
}

static void free_batch(batch *b) {
    free(b->q), free(b->k), free(b->v), free(b->d_o), free(b->o), free(b->lse);
    free(b->dq), free(b->dk), free(b->dv), free(b->visible), free(b->scratch);
}

static void run(batch *b) {
    const sp_attention_inputs in = {b->q, b->k, b->v, b->ld_q, b->ld_kv};
    const sp_attention_gradients out = {b->dq, b->dk, b->dv, b->ld_q, b->ld_kv};
    sp_attention_forward(&b->shape, b->seqs, b->n_seqs, b->o, b->lse, &in, b->scratch);
    sp_attention_backward(&b->shape, b->seqs, b->n_seqs, &out, b->d_o, b->o, b->lse, &in,
                          b->scratch);
}

/* The definition in f64: a dense softmax over the visible rows. Writes p [n_rows]; returns lse. */
static double softmax(const batch *b, size_t r, size_t h, double *p) {
    const size_t dim = b->shape.head_dim, g = h / (b->shape.n_heads / b->shape.n_kv_heads);
    double max = -INFINITY, sum = 0;
    for (size_t j = 0; j < b->n_rows; j++) {
        p[j] = -INFINITY;
        if (!b->visible[r * b->n_rows + j]) continue;
        p[j] = 0;
        for (size_t i = 0; i < dim; i++)
            p[j] += (double)b->shape.scale * (double)b->q[r * b->ld_q + h * dim + i] *
                    (double)b->k[j * b->ld_kv + g * dim + i];
        max = fmax(max, p[j]);
    }
    for (size_t j = 0; j < b->n_rows; j++) sum += exp(p[j] - max);
    for (size_t j = 0; j < b->n_rows; j++) p[j] = exp(p[j] - max) / sum;
    return max + log(sum);
}

/* o[r,h,i], given p. */
static double output(const batch *b, const double *p, size_t h, size_t i) {
    const size_t dim = b->shape.head_dim, g = h / (b->shape.n_heads / b->shape.n_kv_heads);
    double sum = 0;
    for (size_t j = 0; j < b->n_rows; j++) sum += p[j] * (double)b->v[j * b->ld_kv + g * dim + i];
    return sum;
}

/* L = sum d_o * o. */
static double loss(const batch *b) {
    const size_t dim = b->shape.head_dim;
    double total = 0, *p = malloc(b->n_rows * sizeof *p);
    for (size_t r = 0; r < b->n_rows; r++)
        for (size_t h = 0; h < b->shape.n_heads; h++) {
            softmax(b, r, h, p);
            for (size_t i = 0; i < dim; i++)
                total += (double)b->d_o[r * b->q_width + h * dim + i] * output(b, p, h, i);
        }
    free(p);
    return total;
}

/* dL/dvalue by central difference over the width that f32 took. */
static double slope(const batch *b, float *value) {
    const float middle = *value, low = middle - 1e-3F, high = middle + 1e-3F;
    *value = high;
    const double above = loss(b);
    *value = low;
    const double below = loss(b);
    *value = middle;
    return (above - below) / ((double)high - (double)low);
}

/* The gradient in f64, dense, for batches too large for differences. */
static void dense_gradients(const batch *b, double *dq, double *dk, double *dv) {
    const size_t dim = b->shape.head_dim, group = b->shape.n_heads / b->shape.n_kv_heads;
    double *p = malloc(b->n_rows * sizeof *p);
    for (size_t r = 0; r < b->n_rows; r++)
        for (size_t h = 0; h < b->shape.n_heads; h++) {
            softmax(b, r, h, p);
            const float *d_o = b->d_o + r * b->q_width + h * dim;
            const size_t at_q = r * b->ld_q + h * dim;
            double delta = 0;
            for (size_t i = 0; i < dim; i++) delta += (double)d_o[i] * output(b, p, h, i);
            for (size_t j = 0; j < b->n_rows; j++) {
                if (!b->visible[r * b->n_rows + j]) continue;
                const size_t at_k = j * b->ld_kv + h / group * dim;
                double dp = 0;
                for (size_t i = 0; i < dim; i++) dp += (double)d_o[i] * (double)b->v[at_k + i];
                const double ds = p[j] * (dp - delta) * (double)b->shape.scale;
                for (size_t i = 0; i < dim; i++) {
                    dq[at_q + i] += ds * (double)b->k[at_k + i];
                    dk[at_k + i] += ds * (double)b->q[at_q + i];
                    dv[at_k + i] += p[j] * (double)d_o[i];
                }
            }
        }
    free(p);
}

static void check_forward(const batch *b, double tolerance) {
    const size_t dim = b->shape.head_dim;
    double *p = malloc((b->n_rows + 1) * sizeof *p);
    for (size_t r = 0; r < b->n_rows; r++)
        for (size_t h = 0; h < b->shape.n_heads; h++) {
            assert_close(b->lse[r * b->shape.n_heads + h], softmax(b, r, h, p), tolerance);
            for (size_t i = 0; i < dim; i++)
                assert_close(b->o[r * b->q_width + h * dim + i], output(b, p, h, i), tolerance);
        }
    free(p);
}

/* A prefix with two branches; a lone row; a sequence alone; an empty one; an empty parent. */
static const sp_attention_seq small_seqs[] = {{0, 3, -1},  {3, 4, 0},   {7, 2, 0},   {9, 1, -1},
                                              {10, 4, -1}, {14, 0, -1}, {14, 0, -1}, {14, 2, 6}};
enum { N_SMALL = sizeof small_seqs / sizeof small_seqs[0] };

static const sp_attention_shape small_shapes[] = {{1, 1, 1, 1.0F, 0}, {2, 2, 3, 0.7F, 0},
                                                  {6, 2, 5, 0.4F, 0}, {4, 1, 8, 0.35F, 0},
                                                  {6, 2, 5, 0.4F, 3}, {2, 2, 3, 0.7F, 1}};

static void small_batches_match_f64_and_differences(void **state) {
    for (size_t s = 0; s < sizeof small_shapes / sizeof small_shapes[0]; s++) {
        batch b = make_batch(small_shapes[s], small_seqs, N_SMALL);
        const float margin[2] = {b.dq[b.q_width], b.dk[b.kv_width]};
        run(&b);
        const double rounding = 1e-5;   /* scores of up to 10 in f32 */
        const double truncation = 2e-4; /* 1e-3 squared, times a third derivative of up to 200 */
        check_forward(&b, rounding);
        for (size_t r = 0; r < b.n_rows; r++) {
            for (size_t i = 0; i < b.q_width; i++)
                assert_close(b.dq[r * b.ld_q + i], slope(&b, &b.q[r * b.ld_q + i]), truncation);
            for (size_t i = 0; i < b.kv_width; i++) {
                const size_t at = r * b.ld_kv + i;
                assert_close(b.dk[at], slope(&b, &b.k[at]), truncation);
                assert_close(b.dv[at], slope(&b, &b.v[at]), truncation);
            }
        }
        assert_true(margin[0] == b.dq[b.q_width] && margin[1] == b.dk[b.kv_width]);
        free_batch(&b);
    }
}

/* More than a tile of queries and several blocks of keys, in the parent and in the branches. */
static const sp_attention_seq large_seqs[] = {
    {0, 133, -1}, {133, 150, 0}, {283, 64, 0}, {347, 43, -1}};
enum { N_LARGE = sizeof large_seqs / sizeof large_seqs[0] };
static const sp_attention_shape large_shape = {6, 2, 16, 0.25F, 0};
/* Windows that end within a block, at its edge, and beyond all keys. */
static const size_t large_windows[] = {0, 5, 128, 140, 400};
enum { N_WINDOWS = sizeof large_windows / sizeof large_windows[0] };

static sp_attention_shape with_window(size_t window) {
    sp_attention_shape shape = large_shape;
    shape.window = window;
    return shape;
}

static void check_large(size_t window) {
    batch b = make_batch(with_window(window), large_seqs, N_LARGE);
    double *dq = calloc(b.n_rows * b.ld_q, sizeof *dq);
    double *dk = calloc(b.n_rows * b.ld_kv, sizeof *dk);
    double *dv = calloc(b.n_rows * b.ld_kv, sizeof *dv);
    run(&b);
    const double rounding = 2e-5; /* sums over 300 keys or queries in f32 */
    check_forward(&b, rounding);
    dense_gradients(&b, dq, dk, dv);
    for (size_t r = 0; r < b.n_rows; r++) {
        for (size_t i = r * b.ld_q; i < r * b.ld_q + b.q_width; i++)
            assert_close(b.dq[i], dq[i], rounding);
        for (size_t i = r * b.ld_kv; i < r * b.ld_kv + b.kv_width; i++) {
            assert_close(b.dk[i], dk[i], rounding);
            assert_close(b.dv[i], dv[i], rounding);
        }
    }
    free(dq), free(dk), free(dv);
    free_batch(&b);
}

static void large_batches_match_f64(void **state) {
    for (size_t i = 0; i < N_WINDOWS; i++) check_large(large_windows[i]);
}

static void results_do_not_depend_on_threads(void **state) {
    const int n_threads = omp_get_max_threads();
    omp_set_num_threads(1);
    batch one = make_batch(large_shape, large_seqs, N_LARGE);
    run(&one);
    omp_set_num_threads(3);
    batch three = make_batch(large_shape, large_seqs, N_LARGE);
    run(&three);
    omp_set_num_threads(n_threads);
    assert_memory_equal(one.o, three.o, one.n_rows * one.q_width * sizeof(float));
    assert_memory_equal(one.dq, three.dq, one.n_rows * one.ld_q * sizeof(float));
    assert_memory_equal(one.dk, three.dk, one.n_rows * one.ld_kv * sizeof(float));
    assert_memory_equal(one.dv, three.dv, one.n_rows * one.ld_kv * sizeof(float));
    free_batch(&one);
    free_batch(&three);
}

enum { MOST_SPANS = 80 };

/* Keys [begin, end) of a batch as spans of at most `page` rows. */
static size_t cut_spans(sp_attention_span *spans, const batch *b, size_t begin, size_t end,
                        size_t page) {
    size_t n = 0;
    for (size_t at = begin; at < end; at += page)
        spans[n++] = (sp_attention_span){.k = b->k + at * b->ld_kv,
                                         .v = b->v + at * b->ld_kv,
                                         .len = end - at < page ? end - at : page,
                                         .ld = b->ld_kv};
    return n;
}

/* Row by row, in pieces, and over a prefix elsewhere, in pages: as the whole at once. */
static void check_cached(size_t window, size_t page) {
    batch b = make_batch(with_window(window), large_seqs, N_LARGE);
    const sp_attention_inputs in = {b.q, b.k, b.v, b.ld_q, b.ld_kv};
    sp_attention_forward(&b.shape, b.seqs, b.n_seqs, b.o, NULL, &in, b.scratch);
    float *o = make_values(b.n_rows * b.q_width, 9);
    const size_t cuts[] = {0, 1, 2, 40, 149, 150};
    for (size_t c = 0; c + 1 < sizeof cuts / sizeof cuts[0]; c++) {
        /* rows [cuts[c], cuts[c + 1]) of the first branch, and as many of its parent, at once */
        const size_t len = cuts[c + 1] - cuts[c],
                     parent_end = cuts[c + 1] < 133 ? cuts[c + 1] : 133;
        const size_t parent_len = cuts[c] < 133 ? parent_end - cuts[c] : 0;
        sp_attention_span of_parent[MOST_SPANS], of_branch[MOST_SPANS];
        const size_t n_parent = cut_spans(of_parent, &b, 0, parent_end, page);
        size_t n_branch = cut_spans(of_branch, &b, 0, 133, page);
        n_branch += cut_spans(of_branch + n_branch, &b, 133, 133 + cuts[c + 1], page);
        const sp_attention_cached_seq seqs[] = {
            {cuts[c], parent_len, parent_end, of_parent, n_parent},
            {133 + cuts[c], len, 133 + cuts[c + 1], of_branch, n_branch}};
        sp_attention_cached(&b.shape, seqs, 2, o, b.q, b.ld_q, b.scratch);
    }
    const double rounding = 2e-6; /* other products for few rows than for many */
    for (size_t i = 0; i < 283 * b.q_width; i++) assert_close(o[i], b.o[i], rounding);
    sp_attention_cached(&b.shape, NULL, 0, o, b.q, b.ld_q, b.scratch);
    free(o);
    free_batch(&b);
}

static void cached_rows_equal_the_whole_sequence(void **state) {
    const size_t pages[] = {1000, 128, 64, 7};
    for (size_t i = 0; i < N_WINDOWS; i++)
        for (size_t k = 0; k < sizeof pages / sizeof pages[0]; k++)
            check_cached(large_windows[i], pages[k]);
}

/* Keys and values in bf16 are the same as their values in f32: a row, some, and many. */
static void stored_in_bf16_equals_its_values_in_f32(void **state) {
    const size_t lens[] = {1, 3, 43};
    batch b = make_batch(large_shape, large_seqs, N_LARGE);
    const size_t n = b.n_rows * b.ld_kv;
    uint16_t *k = malloc(n * sizeof *k), *v = malloc(n * sizeof *v);
    sp_f32_to_bf16(k, b.k, n);
    sp_f32_to_bf16(v, b.v, n);
    sp_bf16_to_f32(b.k, k, n);
    sp_bf16_to_f32(b.v, v, n);
    float *o = make_values(b.n_rows * b.q_width, 9);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        const size_t end = 300;
        const sp_attention_span rounded = {k, v, end, b.ld_kv, true},
                                whole = {b.k, b.v, end, b.ld_kv, false};
        const sp_attention_cached_seq one = {end - lens[i], lens[i], end, &rounded, 1};
        const sp_attention_cached_seq other = {end - lens[i], lens[i], end, &whole, 1};
        sp_attention_cached(&b.shape, &one, 1, o, b.q, b.ld_q, b.scratch);
        sp_attention_cached(&b.shape, &other, 1, b.o, b.q, b.ld_q, b.scratch);
        for (size_t j = (end - lens[i]) * b.q_width; j < end * b.q_width; j++)
            assert_true(o[j] == b.o[j]);
    }
    free(k), free(v), free(o);
    free_batch(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_batches_match_f64_and_differences),
        cmocka_unit_test(large_batches_match_f64),
        cmocka_unit_test(results_do_not_depend_on_threads),
        cmocka_unit_test(cached_rows_equal_the_whole_sequence),
        cmocka_unit_test(stored_in_bf16_equals_its_values_in_f32),
    };
    return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
