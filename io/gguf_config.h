/* A GGUF file of the llama architecture seen as a Hugging Face model: tensors under their names in
   Hugging Face's checkpoints, metadata as a config.json.

   llama.cpp keeps the rows of each head of q and k interleaved: their tensors say so
   (n_interleaved_heads). What llama3's rope scaling does to the frequencies is a tensor,
   "rope_freqs.weight", which keeps its name. */
#pragma once

#include "io/gguf.h"

/* Builds *config, owned, with the keys that sp_model_config_read() wants. SP_BAD_DATA: another
   architecture, a mixture of experts, a part of a split file, or a key that is missing or of
   another type. `path` names the file in messages. */
SP_NODISCARD sp_status sp_gguf_make_config(json_t **config, const sp_gguf *gguf, const char *path);

/* Gives the tensors their Hugging Face names; `config` is sp_gguf_make_config()'s. A name without
   counterpart stays. SP_BAD_DATA: two tensors get one name, or the heads do not divide a tensor's
   rows. */
SP_NODISCARD sp_status sp_gguf_rename_tensors(sp_gguf *gguf, const json_t *config,
                                              const char *path);
