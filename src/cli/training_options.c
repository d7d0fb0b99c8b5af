#include "cli/training_options.h"

#include "cli/command.h"
#include "mpi/agree.h"
#include "mpi/world.h"

#include <stdio.h>

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
    sp_training_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        options->train.resume = "auto";
        state->child_inputs[0] = &options->config;
        state->child_inputs[1] = &options->json;
        return 0;
    case OPTION_RESUME:
        options->train.resume = argument;
        return 0;
    case OPTION_EXPECT_RANKS:
        options->expected_ranks = sp_parse_count("--expect-ranks", argument, 1, state);
        return 0;
    case OPTION_KEYS:
        options->wants_keys = true;
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

const struct argp sp_training_argp = {
    .options = argp_options, .parser = parse_option, .children = children};

static sp_status train(const sp_run_config *config, const sp_training_options *options) {
    sp_world *world = NULL;
    sp_status status = sp_world_begin(&world);
    json_t *result = NULL;
    if (status == SP_OK) status = sp_agree(world, sp_world_expect(world, options->expected_ranks));
    if (status == SP_OK) status = sp_train(world, &result, config, &options->train);
    if (result != NULL && options->json.is_wanted) sp_print_json(result);
    json_decref(result);
    return sp_world_end(world, status);
}

sp_status sp_training_run(const sp_training_options *options) {
    if (options->wants_keys) {
        if (sp_is_first_rank()) sp_config_print_help(stdout, &sp_run_config_table);
        return SP_OK;
    }
    sp_run_config config = {0};
    sp_status status =
        options->load(&config, options->config.file, options->config.assignments.items,
                      options->config.assignments.n);
    if (status == SP_OK) status = train(&config, options);
    sp_run_config_free(&config);
    return status;
}
