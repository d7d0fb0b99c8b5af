/* The blocks of a compression: what is not done is encoded, shared by all ranks. */
#pragma once

#include "run/compress_block.h"
#include "run/compress_work.h"

/* Collective. Every block is in the work folder when this returns. Progress goes to stderr on rank
   0. SP_BAD_DATA, SP_NUMERIC: a document that cannot be compressed, named, unless it is to be
   skipped; SP_STOPPED: a signal asked for it. */
SP_NODISCARD sp_status sp_compress_encode(sp_compress_work *work);

/* Local. Opens a finished block into *block. */
SP_NODISCARD sp_status sp_compress_open_block(const sp_compress_work *work, size_t index,
                                              sp_compress_block *block);
