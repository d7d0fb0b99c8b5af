#include "cli/command.h"

#include "base/log.h"
#include "run/import.h"

#include <stdio.h>

typedef struct import_options {
    const char *input, *config;
    sp_assignments assignments;
    bool wants_json, is_quiet;
} import_options;

enum { OPTION_INPUT = 256, OPTION_CONFIG, OPTION_SET, OPTION_JSON, OPTION_QUIET };

static const struct argp_option argp_options[] = {
    {"input", OPTION_INPUT, "DIR", 0, "Folder of an export, or of files of the same kind", 0},
    {"config", OPTION_CONFIG, "FILE", 0,
     "Configuration (YAML) of the run that it becomes: the models, LoRA's and the memory's shapes, "
     "run.dir",
     0},
    {"set", OPTION_SET, "KEY=VALUE", 0, "Set a key over the file's", 0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object: checkpoint, parameters", 0},
    {"quiet", OPTION_QUIET, NULL, 0, "No notes", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    import_options *options = state->input;
    switch (key) {
    case OPTION_INPUT:
        options->input = argument;
        return 0;
    case OPTION_CONFIG:
        options->config = argument;
        return 0;
    case OPTION_SET:
        sp_assignments_add(&options->assignments, argument, state);
        return 0;
    case OPTION_JSON:
        options->wants_json = true;
        return 0;
    case OPTION_QUIET:
        options->is_quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': import takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        if (options->input == NULL || options->config == NULL)
            argp_error(state, "needs --input DIR and --config FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .doc = "Makes step 0 of a run from an export: a PEFT adapter (adapter_model.safetensors, "
           "adapter_config.json) or a whole encoder (model.safetensors, config.json), and "
           "pcc.safetensors. Every other command then takes the run as one trained here.\v"
           "Adapters that PEFT trained elsewhere are taken if they are plain LoRA of the "
           "configuration's rank, alpha and targets; F16 and BF16 become F32. Memory tokens may "
           "also be the last rows of the encoder's table, as in the authors' published "
           "checkpoints, whose pickles tools/convert_published.py turns into such a folder.",
};

static sp_status import(const import_options *options, json_t **result) {
    sp_run_config config = {0};
    sp_status status = sp_run_config_load(&config, options->config, options->assignments.items,
                                          options->assignments.n);
    if (status == SP_OK) status = sp_import(result, &config, options->input);
    sp_run_config_free(&config);
    return status;
}

sp_status sp_cmd_import(int argc, char **argv) {
    import_options options = {0};
    sp_parse_options(&argp, argc, argv, &options);
    if (options.is_quiet) sp_log_set_level(SP_LOG_QUIET);
    json_t *result = NULL;
    const sp_status status = sp_is_first_rank() ? import(&options, &result) : SP_OK;
    if (result != NULL && options.wants_json) sp_print_json(result);
    if (result != NULL && !options.wants_json)
        printf("wrote '%s', %.2f M parameters\n",
               json_string_value(json_object_get(result, "checkpoint")),
               json_number_value(json_object_get(result, "parameters")) / 1e6);
    json_decref(result);
    return status;
}
