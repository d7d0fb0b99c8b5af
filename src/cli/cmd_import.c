#include "cli/command.h"

#include "cli/config_options.h"
#include "cli/print_options.h"
#include "run/import.h"

#include <stdio.h>

typedef struct import_options {
    const char *input;
    sp_config_options config;
    sp_json_option json;
} import_options;

enum { OPTION_INPUT = 256 };

static const struct argp_option argp_options[] = {
    {"input", OPTION_INPUT, "DIR", 0, "Folder of an export, or of files of the same kind", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    import_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->config;
        state->child_inputs[1] = &options->json;
        return 0;
    case OPTION_INPUT:
        options->input = argument;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': import takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        if (options->input == NULL || options->config.file == NULL)
            argp_error(state, "needs --input DIR and --config FILE");
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
    .doc = "Makes step 0 of a run from an export: a PEFT adapter (adapter_model.safetensors, "
           "adapter_config.json) or a whole encoder (model.safetensors, config.json), and "
           "pcc.safetensors. Every other command then takes the run as one trained here.\v"
           "The configuration is that of the run that it becomes: the models, LoRA's and the "
           "memory's shapes, run.dir. Of segment.ratio it may name what the export was trained "
           "for, all or "
           "some; other ratios, another kind of memory, of slots or of boundaries are refused "
           "(pcc_config.json).\n\n"
           "Adapters that PEFT trained elsewhere are taken if they are plain LoRA of the "
           "configuration's rank, alpha and targets; F16 and BF16 become F32. Memory tokens may "
           "also be the last rows of the encoder's table, as in the authors' published "
           "checkpoints, whose pickles tools/convert_published.py turns into such a folder.",
};

static sp_status import(const import_options *options, json_t **result) {
    sp_run_config config = {0};
    sp_status status =
        sp_run_config_load(&config, options->config.file, options->config.assignments.items,
                           options->config.assignments.n);
    if (status == SP_OK) status = sp_import(result, &config, options->input);
    sp_run_config_free(&config);
    return status;
}

sp_status sp_cmd_import(int argc, char **argv) {
    import_options options = {.json = {.members = "checkpoint, parameters"}};
    sp_parse_options(&argp, argc, argv, &options);
    json_t *result = NULL;
    const sp_status status = sp_is_first_rank() ? import(&options, &result) : SP_OK;
    if (result != NULL && options.json.is_wanted) sp_print_json(result);
    if (result != NULL && !options.json.is_wanted)
        printf("wrote '%s', %.2f M parameters\n",
               json_string_value(json_object_get(result, "checkpoint")),
               json_number_value(json_object_get(result, "parameters")) / 1e6);
    json_decref(result);
    return status;
}
