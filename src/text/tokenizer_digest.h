/* The digest of a tokenizer: XXH3-128 over everything that decides which ids a text gets, in an
   order that does not depend on the file's: the vocabulary by id, merges by rank, added tokens by
   id, the steps of normalizer and pre-tokenizer, the options. */
#pragma once

#include "base/status.h"
#include "text/tokenizer.h"

/* Fills in the digest of a tokenizer whose other parts are complete. */
SP_NODISCARD sp_status sp_tokenizer_compute_digest(sp_tokenizer *tokenizer);
