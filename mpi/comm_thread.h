/* The communication thread of a rank: reductions that go on while the rank computes.

   Jobs run one after the other in the order in which they were given. A ticket counts them: the
   n-th job given has ticket n. Where MPI allows one thread only, a job runs at once in submit(). */
#pragma once

#include "base/status.h"
#include "mpi/world.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_comm_thread sp_comm_thread;

/* What a job does to its owner; `item` says with which part of it. */
typedef void (*sp_comm_job)(void *owner, size_t item);

/* Starts the thread into *thread, owned. Local. SP_FAILURE: no memory, or no thread to be had. */
SP_NODISCARD sp_status sp_comm_thread_create(sp_comm_thread **thread, const sp_world *world);

/* Ends the thread after the jobs at hand. NULL is fine. */
void sp_comm_thread_destroy(sp_comm_thread *thread);

/* Gives a job, returns its ticket. `owner` is borrowed until it is done. At most 4,096 jobs wait; one
   more waits for a place. */
uint64_t sp_comm_thread_submit(sp_comm_thread *thread, sp_comm_job job, void *owner, size_t item);

/* Returns when the job of that ticket, and all before it, are done. Ticket 0 is always done. */
void sp_comm_thread_wait(sp_comm_thread *thread, uint64_t ticket);
