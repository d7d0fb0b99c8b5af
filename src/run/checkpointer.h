/* Checkpoints beside the training: a snapshot of a rank's shard is taken between two steps, a thread
   writes it as the rank's file while training goes on, and at a later step the ranks publish the
   checkpoint together.

       begin(step)  ...steps...  is_written() on all ranks?  ...  publish()

   Until it is published a checkpoint does not exist: a run that is killed goes on from the one
   before. The thread calls no MPI. */
#pragma once

#include "mpi/world.h"
#include "run/train_state.h"

#include <stdbool.h>

typedef struct sp_checkpointer sp_checkpointer; /* opaque */

/* Allocates the snapshot: three times shard->n_values floats. Local; the arguments are borrowed until
   the end. The shards of all ranks of the world together hold every parameter once. */
SP_NODISCARD sp_status sp_checkpointer_create(sp_checkpointer **checkpointer, sp_world *world,
                                              const sp_params *params, const sp_shard *shard);

/* Local, before the first begin(). Rows that do not change, of `frozen` with flat `values`, go into every
   checkpoint, without a snapshot; borrowed until the end. */
void sp_checkpointer_add_frozen(sp_checkpointer *checkpointer, const sp_shard *frozen,
                                const float *values);

/* Waits for the thread. A step that was begun and not published is given up. NULL is fine. */
void sp_checkpointer_destroy(sp_checkpointer *checkpointer);

/* Collective over the world, and is_busy() is false. Takes the snapshot, from the shard's rows of
   params->values and from m and v [shard->n_values], and has it written. What `about` borrows stays
   as it is until publish(); of its json objects a reference is held. SP_IO: the run's folder cannot
   be written to; nothing is begun then. */
SP_NODISCARD sp_status sp_checkpointer_begin(sp_checkpointer *checkpointer,
                                             const sp_train_state *about, const float *m,
                                             const float *v);

/* Local: has a step been begun that is not published? The same on every rank. */
bool sp_checkpointer_is_busy(const sp_checkpointer *checkpointer);

/* Local: is this rank's file written, or has it failed, so that publish() does not wait for it? */
bool sp_checkpointer_is_written(const sp_checkpointer *checkpointer);

/* Collective over the world, and is_busy() is true. Waits until every rank's file is written, and
   makes them a checkpoint; those that the configuration's policy does not keep go. SP_IO and the
   like: one rank could not write, which its message says; nothing of the step is left, and
   checkpoints before it stay. Afterwards is_busy() is false in any case. */
SP_NODISCARD sp_status sp_checkpointer_publish(sp_checkpointer *checkpointer);

/* Local: seconds that begin() and publish() have kept training waiting since the last call. */
double sp_checkpointer_take_seconds(sp_checkpointer *checkpointer);
