#include "cli/command.h"

#include "base/log.h"
#include "io/file_kind.h"
#include "io/slots_file.h"
#include "mpi/agree.h"
#include "mpi/world.h"
#include "run/verify.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_TOKENIZERS = 16, MOST_CONDITIONS = 64 };

typedef struct verify_options {
    const char *path;
    const char **sources; /* [n_sources], owned */
    size_t n_sources;
    const char *tokenizers[MOST_TOKENIZERS];
    size_t n_tokenizers;
    const char *column;
    const char *where[MOST_CONDITIONS];
    size_t n_where;
    const char *checksums;
    sp_on_error on_error;
    bool has_on_error;
    bool wants_json, is_quiet;
} verify_options;

enum {
    OPTION_SOURCE = 256,
    OPTION_TOKENIZER,
    OPTION_COLUMN,
    OPTION_WHERE,
    OPTION_CHECKSUMS,
    OPTION_ON_ERROR,
    OPTION_JSON,
    OPTION_QUIET
};

static const struct argp_option argp_options[] = {
    {"source", OPTION_SOURCE, "INPUT", 0,
     "Compare with what it was made from, a file, folder or pattern; may be repeated, in the order "
     "of `slotpress tokenize`",
     0},
    {"tokenizer", OPTION_TOKENIZER, "NAME=DIR", 0,
     "With --source: compare this stream's text, too; may be repeated", 0},
    {"column", OPTION_COLUMN, "NAME", 0, "With --source: as it was tokenized", 0},
    {"where", OPTION_WHERE, "CONDITION", 0, "With --source: as it was tokenized", 0},
    {"checksums", OPTION_CHECKSUMS, "FILE", 0, "With --source: as it was tokenized", 0},
    {"on-error", OPTION_ON_ERROR, "stop|skip", 0,
     "With --source: as it was tokenized; what was skipped then as damaged is to be so now (stop)",
     0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
    {"quiet", OPTION_QUIET, NULL, 0, "No notes", 0},
    {0},
};

static void check_options(const verify_options *options, const struct argp_state *state) {
    if (options->path == NULL) argp_error(state, "needs a token or slot FILE");
    for (size_t i = 0; i < options->n_tokenizers; i++)
        if (!sp_named_tokenizer_is_spelled(options->tokenizers[i]))
            argp_error(state, "--tokenizer: '%s' is not NAME=DIR", options->tokenizers[i]);
    if (options->n_sources == 0 &&
        (options->n_tokenizers > 0 || options->column != NULL || options->n_where > 0 ||
         options->checksums != NULL || options->has_on_error))
        argp_error(state,
                   "--tokenizer, --column, --where, --checksums and --on-error go with --source");
}

/* The words of --on-error, in the order of sp_on_error. */
static const char *const on_error_words[] = {"stop", "skip", NULL};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    verify_options *options = state->input;
    switch (key) {
    case OPTION_SOURCE:
        options->sources[options->n_sources++] = argument; /* there are fewer than argc */
        return 0;
    case OPTION_TOKENIZER:
        if (options->n_tokenizers == MOST_TOKENIZERS)
            argp_error(state, "--tokenizer: more than %d of them", (int)MOST_TOKENIZERS);
        options->tokenizers[options->n_tokenizers++] = argument;
        return 0;
    case OPTION_COLUMN:
        options->column = argument;
        return 0;
    case OPTION_WHERE:
        if (options->n_where == MOST_CONDITIONS)
            argp_error(state, "--where: more than %d of them", (int)MOST_CONDITIONS);
        options->where[options->n_where++] = argument;
        return 0;
    case OPTION_CHECKSUMS:
        options->checksums = argument;
        return 0;
    case OPTION_ON_ERROR:
        options->on_error =
            (sp_on_error)sp_parse_choice("--on-error", argument, on_error_words, state);
        options->has_on_error = true;
        return 0;
    case OPTION_JSON:
        options->wants_json = true;
        return 0;
    case OPTION_QUIET:
        options->is_quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->path != NULL) argp_error(state, "'%s': one FILE at a time", argument);
        options->path = argument;
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
    .args_doc = "FILE",
    .doc = "Reads all of a token or slot file, in parts or not: checksums, offsets, ids, digests; "
           "with --source, that a token file's documents and their text are those of the source.",
};

static sp_status print_summary(const sp_verify_summary *s, const char *path, bool wants_json) {
    if (!wants_json) {
        printf("'%s' is whole: %ju documents, %ju segments", path, (uintmax_t)s->n_documents,
               (uintmax_t)s->n_segments);
        if (s->n_lost > 0)
            printf("; %ju documents are lost to damage in the source", (uintmax_t)s->n_lost);
        if (s->n_compared > 0)
            printf("; the text of %ju is the source's, of these %ju by encoding it anew",
                   (uintmax_t)s->n_compared, (uintmax_t)s->n_reencoded);
        printf("\n");
        return SP_OK;
    }
    json_t *object =
        json_pack("{s:I, s:I, s:I, s:I, s:I}", "documents", (json_int_t)s->n_documents, "segments",
                  (json_int_t)s->n_segments, "compared", (json_int_t)s->n_compared, "reencoded",
                  (json_int_t)s->n_reencoded, "lost", (json_int_t)s->n_lost);
    if (object == NULL) return sp_fail(SP_FAILURE, "no memory for a summary");
    sp_print_json(object);
    json_decref(object);
    return SP_OK;
}

static sp_status check_kind(sp_file_kind *kind, const verify_options *options) {
    SP_TRY(sp_file_kind_of(kind, options->path));
    if (*kind == SP_FILE_TOKENS || (*kind == SP_FILE_SLOTS && options->n_sources == 0))
        return SP_OK;
    if (*kind == SP_FILE_SLOTS)
        return sp_fail(SP_USAGE, "'%s': a slot file; --source is for token files", options->path);
    return sp_fail(SP_USAGE, "'%s': neither a token file nor a slot file; verify reads those",
                   options->path);
}

static sp_status verify_slots(const verify_options *options) {
    sp_slots *slots = NULL;
    SP_TRY(sp_slots_open(&slots, options->path));
    sp_status status = sp_slots_verify(slots);
    if (status == SP_BAD_DATA) status = sp_fail(status, "'%s': %s", options->path, sp_message());
    const size_t n_documents = sp_slots_n_documents(slots);
    const size_t n_segments = sp_slots_n_segments(slots), n_slots = sp_slots_n_slots(slots);
    sp_slots_close(slots);
    SP_TRY(status);
    if (options->wants_json) {
        json_t *object =
            json_pack("{s:I, s:I, s:I}", "documents", (json_int_t)n_documents, "segments",
                      (json_int_t)n_segments, "slots", (json_int_t)n_slots);
        if (object == NULL) return sp_fail(SP_FAILURE, "no memory for a summary");
        sp_print_json(object);
        json_decref(object);
    } else {
        printf("'%s' is whole: %zu documents, %zu segments, %zu slots\n", options->path,
               n_documents, n_segments, n_slots);
    }
    return SP_OK;
}

static sp_status run(sp_world *world, const verify_options *options, const sp_conditions *where,
                     sp_named_tokenizer *tokenizers) {
    const sp_corpus_options source = {.names = options->sources,
                                      .n_names = options->n_sources,
                                      .text = {options->column, where},
                                      .checksums = options->checksums,
                                      .on_error = options->on_error};
    const sp_verify_job job = {.path = options->path,
                               .tokenizers = tokenizers,
                               .n_tokenizers = options->n_tokenizers,
                               .source = options->n_sources > 0 ? &source : NULL};
    sp_verify_summary summary = {0};
    sp_file_kind kind = SP_FILE_TOKENS;
    sp_status status = check_kind(&kind, options);
    for (size_t i = 0; i < options->n_tokenizers && status == SP_OK; i++)
        status = sp_named_tokenizer_open(&tokenizers[i], options->tokenizers[i]);
    SP_TRY(sp_agree(world, status));
    if (kind == SP_FILE_SLOTS)
        return sp_agree(world, sp_is_first_rank() ? verify_slots(options) : SP_OK);
    SP_TRY(sp_verify(world, &job, &summary));
    return sp_is_first_rank() ? print_summary(&summary, options->path, options->wants_json) : SP_OK;
}

static sp_status verify_file(const verify_options *options) {
    sp_condition conditions[MOST_CONDITIONS];
    sp_conditions where = {.items = conditions};
    sp_named_tokenizer tokenizers[MOST_TOKENIZERS] = {0};
    sp_world *world = NULL;
    sp_status status = sp_parse_conditions(&where, options->where, options->n_where);
    if (status == SP_OK) {
        status = sp_world_begin(&world);
        if (status == SP_OK) status = run(world, options, &where, tokenizers);
        status = sp_world_end(world, status);
    }
    for (size_t i = 0; i < MOST_TOKENIZERS; i++) sp_named_tokenizer_close(&tokenizers[i]);
    for (size_t i = 0; i < where.n; i++) sp_condition_free(&conditions[i]);
    return status;
}

sp_status sp_cmd_verify(int argc, char **argv) {
    verify_options options = {.sources = calloc((size_t)argc, sizeof *options.sources)};
    if (options.sources == NULL) return sp_fail(SP_FAILURE, "no memory for options");
    sp_parse_options(&argp, argc, argv, &options);
    if (options.is_quiet || !sp_is_first_rank()) sp_log_set_level(SP_LOG_QUIET);
    const sp_status status = verify_file(&options);
    free(options.sources);
    return status;
}
