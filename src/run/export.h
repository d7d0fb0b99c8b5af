/* Export: a checkpoint's weights as the files that other tools read, and `slotpress import` too.

       adapter_model.safetensors, adapter_config.json   the encoder's LoRA, as PEFT over
                                                        AutoModelForCausalLM; the target `head`,
                                                        which is not in the chain, as zeros; or
       model.safetensors, config.json                   the encoder, where all of it is trained, for
                                                        AutoModel: an output head of its own is not
                                                        trained and not in it
       pcc.safetensors   memory_tokens [memory_tokens, d_enc] or merger.weight
                         [d_enc, merged_tokens d_enc], converter.norm.weight,
                         converter.in.{weight, bias}, converter.out.{weight, bias},
                         markers [3, d_dec] (<mem>, </mem>, <ae>); linear weights are [out, in]
       pcc_config.json   the ratios that it was trained for, and what else its tensors do not tell
                         (run/pcc_config.h)

   Pooled memory has neither memory_tokens nor merger.weight, which tells it apart; an adapter of encoder.layers has tensors of
   these layers alone, and the base model is to be loaded with so many (num_hidden_layers). All of one type, and weights of a family as it stores them (GPT-2: [in, out]). Of the encoder's table an
   adapter has A and B alone; the memory tokens' rows are in pcc.safetensors. The files depend on
   weights, shapes and what pcc_config.json has alone: no path, date or name of a run is in them. */
#pragma once

#include "base/status.h"
#include "tensor/tensor.h"

/* Writes the export of a run or step folder into the folder `output`, which is made if it is not
   there; files of these names in it are replaced. The encoder's model tells its family. Errors: as
   of the formats; SP_NUMERIC: a value that is too great for SP_F16. dtype: SP_F32, SP_F16 or SP_BF16. */
SP_NODISCARD sp_status sp_export(const char *checkpoint, const char *output, sp_dtype dtype);
