/* Numbered pieces of work that ranks take one after the other: who is slow takes fewer.

   Items are handed out in rising order, each one to one rank. A thread of rank 0 answers the others,
   so that rank 0 may compute as it likes; it wakes once a millisecond, which is how long a rank
   waits for an item and far below what an item should take. Where MPI allows one thread only, the
   items are dealt in turn instead, rank r taking r, r + n_ranks, ... */
#pragma once

#include "base/status.h"
#include "mpi/world.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct sp_work_queue sp_work_queue; /* opaque */

/* Collective over `world`, as end() is. Begins a queue of the items 0 to n_items - 1 into *queue. One
   at a time. SP_FAILURE: no memory, or no thread to be had; agreed by all ranks. */
SP_NODISCARD sp_status sp_work_queue_begin(sp_work_queue **queue, sp_world *world,
                                           uint64_t n_items);

/* Local. Takes the next item into *item; false, and *item untouched, if none is left. */
bool sp_work_queue_take(sp_work_queue *queue, uint64_t *item);

/* Local. From now on no rank gets another item: what a rank does that failed. Where items are dealt
   in turn, only the caller gets no more. */
void sp_work_queue_stop(sp_work_queue *queue);

/* Collective: every rank that began comes here, also after a failure. Releases the queue; NULL is
   fine on all ranks alike. */
void sp_work_queue_end(sp_work_queue *queue);
