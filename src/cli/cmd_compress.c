#include "cli/command.h"

#include "cli/config_options.h"
#include "cli/corpus_arguments.h"
#include "cli/print_options.h"
#include "mpi/agree.h"
#include "mpi/world.h"
#include "run/compress.h"

#include <math.h>
#include <stdio.h>

typedef struct compress_options {
    sp_compress_job job;
    sp_assignments assignments;
    sp_corpus_arguments corpus;
    size_t expected_ranks; /* 0: any */
    sp_json_option json;
} compress_options;

enum {
    OPTION_CHECKPOINT = 256,
    OPTION_RATIO,
    OPTION_OUTPUT,
    OPTION_SPACE,
    OPTION_DTYPE,
    OPTION_REFINE,
    OPTION_WITH_TEXT,
    OPTION_EXPECT_RANKS
};

static const struct argp_option argp_options[] = {
    {"checkpoint", OPTION_CHECKPOINT, "DIR", 0, "Run or step folder of the compressor", 0},
    {"ratio", OPTION_RATIO, "N", 0,
     "Encoder tokens for one slot: a ratio that the checkpoint was trained for, the least by "
     "default",
     0},
    {"output", OPTION_OUTPUT, "FILE", 0, "Slot file to write; FILE.work holds what is done", 0},
    {"space", OPTION_SPACE, "memory|slots", 0,
     "Keep the encoder's memory, which the converter turns into slots when it is read (memory), or "
     "the decoder's slots",
     0},
    {"dtype", OPTION_DTYPE, "f16|bf16|int8", 0,
     "How slots are stored (f16); int8 has a scale for each slot", 0},
    {"refine", OPTION_REFINE, "N", 0,
     "With --space slots: improve each segment's slots by N gradient steps through the decoder", 0},
    {"with-text", OPTION_WITH_TEXT, NULL, 0, "Keep the segments' text beside their slots", 0},
    {"expect-ranks", OPTION_EXPECT_RANKS, "N", 0, "Refuse to run on another number of ranks", 0},
    {0},
};

/* In the order of sp_slots_space. */
static const char *const space_words[] = {"memory", "slots", NULL};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    compress_options *options = state->input;
    sp_compress_job *job = &options->job;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->corpus;
        state->child_inputs[1] = &options->assignments;
        state->child_inputs[2] = &options->json;
        return 0;
    case OPTION_CHECKPOINT:
        job->checkpoint = argument;
        return 0;
    case OPTION_RATIO:
        job->ratio = sp_parse_count("--ratio", argument, 1, state);
        return 0;
    case OPTION_OUTPUT:
        job->output = argument;
        return 0;
    case OPTION_SPACE:
        job->space = (sp_slots_space)sp_parse_choice("--space", argument, space_words, state);
        return 0;
    case OPTION_DTYPE:
        job->dtype =
            (sp_slots_dtype)sp_parse_choice("--dtype", argument, sp_slots_dtype_names, state);
        return 0;
    case OPTION_REFINE:
        job->n_refinements = sp_parse_count("--refine", argument, 1, state);
        return 0;
    case OPTION_WITH_TEXT:
        job->keeps_text = true;
        return 0;
    case OPTION_EXPECT_RANKS:
        options->expected_ranks = sp_parse_count("--expect-ranks", argument, 1, state);
        return 0;
    case ARGP_KEY_ARG:
        sp_corpus_arguments_add_name(&options->corpus, argument);
        return 0;
    case ARGP_KEY_END:
        if (options->corpus.options.text.column != NULL &&
            options->corpus.options.text.column[0] == '\0')
            argp_error(state, "--column: an empty name");
        if (job->checkpoint == NULL || job->output == NULL || options->corpus.options.n_names == 0)
            argp_error(state, "needs --checkpoint DIR, --output FILE and input files");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {
    {&sp_corpus_argp, 0, NULL, 0},
    {&sp_set_argp, 0, NULL, 0},
    {&sp_json_argp, 0, NULL, 0},
    {&sp_quiet_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
    .args_doc = "INPUT...",
    .doc =
        "Compresses a corpus, documents as `slotpress tokenize` reads them or one token file of "
        "the "
        "encoder's tokenizer, into a slot file that `slotpress generate` reads. Runs alone or on "
        "several ranks, with the same result. The same command goes on after a failure or a kill, "
        "and does nothing over a finished output.\v"
        "--on-error skip also leaves out, names and counts a document that cannot be compressed.",
};

static double per(double value, uint64_t n) { return n > 0 ? value / (double)n : 0; }

/* Tokens that a rank encodes a second. */
static double rate(const sp_compress_summary *s) {
    return s->rank_seconds > 0 ? (double)s->n_tokens / s->rank_seconds : 0;
}

static void print_as_text(const sp_compress_summary *s, sp_slots_dtype dtype) {
    printf("%ju documents, %ju segments: %ju tokens in %ju slots", (uintmax_t)s->n_documents,
           (uintmax_t)s->n_segments, (uintmax_t)s->n_tokens, (uintmax_t)s->n_slots);
    if (s->was_done) {
        printf("; finished before\n");
        return;
    }
    printf(", %.1f s, %.0f tokens/s a rank\n", s->seconds, rate(s));
    if (s->n_poisoned > 0)
        printf("%ju documents skipped that cannot be compressed\n", (uintmax_t)s->n_poisoned);
    if (s->n_unwanted > 0) printf("%ju documents left out by --where\n", (uintmax_t)s->n_unwanted);
    if (s->losses.n_rows + s->losses.n_groups + s->losses.n_files > 0)
        printf("damaged and skipped: %ju rows, %ju row groups, %ju files (%ju documents)\n",
               (uintmax_t)s->losses.n_rows, (uintmax_t)s->losses.n_groups,
               (uintmax_t)s->losses.n_files, (uintmax_t)s->n_lost);
    printf("%.1f bytes of slots a token, as %s", per((double)s->n_stored_bytes, s->n_tokens),
           sp_slots_dtype_names[dtype]);
    for (int t = 0; t < SP_N_SLOTS_DTYPES; t++)
        printf("%s %s %.2g", t == 0 ? "; relative error as" : ",", sp_slots_dtype_names[t],
               s->relative_errors[t]);
    printf("\n");
    if (s->n_targets > 0)
        printf("refined: reconstruction costs %.4g nats a token, with the encoder's slots %.4g\n",
               per(s->nll_after, s->n_targets), per(s->nll_before, s->n_targets));
    if (s->saved_flop > 0)
        printf("a use of all saves %.3g FLOP of prefill; compressing took %.3g: it pays from %.0f "
               "uses\n",
               s->saved_flop, s->compression_flop, ceil(s->compression_flop / s->saved_flop));
    else if (s->compression_flop > 0)
        printf("compressing took %.3g FLOP; the decoder's prefill saves none\n",
               s->compression_flop);
}

static json_t *real_or_null(double value, bool is_known) {
    return is_known && isfinite(value) ? json_real(value) : json_null();
}

static sp_status print_as_json(const sp_compress_summary *s, sp_slots_dtype dtype) {
    const bool has_run = !s->was_done, has_flop = s->compression_flop > 0;
    json_t *errors = json_object();
    for (int t = 0; t < SP_N_SLOTS_DTYPES; t++)
        json_object_set_new(errors, sp_slots_dtype_names[t],
                            real_or_null(s->relative_errors[t], has_run));
    json_t *skipped =
        json_pack("{s:I, s:I, s:I}", "rows", (json_int_t)s->losses.n_rows, "row_groups",
                  (json_int_t)s->losses.n_groups, "files", (json_int_t)s->losses.n_files);
    json_t *object = json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:o, s:o, s:o, s:f}",
        "finished_before", s->was_done, "documents", (json_int_t)s->n_documents,
        "poisoned_documents", (json_int_t)s->n_poisoned, "lost_documents", (json_int_t)s->n_lost,
        "filtered_documents", (json_int_t)s->n_unwanted, "skipped", skipped, "segments",
        (json_int_t)s->n_segments, "tokens", (json_int_t)s->n_tokens, "slots",
        (json_int_t)s->n_slots, "text_bytes", (json_int_t)s->n_text_bytes, "stored_bytes",
        (json_int_t)s->n_stored_bytes, "dtype", sp_slots_dtype_names[dtype], "relative_error",
        real_or_null(s->relative_errors[dtype], has_run), "relative_errors", errors,
        "bytes_per_token", real_or_null(per((double)s->n_stored_bytes, s->n_tokens), has_run),
        "tokens_per_second_per_rank", real_or_null(rate(s), has_run), "loss_before_refining",
        real_or_null(per(s->nll_before, s->n_targets), s->n_targets > 0), "loss_refined",
        real_or_null(per(s->nll_after, s->n_targets), s->n_targets > 0), "prefill_flop_saved",
        real_or_null(s->saved_flop, has_flop), "compression_flop",
        real_or_null(s->compression_flop, has_flop), "break_even_uses",
        real_or_null(s->compression_flop / s->saved_flop, s->saved_flop > 0), "seconds",
        s->seconds);
    if (object == NULL) return sp_fail(SP_FAILURE, "no memory for a summary");
    sp_print_json(object);
    json_decref(object);
    return SP_OK;
}

static sp_status print_summary(const sp_compress_summary *s, const compress_options *options) {
    if (options->json.is_wanted) return print_as_json(s, options->job.dtype);
    print_as_text(s, options->job.dtype);
    return SP_OK;
}

static sp_status run(compress_options *options) {
    sp_world *world = NULL;
    sp_compress_summary summary = {0};
    sp_status status = sp_world_begin(&world);
    if (status == SP_OK) status = sp_agree(world, sp_world_expect(world, options->expected_ranks));
    if (status == SP_OK) status = sp_compress(world, &options->job, &summary);
    if (status == SP_OK && sp_is_first_rank()) status = print_summary(&summary, options);
    return sp_world_end(world, status);
}

sp_status sp_cmd_compress(int argc, char **argv) {
    compress_options options = {0};
    SP_TRY(sp_corpus_arguments_init(&options.corpus, argc));
    sp_parse_options(&argp, argc, argv, &options);
    options.job.assignments = options.assignments.items;
    options.job.n_assignments = options.assignments.n;
    sp_status status = sp_corpus_arguments_parse_where(&options.corpus);
    options.job.corpus = options.corpus.options;
    if (status == SP_OK) status = run(&options);
    sp_corpus_arguments_free(&options.corpus);
    return status;
}
