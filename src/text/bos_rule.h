/* Whether a tokenizer puts a BOS before a text by itself: what the post-processor of a
   tokenizer.json says. */
#pragma once

#include "base/json.h"

#include <stdbool.h>

/* True where the post-processor's template for one text begins with a special token, as Llama 3's
   does. False where there is none, or none of type TemplateProcessing. */
bool sp_tokenizer_adds_bos(const json_t *tokenizer_json);
