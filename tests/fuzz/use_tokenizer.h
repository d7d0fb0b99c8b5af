/* Uses a tokenizer as commands do. */
#pragma once

#include "base/json.h"

#include <stdint.h>

/* Makes a tokenizer from a tokenizer.json, encodes some texts and `text` with it in every way that
   its options offer, and decodes what comes out. Traps where the promises of text/tokenizer.h about
   ids and ends are broken. A file that is refused is fine. */
void fuzz_use_tokenizer(const json_t *tokenizer_json, const uint8_t *text, size_t n_bytes);
