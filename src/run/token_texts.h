/* The first segments of a token file as text, for a look. */
#pragma once

#include "base/json.h"
#include "run/named_tokenizer.h"

#include <stddef.h>

/* Decodes the first n segments of the stream that the tokenizer is named after, fewer if there are
   fewer, into *texts, owned: a list of {document, byte_begin, byte_len, text}. What is not UTF-8
   becomes '?'. SP_USAGE: a tokenizer that is not the file's; else as of reading. */
SP_NODISCARD sp_status sp_token_texts(json_t **texts, const char *path,
                                      const sp_named_tokenizer *tokenizer, size_t n);
