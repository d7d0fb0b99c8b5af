#include "cli/command.h"

#include "base/log.h"
#include "mpi/world.h"
#include "run/evaluate.h"
#include "run/evaluate_icl.h"
#include "run/evaluate_predictions.h"
#include "run/evaluate_qa.h"
#include "run/evaluate_roleplay.h"

#include <stdio.h>
#include <string.h>

typedef enum evaluate_task { RECONSTRUCTION, QA, ICL, ROLEPLAY, N_TASKS } evaluate_task;

static const char *const task_names[] = {[RECONSTRUCTION] = "reconstruction",
                                         [QA] = "qa",
                                         [ICL] = "icl",
                                         [ROLEPLAY] = "roleplay",
                                         [N_TASKS] = NULL};

enum { MOST_CHECKPOINTS = 32 };

typedef struct evaluate_options {
    evaluate_task task; /* N_TASKS: none yet */
    sp_evaluate_job reconstruction;
    sp_assignments assignments;
    sp_qa_job qa;
    sp_icl_job icl;
    const char *checkpoints[MOST_CHECKPOINTS];
    size_t n_checkpoints;
    const char *data, *predictions;
    const char *file;             /* the argument after the task */
    size_t limit, max_new_tokens; /* 0: the task's own */
    size_t n_samples;
    bool wants_json, is_quiet;
} evaluate_options;

enum {
    OPTION_CHECKPOINT = 256,
    OPTION_DATA,
    OPTION_PREDICTIONS,
    OPTION_DEMONSTRATIONS,
    OPTION_DEMONSTRATION_TOKENS,
    OPTION_SPLIT,
    OPTION_LIMIT,
    OPTION_SEGMENTS,
    OPTION_MAX_NEW_TOKENS,
    OPTION_MIN_CONTEXT,
    OPTION_MAX_CONTEXT,
    OPTION_SAMPLES,
    OPTION_OUTPUT,
    OPTION_SET,
    OPTION_JSON,
    OPTION_QUIET
};

static const struct argp_option argp_options[] = {
    {NULL, 0, NULL, 0, "What is evaluated:", 1},
    {"checkpoint", OPTION_CHECKPOINT, "DIR", 0,
     "Run or step folder of the compressor; qa: also several, such as one a ratio", 1},
    {"data", OPTION_DATA, "FILE", 0,
     "qa: questions, as SQuAD (v1.1, v2.0), AdversarialQA, HotpotQA, Natural Questions or NQ-open "
     "are "
     "published; also .gz and .zst",
     1},
    {"predictions", OPTION_PREDICTIONS, "FILE", 0,
     "Score these in place of a compressor's: JSON lines {\"id\", \"prediction\"}, or for "
     "reconstruction {\"prediction\", \"reference\"} and no --data",
     1},
    {"demonstrations", OPTION_DEMONSTRATIONS, "FILE", 0,
     "icl: where demonstrations come from, such as the training file of the same task", 1},
    {"split", OPTION_SPLIT, "held-out|trained|all", 0,
     "reconstruction: segments of documents held out in training (the default), trained on, or all",
     1},
    {"limit", OPTION_LIMIT, "N", 0, "The first N items only (reconstruction: 256)", 1},
    {"segments", OPTION_SEGMENTS, "N", OPTION_HIDDEN, "The same as --limit", 1},
    {NULL, 0, NULL, 0, "How:", 2},
    {"max-new-tokens", OPTION_MAX_NEW_TOKENS, "N", 0,
     "Generate at most so many (reconstruction: 300 for a segment; qa: 30)", 2},
    {"min-context", OPTION_MIN_CONTEXT, "N", 0,
     "qa: contexts of at least so many tokens of the decoder (257; Natural Questions 513)", 2},
    {"max-context", OPTION_MAX_CONTEXT, "N", 0,
     "qa: of at most so many (any; Natural Questions 8000)", 2},
    {"demonstration-tokens", OPTION_DEMONSTRATION_TOKENS, "N", 0,
     "icl: whole demonstrations of at most so many tokens of the decoder together (750)", 2},
    {"set", OPTION_SET, "KEY=VALUE", 0, "Set a key over the checkpoint's configuration", 2},
    {NULL, 0, NULL, 0, "What is printed:", 3},
    {"samples", OPTION_SAMPLES, "N", 0, "Show N items with what was generated (0)", 3},
    {"output", OPTION_OUTPUT, "FILE", 0, "qa: write every answer as a JSON line", 3},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object", 3},
    {"quiet", OPTION_QUIET, NULL, 0, "No progress and no notes", 3},
    {0},
};

static void take_argument(evaluate_options *options, char *argument,
                          const struct argp_state *state) {
    if (options->task == N_TASKS)
        options->task = (evaluate_task)sp_parse_choice("task", argument, task_names, state);
    else if (options->file == NULL && options->task == RECONSTRUCTION)
        options->file = argument;
    else
        argp_error(state, "'%s': %s", argument,
                   options->task == RECONSTRUCTION ? "one token file at a time"
                                                   : "the data are named by --data");
}

/* Predictions are scored by themselves: nothing is generated. */
static void check_predictions(const evaluate_options *options, const struct argp_state *state) {
    if (options->n_checkpoints > 0)
        argp_error(state, "--predictions are scored without --checkpoint");
    if (options->task == RECONSTRUCTION && (options->data != NULL || options->file != NULL))
        argp_error(state, "--predictions of a reconstruction have their references beside them: no "
                          "data are read");
    if (options->task != RECONSTRUCTION && options->task != QA)
        argp_error(state, "--predictions are of qa or reconstruction");
    if (options->task == QA && options->data == NULL)
        argp_error(state, "--predictions of qa need --data FILE, which has the answers");
}

static void check_options(const evaluate_options *options, const struct argp_state *state) {
    if (options->task == N_TASKS)
        argp_error(state, "needs a task: reconstruction, qa, icl or roleplay");
    if (options->predictions != NULL) {
        check_predictions(options, state);
        return;
    }
    if (options->n_checkpoints == 0)
        argp_error(state, "needs a task and --checkpoint DIR, or --predictions FILE");
    if (options->task == RECONSTRUCTION && options->data != NULL)
        argp_error(state, "--data: reconstruction takes a token file as its argument");
    if (options->task == RECONSTRUCTION && options->n_checkpoints > 1)
        argp_error(state, "--checkpoint: reconstruction takes one");
    if (options->task != RECONSTRUCTION && options->data == NULL)
        argp_error(state, "%s needs --data FILE", task_names[options->task]);
    if (options->task == ICL && options->icl.demonstrations == NULL)
        argp_error(state, "icl needs --demonstrations FILE");
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    static const char *const splits[] = {[SP_SPLIT_HELD_OUT] = "held-out",
                                         [SP_SPLIT_TRAINED] = "trained",
                                         [SP_SPLIT_ALL] = "all",
                                         NULL};
    evaluate_options *options = state->input;
    switch (key) {
    case OPTION_CHECKPOINT:
        if (options->n_checkpoints == MOST_CHECKPOINTS)
            argp_error(state, "--checkpoint: more than %d of them", (int)MOST_CHECKPOINTS);
        options->checkpoints[options->n_checkpoints++] = argument;
        return 0;
    case OPTION_DATA:
        options->data = argument;
        return 0;
    case OPTION_PREDICTIONS:
        options->predictions = argument;
        return 0;
    case OPTION_DEMONSTRATIONS:
        options->icl.demonstrations = argument;
        return 0;
    case OPTION_DEMONSTRATION_TOKENS:
        options->icl.demonstration_tokens =
            sp_parse_count("--demonstration-tokens", argument, 1, state);
        return 0;
    case OPTION_SPLIT:
        options->reconstruction.split =
            (sp_split)sp_parse_choice("--split", argument, splits, state);
        return 0;
    case OPTION_LIMIT:
        options->limit = sp_parse_count("--limit", argument, 1, state);
        return 0;
    case OPTION_SEGMENTS:
        options->limit = sp_parse_count("--segments", argument, 1, state);
        return 0;
    case OPTION_MAX_NEW_TOKENS:
        options->max_new_tokens = sp_parse_count("--max-new-tokens", argument, 1, state);
        return 0;
    case OPTION_MIN_CONTEXT:
        options->qa.min_context = sp_parse_count("--min-context", argument, 0, state);
        return 0;
    case OPTION_MAX_CONTEXT:
        options->qa.max_context = sp_parse_count("--max-context", argument, 0, state);
        return 0;
    case OPTION_SAMPLES:
        options->n_samples = sp_parse_count("--samples", argument, 0, state);
        return 0;
    case OPTION_OUTPUT:
        options->qa.output = argument;
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
        check_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "reconstruction [TOKENS.h5]\nqa\nicl\nroleplay",
    .doc =
        "Measures what a compressor's slots are worth to the decoder, or scores predictions that "
        "were made elsewhere by the same code.\v"
        "reconstruction: how well slots let the decoder write a segment again: greedy BLEU, "
        "ROUGE-L "
        "and exact match of free-running text, token accuracy and perplexity with the text given. "
        "Without TOKENS.h5 the configuration's file is read.\n"
        "qa: F1 and exact match (em), 0-100, of greedy answers to the prompt `Question: "
        "...\\n\\nAnswer: "
        "` after the full context, none, and the context compressed by each checkpoint; scored as "
        "SQuAD's scripts do: lower case, no ASCII punctuation, no a, an and the; the best over the "
        "accepted answers.\n\n"
        "  mpirun -n 4 slotpress evaluate qa --checkpoint runs/4x --checkpoint runs/16x --data "
        "dev-v1.1.json\n\n"
        "icl: accuracy (0-100) on GSM8K, SST-2 or WSC after demonstrations, in full, none, and "
        "compressed. Options are chosen by their mean negative log-likelihood a token less that "
        "which "
        "they have with N/A for the content; GSM8K is answered greedily, and its number counts.\n\n"
        "roleplay: perplexity of the reply in a dialogue after its scene and characters; lower is "
        "better.\n\n"
        "Scoring predictions made elsewhere:\n"
        "  slotpress evaluate qa --data dev-v1.1.json --predictions answers.jsonl\n"
        "  slotpress evaluate reconstruction --predictions pairs.jsonl\n"
        "A question without a prediction scores 0 (SQuAD 2: it is left out), one too many is "
        "ignored; both are counted. An item that has no id is known by its question or its number "
        "from 0. BLEU is sacrebleu's (13a, exp smoothing, 0-100), ROUGE-L rouge_score's F without "
        "stemmer (0-1), exact_match byte for byte (0-1).",
};

static double real_of(const json_t *result, const char *name) {
    return json_number_value(json_object_get(result, name));
}

static long long count_of(const json_t *result, const char *name) {
    return (long long)json_integer_value(json_object_get(result, name));
}

static void print_reconstruction(const json_t *result) {
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
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (json_object_get(result, rows[i].name) != NULL)
            printf("  %-15s %10.4f   %s\n", rows[i].name, real_of(result, rows[i].name),
                   rows[i].note);
}

static void print_segments(const json_t *result) {
    printf("reconstruction of %lld %s segments at %lldx\n", count_of(result, "segments"),
           json_string_value(json_object_get(result, "split")), count_of(result, "ratio"));
    print_reconstruction(result);
    const json_t *samples = json_object_get(result, "samples"), *sample;
    size_t i;
    json_array_foreach(samples, i, sample)
        printf("\nsegment %lld of document '%s'\n  text:           %s\n  reconstruction: %s\n",
               count_of(sample, "segment"), json_string_value(json_object_get(sample, "document")),
               json_string_value(json_object_get(sample, "reference")),
               json_string_value(json_object_get(sample, "reconstruction")));
}

static void print_predictions(const json_t *result, evaluate_task task) {
    printf("%s of %lld predictions\n", task_names[task], count_of(result, "count"));
    if (task == RECONSTRUCTION)
        print_reconstruction(result);
    else
        printf("  %-15s %10.4f   0-100\n  %-15s %10.4f   exact match, 0-100\n"
               "  %-15s %10lld   questions without a prediction\n"
               "  %-15s %10lld   predictions without a question\n",
               "f1", real_of(result, "f1"), "em", real_of(result, "em"), "missing",
               count_of(result, "missing"), "unknown", count_of(result, "unknown"));
}

/* By one rank: there is little to do. */
static sp_status score_predictions(const evaluate_options *options) {
    const sp_predictions_job job = {
        .data = options->data, .predictions = options->predictions, .limit = options->limit};
    json_t *result = NULL;
    if (!sp_is_first_rank()) return SP_OK;
    const sp_status status = options->task == QA ? sp_score_answers(&result, &job)
                                                 : sp_score_reconstructions(&result, &job);
    if (status == SP_OK && options->wants_json)
        sp_print_json(result);
    else if (status == SP_OK)
        print_predictions(result, options->task);
    json_decref(result);
    return status;
}

/* In 18 columns. */
static void print_method_name(const json_t *method) {
    if (json_object_get(method, "ratio") != NULL)
        printf("  compressed %4lldx", count_of(method, "ratio"));
    else
        printf("  %-16s", json_string_value(json_object_get(method, "method")));
}

static void print_texts(const json_t *sample) {
    const json_t *compressed = json_object_get(sample, "compressed"), *text;
    size_t i;
    printf("  full:       %s\n  none:       %s\n",
           json_string_value(json_object_get(sample, "full")),
           json_string_value(json_object_get(sample, "none")));
    json_array_foreach(compressed, i, text) printf("  compressed: %s\n", json_string_value(text));
}

static void print_qa(const json_t *result) {
    const json_t *method, *sample;
    size_t i;
    printf("%lld questions of %s\n  %-16s %8s %8s %14s\n", count_of(result, "count"),
           json_string_value(json_object_get(result, "data")), "context", "f1", "em",
           "rows a context");
    json_array_foreach(json_object_get(result, "methods"), i, method) {
        print_method_name(method);
        printf(" %8.2f %8.2f %14.1f\n", real_of(method, "f1"), real_of(method, "em"),
               real_of(method, "context_rows"));
    }
    json_array_foreach(json_object_get(result, "samples"), i, sample) {
        printf("\n%s\n  accepted:   %s\n", json_string_value(json_object_get(sample, "question")),
               json_string_value(json_array_get(json_object_get(sample, "answers"), 0)));
        print_texts(sample);
    }
}

static void print_icl(const json_t *result) {
    const json_t *method, *sample;
    size_t i;
    printf("%lld examples of %s after %lld demonstrations of %lld tokens\n  %-16s %9s %8s\n",
           count_of(result, "count"), json_string_value(json_object_get(result, "data")),
           count_of(result, "demonstrations"), count_of(result, "demonstration_tokens"), "context",
           "accuracy", "rows");
    json_array_foreach(json_object_get(result, "methods"), i, method) {
        print_method_name(method);
        printf(" %9.2f %8lld\n", real_of(method, "accuracy"), count_of(method, "context_rows"));
    }
    json_array_foreach(json_object_get(result, "samples"), i, sample) {
        printf("\n%s\n  wanted:     %s\n", json_string_value(json_object_get(sample, "prompt")),
               json_string_value(json_object_get(sample, "answer")));
        print_texts(sample);
    }
}

static void print_roleplay(const json_t *result) {
    const json_t *method;
    size_t i;
    printf("replies in %lld dialogues of %s\n  %-16s %10s %14s\n", count_of(result, "count"),
           json_string_value(json_object_get(result, "data")), "context", "perplexity",
           "rows a context");
    json_array_foreach(json_object_get(result, "methods"), i, method) {
        print_method_name(method);
        printf(" %10.4f %14.1f\n", real_of(method, "perplexity"), real_of(method, "context_rows"));
    }
}

static sp_status evaluate_segments(sp_world *world, json_t **result, evaluate_options *options) {
    sp_evaluate_job *job = &options->reconstruction;
    job->checkpoint = options->checkpoints[0];
    job->tokens = options->file;
    job->most_segments = options->limit > 0 ? options->limit : 256;
    job->max_new_tokens = options->max_new_tokens > 0 ? options->max_new_tokens : 300;
    job->n_samples = options->n_samples;
    job->assignments = options->assignments.items;
    job->n_assignments = options->assignments.n;
    return sp_evaluate_reconstruction(world, result, job);
}

static sp_methods_options methods_of(const evaluate_options *options) {
    return (sp_methods_options){options->checkpoints, options->n_checkpoints,
                                options->assignments.items, options->assignments.n};
}

static sp_status evaluate_qa(sp_world *world, json_t **result, evaluate_options *options) {
    sp_qa_job *job = &options->qa;
    job->methods = methods_of(options);
    job->data = options->data;
    job->limit = options->limit;
    job->max_new_tokens = options->max_new_tokens > 0 ? options->max_new_tokens : 30;
    job->n_samples = options->n_samples;
    return sp_evaluate_qa(world, result, job);
}

static sp_status evaluate_icl(sp_world *world, json_t **result, evaluate_options *options) {
    sp_icl_job *job = &options->icl;
    job->methods = methods_of(options);
    job->data = options->data;
    job->limit = options->limit;
    job->max_new_tokens = options->max_new_tokens > 0 ? options->max_new_tokens : 300;
    job->n_samples = options->n_samples;
    return sp_evaluate_icl(world, result, job);
}

static sp_status evaluate_roleplay(sp_world *world, json_t **result, evaluate_options *options) {
    const sp_roleplay_job job = {methods_of(options), options->data, options->limit};
    return sp_evaluate_roleplay(world, result, &job);
}

/* What a task does over all ranks, and how its result is printed by the first. */
static const struct {
    sp_status (*evaluate)(sp_world *world, json_t **result, evaluate_options *options);
    void (*print)(const json_t *result);
} tasks[] = {
    [RECONSTRUCTION] = {evaluate_segments, print_segments},
    [QA] = {evaluate_qa, print_qa},
    [ICL] = {evaluate_icl, print_icl},
    [ROLEPLAY] = {evaluate_roleplay, print_roleplay},
};

static sp_status evaluate(evaluate_options *options) {
    sp_world *world = NULL;
    json_t *result = NULL;
    sp_status status = sp_world_begin(&world);
    if (status == SP_OK) status = tasks[options->task].evaluate(world, &result, options);
    if (status == SP_OK && result != NULL && options->wants_json)
        sp_print_json(result);
    else if (status == SP_OK && result != NULL)
        tasks[options->task].print(result);
    json_decref(result);
    return sp_world_end(world, status);
}

sp_status sp_cmd_evaluate(int argc, char **argv) {
    evaluate_options options = {.task = N_TASKS,
                                .qa = {.min_context = SIZE_MAX, .max_context = SIZE_MAX},
                                .icl = {.demonstration_tokens = 750}};
    sp_parse_options(&argp, argc, argv, &options);
    if (options.is_quiet || !sp_is_first_rank()) sp_log_set_level(SP_LOG_QUIET);
    return options.predictions != NULL ? score_predictions(&options) : evaluate(&options);
}
