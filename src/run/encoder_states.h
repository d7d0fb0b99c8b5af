/* The memory of every context of a fine-tuning run whose encoder is frozen, computed once and kept on
   the disk (io/states_file.h): DIR/KEY/group-0000012, 64 segments a file.

   KEY stands for all that the states depend on: the encoder's parameters in the checkpoint, its model's
   files (by name, size and time), the precision, and the segments' ids and slots. Under it nothing ever
   changes, so that any number of runs, ranks and kills share what has been made. States are those of
   the encoder over 8 consecutive segments at a time: to rounding those that training would compute. */
#pragma once

#include "io/checkpoint.h"
#include "mpi/world.h"
#include "run/run_config.h"
#include "run/task_set.h"

typedef struct sp_encoder_states sp_encoder_states; /* opaque */

/* Does the run train the converter alone, on rows, at one ratio, and want states to be kept? */
bool sp_encoder_states_are_used(const sp_run_config *config);

/* Collective over the world. Makes what is missing or damaged, shared out over the ranks, and opens
   all of it into *states, owned. The encoder is that of `checkpoint`; `tasks` is borrowed until the
   end. SP_IO: the folder cannot be written, or one rank does not see what another has made. */
SP_NODISCARD sp_status sp_encoder_states_open(sp_encoder_states **states, sp_world *world,
                                              const sp_run_config *config, const sp_task_set *tasks,
                                              const sp_checkpoint *checkpoint);
void sp_encoder_states_close(sp_encoder_states *states); /* NULL is fine */

/* Writes the memory of a task's context, [its slots, d_enc], to out; returns how many values. */
size_t sp_encoder_states_copy(const sp_encoder_states *states, float *out, size_t task);
