#include "chain/cut.h"

#include "base/memory.h"

#include <stdbool.h>
#include <stdlib.h>

/* Fills stages greedily, none dearer than `most`, and leaves a block for each stage to come. False:
   more than n_stages would be needed. */
static bool cut_within(sp_stage *stages, size_t n_stages, const double *costs, size_t n,
                       double most) {
    size_t at = 0;
    for (size_t s = 0; s < n_stages; s++) {
        const size_t last = n - (n_stages - 1 - s); /* the stages to come need the blocks behind */
        double sum = costs[at];
        stages[s].begin = at++;
        while (at < last && sum + costs[at] <= most) sum += costs[at++];
        stages[s].end = at;
        if (sum > most) return false;
    }
    return at == n;
}

double sp_stage_cost(const sp_stage *stage, const double *costs) {
    double sum = 0;
    for (size_t i = stage->begin; i < stage->end; i++) sum += costs[i];
    return sum;
}

/* Halving the interval in which the best limit lies finds it to the last bit that matters. */
static void cut_best(sp_stage *stages, size_t n_stages, const double *costs, size_t n) {
    double low = 0, high = 0;
    for (size_t i = 0; i < n; i++) high += costs[i];
    for (int round = 0; round < 60; round++) {
        const double middle = low + (high - low) / 2;
        if (cut_within(stages, n_stages, costs, n, middle))
            high = middle;
        else
            low = middle;
    }
    (void)cut_within(stages, n_stages, costs, n, high * (1 + 1e-12)); /* above rounding */
}

sp_status sp_cut(sp_stage *stages, size_t n_stages, const double *costs, size_t n) {
    if (n_stages > n)
        return sp_fail(SP_USAGE, "parallel.pipeline: %zu ranks for a chain of %zu blocks", n_stages,
                       n);
    cut_best(stages, n_stages, costs, n);
    return SP_OK;
}

/* Both halves cut alike, by the costs of their pairs; what the longer half has more is its last
   blocks', and goes to the last rank. */
static void cut_pairs(sp_stage *stages, size_t n_ranks, const double *costs, size_t n, size_t fold,
                      double *pairs) {
    const size_t second = n - fold, n_pairs = fold < second ? fold : second;
    for (size_t i = 0; i < n_pairs; i++) pairs[i] = costs[i] + costs[fold + i];
    for (size_t i = n_pairs; i < fold; i++) pairs[n_pairs - 1] += costs[i];
    for (size_t i = fold + n_pairs; i < n; i++) pairs[n_pairs - 1] += costs[i];
    cut_best(stages, n_ranks, pairs, n_pairs);
    for (size_t k = 0; k < n_ranks; k++)
        stages[n_ranks + k] = (sp_stage){fold + stages[k].begin, fold + stages[k].end};
    stages[n_ranks - 1].end = fold;
    stages[2 * n_ranks - 1].end = n;
}

sp_status sp_cut_folded(sp_stage *stages, size_t n_ranks, const double *costs, size_t n,
                        size_t fold) {
    const size_t second = n - fold;
    if (n_ranks > fold || n_ranks > second)
        return sp_fail(SP_USAGE, "parallel.pipeline: %zu ranks for halves of %zu and %zu blocks",
                       n_ranks, fold, second);
    if (fold + 1 < second || second + 1 < fold) {
        cut_best(stages, n_ranks, costs, fold);
        cut_best(stages + n_ranks, n_ranks, costs + fold, second);
        for (size_t k = n_ranks; k < 2 * n_ranks; k++) {
            stages[k].begin += fold;
            stages[k].end += fold;
        }
        return SP_OK;
    }
    void *pairs = NULL;
    SP_TRY(sp_alloc_array(&pairs, fold, sizeof(double), "a cut"));
    cut_pairs(stages, n_ranks, costs, n, fold, pairs);
    free(pairs);
    return SP_OK;
}
