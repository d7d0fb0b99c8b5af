/* What a file or folder is, as one JSON object, for every kind that slotpress reads or writes. */
#pragma once

#include "base/json.h"

/* Describes `path` in *description, owned: of a model its shapes, of a token or slot file its
   counts, of a checkpoint its tensors, of metrics the first and last lines, of a configuration the
   effective values. SP_IO: cannot be read; SP_BAD_DATA: of no known kind, or damaged; SP_USAGE: a
   configuration with errors. */
SP_NODISCARD sp_status sp_inspect(json_t **description, const char *path);
