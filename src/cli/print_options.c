#include "cli/print_options.h"

#include "base/log.h"

#include <stdio.h>

enum { OPTION_JSON = 256, OPTION_QUIET };

static const struct argp_option json_options[] = {
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object", 3},
    {0},
};

static error_t parse_json(int key, char *argument, struct argp_state *state) {
    (void)argument;
    sp_json_option *json = state->input;
    if (key != OPTION_JSON) return ARGP_ERR_UNKNOWN;
    json->is_wanted = true;
    return 0;
}

/* argp frees what it gets, unless that is `text`. */
static char *add_members(int key, const char *text, void *input) {
    const sp_json_option *json = input;
    char *longer = NULL;
    if (key == OPTION_JSON && json != NULL && json->members != NULL &&
        asprintf(&longer, "%s: %s", text, json->members) >= 0)
        return longer;
    return (char *)text;
}

const struct argp sp_json_argp = {
    .options = json_options, .parser = parse_json, .help_filter = add_members};

static const struct argp_option quiet_options[] = {
    {"quiet", OPTION_QUIET, NULL, 0, "No progress and no notes", 3},
    {0},
};

static error_t parse_quiet(int key, char *argument, struct argp_state *state) {
    (void)argument;
    (void)state;
    if (key != OPTION_QUIET) return ARGP_ERR_UNKNOWN;
    sp_log_set_level(SP_LOG_QUIET);
    return 0;
}

const struct argp sp_quiet_argp = {.options = quiet_options, .parser = parse_quiet};
