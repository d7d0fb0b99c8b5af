/* What `pretrain` and `finetune` share: the options of a training run, as a child for a command's
   argp, and the run itself. */
#pragma once

#include "base/status.h"
#include "cli/config_options.h"
#include "cli/print_options.h"
#include "run/train.h"

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

/* Texts are borrowed from argv. */
typedef struct sp_training_options {
    /* Reads the configuration; as sp_run_config_load(), which is one. */
    sp_status (*load)(sp_run_config *config, const char *path, const char *const *assignments,
                      size_t n_assignments);
    sp_config_options config;
    sp_train_options train;
    size_t expected_ranks; /* 0: any */
    bool wants_keys;       /* list the configuration's keys in place of a run */
    sp_json_option json;
} sp_training_options;

/* --config, --set, --resume, --expect-ranks, --keys, --json and --quiet; the input is an
   sp_training_options. No configuration, where no keys are wanted, is an error of use. */
extern const struct argp sp_training_argp;

/* Collective over all ranks of the launcher, whose world it begins and ends. Lists the keys, or loads
   the configuration, trains, and prints the result if it is wanted. Fails as `load` and sp_train()
   do, and with SP_USAGE on another number of ranks than the expected one. */
SP_NODISCARD sp_status sp_training_run(const sp_training_options *options);
