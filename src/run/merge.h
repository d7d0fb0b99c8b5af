/* Export of the encoder with its LoRA merged into the base weights: a Hugging Face folder that needs
   no PEFT.

       config.json, model.safetensors    every tensor of the base model in its own type (a GGUF
                                         file's block types as F32); adapted ones are
                                         W + (lora_alpha / rank) B A, rounded to that type
       generation_config.json, tokenizer files   as the base model's folder has them
       pcc.safetensors, pcc_config.json  as of run/export.h

   A table that the output head shares is adapted in the look-up alone (model/embed_block.h). The
   merged model then has a head of its own: lm_head.weight is the table as it was, and config.json
   says tie_word_embeddings false. */
#pragma once

#include "base/status.h"

/* Writes the folder `output` for a run or step folder; files of these names in it are replaced. A
   block of one tensor is in memory at a time, beside the adapters. SP_USAGE: the encoder was trained
   without LoRA; SP_BAD_DATA: its model is a GGUF file whose rotary frequencies are a tensor; else as
   of the formats. */
SP_NODISCARD sp_status sp_merge(const char *checkpoint, const char *output);
