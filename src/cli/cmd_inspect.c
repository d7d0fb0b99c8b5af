#include "cli/command.h"

#include "base/json.h"
#include "run/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct inspect_options {
    const char *path;
    bool wants_json;
} inspect_options;

enum { OPTION_JSON = 256 };

static const struct argp_option argp_options[] = {
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    inspect_options *options = state->input;
    switch (key) {
    case OPTION_JSON:
        options->wants_json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->path != NULL) argp_error(state, "'%s': one FILE or DIR at a time", argument);
        options->path = argument;
        return 0;
    case ARGP_KEY_END:
        if (options->path == NULL) argp_error(state, "needs a FILE or DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
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

sp_status sp_cmd_inspect(int argc, char **argv) {
    inspect_options options = {0};
    sp_parse_options(&argp, argc, argv, &options);
    if (!sp_is_first_rank()) return SP_OK;
    json_t *description = NULL;
    SP_TRY(sp_inspect(&description, options.path));
    if (options.wants_json) {
        sp_print_json(description);
    } else {
        fold_optimizer(description);
        print_object(description, 0);
    }
    json_decref(description);
    return SP_OK;
}
