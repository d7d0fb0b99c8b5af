/* Where a tokenized document is cut into segments: architecture.md §3's rule, in one place. */
#pragma once

#include "text/tokenizer.h"

/* The end, as a token index, of the segment that begins at token `begin` < encoding->n: the last
   token boundary at or before begin + most_tokens (>= 1) that does not split a UTF-8 character of
   the text, nor what the tokenizer changed as a whole; where all do, the last one. Always beyond
   `begin`. */
size_t sp_segment_end(const sp_encoding *encoding, const char *text, size_t n_bytes, size_t begin,
                      size_t most_tokens);
