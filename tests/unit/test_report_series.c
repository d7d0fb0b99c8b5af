/* A thinned series keeps what a plot must show: both ends, and every peak's height. */
#include "run/report_series.h"
#include "tests/check.h"

#include <math.h>
#include <stdlib.h>

enum { N_LENGTHS = 9 };
static const size_t lengths[N_LENGTHS] = {1, 2, 255, 256, 257, 511, 512, 1000, 100001};

static double value_at(size_t i) {
    const uint32_t bits = (uint32_t)(i * 2654435761u);
    return sin((double)i / 50) + (double)(bits >> 8) / (1 << 24);
}

static sp_series *series_of(size_t n) {
    sp_series *series = calloc(1, sizeof *series);
    assert_non_null(series);
    for (size_t i = 0; i < n; i++) sp_series_add(series, (double)i, value_at(i));
    return series;
}

static void least_and_greatest_of_each_bucket_are_exact(void **state) {
    for (size_t k = 0; k < N_LENGTHS; k++) {
        sp_series *series = series_of(lengths[k]);
        size_t begin = 0;
        for (size_t b = 0; b < series->n_buckets; b++) {
            const sp_series_bucket *bucket = &series->buckets[b];
            double least = (double)INFINITY, greatest = -(double)INFINITY, sum = 0;
            for (size_t i = begin; i < begin + bucket->n; i++) {
                least = fmin(least, value_at(i));
                greatest = fmax(greatest, value_at(i));
                sum += value_at(i);
            }
            assert_true(bucket->first.x == (double)begin);
            assert_true(bucket->last.x == (double)(begin + bucket->n - 1));
            assert_true(bucket->least.y == least && value_at((size_t)bucket->least.x) == least);
            assert_true(bucket->greatest.y == greatest);
            const double rounding = 1e-9 * (double)bucket->n; /* sums in another order */
            assert_true(fabs(bucket->sum_y - sum) <= rounding);
            begin += bucket->n;
        }
        assert_int_equal(begin, lengths[k]);
        assert_int_equal(series->n_points, lengths[k]);
        free(series);
    }
}

static void a_series_of_any_length_fills_its_buckets(void **state) {
    for (size_t k = 0; k < N_LENGTHS; k++) {
        sp_series *series = series_of(lengths[k]);
        assert_true(series->n_buckets <= SP_SERIES_BUCKETS);
        if (lengths[k] >= SP_SERIES_BUCKETS)
            assert_true(series->n_buckets >= SP_SERIES_BUCKETS / 2);
        else
            assert_int_equal(series->n_buckets, lengths[k]);
        free(series);
    }
}

static void points_of_a_bucket_come_in_order_and_once(void **state) {
    sp_series *series = series_of(100001);
    double last = -1;
    for (size_t b = 0; b < series->n_buckets; b++) {
        sp_point points[SP_SERIES_BUCKET_POINTS];
        const size_t n = sp_series_points(&series->buckets[b], points);
        assert_true(n >= 2 && n <= SP_SERIES_BUCKET_POINTS);
        for (size_t i = 0; i < n; i++) {
            assert_true(points[i].x > last);
            assert_true(points[i].y == value_at((size_t)points[i].x));
            last = points[i].x;
        }
    }
    free(series);
}

static void a_bucket_of_one_point_is_one_point(void **state) {
    sp_series *series = series_of(1);
    sp_point points[SP_SERIES_BUCKET_POINTS];
    assert_int_equal(sp_series_points(&series->buckets[0], points), 1);
    free(series);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_and_greatest_of_each_bucket_are_exact),
        cmocka_unit_test(a_series_of_any_length_fills_its_buckets),
        cmocka_unit_test(points_of_a_bucket_come_in_order_and_once),
        cmocka_unit_test(a_bucket_of_one_point_is_one_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
