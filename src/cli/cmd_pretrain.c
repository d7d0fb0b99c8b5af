#include "cli/command.h"

#include "cli/training_options.h"

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->input;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': pretrain takes options only", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&sp_training_argp, 0, NULL, 0}, {0}};

static const struct argp argp = {
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

sp_status sp_cmd_pretrain(int argc, char **argv) {
    sp_training_options options = {
        .load = sp_run_config_load,
        .json = {.members = "run, step, steps, finished, last, last_validation"},
    };
    sp_parse_options(&argp, argc, argv, &options);
    return sp_training_run(&options);
}
