/* The writer of token files, for io/ only: parts, which are the same file with other first numbers,
   and what made a file. The rest is in io/tokens_file.h. */
#pragma once

#include "io/tokens_file.h"
#include "io/tokens_origin.h"

/* Begins a part of a token file. Its strings have room for longest_id bytes at least; its offsets
   are where each segment ends in the whole file, without the 0 in front. */
SP_NODISCARD sp_status sp_tokens_writer_open_part(sp_tokens_writer **writer, const char *path,
                                                  size_t segment_tokens,
                                                  const sp_tokens_stream *streams, size_t n_streams,
                                                  size_t longest_id);

/* What is appended next is document number `document` of the whole file, behind ids[s] ids of
   stream s [n_streams]. Numbers do not fall. */
void sp_tokens_writer_place(sp_tokens_writer *writer, uint64_t document, const uint64_t *ids);

/* The file will tell what made it; copied. */
void sp_tokens_writer_origin(sp_tokens_writer *writer, const sp_tokens_origin *origin);
