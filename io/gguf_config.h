/* A GGUF file's metadata as the config.json that Hugging Face publishes with the same model.

   Architectures: llama (Llama and Mistral), gpt2, qwen2, phi3. What llama3's rope scaling does to
   the frequencies is a tensor, "rope_freqs.weight", of which the configuration says nothing;
   longrope's two tensors become its "short_factor" and "long_factor". */
#pragma once

#include "io/gguf.h"

/* Builds *config, owned, with the keys that sp_model_config_read() wants: the family's own, as
   n_embd for gpt2 and hidden_size for the others. A rope scaling goes on under its name, for the
   model to accept or refuse. SP_BAD_DATA: another architecture (by name), a mixture of experts, a
   part of a split file, a key that is missing or of another type, or factors of longrope that do not
   fit the heads. `path` names the file in messages. */
SP_NODISCARD sp_status sp_gguf_make_config(json_t **config, const sp_gguf *gguf, const char *path);
