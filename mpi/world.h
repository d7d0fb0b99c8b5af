/* The ranks of this run: start, end, and the few collectives that need no knowledge of a model.

   MPI stays inside mpi/: elsewhere a world is an opaque handle. A program started without a
   launcher is a world of one rank. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_world sp_world;

/* Starts MPI, once a process. Refuses a launch in which a resource manager started several tasks
   that MPI does not see as one world (n singletons that would overwrite each other).
   SP_FAILURE: that, or the thread level that we need is not provided. */
SP_NODISCARD sp_status sp_world_begin(sp_world **world);

/* Ends MPI and returns `status`. Collective if all ranks hold the same outcome: SP_OK, or what
   sp_agree() gave. A failure that was not agreed ends all ranks within seconds: the failing rank
   says who, where and why, and the job's exit code is `status`. */
sp_status sp_world_end(sp_world *world, sp_status status);

/* Ends all ranks at once, as sp_world_end() does after a failure that was not agreed: for a rank that
   fails while others may wait for it, before it releases what they share. Returns `status` where
   there is one rank, or all is well. */
sp_status sp_world_fail_alone(sp_world *world, sp_status status);

/* Local. Compares the world with the number of ranks that a job script started, 0: any. What a launcher
   of another MPI starts is n worlds of one rank, which nothing in them can tell from a run that is
   meant to be alone. SP_USAGE, on every rank alike: both numbers, and how to start. */
SP_NODISCARD sp_status sp_world_expect(const sp_world *world, size_t n_ranks);

int sp_world_rank(const sp_world *world);
int sp_world_size(const sp_world *world);
int sp_world_node_count(const sp_world *world); /* machines that the ranks run on */

/* May several threads call MPI at once? Else only the one that began may. */
bool sp_world_has_threads(const sp_world *world);

/* Name of the host that a rank runs on, cut to SP_HOST_SIZE. Borrowed from the world. */
enum { SP_HOST_SIZE = 64 };
const char *sp_world_host(const sp_world *world, int rank);

/* Collective: returns when all ranks have come. Sleeps between tests: burns no core. */
void sp_world_barrier(sp_world *world);

/* Collective. values [n] become their sums over all ranks, in rank order: the same bits on every
   rank and in every run. */
void sp_world_sum_u64(sp_world *world, uint64_t *values, size_t n);
void sp_world_sum_double(sp_world *world, double *values, size_t n);

/* Collective. values [n] become their maxima over all ranks. */
void sp_world_max_double(sp_world *world, double *values, size_t n);

/* Collective. n_bytes of rank `root` reach every rank. */
void sp_world_broadcast(sp_world *world, void *data, size_t n_bytes, int root);

/* Collective. Each rank brings n_bytes (which may differ); on rank 0 *all holds them in rank
   order, owned, with sizes [n_ranks], owned; elsewhere both are NULL. */
SP_NODISCARD sp_status sp_world_gather(sp_world *world, const void *data, size_t n_bytes,
                                       char **all, size_t **sizes);
