#include "cli/command.h"

#include "base/log.h"
#include "mpi/world.h"
#include "run/compress.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct compress_options {
    sp_compress_job job;
    sp_assignments assignments;
    bool wants_json, is_quiet;
    const char **paths; /* [job.n_paths], owned */
} compress_options;

enum {
    OPTION_CHECKPOINT = 256,
    OPTION_RATIO,
    OPTION_OUTPUT,
    OPTION_SET,
    OPTION_JSON,
    OPTION_QUIET
};

static const struct argp_option argp_options[] = {
    {"checkpoint", OPTION_CHECKPOINT, "DIR", 0, "Run or step folder of the compressor", 0},
    {"ratio", OPTION_RATIO, "N", 0, "Encoder tokens for one slot; the checkpoint's by default", 0},
    {"output", OPTION_OUTPUT, "FILE", 0, "Slot file to write", 0},
    {"set", OPTION_SET, "KEY=VALUE", 0, "Set a key over the checkpoint's configuration", 0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
    {"quiet", OPTION_QUIET, NULL, 0, "No progress and no notes", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    compress_options *options = state->input;
    sp_compress_job *job = &options->job;
    switch (key) {
    case OPTION_CHECKPOINT:
        job->checkpoint = argument;
        return 0;
    case OPTION_RATIO:
        job->ratio = sp_parse_count("--ratio", argument, 1, state);
        return 0;
    case OPTION_OUTPUT:
        job->output = argument;
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
        options->paths[job->n_paths++] = argument; /* there are fewer than argc */
        return 0;
    case ARGP_KEY_END:
        if (job->checkpoint == NULL || job->output == NULL || job->n_paths == 0)
            argp_error(state, "needs --checkpoint DIR, --output FILE and text files");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .args_doc = "FILE...",
    .doc = "Compresses documents: .txt (one each) or .jsonl (field text), also .gz or .zst, into a "
           "slot file that `slotpress generate` reads. Runs alone or on several ranks.",
};

static void print_summary(const sp_compress_summary *s, bool wants_json) {
    if (!wants_json) {
        printf("%ju documents, %ju segments: %ju tokens in %ju slots, %.1f s\n",
               (uintmax_t)s->n_documents, (uintmax_t)s->n_segments, (uintmax_t)s->n_tokens,
               (uintmax_t)s->n_slots, s->seconds);
        return;
    }
    json_t *object =
        json_pack("{s:I, s:I, s:I, s:I, s:f}", "documents", (json_int_t)s->n_documents, "segments",
                  (json_int_t)s->n_segments, "tokens", (json_int_t)s->n_tokens, "slots",
                  (json_int_t)s->n_slots, "seconds", s->seconds);
    sp_print_json(object);
    json_decref(object);
}

static sp_status run(compress_options *options) {
    sp_world *world = NULL;
    sp_compress_summary summary = {0};
    sp_status status = sp_world_begin(&world);
    if (status == SP_OK) status = sp_compress(world, &options->job, &summary);
    if (status == SP_OK && sp_is_first_rank()) print_summary(&summary, options->wants_json);
    return sp_world_end(world, status);
}

sp_status sp_cmd_compress(int argc, char **argv) {
    compress_options options = {.paths = calloc((size_t)argc, sizeof *options.paths)};
    if (options.paths == NULL) return sp_fail(SP_FAILURE, "no memory for options");
    sp_parse_options(&argp, argc, argv, &options);
    options.job.paths = options.paths;
    options.job.assignments = options.assignments.items;
    options.job.n_assignments = options.assignments.n;
    if (options.is_quiet || !sp_is_first_rank()) sp_log_set_level(SP_LOG_QUIET);
    const sp_status status = run(&options);
    free(options.paths);
    return status;
}
