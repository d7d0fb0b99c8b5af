/* A long series of points in little memory, for a plot: neighbours share a bucket, which remembers where
   it begins and ends, and its least and greatest point, so that no peak is lost. Buckets double their
   width whenever there are too many, so that a series of any length is thinned in one pass. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SP_SERIES_BUCKETS = 256, SP_SERIES_BUCKET_POINTS = 4 };

typedef struct sp_point {
    double x, y;
} sp_point;

typedef struct sp_series_bucket {
    sp_point first, last, least, greatest;
    double sum_x, sum_y;
    uint64_t n; /* points in it */
} sp_series_bucket;

typedef struct sp_series {
    sp_series_bucket buckets[SP_SERIES_BUCKETS];
    size_t n_buckets;
    uint64_t n_points;   /* added */
    uint64_t per_bucket; /* points that a full bucket has; 0 before the first */
} sp_series;             /* all zero: empty */

/* Adds a point that is finite and not left of those before. */
void sp_series_add(sp_series *series, double x, double y);

/* The points of a bucket in the order in which they were added, none twice, into points
   [SP_SERIES_BUCKET_POINTS]; returns how many. */
size_t sp_series_points(const sp_series_bucket *bucket, sp_point *points);
