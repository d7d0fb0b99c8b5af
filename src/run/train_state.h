/* The state of a training run as a checkpoint: parameters, AdamW's moments, and what the run goes
   on from. Tensors are named as the parameters; moments as "optimizer.m.NAME", "optimizer.v.NAME".

   Each rank writes the rows of its shard as a file of its own; then one rank, which has gathered what
   they wrote, publishes. run/checkpointer.h does so beside the training.

   The manifest adds config (the effective one), precisions (those of the frozen weights, which
   `auto` keeps when the run goes on), sample_cursor (where in the stream the next step begins),
   tokens_digest,
   digest (of the parameters alone, by run/params_digest.h: the compressor's identity), and of a run
   on ranks grid, which is for the reader only, and state. */
#pragma once

#include "chain/shard.h"
#include "io/checkpoint.h"
#include "run/params_digest.h"
#include "run/run_config.h"

/* What a checkpoint is of. All borrowed. */
typedef struct sp_train_state {
    const sp_run_config *config;
    uint64_t step;             /* updates made */
    const char *tokens_digest; /* NULL where no tokens have been seen, which is at step 0 only */
    json_t *grid;              /* pipeline, data, and the cut; NULL: one process */
    json_t *state;             /* an object for the run alone, given back bit by bit; may be NULL */
} sp_train_state;

/* What one writer has written. Has no pointers: parts may be sent, and laid one behind the other. */
typedef struct sp_state_part {
    sp_checkpoint_file file;
    uint64_t n_tensors;
    sp_tensor_hash tensors[]; /* [n_tensors]: the rows' of its parameters */
} sp_state_part;

size_t sp_state_part_bytes(const sp_state_part *part);

/* The rows that one writer has. All borrowed. */
typedef struct sp_state_rows {
    const sp_shard *shard;
    const float *values, *m, *v; /* [shard->n_values] */
    const sp_shard *frozen;      /* rows that are not trained, and have no moments; NULL: none */
    const float *frozen_values;  /* the flat array of the parameters that they are of */
} sp_state_rows;

/* Writes them as the file of writer `number`, into the folder that sp_checkpoint_make_folder() made for
   the step. Local, and may run in a thread of its own. *part is owned. */
SP_NODISCARD sp_status sp_train_state_write(sp_state_part **part, const char *run_dir,
                                            uint64_t step, size_t number,
                                            const sp_state_rows *rows);

/* Publishes the checkpoint that the parts of all writers, n_bytes one behind the other in order of
   the writers, make up, and removes those that config's policy does not keep. Local: for one
   process. On failure the temporary folder is gone. */
SP_NODISCARD sp_status sp_train_state_publish(const sp_train_state *about, const void *parts,
                                              size_t n_bytes);

/* All of it at once for a process that holds everything: m and v [params->n_values]. Local. */
SP_NODISCARD sp_status sp_train_state_save(const sp_train_state *about, const sp_params *params,
                                           const float *m, const float *v);

/* Reads the moments of a shard's rows to m and v [shard->n_values]. The parameters themselves:
   sp_models_load(). */
SP_NODISCARD sp_status sp_train_state_load_moments(float *m, float *v, const sp_shard *shard,
                                                   const sp_checkpoint *checkpoint);

/* Refuses (SP_USAGE, by key) a configuration whose seed, or shapes of LoRA and memory, are others than
   those that the checkpoint was made with. */
SP_NODISCARD sp_status sp_train_state_check_shapes(const sp_run_config *config,
                                                   const sp_checkpoint *checkpoint);

/* Refuses likewise to go on from a checkpoint whose seed, tokens, or shapes of LoRA and
   memory are others than the present configuration's. A step 0 that has seen no tokens goes on with
   any. */
SP_NODISCARD sp_status sp_train_state_check(const sp_run_config *config,
                                            const sp_checkpoint *checkpoint,
                                            const char *tokens_digest);
