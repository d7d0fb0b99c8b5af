#include "run/report_series.h"

#include <stdbool.h>

static sp_series_bucket bucket_of(sp_point point) {
    return (sp_series_bucket){.first = point,
                              .last = point,
                              .least = point,
                              .greatest = point,
                              .sum_x = point.x,
                              .sum_y = point.y,
                              .n = 1};
}

/* `right` follows `left`; of equal points the first one counts. */
static sp_series_bucket join(const sp_series_bucket *left, const sp_series_bucket *right) {
    sp_series_bucket joined = *left;
    joined.last = right->last;
    if (right->least.y < left->least.y) joined.least = right->least;
    if (right->greatest.y > left->greatest.y) joined.greatest = right->greatest;
    joined.sum_x += right->sum_x;
    joined.sum_y += right->sum_y;
    joined.n += right->n;
    return joined;
}

static void widen(sp_series *series) {
    for (size_t i = 0; 2 * i < series->n_buckets; i++)
        series->buckets[i] = join(&series->buckets[2 * i], &series->buckets[2 * i + 1]);
    series->n_buckets /= 2;
    series->per_bucket *= 2;
}

void sp_series_add(sp_series *series, double x, double y) {
    const sp_series_bucket added = bucket_of((sp_point){x, y});
    if (series->per_bucket == 0) series->per_bucket = 1;
    series->n_points++;
    if (series->n_buckets > 0) {
        sp_series_bucket *last = &series->buckets[series->n_buckets - 1];
        if (last->n < series->per_bucket) {
            *last = join(last, &added);
            return;
        }
    }
    if (series->n_buckets == SP_SERIES_BUCKETS) widen(series);
    series->buckets[series->n_buckets++] = added;
}

static bool is_same(sp_point a, sp_point b) { return !(a.x < b.x || a.x > b.x); }

size_t sp_series_points(const sp_series_bucket *bucket, sp_point *points) {
    const bool is_rising = bucket->least.x <= bucket->greatest.x;
    const sp_point all[SP_SERIES_BUCKET_POINTS] = {
        bucket->first, is_rising ? bucket->least : bucket->greatest,
        is_rising ? bucket->greatest : bucket->least, bucket->last};
    size_t n = 0;
    for (size_t i = 0; i < SP_SERIES_BUCKET_POINTS; i++)
        if (n == 0 || !is_same(points[n - 1], all[i])) points[n++] = all[i];
    return n;
}
