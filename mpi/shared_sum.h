/* Sums and copies among the ranks of one node through memory that they share. For the files under
   mpi/ only. */
#pragma once

#include "base/status.h"
#include "mpi/world_comm.h"

#include <stddef.h>

typedef struct sp_shared_sum sp_shared_sum;

/* Collective over `node`, whose ranks share memory and which is borrowed. SP_FAILURE on all ranks: no
   shared memory to be had. */
SP_NODISCARD sp_status sp_shared_sum_create(sp_shared_sum **sum, MPI_Comm node);
void sp_shared_sum_destroy(sp_shared_sum *sum); /* collective; NULL is fine */

/* Collective. Rank j's values [bounds[j], bounds[j + 1]) become the sums over all ranks, added in rank
   order; its others stay as they are. bounds [n_ranks + 1] rise and are equal on all ranks. */
void sp_shared_sum_reduce_scatter(sp_shared_sum *sum, float *values, const size_t *bounds);

/* Collective. values [bounds[j], bounds[j + 1]) of rank j reach every rank. */
void sp_shared_sum_all_gather(sp_shared_sum *sum, float *values, const size_t *bounds);

/* Bytes of shared memory that each rank brings. */
enum { SP_SHARED_SUM_BYTES = 1 << 22 };
