#include "chain/schedule.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

/* How far a stage has come, in the simulation. */
typedef struct progress {
    size_t n_forward, n_backward; /* micro-batches through */
    /* [n_micro] when each leaves the stage; owned by the simulation */
    double *forward_end, *backward_end;
} progress;

typedef struct simulation {
    const sp_pipeline_shape *shape;
    size_t n_micro;
    bool has_backward;
    progress *stages;  /* [n_stages] */
    double *rank_free; /* [n_ranks] when it has ended what it runs */
} simulation;

/* A candidate: an operation and when it can start. */
typedef struct candidate {
    sp_operation operation;
    double start;
} candidate;

static double arrival(const simulation *sim, const double *ends, size_t micro_batch) {
    return ends[micro_batch] + (sim->shape->n_ranks > 1 ? sim->shape->transfer_s : 0);
}

/* When the stage's next forward pass can start; infinite if not yet known, or not allowed. */
static double forward_start(const simulation *sim, size_t s) {
    const progress *stage = &sim->stages[s];
    const size_t n_stages = sim->shape->n_stages, m = stage->n_forward;
    if (m == sim->n_micro) return INFINITY;
    if (sim->has_backward &&
        m - stage->n_backward >= sp_stage_in_flight(n_stages, sim->shape->n_ranks, s))
        return INFINITY;
    if (s == 0) return 0;
    const progress *before = &sim->stages[s - 1];
    return m < before->n_forward ? arrival(sim, before->forward_end, m) : INFINITY;
}

static double backward_start(const simulation *sim, size_t s) {
    const progress *stage = &sim->stages[s];
    const size_t m = stage->n_backward;
    if (!sim->has_backward || m == stage->n_forward) return INFINITY;
    if (s + 1 == sim->shape->n_stages) return stage->forward_end[m];
    const progress *after = &sim->stages[s + 1];
    return m < after->n_backward ? arrival(sim, after->backward_end, m) : INFINITY;
}

/* The rank's next operation: of those that can start first a backward pass, the deepest stage's. */
static candidate next_of(const simulation *sim, size_t rank) {
    candidate best = {.start = INFINITY};
    for (size_t s = rank; s < sim->shape->n_stages; s += sim->shape->n_ranks)
        for (int is_backward = 0; is_backward < 2; is_backward++) {
            const double ready = is_backward ? backward_start(sim, s) : forward_start(sim, s);
            const double start = fmax(ready, sim->rank_free[rank]);
            if (start > best.start || isinf(start)) continue;
            if (start == best.start && best.operation.is_backward && !is_backward) continue;
            best.start = start;
            best.operation = (sp_operation){.stage = s, .is_backward = is_backward};
        }
    progress *stage = &sim->stages[best.operation.stage];
    best.operation.micro_batch = best.operation.is_backward ? stage->n_backward : stage->n_forward;
    return best;
}

static void run(simulation *sim, size_t rank, const candidate *next) {
    const size_t s = next->operation.stage, m = next->operation.micro_batch;
    progress *stage = &sim->stages[s];
    const bool is_backward = next->operation.is_backward;
    const double end =
        next->start + (is_backward ? sim->shape->backward_s[s] : sim->shape->forward_s[s]);
    sim->rank_free[rank] = end;
    if (is_backward) {
        stage->backward_end[m] = end;
        stage->n_backward++;
    } else {
        stage->forward_end[m] = end;
        stage->n_forward++;
    }
}

static void simulate(simulation *sim, size_t rank, sp_schedule *schedule) {
    const size_t n_ranks = sim->shape->n_ranks;
    const size_t n_all = sim->n_micro * sim->shape->n_stages * (sim->has_backward ? 2 : 1);
    for (size_t i = 0; i < n_all; i++) {
        size_t who = 0;
        candidate first = {.start = INFINITY};
        for (size_t r = 0; r < n_ranks; r++) {
            const candidate next = next_of(sim, r);
            if (next.start < first.start) {
                first = next;
                who = r;
            }
        }
        run(sim, who, &first);
        if (who == rank) schedule->operations[schedule->n_operations++] = first.operation;
    }
    for (size_t r = 0; r < n_ranks; r++)
        schedule->seconds = fmax(schedule->seconds, sim->rank_free[r]);
}

sp_status sp_schedule_make(sp_schedule *schedule, const sp_pipeline_shape *shape, size_t rank,
                           size_t n_micro, bool has_backward) {
    sp_schedule_free(schedule);
    simulation sim = {.shape = shape, .n_micro = n_micro, .has_backward = has_backward};
    const size_t n_stages = shape->n_stages;
    const size_t n_own = (n_stages - rank + shape->n_ranks - 1) / shape->n_ranks;
    void *stages = NULL, *ends = NULL, *free_at = NULL, *operations = NULL;
    sp_status status = sp_alloc_array(&stages, n_stages, sizeof(progress), "a schedule");
    if (status == SP_OK)
        status = sp_alloc_array(&ends, 2 * n_stages * n_micro, sizeof(double), "a schedule");
    if (status == SP_OK)
        status = sp_alloc_array(&free_at, shape->n_ranks, sizeof(double), "a schedule");
    if (status == SP_OK)
        status =
            sp_alloc_array(&operations, 2 * n_own * n_micro, sizeof(sp_operation), "a schedule");
    if (status == SP_OK) {
        sim.stages = stages;
        sim.rank_free = free_at;
        for (size_t s = 0; s < n_stages; s++) {
            sim.stages[s].forward_end = (double *)ends + 2 * s * n_micro;
            sim.stages[s].backward_end = sim.stages[s].forward_end + n_micro;
        }
        schedule->operations = operations;
        simulate(&sim, rank, schedule);
    }
    free(free_at);
    free(ends);
    free(stages);
    return status;
}

void sp_schedule_free(sp_schedule *schedule) {
    free(schedule->operations);
    *schedule = (sp_schedule){0};
}
