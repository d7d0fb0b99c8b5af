/* Import: an export, or files of the same kind that others made, as step 0 of a run.

       adapter_model.safetensors, adapter_config.json   a PEFT adapter, where encoder.train is lora
       model.safetensors or shards, config.json         an encoder, where it is full
       pcc.safetensors                                  memory tokens, converter, markers
       pcc_config.json                                  what they were trained for; may be missing

   as of run/export.h, of any plain type. The configuration names the models and the shapes; every
   trained tensor must be there in its shape, and nothing else may be, but:

   - an adapter of the head, which is not in the chain, is left out, as is a copy of the base model's
     table or head (PEFT saves them beside an adapter of the table);
   - a table of more rows than the model has, by the number of memory tokens: its last rows are the
     memory tokens where pcc.safetensors has none;
   - an adapter of such a table: the last columns of A belong to the memory tokens. They are folded
     in, row + (alpha / rank) B A[:, id], and A is cut to the model's own.

   The authors' published checkpoints have the last two forms; tools/convert_published.py makes
   their pickles such a folder. */
#pragma once

#include "base/json.h"
#include "run/run_config.h"

/* Reads the folder `input` and writes step 0 of the run folder config->run.dir, with fresh moments of
   the optimiser. *result, owned, is an object: checkpoint, parameters (their number). SP_USAGE: the
   configuration asks for other shapes, or what the compressor was not trained for, or the run has checkpoints; SP_BAD_DATA: a tensor is missing,
   of another shape or one too many, or the adapter is no plain LoRA. The run is then untouched. */
SP_NODISCARD sp_status sp_import(json_t **result, const sp_run_config *config, const char *input);
