/* The state of a training run as a checkpoint: parameters, AdamW's moments, and what the run goes
   on from. Tensors are named as the parameters; moments as "optimizer.m.NAME", "optimizer.v.NAME".

   The manifest adds config (the effective one), sample_cursor (samples taken so far), tokens_digest,
   and digest (of the parameters alone, 32 hexadecimal digits: the compressor's identity). */
#pragma once

#include "chain/params.h"
#include "io/checkpoint.h"
#include "run/optimizer.h"
#include "run/run_config.h"

enum { SP_STATE_DIGEST_SIZE = 33 };

/* Writes the checkpoint of `step` into the run's folder and removes those that config's policy does
   not keep. tokens_digest is NULL where no tokens have been seen, which is at step 0 only. Local: one
   rank writes, since replicas are equal. */
SP_NODISCARD sp_status sp_train_state_save(const sp_run_config *config, const sp_params *params,
                                           const sp_optimizer *optimizer, uint64_t step,
                                           const char *tokens_digest);

/* Reads the moments of every parameter. The parameters themselves: sp_models_load(). */
SP_NODISCARD sp_status sp_train_state_load_moments(sp_optimizer *optimizer, const sp_params *params,
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
