/* Finds a rank that hangs: stopped, on a machine that is gone, in an endless loop, or in a wait that
   nobody will end; says where every rank was, and ends the job.

   Each rank has a thread that sends a heartbeat every min(1 s, limit / 10): where its training
   thread is, and how long it has been there. All send theirs to two ranks, the watchers, which know
   where everybody is: rank 0, and the last one, which is rarely on the same machine. The watchers
   send theirs to all, so that every rank would miss them. The job is ended when for limit_s less a
   margin (10 s, or half of a limit below 20 s; in it the finding is made and the job ends)
   - a rank is not heard, or
   - no rank moves: each of its training threads is where it was.
   Time in which a rank's own thread did not run does not count, so that a machine that was suspended
   wakes up without an alarm.

   The training thread says where it is; that costs a few stores, so say it at every block. What
   takes long must say it more often than the limit, or the limit must be longer. */
#pragma once

#include "mpi/world.h"

/* What a training thread does. */
typedef enum sp_phase {
    SP_PHASE_START,
    SP_PHASE_DATA,    /* reads samples */
    SP_PHASE_FORWARD, /* computes, as those after it */
    SP_PHASE_BACKWARD,
    SP_PHASE_UPDATE, /* of its weights */
    SP_PHASE_VALIDATE,
    SP_PHASE_SAVE,
    SP_PHASE_NEIGHBOUR, /* from here on it waits for others: for a stage of its pipeline */
    SP_PHASE_REDUCE,    /* for sums of gradients */
    SP_PHASE_GATHER,    /* for updated weights */
    SP_PHASE_COMPARE,   /* for hashes of the replicas' weights */
    SP_PHASE_AGREE,     /* for all ranks' word on how they fared */
    SP_N_PHASES,
} sp_phase;

/* Stands for no micro-batch, no block. */
#define SP_NOWHERE SIZE_MAX

typedef struct sp_watchdog sp_watchdog; /* opaque; NULL: nobody watches, and every call is fine */

/* Collective over the world. Starts the thread. *watchdog stays NULL if limit_s is 0 or
   the library allows no threads (sp_world_has_threads()). SP_FAILURE on every rank: no memory or no
   thread on one. */
SP_NODISCARD sp_status sp_watchdog_begin(sp_watchdog **watchdog, sp_world *world, double limit_s);

/* Local, by one thread. The training thread is now there; each call counts as a move. */
void sp_watchdog_at(sp_watchdog *watchdog, sp_phase phase, uint64_t step, size_t micro_batch,
                    size_t block);

/* Collective over the world if `status` is SP_OK or what sp_agree() gave; ranks that have come are
   still watching over those that have not. After a failure that was not agreed it is local: the
   thread ends, others are left to sp_world_end(), which ends the job. Releases *watchdog. */
void sp_watchdog_end(sp_watchdog *watchdog, sp_status status);
