#include "mpi/replicas.h"

#include "base/memory.h"
#include "mpi/agree.h"
#include "mpi/grid_comm.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

enum { TEXT_SIZE = 512, OTHERS_SIZE = 48, MOST_NAMED = 8 };

#define ADVICE "The last checkpoint stays; go on from it, without that machine if it comes again"

sp_status sp_replicas_create(sp_replicas *replicas, const sp_grid *grid, const sp_params *params) {
    void *hashes = NULL, *of_one = NULL;
    SP_TRY(sp_alloc_array(&hashes, params->n_entries, 3 * sizeof(uint64_t), "weight hashes"));
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

/* Parameters differ much in size, and no thread's share in a result. */
static void hash_all(uint64_t *hashes, const sp_params *params) {
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < params->n_entries; i++) hashes[i] = hash_of(params->entries[i]);
}

/* Leaves the largest hash of each parameter, and behind these the smallest one's inverse. */
static void reduce_hashes(sp_replicas *r) {
    const size_t n = r->params->n_entries;
    for (size_t i = 0; i < n; i++) r->hashes[n + i] = ~r->hashes[i];
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

/* Writes " and 2 more tensor(s)", or nothing. */
static const char *name_others(char text[OTHERS_SIZE], size_t n_others) {
    text[0] = '\0';
    if (n_others > 0) snprintf(text, OTHERS_SIZE, " and %zu more tensor(s)", n_others);
    return text;
}

static sp_status fail_of(const sp_replicas *r, const sp_param *param, size_t n_others) {
    char ranks[TEXT_SIZE], others[OTHERS_SIZE];
    name_others(others, n_others);
    uint64_t good = 0;
    if (find_majority(&good, r)) {
        list_ranks(ranks, r, &good);
        return sp_fail(SP_NUMERIC,
                       "'%s'%s: %s is not as the other %zu replicas: a flipped bit? " ADVICE,
                       param->name, others, ranks, count_holders(r, good));
    }
    list_ranks(ranks, r, NULL);
    return sp_fail(SP_NUMERIC,
                   "'%s'%s: the replicas on %s differ, and none has a majority: a flipped bit? The "
                   "last checkpoint stays; go on from it",
                   param->name, others, ranks);
}

static uint64_t *noted_hashes(const sp_replicas *r) { return r->hashes + 2 * r->params->n_entries; }

/* This rank's own: what has changed since the note. */
static sp_status compare_with_note(const sp_replicas *r) {
    const sp_world *world = r->grid->world;
    const uint64_t *noted = noted_hashes(r);
    const sp_param *first = NULL;
    size_t n_changed = 0;
    char others[OTHERS_SIZE];
    for (size_t i = 0; i < r->params->n_entries; i++)
        if (r->hashes[i] != noted[i] && n_changed++ == 0) first = r->params->entries[i];
    if (n_changed == 0) return SP_OK;
    return sp_fail(SP_NUMERIC,
                   "'%s'%s: changed in the memory of rank %d (%s) while nobody wrote to it: a "
                   "flipped bit? " ADVICE,
                   first->name, name_others(others, n_changed - 1), world->rank,
                   sp_world_host(world, world->rank));
}

/* Over the data group. */
static sp_status compare_with_others(sp_replicas *r) {
    if (r->grid->data_size == 1) return SP_OK;
    reduce_hashes(r);
    const size_t n = r->params->n_entries;
    const sp_param *first = NULL;
    size_t n_different = 0;
    for (size_t i = 0; i < n; i++)
        if (r->hashes[i] != ~r->hashes[n + i] && n_different++ == 0) first = r->params->entries[i];
    if (n_different == 0) return SP_OK;
    gather_hashes(r, first);
    return fail_of(r, first, n_different - 1);
}

void sp_replicas_note(sp_replicas *replicas) {
    hash_all(noted_hashes(replicas), replicas->params);
    replicas->is_noted = true;
}

sp_status sp_replicas_verify(sp_replicas *replicas) {
    hash_all(replicas->hashes, replicas->params);
    const sp_status status = replicas->is_noted ? compare_with_note(replicas) : SP_OK;
    replicas->is_noted = false;
    SP_TRY(sp_agree(replicas->grid->world, status));
    return sp_agree(replicas->grid->world, compare_with_others(replicas));
}
