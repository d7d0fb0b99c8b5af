/* A GGUF file's tensors under the names that they have in Hugging Face's checkpoints.

   llama.cpp keeps the rows of each head of Llama's q and k interleaved, and their biases: these
   tensors say so (n_interleaved_heads). Fused matrices are as there (qkv; gate above up), and all are [out, in],
   GPT-2's too. */
#pragma once

#include "io/gguf.h"

/* Renames the tensors and sorts them again; `config` is sp_gguf_make_config()'s. A name without
   counterpart stays ("rope_freqs.weight"). SP_BAD_DATA: two tensors get one name, or the heads do not
   divide a tensor's rows. `path` names the file in messages. */
SP_NODISCARD sp_status sp_gguf_rename_tensors(sp_gguf *gguf, const json_t *config,
                                              const char *path);
