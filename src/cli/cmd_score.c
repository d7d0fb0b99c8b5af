#include "cli/command.h"

#include "base/read_all.h"
#include "cli/print_options.h"
#include "run/score.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct score_options {
    const char *model;
    sp_bos_use bos;
    sp_precision precision;
    sp_json_option json;
} score_options;

enum { OPTION_MODEL = 256, OPTION_BOS, OPTION_PRECISION };

static const struct argp_option argp_options[] = {
    {"model", OPTION_MODEL, "DIR", 0, "Hugging Face folder or .gguf file", 0},
    {"bos", OPTION_BOS, "auto|always|never", 0,
     "Put BOS before the text: as the tokenizer does by itself (the default), always, never", 0},
    {"precision", OPTION_PRECISION, "f32|bf16|int8", 0, "Of the weights (f32)", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    static const char *const bos_words[] = {"auto", "always", "never", NULL};
    static const char *const precision_words[] = {"f32", "bf16", "int8", NULL};
    score_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->json;
        return 0;
    case OPTION_MODEL:
        options->model = argument;
        return 0;
    case OPTION_BOS:
        options->bos = (sp_bos_use)sp_parse_choice("--bos", argument, bos_words, state);
        return 0;
    case OPTION_PRECISION:
        options->precision =
            (sp_precision)sp_parse_choice("--precision", argument, precision_words, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': the text comes from standard input", argument);
        return 0;
    case ARGP_KEY_END:
        if (options->model == NULL) argp_error(state, "needs --model DIR");
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
    .doc = "Reads text from standard input and prints the natural logarithm of each token's "
           "probability under a model, given the tokens before it.",
};

static void print_result(const json_t *result) {
    const json_t *ids = json_object_get(result, "ids");
    const json_t *logprobs = json_object_get(result, "logprobs");
    for (size_t i = 0; i < json_array_size(logprobs); i++)
        printf("%lld\t%.6f\n", (long long)json_integer_value(json_array_get(ids, i + 1)),
               json_real_value(json_array_get(logprobs, i)));
    printf("perplexity %.6g over %zu tokens\n",
           json_number_value(json_object_get(result, "perplexity")), json_array_size(ids));
}

sp_status sp_cmd_score(int argc, char **argv) {
    score_options options = {.json = {.members = "ids, logprobs, tokens, perplexity"}};
    sp_parse_options(&argp, argc, argv, &options);
    if (!sp_is_first_rank()) return SP_OK;
    char *text = NULL;
    size_t n_bytes = 0;
    json_t *result = NULL;
    sp_status status = sp_read_all(&text, &n_bytes, stdin, "standard input");
    if (status == SP_OK)
        status = sp_score(&result, options.model, text, n_bytes, options.bos, options.precision);
    if (status == SP_OK && options.json.is_wanted)
        sp_print_json(result);
    else if (status == SP_OK)
        print_result(result);
    json_decref(result);
    free(text);
    return status;
}
