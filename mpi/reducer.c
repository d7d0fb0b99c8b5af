#include "mpi/reducer.h"

#include "base/memory.h"
#include "mpi/comm_thread.h"
#include "mpi/grid_comm.h"
#include "mpi/pairwise.h"
#include "mpi/shared_sum.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Gradients of one group with zero 2, which has two of them: one is filled while the other is
   reduced. */
enum { N_POOLED = 2 };
typedef struct pooled {
    float *grads;    /* [largest group], owned */
    size_t group;    /* whose they are */
    uint64_t ticket; /* of their reduction */
} pooled;

struct sp_reducer {
    const sp_grid *grid;   /* borrowed */
    sp_params *params;     /* borrowed */
    const sp_shard *shard; /* borrowed */
    int zero;
    sp_comm_thread *thread;
    sp_shared_sum *shared;   /* with two levels */
    MPI_Comm data, across;   /* duplicates for the thread alone, owned; across with two levels */
    MPI_Comm node;           /* likewise */
    size_t *bounds;          /* [n_groups, data_size + 1], owned: each shard's begin in a group */
    size_t *node_bounds;     /* [node_size + 1], owned: the thread's, for the group at hand */
    size_t *local;           /* [n_groups], owned: where a group begins in the shard's arrays */
    float *shard_grads;      /* [shard.n_values], owned unless there is one replica */
    float *inbox;            /* [SP_PAIRWISE_PIECE], owned */
    pooled pool[N_POOLED];   /* zero 2 */
    size_t next_pooled;      /* which is filled next */
    uint64_t *value_tickets; /* [n_groups], owned: of their gatherings */
    uint64_t last_ticket;
};

static size_t n_replicas(const sp_reducer *reducer) { return sp_grid_data_size(reducer->grid); }

static const size_t *bounds_of(const sp_reducer *reducer, size_t g) {
    return reducer->bounds + g * (n_replicas(reducer) + 1);
}

static size_t largest_group(const sp_params *params) {
    size_t most = 0;
    for (size_t g = 0; g < params->n_groups; g++) {
        const size_t n = sp_params_group_end(params, g) - params->group_begin[g];
        if (n > most) most = n;
    }
    return most;
}

size_t sp_reducer_bytes(const sp_params *params, size_t n_shard_values, size_t data_size,
                        int zero) {
    if (data_size == 1) return 0;
    size_t n_values = n_shard_values + SP_PAIRWISE_PIECE;
    if (zero == 2) n_values += N_POOLED * largest_group(params);
    return n_values * sizeof(float) + SP_SHARED_SUM_BYTES;
}

/* ---- making ---- */

static sp_status allocate(sp_reducer *reducer) {
    const sp_params *params = reducer->params;
    const size_t n_groups = params->n_groups, n = n_replicas(reducer);
    void *bounds = NULL, *node_bounds = NULL, *local = NULL, *tickets = NULL, *grads = NULL,
         *inbox = NULL;
    SP_TRY(sp_alloc_array(&bounds, n_groups * (n + 1), sizeof(size_t), "shards"));
    reducer->bounds = bounds;
    SP_TRY(sp_alloc_array(&node_bounds, (size_t)reducer->grid->node_size + 1, sizeof(size_t),
                          "shards"));
    reducer->node_bounds = node_bounds;
    SP_TRY(sp_alloc_array(&local, n_groups, sizeof(size_t), "shards"));
    reducer->local = local;
    SP_TRY(sp_alloc_array(&tickets, n_groups, sizeof(uint64_t), "shards"));
    reducer->value_tickets = tickets;
    SP_TRY(sp_alloc_array(&grads, reducer->shard->n_values, sizeof(float), "a shard's gradients"));
    reducer->shard_grads = grads;
    SP_TRY(sp_alloc_array(&inbox, SP_PAIRWISE_PIECE, sizeof(float), "a reduction"));
    reducer->inbox = inbox;
    for (size_t i = 0; reducer->zero == 2 && i < N_POOLED; i++) {
        SP_TRY(sp_alloc_array(&grads, largest_group(params), sizeof(float), "a block's gradients"));
        reducer->pool[i].grads = grads;
    }
    return SP_OK;
}

static void find_bounds(sp_reducer *reducer) {
    const size_t n = n_replicas(reducer), own = sp_grid_shard_index(reducer->grid);
    size_t local = 0;
    for (size_t g = 0; g < reducer->params->n_groups; g++) {
        size_t *bounds = reducer->bounds + g * (n + 1);
        for (size_t i = 0; i <= n; i++)
            bounds[i] = sp_shard_cut(reducer->params, g, i, n) - reducer->params->group_begin[g];
        reducer->local[g] = local;
        local += bounds[own + 1] - bounds[own];
    }
    assert(local == reducer->shard->n_values);
}

/* The thread has communicators of its own, so that it never meets another's messages. */
static sp_status connect(sp_reducer *reducer) {
    const sp_grid *grid = reducer->grid;
    MPI_Comm_dup(grid->data, &reducer->data);
    if (sp_grid_has_two_levels(grid)) {
        MPI_Comm_dup(grid->across, &reducer->across);
        MPI_Comm_dup(grid->node, &reducer->node);
        SP_TRY(sp_shared_sum_create(&reducer->shared, reducer->node));
    }
    return sp_comm_thread_create(&reducer->thread, grid->world);
}

sp_status sp_reducer_create(sp_reducer **reducer, const sp_grid *grid, sp_params *params,
                            const sp_shard *shard, int zero) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **reducer, "a reducer"));
    sp_reducer *made = block;
    *made = (sp_reducer){.grid = grid,
                         .params = params,
                         .shard = shard,
                         .zero = zero,
                         .data = MPI_COMM_NULL,
                         .across = MPI_COMM_NULL,
                         .node = MPI_COMM_NULL};
    sp_status status = SP_OK;
    if (sp_grid_data_size(grid) > 1) {
        status = allocate(made);
        if (status == SP_OK) find_bounds(made);
        if (status == SP_OK) status = connect(made);
    }
    if (status != SP_OK)
        sp_reducer_destroy(made);
    else
        *reducer = made;
    return status;
}

void sp_reducer_destroy(sp_reducer *reducer) {
    if (reducer == NULL) return;
    sp_comm_thread_destroy(reducer->thread);
    sp_shared_sum_destroy(reducer->shared);
    MPI_Comm *const comms[] = {&reducer->node, &reducer->across, &reducer->data};
    for (size_t i = 0; i < sizeof comms / sizeof comms[0]; i++)
        if (*comms[i] != MPI_COMM_NULL) MPI_Comm_free(comms[i]);
    for (size_t i = 0; i < N_POOLED; i++) free(reducer->pool[i].grads);
    free(reducer->inbox);
    free(reducer->shard_grads);
    free(reducer->value_tickets);
    free(reducer->local);
    free(reducer->node_bounds);
    free(reducer->bounds);
    free(reducer);
}

const float *sp_reducer_gradients(const sp_reducer *reducer) {
    return n_replicas(reducer) > 1 ? reducer->shard_grads : reducer->params->grads;
}

/* ---- the thread's work ---- */

/* The parts of a group that the ranks of this node share out. With two levels shard j N + k is the
   k-th node's j-th rank's, N nodes; so rank j of each node has N neighbouring shards, and its part is
   these together. Returns the bounds among these shards, which those ranks share out across nodes. */
static const size_t *find_levels(sp_reducer *reducer, size_t g) {
    const sp_grid *grid = reducer->grid;
    const size_t *bounds = bounds_of(reducer, g), n_across = (size_t)grid->across_size;
    for (size_t j = 0; j <= (size_t)grid->node_size; j++)
        reducer->node_bounds[j] = bounds[j * n_across];
    return bounds + (size_t)grid->node_rank * n_across;
}

/* grads are the group's. */
static void reduce_group(sp_reducer *reducer, size_t g, float *grads) {
    float *sum = reducer->shard_grads + reducer->local[g];
    if (!sp_grid_has_two_levels(reducer->grid)) {
        sp_pairwise_reduce_scatter(reducer->data, sum, grads, bounds_of(reducer, g),
                                   reducer->inbox);
    } else {
        const size_t *across = find_levels(reducer, g);
        sp_shared_sum_reduce_scatter(reducer->shared, grads, reducer->node_bounds);
        sp_pairwise_reduce_scatter(reducer->across, sum, grads, across, reducer->inbox);
    }
}

static void reduce_kept(void *owner, size_t g) {
    sp_reducer *reducer = owner;
    reduce_group(reducer, g, reducer->params->grads + reducer->params->group_begin[g]);
}

static void reduce_pooled(void *owner, size_t which) {
    sp_reducer *reducer = owner;
    reduce_group(reducer, reducer->pool[which].group, reducer->pool[which].grads);
}

static void gather_group(void *owner, size_t g) {
    sp_reducer *reducer = owner;
    float *values = reducer->params->values + reducer->params->group_begin[g];
    if (!sp_grid_has_two_levels(reducer->grid)) {
        sp_pairwise_all_gather(reducer->data, values, bounds_of(reducer, g));
    } else {
        const size_t *across = find_levels(reducer, g);
        sp_pairwise_all_gather(reducer->across, values, across);
        sp_shared_sum_all_gather(reducer->shared, values, reducer->node_bounds);
    }
}

static bool has_values(const sp_reducer *reducer, size_t g) {
    return sp_params_group_end(reducer->params, g) > reducer->params->group_begin[g];
}

/* ---- a step ---- */

void sp_reducer_begin_step(sp_reducer *reducer) {
    sp_params *params = reducer->params;
    if (params->grads != NULL) memset(params->grads, 0, params->n_values * sizeof *params->grads);
    if (reducer->shard_grads != NULL)
        memset(reducer->shard_grads, 0, reducer->shard->n_values * sizeof(float));
}

/* Gives the group's parameters a buffer for their gradients, when what was in it is reduced. */
void sp_reducer_before_backward(sp_reducer *reducer, size_t g) {
    sp_params *params = reducer->params;
    if (n_replicas(reducer) == 1 || reducer->zero != 2 || !has_values(reducer, g)) return;
    pooled *buffer = &reducer->pool[reducer->next_pooled];
    const size_t begin = params->group_begin[g], end = sp_params_group_end(params, g);
    sp_comm_thread_wait(reducer->thread, buffer->ticket);
    buffer->group = g;
    memset(buffer->grads, 0, (end - begin) * sizeof(float));
    for (size_t i = 0; i < params->n_entries; i++) {
        sp_param *param = params->entries[i];
        if (param->offset >= begin && param->offset < end)
            param->grad = buffer->grads + (param->offset - begin);
    }
}

void sp_reducer_after_backward(sp_reducer *reducer, size_t g, bool is_last_micro_batch) {
    if (n_replicas(reducer) == 1 || !has_values(reducer, g)) return;
    if (reducer->zero == 2) {
        const size_t which = reducer->next_pooled;
        reducer->next_pooled = (which + 1) % N_POOLED;
        reducer->last_ticket = reducer->pool[which].ticket =
            sp_comm_thread_submit(reducer->thread, reduce_pooled, reducer, which);
    } else if (is_last_micro_batch) {
        reducer->last_ticket = sp_comm_thread_submit(reducer->thread, reduce_kept, reducer, g);
    }
}

void sp_reducer_wait_gradients(sp_reducer *reducer) {
    if (n_replicas(reducer) > 1) sp_comm_thread_wait(reducer->thread, reducer->last_ticket);
}

void sp_reducer_gather(sp_reducer *reducer) {
    if (n_replicas(reducer) == 1) return;
    for (size_t g = 0; g < reducer->params->n_groups; g++)
        if (has_values(reducer, g))
            reducer->last_ticket = reducer->value_tickets[g] =
                sp_comm_thread_submit(reducer->thread, gather_group, reducer, g);
}

void sp_reducer_wait_values(sp_reducer *reducer, size_t g) {
    if (n_replicas(reducer) > 1) sp_comm_thread_wait(reducer->thread, reducer->value_tickets[g]);
}

void sp_reducer_wait_all_values(sp_reducer *reducer) {
    if (n_replicas(reducer) > 1) sp_comm_thread_wait(reducer->thread, reducer->last_ticket);
}
