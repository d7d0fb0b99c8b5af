/* What a metrics.jsonl says in a few numbers: how many steps, and the first and last losses. */
#pragma once

#include "base/json.h"

/* Reads the file into *summary, an object, owned: steps (training lines), validations, and where
   there are any first, last and last_validation, lines as they are. A last line without its end is
   still being written, and is left out. SP_IO: cannot be read; SP_BAD_DATA: a line that is no JSON
   object with a step. */
SP_NODISCARD sp_status sp_metrics_summarize(json_t **summary, const char *path);
