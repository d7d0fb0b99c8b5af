#include "cli/config_options.h"

enum { OPTION_CONFIG = 256, OPTION_SET };

static void add_assignment(sp_assignments *assignments, const char *text,
                           const struct argp_state *state) {
    if (assignments->n == SP_MOST_ASSIGNMENTS)
        argp_error(state, "--set: more than %d of them", (int)SP_MOST_ASSIGNMENTS);
    assignments->items[assignments->n++] = text;
}

static const struct argp_option config_options[] = {
    {"config", OPTION_CONFIG, "FILE", 0, "The run's configuration (YAML)", 0},
    {"set", OPTION_SET, "KEY=VALUE", 0, "Set a key over the file's, such as train.lr=1e-4", 0},
    {0},
};

static error_t parse_config(int key, char *argument, struct argp_state *state) {
    sp_config_options *config = state->input;
    switch (key) {
    case OPTION_CONFIG:
        config->file = argument;
        return 0;
    case OPTION_SET:
        add_assignment(&config->assignments, argument, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp sp_config_argp = {.options = config_options, .parser = parse_config};

static const struct argp_option set_options[] = {
    {"set", OPTION_SET, "KEY=VALUE", 0, "Set a key over the checkpoint's configuration", 2},
    {0},
};

static error_t parse_set(int key, char *argument, struct argp_state *state) {
    if (key != OPTION_SET) return ARGP_ERR_UNKNOWN;
    add_assignment(state->input, argument, state);
    return 0;
}

const struct argp sp_set_argp = {.options = set_options, .parser = parse_set};
