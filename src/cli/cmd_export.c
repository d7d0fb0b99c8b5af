#include "cli/command.h"

#include "run/export.h"

#include <stdio.h>

typedef struct export_options {
    const char *checkpoint, *output;
    bool wants_json;
} export_options;

enum { OPTION_CHECKPOINT = 256, OPTION_OUTPUT, OPTION_JSON };

static const struct argp_option argp_options[] = {
    {"checkpoint", OPTION_CHECKPOINT, "DIR", 0, "Run or step folder", 0},
    {"output", OPTION_OUTPUT, "DIR", 0, "Folder for the files; made if it is not there", 0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object: output", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    export_options *options = state->input;
    switch (key) {
    case OPTION_CHECKPOINT:
        options->checkpoint = argument;
        return 0;
    case OPTION_OUTPUT:
        options->output = argument;
        return 0;
    case OPTION_JSON:
        options->wants_json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': export takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        if (options->checkpoint == NULL || options->output == NULL)
            argp_error(state, "needs --checkpoint DIR and --output DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .doc = "Writes a checkpoint's weights as safetensors: the encoder's LoRA as a PEFT adapter, or "
           "the whole encoder as a Hugging Face folder, and memory tokens, converter and markers "
           "as pcc.safetensors.",
};

sp_status sp_cmd_export(int argc, char **argv) {
    export_options options = {0};
    sp_parse_options(&argp, argc, argv, &options);
    if (!sp_is_first_rank()) return SP_OK;
    SP_TRY(sp_export(options.checkpoint, options.output));
    if (!options.wants_json) {
        printf("wrote '%s'\n", options.output);
        return SP_OK;
    }
    json_t *result = json_pack("{s:s}", "output", options.output);
    sp_print_json(result);
    json_decref(result);
    return SP_OK;
}
