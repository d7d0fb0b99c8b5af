#include "cli/command.h"

#include "base/json.h"
#include "cli/print_options.h"
#include "io/file_kind.h"
#include "io/slots_file.h"
#include "run/inspect.h"
#include "run/token_texts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct inspect_options {
    const char *path;
    const char *tokenizer; /* NAME=DIR, or NULL */
    const char *document;  /* of a slot file, or NULL */
    size_t n_segments;
    bool has_segments;
    sp_json_option json;
} inspect_options;

enum { OPTION_TOKENIZER = 256, OPTION_SEGMENTS, OPTION_DOCUMENT, DEFAULT_SEGMENTS = 3 };

static const struct argp_option argp_options[] = {
    {"tokenizer", OPTION_TOKENIZER, "NAME=DIR", 0,
     "Of a token file: show the first segments of the stream NAME as text", 0},
    {"segments", OPTION_SEGMENTS, "N", 0, "With --tokenizer: so many (3)", 0},
    {"document", OPTION_DOCUMENT, "ID", 0,
     "Of a slot file: show this document's segments, with their bytes, tokens and slots", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    inspect_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->json;
        return 0;
    case OPTION_TOKENIZER:
        options->tokenizer = argument;
        return 0;
    case OPTION_SEGMENTS:
        options->n_segments = sp_parse_count("--segments", argument, 1, state);
        options->has_segments = true;
        return 0;
    case OPTION_DOCUMENT:
        options->document = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (options->path != NULL) argp_error(state, "'%s': one FILE or DIR at a time", argument);
        options->path = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->path == NULL) argp_error(state, "needs a FILE or DIR");
        if (options->has_segments && options->tokenizer == NULL)
            argp_error(state, "--segments goes with --tokenizer");
        if (options->document != NULL && options->tokenizer != NULL)
            argp_error(state, "--document is of a slot file, --tokenizer of a token file");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {
    {&sp_json_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
    .args_doc = "FILE|DIR",
    .doc = "Describes a model (Hugging Face folder, .gguf, .safetensors, tokenizer.json), token "
           "file, slot file, checkpoint, run folder, metrics.jsonl, export, configuration (with "
           "its defaults filled in) or text shard.",
};

/* A file's own text may hold what a terminal would obey. */
static bool is_printable(const char *text) {
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f) return false;
    return true;
}

static void print_value(const json_t *value) {
    if (json_is_string(value) && is_printable(json_string_value(value))) {
        printf("%s\n", json_string_value(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(7));
    printf("%s\n", text == NULL ? "?" : text);
    free(text);
}

static void print_items(const json_t *array, int depth) {
    for (size_t i = 0; i < json_array_size(array); i++) {
        printf("%*s- ", 2 * depth, "");
        print_value(json_array_get(array, i));
    }
}

/* One line a member; objects, and lists of objects, are indented below their names. */
static void print_object(json_t *object, int depth) {
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(object, name, value) {
        printf("%*s%s:", 2 * depth, "", name);
        if (json_is_object(value) && json_object_size(value) > 0) {
            printf("\n");
            print_object(value, depth + 1);
        } else if (json_is_object(json_array_get(value, 0))) {
            printf("\n");
            print_items(value, depth + 1);
        } else {
            printf(" ");
            print_value(value);
        }
    }
}

/* A checkpoint has two tensors of the optimiser for each weight: their number says enough. */
static void fold_optimizer(json_t *description) {
    static const char prefix[] = "optimizer.";
    json_t *tensors = json_object_get(description, "tensors");
    json_int_t n_folded = 0;
    for (size_t i = json_array_size(tensors); i-- > 0;) {
        const char *name = json_string_value(json_object_get(json_array_get(tensors, i), "name"));
        if (name == NULL || strncmp(name, prefix, sizeof prefix - 1) != 0) continue;
        json_array_remove(tensors, i);
        n_folded++;
    }
    if (n_folded > 0) json_object_set_new(description, "optimizer_tensors", json_integer(n_folded));
}

/* Adds the member first_segments. */
static sp_status add_texts(json_t *description, const inspect_options *options) {
    sp_named_tokenizer tokenizer = {0};
    json_t *texts = NULL;
    sp_file_kind kind;
    SP_TRY(sp_file_kind_of(&kind, options->path));
    if (kind != SP_FILE_TOKENS)
        return sp_fail(SP_USAGE, "--tokenizer: '%s' is not a token file", options->path);
    SP_TRY(sp_named_tokenizer_open(&tokenizer, options->tokenizer));
    const sp_status status = sp_token_texts(&texts, options->path, &tokenizer, options->n_segments);
    sp_named_tokenizer_close(&tokenizer);
    SP_TRY(status);
    if (json_object_set_new(description, "first_segments", texts) == 0) return SP_OK;
    return sp_fail(SP_FAILURE, "no memory to describe '%s'", options->path);
}

static sp_status describe(json_t **description, const inspect_options *options) {
    sp_file_kind kind;
    if (options->document == NULL) return sp_inspect(description, options->path);
    SP_TRY(sp_file_kind_of(&kind, options->path));
    if (kind != SP_FILE_SLOTS)
        return sp_fail(SP_USAGE, "--document: '%s' is not a slot file", options->path);
    return sp_slots_describe_document(description, options->path, options->document);
}

sp_status sp_cmd_inspect(int argc, char **argv) {
    inspect_options options = {.n_segments = DEFAULT_SEGMENTS};
    sp_parse_options(&argp, argc, argv, &options);
    if (!sp_is_first_rank()) return SP_OK;
    json_t *description = NULL;
    SP_TRY(describe(&description, &options));
    if (options.tokenizer != NULL) {
        const sp_status status = add_texts(description, &options);
        if (status != SP_OK) {
            json_decref(description);
            return status;
        }
    }
    if (options.json.is_wanted) {
        sp_print_json(description);
    } else {
        fold_optimizer(description);
        print_object(description, 0);
    }
    json_decref(description);
    return SP_OK;
}
