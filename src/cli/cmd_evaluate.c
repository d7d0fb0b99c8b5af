#include "cli/command.h"

#include "cli/config_options.h"
#include "cli/evaluation_tables.h"
#include "cli/print_options.h"
#include "mpi/agree.h"
#include "mpi/world.h"
#include "run/evaluate_ablation.h"
#include "run/evaluate_efficiency.h"
#include "run/evaluate_icl.h"
#include "run/evaluate_predictions.h"
#include "run/evaluate_qa.h"
#include "run/evaluate_reconstruction.h"
#include "run/evaluate_roleplay.h"

#include <stdio.h>
#include <string.h>

typedef enum evaluate_task {
    RECONSTRUCTION,
    QA,
    ICL,
    ROLEPLAY,
    EFFICIENCY,
    ABLATION,
    N_TASKS
} evaluate_task;

static const char *const task_names[] = {[RECONSTRUCTION] = "reconstruction",
                                         [QA] = "qa",
                                         [ICL] = "icl",
                                         [ROLEPLAY] = "roleplay",
                                         [EFFICIENCY] = "efficiency",
                                         [ABLATION] = "ablation",
                                         [N_TASKS] = NULL};

enum { MOST_CHECKPOINTS = 32 };

typedef struct evaluate_options {
    evaluate_task task; /* N_TASKS: none yet */
    sp_reconstruction_job reconstruction;
    sp_assignments assignments;
    sp_qa_job qa;
    sp_icl_job icl;
    sp_efficiency_job efficiency;
    const char *checkpoints[MOST_CHECKPOINTS],
        *names[MOST_CHECKPOINTS];     /* names: of variants, or NULL */
    char *variants[MOST_CHECKPOINTS]; /* NAME=DIR */
    size_t n_variants;
    size_t n_checkpoints;
    const char *slots[MOST_CHECKPOINTS]; /* [n_slots] */
    size_t n_slots;
    const char *data, *predictions, *work, *contexts;
    const char *file;             /* the argument after the task */
    size_t limit, max_new_tokens; /* 0: the task's own */
    sp_count_list ratios;         /* none: all that a checkpoint was trained for */
    size_t n_samples;
    size_t expected_ranks; /* 0: any */
    sp_json_option json;
} evaluate_options;

enum {
    OPTION_CHECKPOINT = 256,
    OPTION_VARIANT,
    OPTION_DATA,
    OPTION_PREDICTIONS,
    OPTION_SLOTS,
    OPTION_WRITE_CONTEXTS,
    OPTION_DEMONSTRATIONS,
    OPTION_DEMONSTRATION_TOKENS,
    OPTION_INPUT_TOKENS,
    OPTION_BATCH,
    OPTION_RUNS,
    OPTION_SPLIT,
    OPTION_LIMIT,
    OPTION_RATIO,
    OPTION_SEGMENTS,
    OPTION_MAX_NEW_TOKENS,
    OPTION_MIN_CONTEXT,
    OPTION_MAX_CONTEXT,
    OPTION_SAMPLES,
    OPTION_OUTPUT,
    OPTION_EXPECT_RANKS,
    OPTION_WORK
};

static const struct argp_option argp_options[] = {
    {NULL, 0, NULL, 0, "What is evaluated:", 1},
    {"checkpoint", OPTION_CHECKPOINT, "DIR", 0,
     "Run or step folder of a compressor; may be given several times", 1},
    {"variant", OPTION_VARIANT, "[NAME=]DIR", 0,
     "ablation: what is compared with --checkpoint; may be given several times", 1},
    {"data", OPTION_DATA, "FILE", 0,
     "As published, also .gz and .zst. qa: SQuAD (v1.1, v2.0), AdversarialQA, HotpotQA, Natural "
     "Questions, NQ-open; icl: GSM8K (.jsonl), SST-2 (.tsv), WSC (.jsonl); roleplay: HPD, or JSON "
     "lines of context, prompt and answer",
     1},
    {"predictions", OPTION_PREDICTIONS, "FILE", 0,
     "Score these in place of a compressor's: JSON lines {\"id\", \"prediction\"}, or for "
     "reconstruction {\"prediction\", \"reference\"} and no --data",
     1},
    {"slots", OPTION_SLOTS, "FILE", 0,
     "reconstruction, qa, icl, roleplay: read what is compressed from this slot file, as "
     "`compress` made it; "
     "several "
     "times: one for each --checkpoint, or all of one",
     1},
    {"memory", OPTION_SLOTS, "FILE", OPTION_HIDDEN, "The same, as generate has it", 1},
    {"demonstrations", OPTION_DEMONSTRATIONS, "FILE", 0,
     "icl: where demonstrations come from, such as the training file of the same task", 1},
    {"split", OPTION_SPLIT, "held-out|trained|all", 0,
     "reconstruction: segments of documents held out in training (the default), trained on, or all",
     1},
    {"ratio", OPTION_RATIO, "R[,R...]", 0,
     "Encoder tokens for one slot; all ratios that a checkpoint was trained for by default", 1},
    {"limit", OPTION_LIMIT, "N", 0, "The first N items only (reconstruction: 256)", 1},
    {"segments", OPTION_SEGMENTS, "N", OPTION_HIDDEN, "The same as --limit", 1},
    {NULL, 0, NULL, 0, "How:", 2},
    {"max-new-tokens", OPTION_MAX_NEW_TOKENS, "N", 0,
     "Generate at most so many (reconstruction: 300 for a segment; qa: 30, ablation likewise; icl: "
     "300, of GSM8K; "
     "efficiency: 32, exactly)",
     2},
    {"min-context", OPTION_MIN_CONTEXT, "N", 0,
     "qa: contexts of at least so many tokens of the decoder (257; Natural Questions 513)", 2},
    {"max-context", OPTION_MAX_CONTEXT, "N", 0,
     "qa: of at most so many (any; Natural Questions 8000)", 2},
    {"demonstration-tokens", OPTION_DEMONSTRATION_TOKENS, "N", 0,
     "icl: whole demonstrations of at most so many tokens of the decoder together (750)", 2},
    {"input-tokens", OPTION_INPUT_TOKENS, "N", 0, "efficiency: tokens of a context (1024)", 2},
    {"batch", OPTION_BATCH, "N", 0, "efficiency: contexts at once on each rank (8)", 2},
    {"runs", OPTION_RUNS, "N", 0, "efficiency: the median of so many (3)", 2},
    {"work", OPTION_WORK, "DIR", 0,
     "Keep in this folder what is answered, so that the same command, on any number of ranks, goes "
     "on "
     "from there after a kill or signal",
     2},
    {"expect-ranks", OPTION_EXPECT_RANKS, "N", 0, "Refuse to run on another number of ranks", 2},
    {NULL, 0, NULL, 0, "What is printed:", 3},
    {"samples", OPTION_SAMPLES, "N", 0, "Show N items with what was generated (0)", 3},
    {"output", OPTION_OUTPUT, "FILE", 0, "qa: write every answer as a JSON line", 3},
    {"write-contexts", OPTION_WRITE_CONTEXTS, "FILE", 0,
     "qa, icl, roleplay: ask nothing, and write the contexts as documents (JSON lines) that "
     "`compress` makes a "
     "slot "
     "file of for --slots",
     3},
    {0},
};

static bool has_contexts(evaluate_task task) {
    return task == QA || task == ICL || task == ROLEPLAY;
}

static bool takes_tokens(evaluate_task task) { return task == RECONSTRUCTION || task == ABLATION; }

static void take_argument(evaluate_options *options, char *argument,
                          const struct argp_state *state) {
    if (options->task == N_TASKS)
        options->task = (evaluate_task)sp_parse_choice("task", argument, task_names, state);
    else if (options->file == NULL && takes_tokens(options->task))
        options->file = argument;
    else
        argp_error(state, "'%s': %s", argument,
                   takes_tokens(options->task) ? "one token file at a time"
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

static void check_ablation(const evaluate_options *options, const struct argp_state *state) {
    if (options->task != ABLATION && options->n_variants > 0)
        argp_error(state, "--variant goes with ablation; others take --checkpoint several times");
    if (options->task != ABLATION) return;
    if (options->n_checkpoints != 1 || options->n_variants == 0)
        argp_error(state,
                   "ablation needs one --checkpoint DIR, the base, and --variant [NAME=]DIR");
}

/* One checkpoint may have several slot files. */
static void check_slots(evaluate_options *options, const struct argp_state *state) {
    if (options->contexts != NULL && !has_contexts(options->task))
        argp_error(state, "--write-contexts: %s has none; qa, icl and roleplay have",
                   task_names[options->task]);
    if (options->contexts != NULL && options->n_slots > 0)
        argp_error(state, "--write-contexts is what a file for --slots is made of: one of them");
    if (options->n_slots == 0) return;
    if (options->ratios.n_items > 0)
        argp_error(state, "--slots: such a file has its own ratio: no --ratio");
    if (options->task != RECONSTRUCTION && !has_contexts(options->task))
        argp_error(state, "--slots: %s reads no slot file; reconstruction, qa, icl and roleplay do",
                   task_names[options->task]);
    if (options->n_checkpoints == 1)
        while (options->n_checkpoints < options->n_slots)
            options->checkpoints[options->n_checkpoints++] = options->checkpoints[0];
    if (options->n_slots != options->n_checkpoints)
        argp_error(state,
                   "--slots: %zu of them for %zu of --checkpoint: one for each, or all of one",
                   options->n_slots, options->n_checkpoints);
}

static void check_work(const evaluate_options *options, const struct argp_state *state) {
    if (options->work != NULL && options->task == EFFICIENCY)
        argp_error(state, "--work: efficiency measures seconds, of which none can be kept");
}

static void check_options(const evaluate_options *options, const struct argp_state *state) {
    if (options->task == N_TASKS)
        argp_error(state,
                   "needs a task: reconstruction, qa, icl, roleplay, efficiency or ablation");
    check_ablation(options, state);
    check_work(options, state);
    if (options->predictions != NULL) {
        check_predictions(options, state);
        return;
    }
    if (options->n_checkpoints == 0)
        argp_error(state, "needs a task and --checkpoint DIR, or --predictions FILE");
    if (options->task == RECONSTRUCTION && options->data != NULL)
        argp_error(state, "--data: reconstruction takes a token file as its argument");
    const bool takes_data = options->task != EFFICIENCY && !takes_tokens(options->task);
    if (options->task == EFFICIENCY && options->data != NULL)
        argp_error(state, "--data: efficiency makes its contexts itself");
    if (takes_data && options->data == NULL)
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
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->assignments;
        state->child_inputs[1] = &options->json;
        return 0;
    case OPTION_CHECKPOINT:
        if (options->n_checkpoints == MOST_CHECKPOINTS)
            argp_error(state, "--checkpoint: more than %d of them", (int)MOST_CHECKPOINTS);
        options->checkpoints[options->n_checkpoints++] = argument;
        return 0;
    case OPTION_VARIANT:
        if (options->n_variants == MOST_CHECKPOINTS - 1)
            argp_error(state, "--variant: more than %d of them", (int)MOST_CHECKPOINTS - 1);
        options->variants[options->n_variants++] = argument;
        return 0;
    case OPTION_DATA:
        options->data = argument;
        return 0;
    case OPTION_SLOTS:
        if (options->n_slots == MOST_CHECKPOINTS)
            argp_error(state, "--slots: more than %d of them", (int)MOST_CHECKPOINTS);
        options->slots[options->n_slots++] = argument;
        return 0;
    case OPTION_WRITE_CONTEXTS:
        options->contexts = argument;
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
    case OPTION_INPUT_TOKENS:
        options->efficiency.input_tokens = sp_parse_count("--input-tokens", argument, 1, state);
        return 0;
    case OPTION_BATCH:
        options->efficiency.batch = sp_parse_count("--batch", argument, 1, state);
        return 0;
    case OPTION_RUNS:
        options->efficiency.n_runs = sp_parse_count("--runs", argument, 1, state);
        return 0;
    case OPTION_SPLIT:
        options->reconstruction.split =
            (sp_split)sp_parse_choice("--split", argument, splits, state);
        return 0;
    case OPTION_RATIO:
        if (sp_config_parse_counts(&options->ratios, "--ratio", argument) != SP_OK)
            argp_error(state, "%s", sp_message());
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
    case OPTION_WORK:
        options->work = argument;
        return 0;
    case OPTION_EXPECT_RANKS:
        options->expected_ranks = sp_parse_count("--expect-ranks", argument, 1, state);
        return 0;
    case ARGP_KEY_ARG:
        take_argument(options, argument, state);
        return 0;
    case ARGP_KEY_END:
        check_options(options, state);
        check_slots(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {
    {&sp_set_argp, 0, NULL, 0},
    {&sp_json_argp, 0, NULL, 0},
    {&sp_quiet_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
    .args_doc = "reconstruction [TOKENS.h5]\nqa\nicl\nroleplay\nefficiency\nablation [TOKENS.h5]",
    .doc =
        "Measures what a compressor's slots are worth to the decoder, or scores predictions that "
        "were made elsewhere by the same code.\v"
        "reconstruction: how well slots let the decoder write a segment again: greedy BLEU, "
        "ROUGE-L and exact match of free-running text, token accuracy and perplexity with the text "
        "given; by checkpoint and ratio, and by segment length in quarters of a full one. Without "
        "TOKENS.h5 "
        "the configuration's file is read.\n"
        "qa: F1 and exact match (em), 0-100, of greedy answers to the prompt `Question: "
        "...\\n\\nAnswer: "
        "` after the full context, none, and the context compressed by each checkpoint at each of "
        "its ratios; scored as "
        "SQuAD's scripts do: lower case, no ASCII punctuation, no a, an and the; the best over the "
        "accepted answers.\n\n"
        "  mpirun -n 4 slotpress evaluate qa --checkpoint runs/4x --checkpoint runs/16x --data "
        "dev-v1.1.json\n\n"
        "icl: accuracy (0-100) on GSM8K, SST-2 or WSC after demonstrations, in full, none, and "
        "compressed. Options are chosen by their mean negative log-likelihood a token less that "
        "which "
        "they have with N/A for the content; GSM8K is answered greedily, and its number counts.\n\n"
        "With --slots, reconstruction, qa, icl and roleplay read a slot file that this compressor "
        "made. A segment "
        "of "
        "TOKENS.h5 is the one at its place in the document of the same id there, whose text must "
        "be "
        "the same. A context of the others is the document with the same text, whatever its id, or "
        "several "
        "documents, which follow each other in it with blank lines between them, such as passages. "
        "What is not there ends the command with exit code 65:\n\n"
        "  slotpress compress --checkpoint RUN --dtype int8 --output slots.h5 tokens.h5\n"
        "  slotpress evaluate reconstruction --checkpoint RUN --slots slots.h5 tokens.h5\n"
        "  slotpress evaluate qa --checkpoint RUN --data FILE --write-contexts contexts.jsonl\n"
        "  slotpress compress --checkpoint RUN --output contexts.h5 contexts.jsonl\n"
        "  slotpress evaluate qa --checkpoint RUN --data FILE --slots contexts.h5\n\n"
        "roleplay: perplexity of the reply in a dialogue after its scene and characters; lower is "
        "better.\n\n"
        "efficiency: seconds to compress a batch of contexts, to read them (prefill, up to the "
        "first "
        "new token) and to write on (decode), compressed and plain; one-shot with the compression, "
        "amortised without. All ranks work at the same time, the slowest counts.\n\n"
        "ablation: compressors that were trained otherwise (--variant) beside --checkpoint, the "
        "base: "
        "the figures of reconstruction on the base's token file, or TOKENS.h5, and with --data "
        "those "
        "of qa, in one table whose rows say what differs in their configurations.\n\n"
        "  slotpress evaluate ablation --checkpoint runs/base --variant bare=runs/bare --data "
        "dev-v1.1.json\n\n"
        "With --work DIR a command that was killed or stopped by SIGUSR1 or SIGTERM (exit code 75) "
        "goes "
        "on from what it has answered. The folder tells evaluations apart by compressor, models, "
        "data and "
        "options, so that several may share it; what it has of another one is not taken. Remove it "
        "when "
        "the result is there:\n\n"
        "  mpirun -n 4 slotpress evaluate qa --checkpoint RUN --data FILE --json --work qa.work "
        ">qa.json\n\n"
        "Scoring predictions made elsewhere:\n"
        "  slotpress evaluate qa --data dev-v1.1.json --predictions answers.jsonl\n"
        "  slotpress evaluate reconstruction --predictions pairs.jsonl\n"
        "A question without a prediction scores 0 (SQuAD 2: it is left out), one too many is "
        "ignored; both are counted. An item that has no id is known by its question or its number "
        "from 0. BLEU is sacrebleu's (13a, exp smoothing, 0-100), ROUGE-L rouge_score's F without "
        "stemmer (0-1), exact_match byte for byte (0-1).",
};

/* By one rank: there is little to do. */
static sp_status score_predictions(const evaluate_options *options) {
    const sp_predictions_job job = {
        .data = options->data, .predictions = options->predictions, .limit = options->limit};
    json_t *result = NULL;
    if (!sp_is_first_rank()) return SP_OK;
    const sp_status status = options->task == QA ? sp_score_answers(&result, &job)
                                                 : sp_score_reconstructions(&result, &job);
    if (status == SP_OK && options->json.is_wanted)
        sp_print_json(result);
    else if (status == SP_OK)
        sp_print_predictions(result);
    json_decref(result);
    return status;
}

static sp_methods_options methods_of(const evaluate_options *options) {
    return (sp_methods_options){.checkpoints = options->checkpoints,
                                .n_checkpoints = options->n_checkpoints,
                                .assignments = options->assignments.items,
                                .n_assignments = options->assignments.n,
                                .ratios = options->ratios,
                                .slots = options->n_slots > 0 ? options->slots : NULL,
                                .contexts = options->contexts,
                                .work = options->work};
}

static sp_status evaluate_segments(sp_world *world, json_t **result, evaluate_options *options) {
    sp_reconstruction_job *job = &options->reconstruction;
    job->compressors = methods_of(options);
    job->tokens = options->file;
    job->most_segments = options->limit > 0 ? options->limit : 256;
    job->max_new_tokens = options->max_new_tokens > 0 ? options->max_new_tokens : 300;
    job->n_samples = options->n_samples;
    return sp_evaluate_reconstruction(world, result, job);
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

static sp_status evaluate_efficiency(sp_world *world, json_t **result, evaluate_options *options) {
    sp_efficiency_job *job = &options->efficiency;
    job->methods = methods_of(options);
    job->new_tokens = options->max_new_tokens > 0 ? options->max_new_tokens : 32;
    if (job->new_tokens < 2)
        return sp_fail(SP_USAGE, "--max-new-tokens: efficiency writes at least 2");
    return sp_evaluate_efficiency(world, result, job);
}

/* The base, and each variant with its name: what stands before the first `=`, unless that is in a path. */
static void name_variants(evaluate_options *options) {
    options->names[0] = "base";
    for (size_t i = 0; i < options->n_variants; i++) {
        char *variant = options->variants[i], *equals = variant + strcspn(variant, "=/");
        const bool is_named = *equals == '=' && equals != variant;
        if (is_named) *equals = '\0';
        options->names[options->n_checkpoints] = is_named ? variant : NULL;
        options->checkpoints[options->n_checkpoints++] = is_named ? equals + 1 : variant;
    }
}

static sp_status evaluate_ablation(sp_world *world, json_t **result, evaluate_options *options) {
    name_variants(options);
    sp_ablation_job job = {
        .reconstruction = options->reconstruction, .names = options->names, .qa = options->qa};
    job.reconstruction.compressors = methods_of(options);
    job.reconstruction.tokens = options->file;
    job.reconstruction.most_segments = options->limit > 0 ? options->limit : 256;
    job.reconstruction.max_new_tokens = options->max_new_tokens > 0 ? options->max_new_tokens : 300;
    job.qa.data = options->data;
    job.qa.limit = options->limit;
    job.qa.max_new_tokens = options->max_new_tokens > 0 ? options->max_new_tokens : 30;
    return sp_evaluate_ablation(world, result, &job);
}

/* What a task does over all ranks, and how its result is printed by the first. */
static const struct {
    sp_status (*evaluate)(sp_world *world, json_t **result, evaluate_options *options);
    void (*print)(const json_t *result);
} tasks[] = {
    [RECONSTRUCTION] = {evaluate_segments, sp_print_reconstruction},
    [QA] = {evaluate_qa, sp_print_qa},
    [ICL] = {evaluate_icl, sp_print_icl},
    [ROLEPLAY] = {evaluate_roleplay, sp_print_roleplay},
    [EFFICIENCY] = {evaluate_efficiency, sp_print_efficiency},
    [ABLATION] = {evaluate_ablation, sp_print_ablation},
};

static sp_status evaluate(evaluate_options *options) {
    sp_world *world = NULL;
    json_t *result = NULL;
    sp_status status = sp_world_begin(&world);
    if (status == SP_OK) status = sp_agree(world, sp_world_expect(world, options->expected_ranks));
    if (status == SP_OK) status = tasks[options->task].evaluate(world, &result, options);
    if (status == SP_OK && result != NULL && options->json.is_wanted)
        sp_print_json(result);
    else if (status == SP_OK && result != NULL)
        tasks[options->task].print(result);
    json_decref(result);
    return sp_world_end(world, status);
}

sp_status sp_cmd_evaluate(int argc, char **argv) {
    evaluate_options options = {.task = N_TASKS,
                                .qa = {.min_context = SIZE_MAX, .max_context = SIZE_MAX},
                                .icl = {.demonstration_tokens = 750},
                                .efficiency = {.input_tokens = 1024, .batch = 8, .n_runs = 3}};
    sp_parse_options(&argp, argc, argv, &options);
    return options.predictions != NULL ? score_predictions(&options) : evaluate(&options);
}
