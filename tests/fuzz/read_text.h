/* Reads a text shard in two ways, as a command that skips damage reads it. */
#pragma once

#include "io/text_reader.h"

/* Reads a shard as a whole and unit by unit, ranges of range_bytes, and ends the process unless both
   give the same documents, each with its row, and lose the same ones. */
void fuzz_read_text(const char *path, uint64_t range_bytes, const sp_text_options *options);
