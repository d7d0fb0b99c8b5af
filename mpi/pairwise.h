/* Reductions of uneven parts by direct exchange: each rank sends each other one its part, and adds up
   what it receives in a fixed order. Of a vector of n values every rank sends and receives
   n (p - 1) / p, which is the least possible; messages are cut into pieces, so that little memory is
   needed. For the files under mpi/ only. */
#pragma once

#include <mpi.h>
#include <stddef.h>

/* Values of one piece: what the exchange buffers. */
enum { SP_PAIRWISE_PIECE = 1 << 20 };

/* Collective over `comm` of p ranks. Adds to sum [bounds[r + 1] - bounds[r]], on rank r, all ranks'
   values [bounds[r], bounds[r + 1]): its own first, then those of the ranks before it, nearest first.
   bounds [p + 1] are equal on all ranks. inbox has SP_PAIRWISE_PIECE values. */
void sp_pairwise_reduce_scatter(MPI_Comm comm, float *sum, const float *values,
                                const size_t *bounds, float *inbox);

/* Collective. values [bounds[r], bounds[r + 1]) of rank r reach every rank. */
void sp_pairwise_all_gather(MPI_Comm comm, float *values, const size_t *bounds);
