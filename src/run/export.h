/* Export: a checkpoint's weights as the files that other tools read.

       adapter_model.safetensors, adapter_config.json   the encoder's LoRA, as PEFT over
                                                        AutoModelForCausalLM; or
       model.safetensors, config.json                   the encoder, where all of it is trained
       pcc.safetensors   memory_tokens [memory_tokens, d_enc], converter.norm.weight,
                         converter.in.{weight, bias}, converter.out.{weight, bias},
                         markers [3, d_dec] (<mem>, </mem>, <ae>); linear weights are [out, in]

   All F32. The files depend on weights and shapes alone: no path, date or name of a run is in
   them. */
#pragma once

#include "base/status.h"

/* Writes the export of a run or step folder into the folder `output`, which is made if it is not
   there; files of these names in it are replaced. Errors: as of the formats. */
SP_NODISCARD sp_status sp_export(const char *checkpoint, const char *output);
