/* What `precision: auto` comes to for frozen weights: f32 or bf16, whichever multiplies faster on this
   machine; int8, which costs up to a hundredth of perplexity, is taken only by name.

   Products of a training step, forward and back to the input, are timed on the model's own shapes
   (256 rows; outputs and inputs cut off at 1,024 and 4,096), within two seconds. bf16 has to be faster
   by a twentieth. The figures are kept in a file of $XDG_CACHE_HOME/slotpress, or of
   $HOME/.cache/slotpress, by CPU, threads, library and shapes; one that is not ours, is damaged or
   cannot be written is passed over. */
#pragma once

#include "run/run_config.h"

#include "base/json.h"

/* Sets config->chosen for the keys that are auto, and logs the choice. Local: one rank does it for all.
   SP_USAGE, SP_BAD_DATA, SP_IO: a model without a usable configuration; SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_precision_choose(sp_run_config *config);

/* Is any key auto that matters? */
bool sp_precision_is_open(const sp_run_config *config);

/* {"encoder": "f32", "decoder": "bf16"}, what a run computes with, owned; and back: keys that are there
   and known are set. */
json_t *sp_precision_to_json(const sp_run_config *config);
void sp_precision_from_json(sp_run_config *config, const json_t *object);
