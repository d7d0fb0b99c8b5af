#include "cli/command.h"

#include "base/log.h"
#include "mpi/world.h"
#include "run/evaluate.h"

#include <stdio.h>
#include <string.h>

typedef struct evaluate_options {
    sp_evaluate_job job;
    sp_assignments assignments;
    const char *task;
    bool wants_json, is_quiet;
} evaluate_options;

enum {
    OPTION_CHECKPOINT = 256,
    OPTION_SPLIT,
    OPTION_SEGMENTS,
    OPTION_MAX_NEW_TOKENS,
    OPTION_SAMPLES,
    OPTION_SET,
    OPTION_JSON,
    OPTION_QUIET
};

static const struct argp_option argp_options[] = {
    {"checkpoint", OPTION_CHECKPOINT, "DIR", 0, "Run or step folder of the compressor", 0},
    {"split", OPTION_SPLIT, "held-out|trained|all", 0,
     "Segments of documents held out in training (the default), trained on, or all", 0},
    {"segments", OPTION_SEGMENTS, "N", 0, "The first N of them only (256)", 0},
    {"max-new-tokens", OPTION_MAX_NEW_TOKENS, "N", 0, "At most so many for a segment (300)", 0},
    {"samples", OPTION_SAMPLES, "N", 0, "Show N reconstructions beside their text (0)", 0},
    {"set", OPTION_SET, "KEY=VALUE", 0, "Set a key over the checkpoint's configuration", 0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
    {"quiet", OPTION_QUIET, NULL, 0, "No progress and no notes", 0},
    {0},
};

static void take_argument(evaluate_options *options, char *argument,
                          const struct argp_state *state) {
    if (options->task == NULL) {
        if (strcmp(argument, "reconstruction") != 0)
            argp_error(state, "unknown task '%s'; tasks: reconstruction", argument);
        options->task = argument;
    } else if (options->job.tokens == NULL) {
        options->job.tokens = argument;
    } else {
        argp_error(state, "'%s': one token file at a time", argument);
    }
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    evaluate_options *options = state->input;
    static const char *const splits[] = {[SP_SPLIT_HELD_OUT] = "held-out",
                                         [SP_SPLIT_TRAINED] = "trained",
                                         [SP_SPLIT_ALL] = "all",
                                         NULL};
    sp_evaluate_job *job = &options->job;
    switch (key) {
    case OPTION_CHECKPOINT:
        job->checkpoint = argument;
        return 0;
    case OPTION_SPLIT:
        job->split = (sp_split)sp_parse_choice("--split", argument, splits, state);
        return 0;
    case OPTION_SEGMENTS:
        job->most_segments = sp_parse_count("--segments", argument, 1, state);
        return 0;
    case OPTION_MAX_NEW_TOKENS:
        job->max_new_tokens = sp_parse_count("--max-new-tokens", argument, 1, state);
        return 0;
    case OPTION_SAMPLES:
        job->n_samples = sp_parse_count("--samples", argument, 0, state);
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
        take_argument(options, argument, state);
        return 0;
    case ARGP_KEY_END:
        if (options->task == NULL || job->checkpoint == NULL)
            argp_error(state, "needs a task and --checkpoint DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "reconstruction [TOKENS.h5]",
    .doc = "Measures how well a compressor's slots let the decoder write a segment again: greedy "
           "BLEU, ROUGE-L and exact match of free-running text, token accuracy and perplexity with "
           "the text given. Without TOKENS.h5 the configuration's file is read.",
};

static double real_of(const json_t *result, const char *name) {
    return json_number_value(json_object_get(result, name));
}

static void print_result(const json_t *result) {
    static const struct {
        const char *name, *note;
    } rows[] = {
        {"bleu", "corpus BLEU as sacrebleu, 0-100"},
        {"bleu_sentence", "mean sentence BLEU, 0-100"},
        {"rouge_l", "ROUGE-L F, 0-1"},
        {"rouge_l_stem", "with Porter stems, 0-1"},
        {"exact_match", "segments, 0-1"},
        {"token_accuracy", "text given, 0-1"},
        {"perplexity", "text given"},
    };
    printf("reconstruction of %lld %s segments at %lldx\n",
           (long long)json_integer_value(json_object_get(result, "segments")),
           json_string_value(json_object_get(result, "split")),
           (long long)json_integer_value(json_object_get(result, "ratio")));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        printf("  %-15s %10.4f   %s\n", rows[i].name, real_of(result, rows[i].name), rows[i].note);
    const json_t *samples = json_object_get(result, "samples"), *sample;
    size_t i;
    json_array_foreach(samples, i, sample)
        printf("\nsegment %lld of document '%s'\n  text:           %s\n  reconstruction: %s\n",
               (long long)json_integer_value(json_object_get(sample, "segment")),
               json_string_value(json_object_get(sample, "document")),
               json_string_value(json_object_get(sample, "reference")),
               json_string_value(json_object_get(sample, "reconstruction")));
}

sp_status sp_cmd_evaluate(int argc, char **argv) {
    evaluate_options options = {.job = {.most_segments = 256, .max_new_tokens = 300}};
    sp_parse_options(&argp, argc, argv, &options);
    options.job.assignments = options.assignments.items;
    options.job.n_assignments = options.assignments.n;
    if (options.is_quiet || !sp_is_first_rank()) sp_log_set_level(SP_LOG_QUIET);
    sp_world *world = NULL;
    json_t *result = NULL;
    sp_status status = sp_world_begin(&world);
    if (status == SP_OK) status = sp_evaluate_reconstruction(world, &result, &options.job);
    if (status == SP_OK && result != NULL && options.wants_json)
        sp_print_json(result);
    else if (status == SP_OK && result != NULL)
        print_result(result);
    json_decref(result);
    return sp_world_end(world, status);
}
