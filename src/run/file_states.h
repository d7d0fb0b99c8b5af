/* Files that are too large to read for it, told apart by name, size and time of change: lines for a
   digest. Where they lie does not count. */
#pragma once

#include "base/status.h"

#include <stdio.h>

/* Prints a file's line, under `name`. SP_IO: it is not there. */
SP_NODISCARD sp_status sp_file_state_print(FILE *out, const char *path, const char *name);

/* Prints those of a model: a folder's weights and JSON files in the order of their names, or the one
   file. */
SP_NODISCARD sp_status sp_model_state_print(FILE *out, const char *model);
