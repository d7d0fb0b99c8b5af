#include "cli/command.h"

#include "cli/print_options.h"
#include "run/export.h"
#include "run/export_slots.h"
#include "run/merge.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct export_options {
    const char *checkpoint, *output;
    sp_json_option json;
    bool wants_merge;
    sp_dtype dtype;
    const char *needs_export; /* an option that goes without --slots and --merge only */
    sp_export_slots_job slots;
    const char **documents;  /* [slots.n_documents], owned */
    const char *needs_slots; /* an option that goes with --slots only */
} export_options;

enum {
    OPTION_CHECKPOINT = 256,
    OPTION_OUTPUT,
    OPTION_MERGE,
    OPTION_DTYPE,
    OPTION_SLOTS,
    OPTION_DOCUMENT,
    OPTION_FORMAT,
    OPTION_MARKERS
};

static const struct argp_option argp_options[] = {
    {"checkpoint", OPTION_CHECKPOINT, "DIR", 0, "Run or step folder", 0},
    {"output", OPTION_OUTPUT, "PATH", 0,
     "Folder for the files, made if it is not there; with --slots, a file or folder", 0},
    {"merge", OPTION_MERGE, NULL, 0, "Write the encoder whole, LoRA merged into its weights", 0},
    {"dtype", OPTION_DTYPE, "f32|f16|bf16", 0, "Type of the values that are written (f32)", 0},
    {"slots", OPTION_SLOTS, "FILE", 0,
     "Write the slots of this slot file's documents, converted for the decoder, in place of "
     "weights",
     0},
    {"document", OPTION_DOCUMENT, "ID", 0, "Of this document; may be repeated (all)", 0},
    {"format", OPTION_FORMAT, "npy|safetensors", 0,
     "npy (the default): [n, d] f32, one file where one document is named, else a folder of them "
     "with index.json; safetensors: one file, a tensor a document",
     0},
    {"markers", OPTION_MARKERS, NULL, 0,
     "With the rows <mem> and </mem> around each segment's slots, as the decoder reads them", 0},
    {0},
};

static void check_options(const export_options *options, const struct argp_state *state) {
    if (options->checkpoint == NULL || options->output == NULL)
        argp_error(state, "needs --checkpoint DIR and --output PATH");
    if (options->slots.slots == NULL && options->needs_slots != NULL)
        argp_error(state, "%s goes with --slots FILE", options->needs_slots);
    if (options->slots.slots != NULL && options->wants_merge)
        argp_error(state, "--merge and --slots do not go together");
    if (options->needs_export != NULL && (options->slots.slots != NULL || options->wants_merge))
        argp_error(state, "%s goes without --merge, which keeps the base model's type, and --slots",
                   options->needs_export);
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    export_options *options = state->input;
    static const char *const formats[] = {
        [SP_ROWS_NPY] = "npy", [SP_ROWS_SAFETENSORS] = "safetensors", NULL};
    static const char *const dtypes[] = {
        [SP_F32] = "f32", [SP_F16] = "f16", [SP_BF16] = "bf16", NULL};
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->json;
        return 0;
    case OPTION_CHECKPOINT:
        options->checkpoint = argument;
        return 0;
    case OPTION_OUTPUT:
        options->output = argument;
        return 0;
    case OPTION_MERGE:
        options->wants_merge = true;
        return 0;
    case OPTION_DTYPE:
        options->dtype = (sp_dtype)sp_parse_choice("--dtype", argument, dtypes, state);
        options->needs_export = "--dtype";
        return 0;
    case OPTION_SLOTS:
        options->slots.slots = argument;
        return 0;
    case OPTION_DOCUMENT:
        options->documents[options->slots.n_documents++] = argument; /* there are fewer than argc */
        options->needs_slots = "--document";
        return 0;
    case OPTION_FORMAT:
        options->slots.format =
            (sp_rows_format)sp_parse_choice("--format", argument, formats, state);
        options->needs_slots = "--format";
        return 0;
    case OPTION_MARKERS:
        options->slots.has_markers = true;
        options->needs_slots = "--markers";
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': export takes options only", argument);
        return 0;
    case ARGP_KEY_END:
        check_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {
    {&sp_json_argp, 0, NULL, 0},
    {&sp_quiet_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
    .doc =
        "Writes a checkpoint's weights as safetensors: the encoder's LoRA as a PEFT adapter, or an "
        "encoder trained in full as a Hugging Face folder (for AutoModel: an output head of its "
        "own is not trained and stays with the base model), and memory tokens, converter and "
        "markers as pcc.safetensors. `slotpress import` reads these back.\v"
        "--merge writes each weight W + (alpha / rank) B A in the base model's own type, so that "
        "the encoder needs no PEFT. With --slots, rows are written for servers that take "
        "embeddings as a prompt, and neither model is opened.",
};

static sp_status export(const export_options *options, json_t **result) {
    if (options->slots.slots != NULL) {
        sp_export_slots_job job = options->slots;
        job.checkpoint = options->checkpoint;
        job.output = options->output;
        job.documents = options->documents;
        return sp_export_slots(result, &job);
    }
    SP_TRY(options->wants_merge ? sp_merge(options->checkpoint, options->output)
                                : sp_export(options->checkpoint, options->output, options->dtype));
    *result = json_pack("{s:s}", "output", options->output);
    return SP_OK;
}

sp_status sp_cmd_export(int argc, char **argv) {
    export_options options = {.json = {.members = "output; with --slots documents, rows, d, too"},
                              .documents = calloc((size_t)argc, sizeof *options.documents)};
    if (options.documents == NULL) return sp_fail(SP_FAILURE, "no memory for options");
    sp_parse_options(&argp, argc, argv, &options);
    json_t *result = NULL;
    const sp_status status = sp_is_first_rank() ? export(&options, &result) : SP_OK;
    if (result != NULL && options.json.is_wanted) sp_print_json(result);
    if (result != NULL && !options.json.is_wanted) printf("wrote '%s'\n", options.output);
    json_decref(result);
    free(options.documents);
    return status;
}
