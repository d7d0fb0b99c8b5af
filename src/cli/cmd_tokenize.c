#include "cli/command.h"

#include "base/log.h"
#include "mpi/agree.h"
#include "mpi/world.h"
#include "run/named_tokenizer.h"
#include "run/print_ids.h"
#include "run/tokenize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENIZERS = 16, MOST_CONDITIONS = 64, DEFAULT_SEGMENT_TOKENS = 256 };

typedef struct tokenize_options {
    const char *tokenizers[MOST_TOKENIZERS]; /* NAME=DIR, or DIR with --ids */
    size_t n_tokenizers;
    size_t segment_tokens;
    const char *output;
    const char **paths; /* [n_paths], owned */
    size_t n_paths;
    const char *column, *checksums;
    const char *where[MOST_CONDITIONS];
    size_t n_where;
    sp_on_error on_error;
    bool has_on_error; /* it was named */
    size_t min_tokens, most_document_bytes;
    bool keeps_duplicates;
    bool wants_ids, specials_are_plain, has_affixes, wants_json, is_quiet;
} tokenize_options;

enum {
    OPTION_TOKENIZER = 256,
    OPTION_SEGMENT_TOKENS,
    OPTION_OUTPUT,
    OPTION_COLUMN,
    OPTION_WHERE,
    OPTION_CHECKSUMS,
    OPTION_ON_ERROR,
    OPTION_MIN_TOKENS,
    OPTION_MAX_DOCUMENT,
    OPTION_KEEP_DUPLICATES,
    OPTION_IDS,
    OPTION_NO_SPECIAL,
    OPTION_BOS,
    OPTION_JSON,
    OPTION_QUIET
};

static const struct argp_option argp_options[] = {
    {"tokenizer", OPTION_TOKENIZER, "NAME=DIR", 0,
     "A stream's name, and the folder or .gguf of its tokenizer; the first one cuts the segments. "
     "With --ids: DIR",
     0},
    {"segment-tokens", OPTION_SEGMENT_TOKENS, "N", 0, "Most tokens of a segment (256)", 0},
    {"output", OPTION_OUTPUT, "FILE", 0, "Token file to write", 0},
    {"column", OPTION_COLUMN, "NAME", 0,
     "Column or field of the text (text); a dotted name reaches into a Parquet struct", 0},
    {"where", OPTION_WHERE, "CONDITION", 0,
     "Only documents for which NAME OP VALUE holds, OP being =, !=, <, <=, > or >=, such as "
     "'language_score >= 0.8' or 'language = en'. Texts compare by bytes; a null or missing field "
     "fails. May be repeated: all must hold",
     0},
    {"checksums", OPTION_CHECKSUMS, "FILE", 0,
     "Check the files against a list of SHA-256 sums, as sha256sum writes it, before any is read",
     0},
    {"on-error", OPTION_ON_ERROR, "stop|skip", 0,
     "At damaged input stop (stop), or leave out the row, the rest of the row group or of the "
     "file, "
     "and count it",
     0},
    {"min-tokens", OPTION_MIN_TOKENS, "N", 0,
     "Leave out a document's last segment if it has fewer tokens (1: keep them all)", 0},
    {"max-document", OPTION_MAX_DOCUMENT, "BYTES", 0,
     "Cut no segments from documents with more bytes of text, and count them", 0},
    {"keep-duplicates", OPTION_KEEP_DUPLICATES, NULL, 0,
     "Take documents again whose text came before; else the first of the whole corpus is taken", 0},
    {"ids", OPTION_IDS, NULL, 0,
     "Print the ids of standard input on one line instead, as encode(add_special_tokens=False)", 0},
    {"no-special", OPTION_NO_SPECIAL, NULL, 0,
     "With --ids: spellings of special tokens are plain text", 0},
    {"bos", OPTION_BOS, NULL, 0, "With --ids: add BOS and EOS, where the tokenizer has them", 0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
    {"quiet", OPTION_QUIET, NULL, 0, "No progress and no notes", 0},
    {0},
};

static void check_options(const tokenize_options *options, const struct argp_state *state) {
    if (options->n_tokenizers == 0) argp_error(state, "needs --tokenizer");
    if (options->wants_ids) {
        if (options->n_tokenizers > 1 || options->n_paths > 0 || options->output != NULL)
            argp_error(state, "--ids takes one --tokenizer DIR and reads standard input");
        if (options->column != NULL || options->n_where > 0 || options->checksums != NULL ||
            options->has_on_error)
            argp_error(state, "--column, --where, --checksums and --on-error do not go with --ids");
        if (options->min_tokens > 0 || options->most_document_bytes > 0 ||
            options->keeps_duplicates)
            argp_error(state, "--min-tokens, --max-document and --keep-duplicates do not go with "
                              "--ids");
        return;
    }
    if (options->specials_are_plain || options->has_affixes)
        argp_error(state, "--no-special and --bos go with --ids");
    if (options->output == NULL || options->n_paths == 0)
        argp_error(state, "needs --output FILE and text files");
    for (size_t i = 0; i < options->n_tokenizers; i++)
        if (!sp_named_tokenizer_is_spelled(options->tokenizers[i]))
            argp_error(state, "--tokenizer: '%s' is not NAME=DIR", options->tokenizers[i]);
    if (options->min_tokens > options->segment_tokens)
        argp_error(state, "--min-tokens: %zu are more than a segment's %zu", options->min_tokens,
                   options->segment_tokens);
    if (options->column != NULL && options->column[0] == '\0')
        argp_error(state, "--column: an empty name");
}

/* The words of --on-error, in the order of sp_on_error. */
static const char *const on_error_words[] = {"stop", "skip", NULL};

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    tokenize_options *options = state->input;
    switch (key) {
    case OPTION_TOKENIZER:
        if (options->n_tokenizers == MOST_TOKENIZERS)
            argp_error(state, "--tokenizer: more than %d of them", (int)MOST_TOKENIZERS);
        options->tokenizers[options->n_tokenizers++] = argument;
        return 0;
    case OPTION_SEGMENT_TOKENS:
        options->segment_tokens = sp_parse_count("--segment-tokens", argument, 1, state);
        return 0;
    case OPTION_OUTPUT:
        options->output = argument;
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
    case OPTION_MIN_TOKENS:
        options->min_tokens = sp_parse_count("--min-tokens", argument, 1, state);
        return 0;
    case OPTION_MAX_DOCUMENT:
        options->most_document_bytes = sp_parse_count("--max-document", argument, 1, state);
        return 0;
    case OPTION_KEEP_DUPLICATES:
        options->keeps_duplicates = true;
        return 0;
    case OPTION_IDS:
        options->wants_ids = true;
        return 0;
    case OPTION_NO_SPECIAL:
        options->specials_are_plain = true;
        return 0;
    case OPTION_BOS:
        options->has_affixes = true;
        return 0;
    case OPTION_JSON:
        options->wants_json = true;
        return 0;
    case OPTION_QUIET:
        options->is_quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        options->paths[options->n_paths++] = argument; /* there are fewer than argc */
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
    .args_doc = "INPUT...\n--ids",
    .doc =
        "Turns documents, .parquet (a row each), .jsonl (a line each) or .txt (one each), the last "
        "two also .gz or .zst, into a token file: segments of at most N tokens, with a stream of "
        "ids for each tokenizer. A folder stands for all such files below it, sorted by name; "
        "patterns in quotes are matched.\v"
        "Runs alone or on several ranks, with the same datasets: one rank writes one file, several "
        "write parts in the folder beside it (corpus.h5, corpus.parts/), with which corpus.h5 must "
        "be "
        "moved; `slotpress merge` makes one file of them. A run that was stopped or killed goes on "
        "where it was if the same command is given again, with any number of ranks; over a "
        "finished "
        "file it does nothing.",
};

typedef struct tokenizers {
    sp_named_tokenizer named[MOST_TOKENIZERS];
    sp_tokenize_stream streams[MOST_TOKENIZERS];
    size_t n;
} tokenizers;

static sp_status open_tokenizer(tokenizers *t, const char *text) {
    sp_named_tokenizer *named = &t->named[t->n];
    SP_TRY(sp_named_tokenizer_open(named, text));
    t->streams[t->n++] = (sp_tokenize_stream){.name = named->name, .tokenizer = named->tokenizer};
    for (size_t i = 0; i + 1 < t->n; i++)
        if (strcmp(t->named[i].name, named->name) == 0)
            return sp_fail(SP_USAGE, "--tokenizer: '%s' is named twice", named->name);
    return SP_OK;
}

/* What was left out, if anything was. */
static void print_left_out(const sp_tokenize_summary *s) {
    const sp_tokenize_tallies *left_out = &s->tallies;
    const sp_losses *l = &left_out->losses;
    if (left_out->n_unwanted > 0)
        printf("; %ju left out by --where", (uintmax_t)left_out->n_unwanted);
    if (left_out->n_duplicates > 0) printf("; %ju duplicates", (uintmax_t)left_out->n_duplicates);
    if (left_out->n_oversized > 0) printf("; %ju too long", (uintmax_t)left_out->n_oversized);
    if (left_out->n_short_tails > 0)
        printf("; %ju short tails left out", (uintmax_t)left_out->n_short_tails);
    if (l->n_rows + l->n_groups + l->n_files > 0)
        printf("; damaged and skipped: %ju rows, %ju row groups, %ju files (%ju documents)",
               (uintmax_t)l->n_rows, (uintmax_t)l->n_groups, (uintmax_t)l->n_files,
               (uintmax_t)left_out->n_lost);
    if (left_out->n_not_utf8 > 0)
        printf("; %ju documents not UTF-8", (uintmax_t)left_out->n_not_utf8);
    if (s->n_unlisted_files > 0) printf("; %ju files unchecked", (uintmax_t)s->n_unlisted_files);
}

/* Tokens a second of this run; 0 if it had nothing to do. */
static double rate_of(const sp_tokenize_summary *s) {
    return s->was_done ? 0 : (double)s->n_tokens[0] / s->seconds;
}

static sp_status print_summary_as_json(const sp_tokenize_summary *s, const tokenizers *t) {
    const char *names[MOST_TOKENIZERS];
    json_t *object = NULL;
    for (size_t i = 0; i < t->n; i++) names[i] = t->named[i].name;
    SP_TRY(sp_tokenize_summary_as_json(&object, s, names, t->n));
    const bool is_full =
        json_object_set_new(object, "was_done", json_boolean(s->was_done)) == 0 &&
        json_object_set_new(object, "seconds", json_real(s->seconds)) == 0 &&
        json_object_set_new(object, "tokens_per_second", json_real(rate_of(s))) == 0;
    if (is_full) sp_print_json(object);
    json_decref(object);
    return is_full ? SP_OK : sp_fail(SP_FAILURE, "no memory for a summary");
}

static sp_status print_summary(const sp_tokenize_summary *s, const tokenizers *t, bool wants_json) {
    if (wants_json) return print_summary_as_json(s, t);
    printf("%ju documents (%ju empty), %ju segments, %ju bytes of text", (uintmax_t)s->n_documents,
           (uintmax_t)s->tallies.n_empty, (uintmax_t)s->n_segments, (uintmax_t)s->tallies.n_bytes);
    for (size_t i = 0; i < t->n; i++)
        printf(", %ju tokens of %s", (uintmax_t)s->n_tokens[i], t->named[i].name);
    if (s->was_done)
        printf(", done by an earlier run");
    else
        printf(", %.1f s, %.0f tokens/s", s->seconds, rate_of(s));
    print_left_out(s);
    printf("\n");
    return SP_OK;
}

static sp_status open_tokenizers(tokenizers *t, const tokenize_options *options) {
    for (size_t i = 0; i < options->n_tokenizers; i++)
        SP_TRY(open_tokenizer(t, options->tokenizers[i]));
    return SP_OK;
}

static sp_status run(sp_world *world, const tokenize_options *options, const sp_conditions *where,
                     tokenizers *t) {
    SP_TRY(sp_agree(world, open_tokenizers(t, options)));
    sp_tokenize_summary summary = {0};
    SP_TRY(sp_tokenize(
        world,
        &(sp_tokenize_job){.corpus = {.names = options->paths,
                                      .n_names = options->n_paths,
                                      .text = {.column = options->column, .where = where},
                                      .checksums = options->checksums,
                                      .on_error = options->on_error},
                           .segmenting = {.streams = t->streams,
                                          .n_streams = t->n,
                                          .segment_tokens = options->segment_tokens,
                                          .min_tokens = options->min_tokens,
                                          .most_document_bytes = options->most_document_bytes},
                           .keeps_duplicates = options->keeps_duplicates,
                           .output = options->output},
        &summary));
    const sp_status status =
        sp_is_first_rank() ? print_summary(&summary, t, options->wants_json) : SP_OK;
    sp_tokenize_summary_free(&summary);
    return status;
}

static sp_status tokenize_on_ranks(const tokenize_options *options, const sp_conditions *where) {
    tokenizers *t = calloc(1, sizeof *t);
    if (t == NULL) return sp_fail(SP_FAILURE, "no memory for tokenizers");
    sp_world *world = NULL;
    sp_status status = sp_world_begin(&world);
    if (status == SP_OK) status = run(world, options, where, t);
    for (size_t i = 0; i < MOST_TOKENIZERS; i++) sp_named_tokenizer_close(&t->named[i]);
    free(t);
    return sp_world_end(world, status);
}

static sp_status tokenize_files(const tokenize_options *options) {
    sp_condition conditions[MOST_CONDITIONS];
    sp_conditions where = {.items = conditions};
    sp_status status = sp_parse_conditions(&where, options->where, options->n_where);
    if (status == SP_OK) status = tokenize_on_ranks(options, &where);
    for (size_t i = 0; i < where.n; i++) sp_condition_free(&conditions[i]);
    return status;
}

static sp_status print_ids(const tokenize_options *options) {
    if (!sp_is_first_rank()) return SP_OK;
    const char *path = options->tokenizers[0];
    const sp_print_ids_job job = {.tokenizer = path,
                                  .specials_are_plain = options->specials_are_plain,
                                  .has_affixes = options->has_affixes,
                                  .wants_json = options->wants_json};
    return sp_print_ids(&job, stdin, stdout);
}

sp_status sp_cmd_tokenize(int argc, char **argv) {
    tokenize_options options = {.segment_tokens = DEFAULT_SEGMENT_TOKENS,
                                .paths = calloc((size_t)argc, sizeof *options.paths)};
    if (options.paths == NULL) return sp_fail(SP_FAILURE, "no memory for options");
    sp_parse_options(&argp, argc, argv, &options);
    if (options.is_quiet || !sp_is_first_rank()) sp_log_set_level(SP_LOG_QUIET);
    const sp_status status = options.wants_ids ? print_ids(&options) : tokenize_files(&options);
    free(options.paths);
    return status;
}
