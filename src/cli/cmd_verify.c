#include "cli/command.h"

#include "cli/corpus_arguments.h"
#include "cli/print_options.h"
#include "io/file_kind.h"
#include "io/slots_file.h"
#include "mpi/agree.h"
#include "mpi/world.h"
#include "run/verify.h"

#include <stdio.h>

enum { MOST_TOKENIZERS = 16 };

typedef struct verify_options {
    const char *path;
    sp_corpus_arguments source;
    const char *tokenizers[MOST_TOKENIZERS];
    size_t n_tokenizers;
    sp_json_option json;
} verify_options;

enum { OPTION_SOURCE = 256, OPTION_TOKENIZER };

static const struct argp_option argp_options[] = {
    {"source", OPTION_SOURCE, "INPUT", 0,
     "Compare with what it was made from, a file, folder or pattern; may be repeated, in the order "
     "of `slotpress tokenize`",
     0},
    {"tokenizer", OPTION_TOKENIZER, "NAME=DIR", 0,
     "With --source: compare this stream's text, too; may be repeated", 0},
    {0},
};

static void check_options(const verify_options *options, const struct argp_state *state) {
    if (options->path == NULL) argp_error(state, "needs a token or slot FILE");
    for (size_t i = 0; i < options->n_tokenizers; i++)
        if (!sp_named_tokenizer_is_spelled(options->tokenizers[i]))
            argp_error(state, "--tokenizer: '%s' is not NAME=DIR", options->tokenizers[i]);
    if (options->source.options.n_names == 0 &&
        (options->n_tokenizers > 0 || options->source.has_choice))
        argp_error(state,
                   "--tokenizer, --column, --where, --checksums and --on-error go with --source");
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    verify_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->source;
        state->child_inputs[1] = &options->json;
        return 0;
    case OPTION_SOURCE:
        sp_corpus_arguments_add_name(&options->source, argument);
        return 0;
    case OPTION_TOKENIZER:
        if (options->n_tokenizers == MOST_TOKENIZERS)
            argp_error(state, "--tokenizer: more than %d of them", (int)MOST_TOKENIZERS);
        options->tokenizers[options->n_tokenizers++] = argument;
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

static const struct argp_child children[] = {
    {&sp_corpus_argp, 0, "With --source, as it was tokenized:", 1},
    {&sp_json_argp, 0, NULL, 0},
    {&sp_quiet_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
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
    if (*kind == SP_FILE_TOKENS || (*kind == SP_FILE_SLOTS && options->source.options.n_names == 0))
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
    if (options->json.is_wanted) {
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

static sp_status run(sp_world *world, const verify_options *options,
                     sp_named_tokenizer *tokenizers) {
    const sp_verify_job job = {
        .path = options->path,
        .tokenizers = tokenizers,
        .n_tokenizers = options->n_tokenizers,
        .source = options->source.options.n_names > 0 ? &options->source.options : NULL};
    sp_verify_summary summary = {0};
    sp_file_kind kind = SP_FILE_TOKENS;
    sp_status status = check_kind(&kind, options);
    for (size_t i = 0; i < options->n_tokenizers && status == SP_OK; i++)
        status = sp_named_tokenizer_open(&tokenizers[i], options->tokenizers[i]);
    SP_TRY(sp_agree(world, status));
    if (kind == SP_FILE_SLOTS)
        return sp_agree(world, sp_is_first_rank() ? verify_slots(options) : SP_OK);
    SP_TRY(sp_verify(world, &job, &summary));
    return sp_is_first_rank() ? print_summary(&summary, options->path, options->json.is_wanted)
                              : SP_OK;
}

static sp_status verify_file(const verify_options *options) {
    sp_named_tokenizer tokenizers[MOST_TOKENIZERS] = {0};
    sp_world *world = NULL;
    sp_status status = sp_world_begin(&world);
    if (status == SP_OK) status = run(world, options, tokenizers);
    status = sp_world_end(world, status);
    for (size_t i = 0; i < MOST_TOKENIZERS; i++) sp_named_tokenizer_close(&tokenizers[i]);
    return status;
}

sp_status sp_cmd_verify(int argc, char **argv) {
    verify_options options = {0};
    SP_TRY(sp_corpus_arguments_init(&options.source, argc));
    sp_parse_options(&argp, argc, argv, &options);
    sp_status status = sp_corpus_arguments_parse_where(&options.source);
    if (status == SP_OK) status = verify_file(&options);
    sp_corpus_arguments_free(&options.source);
    return status;
}
