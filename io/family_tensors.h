/* The tensors of a Hugging Face folder in one form, whatever program saved them:

   - names as in a checkpoint of AutoModelForCausalLM: a base model saved on its own leaves
     "model." (GPT-2: "transformer.") out, here they have it;
   - buffers that are computed and no weights (GPT-2's attn.bias and attn.masked_bias, older
     Llamas' rotary_emb.inv_freq) are left out, like those of integers;
   - matrices [out, in]: GPT-2's Conv1D weights, stored [in, out], are marked is_transposed. */
#pragma once

#include "base/status.h"
#include "tensor/tensor_table.h"

#include <stdbool.h>
#include <stddef.h>

/* Brings a sorted table into that form, sorted again, and adds the number of those left out to
   *n_left_out. `model_type` is config.json's, or NULL; `path` names the folder in messages.
   SP_BAD_DATA: two tensors get one name. */
SP_NODISCARD sp_status sp_family_tensors_settle(sp_tensor_table *tensors, size_t *n_left_out,
                                                const char *model_type, const char *path);

/* Does the family of that model_type, or NULL, store this weight [in, out]? */
bool sp_family_stores_transposed(const char *model_type, const char *name);
