#include "cli/command.h"

#include "cli/config_options.h"
#include "cli/print_options.h"
#include "mpi/agree.h"
#include "mpi/world.h"
#include "run/train.h"

#include <stdio.h>
#include <string.h>

typedef struct pretrain_options {
    sp_config_options config;
    const char *resume;
    size_t expected_ranks; /* 0: any */
    sp_json_option json;
    bool wants_keys;
} pretrain_options;

enum { OPTION_RESUME = 256, OPTION_EXPECT_RANKS, OPTION_KEYS };

static const struct argp_option argp_options[] = {
    {"resume", OPTION_RESUME, "auto|none|PATH", 0,
     "Go on from the newest checkpoint of run.dir (auto, the default), start anew and set aside "
     "what is there (none), or go on from a run or step folder",
     0},
    {"expect-ranks", OPTION_EXPECT_RANKS, "N", 0,
     "Refuse to run unless MPI's world has N ranks: what a job script started as one run must not "
     "become N runs",
     0},
    {"keys", OPTION_KEYS, NULL, 0, "List the configuration's keys with their defaults", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    pretrain_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->config;
        state->child_inputs[1] = &options->json;
        return 0;
    case OPTION_RESUME:
        options->resume = argument;
        return 0;
    case OPTION_EXPECT_RANKS:
        options->expected_ranks = sp_parse_count("--expect-ranks", argument, 1, state);
        return 0;
    case OPTION_KEYS:
        options->wants_keys = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': pretrain takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        if (options->config.file == NULL && options->config.assignments.n == 0 &&
            !options->wants_keys)
            argp_error(state, "needs --config FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {
    {&sp_config_argp, 0, NULL, 0},
    {&sp_json_argp, 0, NULL, 0},
    {&sp_quiet_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
    .doc =
        "Trains a compressor, stage 1 or 2, on one rank or under mpirun or srun on several. The "
        "same command again goes on from the newest checkpoint; a finished run ends at once.\v"
        "The run's folder holds metrics.jsonl and step-N checkpoints. SIGTERM, SIGUSR1 or a file "
        "STOP there saves and ends with exit code 75; a file SAVE saves. A file that was heeded is "
        "renamed "
        "STOP.taken, SAVE.taken.",
};

static sp_status run(const sp_run_config *config, const pretrain_options *options) {
    sp_world *world = NULL;
    sp_status status = sp_world_begin(&world);
    json_t *result = NULL;
    if (status == SP_OK) status = sp_agree(world, sp_world_expect(world, options->expected_ranks));
    if (status == SP_OK)
        status = sp_train(world, &result, config, &(sp_train_options){.resume = options->resume});
    if (result != NULL && options->json.is_wanted) sp_print_json(result);
    json_decref(result);
    return sp_world_end(world, status);
}

sp_status sp_cmd_pretrain(int argc, char **argv) {
    pretrain_options options = {
        .resume = "auto", .json = {.members = "run, step, steps, finished, last, last_validation"}};
    sp_parse_options(&argp, argc, argv, &options);
    if (options.wants_keys) {
        if (sp_is_first_rank()) sp_config_print_help(stdout, &sp_run_config_table);
        return SP_OK;
    }
    sp_run_config config = {0};
    sp_status status =
        sp_run_config_load(&config, options.config.file, options.config.assignments.items,
                           options.config.assignments.n);
    if (status == SP_OK) status = run(&config, &options);
    sp_run_config_free(&config);
    return status;
}
