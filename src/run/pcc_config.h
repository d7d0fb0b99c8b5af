/* pcc_config.json: what a compressor was trained for that its tensors do not tell, under the names that
   a configuration has for it:

       {"decoder": {"boundaries": true}, "encoder": {"memory": "tokens"},
        "segment": {"ratio": [4, 16], "slots": "proportional", "tokens": 256}} */
#pragma once

#include "base/json.h"
#include "run/run_config.h"

/* Makes the object of a compressor's configuration, owned; NULL without memory. */
json_t *sp_pcc_config_make(const sp_run_config *config);

/* Refuses a configuration for which the compressor was not trained: of another segment.ratio than its own,
   one of which is enough, or of another encoder.memory, decoder.boundaries or segment.slots. `where`
   names the file in messages. SP_USAGE: that; SP_BAD_DATA: a member is of another type. A member that
   is missing refuses nothing; another segment.tokens is a warning. */
SP_NODISCARD sp_status sp_pcc_config_check(const json_t *object, const sp_run_config *config,
                                           const char *where);
