/* What a corpus' token files have in common, and what their digests cover beside the documents: the
   streams and the length of a segment. For the writers in io/. */
#pragma once

#include "io/tokens_file.h"

/* 1 to SP_TOKENS_MAX_STREAMS streams of different, allowed names. SP_USAGE: a name or number that
   is not allowed; SP_BAD_DATA: a vocabulary of no or too many tokens. */
SP_NODISCARD sp_status sp_tokens_check_streams(const sp_tokens_stream *streams, size_t n_streams);

/* A text that names the tokenizers and the length of a segment: *text [*text_len], owned. */
SP_NODISCARD sp_status sp_tokens_header(char **text, size_t *text_len, size_t segment_tokens,
                                        const sp_tokens_stream *streams, size_t n_streams);

/* The streams of an open file, by position, to streams [return value]; strings are borrowed from
   it. */
size_t sp_tokens_streams_of(sp_tokens_stream streams[SP_TOKENS_MAX_STREAMS],
                            const sp_tokens *tokens);

/* Are all ids [n_ids] of the stream within its vocabulary? SP_BAD_DATA if not. */
SP_NODISCARD sp_status sp_tokens_check_ids(const sp_tokens_stream *stream, const int32_t *ids,
                                           size_t n_ids);
