#include "mpi/replicas.h"

#include "base/memory.h"
#include "mpi/grid_comm.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

enum { TEXT_SIZE = 512, MOST_NAMED = 8 };

sp_status sp_replicas_create(sp_replicas *replicas, const sp_grid *grid, const sp_params *params) {
    void *hashes = NULL, *of_one = NULL;
    SP_TRY(sp_alloc_array(&hashes, params->n_entries, 2 * sizeof(uint64_t), "weight hashes"));
    const sp_status status =
        sp_alloc_array(&of_one, sp_grid_data_size(grid), 2 * sizeof(uint64_t), "weight hashes");
    if (status != SP_OK) {
        free(hashes);
        return status;
    }
    *replicas = (sp_replicas){.grid = grid, .params = params, .hashes = hashes, .of_one = of_one};
    return SP_OK;
}

void sp_replicas_free(sp_replicas *replicas) {
    free(replicas->of_one);
    free(replicas->hashes);
    *replicas = (sp_replicas){0};
}

static uint64_t hash_of(const sp_param *param) {
    return XXH3_64bits(param->value, param->n_values * sizeof *param->value);
}

/* Leaves the largest hash of each parameter, and behind these the smallest one's inverse. */
static void reduce_hashes(sp_replicas *r) {
    const size_t n = r->params->n_entries;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        r->hashes[i] = hash_of(r->params->entries[i]);
        r->hashes[n + i] = ~r->hashes[i];
    }
    assert(n <= INT_MAX / 2); /* parameters are some thousands */
    MPI_Request request;
    MPI_Iallreduce(MPI_IN_PLACE, r->hashes, (int)(2 * n), MPI_UINT64_T, MPI_MAX, r->grid->data,
                   &request);
    sp_wait(&request);
}

static void gather_hashes(sp_replicas *r, const sp_param *param) {
    const uint64_t mine[] = {hash_of(param), (uint64_t)r->grid->world->rank};
    MPI_Request request;
    MPI_Iallgather(mine, 2, MPI_UINT64_T, r->of_one, 2, MPI_UINT64_T, r->grid->data, &request);
    sp_wait(&request);
}

static size_t count_holders(const sp_replicas *r, uint64_t hash) {
    size_t n_holders = 0;
    for (int i = 0; i < r->grid->data_size; i++) n_holders += r->of_one[2 * i] == hash;
    return n_holders;
}

/* Does more than half hold one hash? */
static bool find_majority(uint64_t *hash, const sp_replicas *r) {
    for (int i = 0; i < r->grid->data_size; i++) {
        *hash = r->of_one[2 * i];
        if (2 * count_holders(r, *hash) > (size_t)r->grid->data_size) return true;
    }
    return false;
}

/* Writes "rank 1 (host), rank 4 (host)": those whose hash is not *good, or all. */
static void list_ranks(char text[TEXT_SIZE], const sp_replicas *r, const uint64_t *good) {
    size_t used = 0;
    int n_named = 0, n_left_out = 0;
    text[0] = '\0';
    for (int i = 0; i < r->grid->data_size; i++) {
        if (good != NULL && r->of_one[2 * i] == *good) continue;
        const int rank = (int)r->of_one[2 * i + 1]; /* one of ours, so it fits */
        if (n_named == MOST_NAMED || used > TEXT_SIZE - 2 * SP_HOST_SIZE) {
            n_left_out++;
            continue;
        }
        used +=
            (size_t)snprintf(text + used, TEXT_SIZE - used, "%srank %d (%s)",
                             n_named > 0 ? ", " : "", rank, sp_world_host(r->grid->world, rank));
        n_named++;
    }
    if (n_left_out > 0) snprintf(text + used, TEXT_SIZE - used, " and %d more", n_left_out);
}

static sp_status fail_of(const sp_replicas *r, const sp_param *param, size_t n_others) {
    char ranks[TEXT_SIZE], others[48] = "";
    if (n_others > 0) snprintf(others, sizeof others, " and %zu more tensor(s)", n_others);
    uint64_t good = 0;
    if (find_majority(&good, r)) {
        list_ranks(ranks, r, &good);
        return sp_fail(SP_NUMERIC,
                       "'%s'%s: %s is not as the other %zu replicas: a flipped bit? The last "
                       "checkpoint stays; go on from it, without that machine if it comes again",
                       param->name, others, ranks, count_holders(r, good));
    }
    list_ranks(ranks, r, NULL);
    return sp_fail(SP_NUMERIC,
                   "'%s'%s: the replicas on %s differ, and none has a majority: a flipped bit? The "
                   "last checkpoint stays; go on from it",
                   param->name, others, ranks);
}

sp_status sp_replicas_verify(sp_replicas *replicas) {
    if (replicas->grid->data_size == 1) return SP_OK;
    reduce_hashes(replicas);
    const sp_params *params = replicas->params;
    const sp_param *first = NULL;
    size_t n_different = 0;
    for (size_t i = 0; i < params->n_entries; i++) {
        if (replicas->hashes[i] == ~replicas->hashes[params->n_entries + i]) continue;
        if (n_different++ == 0) first = params->entries[i];
    }
    if (n_different == 0) return SP_OK;
    gather_hashes(replicas, first);
    return fail_of(replicas, first, n_different - 1);
}
