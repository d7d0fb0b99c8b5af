#include "tests/check.h"

#include "base/rng.h"

enum { N = 1 << 16 };
static float values[N];

/* The known answers that Random123 publishes for philox4x32, 10 rounds (its file kat_vectors). */
static void philox_gives_the_published_answers(void **state) {
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint32_t out[4];
        sp_philox(out, known[i].counter, known[i].key);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

static void uniform_stays_below_one(void **state) {
    assert_true(sp_uniform(0) == 0);
    assert_true(sp_uniform(UINT32_MAX) < 1);
    assert_true(sp_uniform(UINT32_MAX) > 0.9999999f);
}

static void normal_is_finite_for_all_extreme_bits(void **state) {
    static const uint32_t extremes[] = {0, 1, UINT32_MAX / 2, UINT32_MAX};
    for (size_t i = 0; i < 16; i++) {
        float pair[2];
        sp_normal_pair(pair, extremes[i / 4], extremes[i % 4]);
        assert_true(isfinite(pair[0]) && isfinite(pair[1]));
        assert_true(fabsf(pair[0]) < 7 && fabsf(pair[1]) < 7);
    }
}

static void moments(const float *numbers, size_t n, double *mean, double *variance,
                    double *fourth) {
    double sum = 0, sum2 = 0, sum4 = 0;
    for (size_t i = 0; i < n; i++) sum += (double)numbers[i];
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        const double square = pow((double)numbers[i] - *mean, 2);
        sum2 += square;
        sum4 += square * square;
    }
    *variance = sum2 / (double)n;
    *fourth = sum4 / (double)n;
}

static void streams_have_the_moments_asked_for(void **state) {
    const double noise = 0.03; /* 5 and more deviations of each estimate from 65,536 numbers */
    double mean, variance, fourth;
    const sp_stream stream = sp_stream_of(7, "a tensor");

    sp_stream_uniform(&stream, 0, values, N, -2, 4);
    moments(values, N, &mean, &variance, &fourth);
    assert_close(mean, 1, 2 * noise);
    assert_close(variance, 36 / 12.0, noise);
    for (size_t i = 0; i < N; i++) assert_true(values[i] >= -2 && values[i] <= 4);

    sp_stream_normal(&stream, 0, values, N, 3, 2);
    moments(values, N, &mean, &variance, &fourth);
    assert_close(mean, 3, 2 * noise);
    assert_close(variance, 4, noise);
    assert_close(fourth, 3 * 16, 3 * noise);
}

static void any_piece_of_a_stream_is_the_same_numbers(void **state) {
    const sp_stream stream = sp_stream_of(1, "w");
    float whole[40], piece[40];
    sp_stream_normal(&stream, 0, whole, 40, 0, 1);
    for (size_t begin = 0; begin < 12; begin++)
        for (size_t n = 0; n <= 13; n++) {
            sp_stream_normal(&stream, begin, piece, n, 0, 1);
            assert_memory_equal(piece, whole + begin, n * sizeof *piece);
        }
    sp_stream_uniform(&stream, 0, whole, 40, 0, 1);
    sp_stream_uniform(&stream, 5, piece, 30, 0, 1);
    assert_memory_equal(piece, whole + 5, 30 * sizeof *piece);
}

static double correlation(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum / (double)n;
}

static void seeds_names_and_lags_are_uncorrelated(void **state) {
    enum { HALF = N / 2 };
    const double noise = 5 / sqrt(HALF); /* five deviations */
    const sp_stream streams[] = {sp_stream_of(1, "a"), sp_stream_of(2, "a"), sp_stream_of(1, "b")};
    sp_stream_normal(&streams[0], 0, values, HALF, 0, 1);
    for (size_t i = 1; i < 3; i++) {
        sp_stream_normal(&streams[i], 0, values + HALF, HALF, 0, 1);
        assert_close(correlation(values, values + HALF, HALF), 0, noise);
    }
    for (size_t lag = 1; lag <= 4; lag++)
        assert_close(correlation(values, values + lag, HALF - lag), 0, noise);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_answers),
        cmocka_unit_test(uniform_stays_below_one),
        cmocka_unit_test(normal_is_finite_for_all_extreme_bits),
        cmocka_unit_test(streams_have_the_moments_asked_for),
        cmocka_unit_test(any_piece_of_a_stream_is_the_same_numbers),
        cmocka_unit_test(seeds_names_and_lags_are_uncorrelated),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
