/* A checkpoint that all ranks of a run read: each verifies some of its files, and they take it or
   pass it over together. */
#pragma once

#include "io/checkpoint.h"
#include "mpi/world.h"

/* Collective over the world. *is_there: does rank 0 find a checkpoint (sp_checkpoint_find) in the run
   or step folder `dir`? */
SP_NODISCARD sp_status sp_shared_checkpoint_find(bool *is_there, sp_world *world, const char *dir);

/* Collective over the world. Opens on every rank the checkpoint of the step folder `dir`, or the newest
   of the run folder `dir` that is valid to all of them; the rest is as sp_checkpoint_open() says. The
   status is the same on every rank. */
SP_NODISCARD sp_status sp_shared_checkpoint_open(sp_checkpoint **checkpoint, sp_world *world,
                                                 const char *dir);
