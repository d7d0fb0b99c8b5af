/* PEFT's adapter_config.json: what a LoRA adapter is, beside its tensors. */
#pragma once

#include "base/json.h"
#include "model/family.h"
#include "run/run_config.h"

/* Makes the object for the adapter of an encoder of that family, owned; NULL without memory. Of
   target_modules each is enough of a module's name to tell it from all others of the family. */
json_t *sp_adapter_config_make(const sp_run_config *config, const sp_family *family);

/* Refuses an adapter that is no plain LoRA of the configuration's rank and alpha. `where` names the
   file in messages. SP_BAD_DATA: it is of another kind, by the name of what makes it so; SP_USAGE: of
   another encoder.lora.rank or encoder.lora.alpha. */
SP_NODISCARD sp_status sp_adapter_config_check(const json_t *object, const sp_run_config *config,
                                               const char *where);
