#include "cli/command.h"

#include "cli/corpus_arguments.h"
#include "cli/training_options.h"
#include "run/finetune_config.h"

enum { OPTION_ON_ERROR = 256 };

static const struct argp_option argp_options[] = {
    {"on-error", OPTION_ON_ERROR, "stop|skip", 0,
     "On a bad row, say where and end with exit code 65 (stop, the default), or leave it out, warn "
     "and go on (skip)",
     0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    sp_training_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->input;
        return 0;
    case OPTION_ON_ERROR:
        options->train.on_error = sp_parse_on_error(argument, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': finetune takes options only", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&sp_training_argp, 0, NULL, 0}, {0}};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
    .doc =
        "Trains a compressor further on rows of context, prompt and answer, on one rank or under "
        "mpirun or srun on several. The context is compressed, the loss is on the answer alone. "
        "The "
        "same command again goes on from the newest checkpoint; a finished run ends at once.\v"
        "data.rows is a .jsonl file (also .gz, .zst), an object a line: context, prompt, answer; "
        "or "
        "context, messages, a list of role (user and assistant in turn, the assistant last, a "
        "system's before them), content and, if you like, name. Models, LoRA, memory tokens and "
        "segments are those of the checkpoint train.init unless the configuration says "
        "otherwise.\n\n"
        "The run's folder holds metrics.jsonl, step-N checkpoints and, if rows are held out, the "
        "best "
        "one by validation as a run folder of its own, best. train.early_stop ends a run that gets "
        "no better. SIGTERM, SIGUSR1 or a file STOP saves and ends with exit code 75; a file SAVE "
        "saves.",
};

sp_status sp_cmd_finetune(int argc, char **argv) {
    sp_training_options options = {
        .load = sp_finetune_config_load,
        .json = {.members = "run, step, steps, finished, stopped_early, best, last, "
                            "last_validation"},
    };
    sp_parse_options(&argp, argc, argv, &options);
    return sp_training_run(&options);
}
