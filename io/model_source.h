/* A model as its maker publishes it, and its tokenizer: a Hugging Face folder (config.json,
   generation_config.json if there; model.safetensors, or the shards of
   model.safetensors.index.json; tokenizer.json) or a GGUF file. Both look the same to what reads
   them: Hugging Face's names and configuration.

   Weights are mapped, so a rank touches only what it uses. */
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "io/mapping.h"
#include "tensor/tensor_table.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_model_source {
    char *path;         /* owned, as given */
    const char *format; /* static: "safetensors" or "gguf" */
    /* Names as in a checkpoint of AutoModelForCausalLM, "model." or "transformer." in front even where
       the file leaves it out; a GGUF file's "rope_freqs.weight" (llama3's scaling) keeps its name.
       Matrices are [out, in], GPT-2's too, which a folder stores transposed. */
    sp_tensor_table tensors;
    size_t n_left_out; /* tensors that are no weights: buffers, of integers or by their names */
    json_t *config;    /* owned: config.json's object, or a GGUF file's metadata in its keys */
    int32_t *stop_ids; /* [n_stop_ids], owned: where generation ends; generation_config.json's EOS
                          ids, else config.json's; a GGUF file's EOS, EOT and EOM */
    size_t n_stop_ids;
    sp_mapping *mappings; /* [n_mappings], owned: what the tensors lie in */
    size_t n_mappings;
} sp_model_source; /* all zero: none */

/* Opens a folder or a GGUF file. SP_IO: cannot be read; SP_BAD_DATA: something in it is damaged,
   missing or of a kind that is not known. *source is untouched then. */
SP_NODISCARD sp_status sp_model_source_open(sp_model_source *source, const char *path);

/* Opens likewise what may lack its weights: a folder with config.json alone has no tensors then, and
   those of a GGUF file that is cut off behind its header no data. For planning. */
SP_NODISCARD sp_status sp_model_source_open_outline(sp_model_source *source, const char *path);

void sp_model_source_close(sp_model_source *source); /* an empty one is fine */

/* Gives back the pages of weights that were copied; those used in place come again as they are touched. */
void sp_model_source_give_back(const sp_model_source *source);

/* Loads a tokenizer as tokenizer.json has it, owned: from a folder (tokenizer.json alone is
   enough), such a file, or a GGUF file. SP_IO: cannot be read; SP_BAD_DATA: damaged, or a kind of
   tokenizer that GGUF only names and that we do not know. */
SP_NODISCARD sp_status sp_tokenizer_json_load(json_t **tokenizer, const char *path);

/* Loads the configuration of the model that `path` names, as sp_model_source has it, owned; NULL where
   there is none: a folder with tokenizer.json alone, or such a file. Errors as above. */
SP_NODISCARD sp_status sp_model_config_json_load(json_t **config, const char *path);

/* Loads the chat template that comes with a model, Jinja as it is, owned; NULL where there is none.
   A folder has it in chat_template.jinja or in tokenizer_config.json, a GGUF file in its metadata.
   Errors as above. */
SP_NODISCARD sp_status sp_chat_template_load(char **text, const char *path);

/* Describes what a folder, GGUF file, .safetensors file or tokenizer.json holds as one JSON object,
   owned: "format", and where they apply "architecture", "tensors", "dtypes" {name: count},
   "parameters", "bytes", "config" and "tokenizer". Errors as of opening it. */
SP_NODISCARD sp_status sp_model_source_describe(json_t **description, const char *path);
