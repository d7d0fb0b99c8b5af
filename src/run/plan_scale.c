#include "run/plan_scale.h"

#include <stdlib.h>

static sp_status add_point(sp_scale *scale, sp_plan *plan) {
    sp_plan_estimate *estimates = NULL;
    size_t n = 0;
    const sp_status status = sp_plan_search(&estimates, &n, plan);
    if (status == SP_USAGE) return SP_OK; /* no grid of so many ranks */
    if (status != SP_OK) return status;
    const sp_plan_estimate *best = &estimates[0];
    if (best->fits) {
        const double tokens = (double)plan->global_batch * plan->chain.data.encoder_tokens;
        sp_scale_point *point = &scale->points[scale->n_points++];
        *point = (sp_scale_point){.n_nodes = plan->machine.n_nodes,
                                  .global_batch = plan->global_batch,
                                  .best = *best,
                                  .tokens_per_s = tokens / best->step_s};
        const sp_scale_point *first = &scale->points[0];
        point->efficiency = point->tokens_per_s / first->tokens_per_s * (double)first->n_nodes /
                            (double)point->n_nodes;
    }
    free(estimates);
    return SP_OK;
}

sp_status sp_plan_scale(sp_scale *scale, sp_plan *plan, size_t most_nodes, bool is_weak) {
    const size_t n_nodes = plan->machine.n_nodes, global_batch = plan->global_batch;
    sp_status status = SP_OK;
    *scale = (sp_scale){0};
    for (size_t n = 1; n <= most_nodes && scale->n_points < SP_SCALE_MOST_POINTS; n *= 2) {
        plan->machine.n_nodes = n;
        plan->global_batch = is_weak ? global_batch * n : global_batch;
        status = add_point(scale, plan);
        if (status != SP_OK) break;
    }
    plan->machine.n_nodes = n_nodes;
    plan->global_batch = global_batch;
    return status;
}
