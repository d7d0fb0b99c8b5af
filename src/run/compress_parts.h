/* From the finished blocks of a compression to its slot file. */
#pragma once

#include "run/compress_work.h"

/* Collective. Writes the output from the blocks, as a plain file where one rank does it, else a part a
   rank and an index, and completes the summary. SP_BAD_DATA: a block is damaged, or text changed;
   nothing is then there under the output's name that was not before. */
SP_NODISCARD sp_status sp_compress_assemble(sp_compress_work *work);
