#include "cli/command.h"

#include "io/file_kind.h"
#include "io/slots_file.h"
#include "io/tokens_merge.h"

typedef struct merge_options {
    const char *input, *output;
} merge_options;

enum { OPTION_OUTPUT = 256 };

static const struct argp_option argp_options[] = {
    {"output", OPTION_OUTPUT, "FILE", 0, "Plain file to write", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    merge_options *options = state->input;
    switch (key) {
    case OPTION_OUTPUT:
        options->output = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (options->input != NULL) argp_error(state, "'%s': one FILE at a time", argument);
        options->input = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->input == NULL || options->output == NULL)
            argp_error(state, "needs a token or slot FILE and --output FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "FILE",
    .doc =
        "Makes one plain file of a token or slot file in parts: the same bytes as one writer would "
        "have written.",
};

sp_status sp_cmd_merge(int argc, char **argv) {
    merge_options options = {0};
    sp_file_kind kind;
    sp_parse_options(&argp, argc, argv, &options);
    if (!sp_is_first_rank()) return SP_OK;
    SP_TRY(sp_file_kind_of(&kind, options.input));
    if (kind == SP_FILE_SLOTS) return sp_slots_merge(options.output, options.input);
    if (kind != SP_FILE_TOKENS)
        return sp_fail(SP_USAGE, "'%s': neither a token file nor a slot file; merge takes those",
                       options.input);
    return sp_tokens_merge(options.output, options.input);
}
