#include "cli/command.h"

#include "cli/corpus_arguments.h"
#include "cli/print_options.h"
#include "mpi/agree.h"
#include "mpi/world.h"
#include "run/named_tokenizer.h"
#include "run/print_ids.h"
#include "run/tokenize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENIZERS = 16, DEFAULT_SEGMENT_TOKENS = 256 };

typedef struct tokenize_options {
    const char *tokenizers[MOST_TOKENIZERS]; /* NAME=DIR, or DIR with --ids */
    size_t n_tokenizers;
    size_t segment_tokens;
    const char *output;
    sp_corpus_arguments corpus;
    size_t min_tokens, most_document_bytes;
    bool keeps_duplicates;
    bool wants_ids, specials_are_plain, has_affixes;
    sp_json_option json;
} tokenize_options;

enum {
    OPTION_TOKENIZER = 256,
    OPTION_SEGMENT_TOKENS,
    OPTION_OUTPUT,
    OPTION_MIN_TOKENS,
    OPTION_MAX_DOCUMENT,
    OPTION_KEEP_DUPLICATES,
    OPTION_IDS,
    OPTION_NO_SPECIAL,
    OPTION_BOS
};

static const struct argp_option argp_options[] = {
    {"tokenizer", OPTION_TOKENIZER, "NAME=DIR", 0,
     "A stream's name, and the folder or .gguf of its tokenizer; the first one cuts the segments. "
     "With --ids: DIR",
     0},
    {"segment-tokens", OPTION_SEGMENT_TOKENS, "N", 0, "Most tokens of a segment (256)", 0},
    {"output", OPTION_OUTPUT, "FILE", 0, "Token file to write", 0},
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
    {0},
};

static void check_options(const tokenize_options *options, const struct argp_state *state) {
    if (options->n_tokenizers == 0) argp_error(state, "needs --tokenizer");
    if (options->wants_ids) {
        if (options->n_tokenizers > 1 || options->corpus.options.n_names > 0 ||
            options->output != NULL)
            argp_error(state, "--ids takes one --tokenizer DIR and reads standard input");
        if (options->corpus.has_choice)
            argp_error(state, "--column, --where, --checksums and --on-error do not go with --ids");
        if (options->min_tokens > 0 || options->most_document_bytes > 0 ||
            options->keeps_duplicates)
            argp_error(state, "--min-tokens, --max-document and --keep-duplicates do not go with "
                              "--ids");
        return;
    }
    if (options->specials_are_plain || options->has_affixes)
        argp_error(state, "--no-special and --bos go with --ids");
    if (options->output == NULL || options->corpus.options.n_names == 0)
        argp_error(state, "needs --output FILE and text files");
    for (size_t i = 0; i < options->n_tokenizers; i++)
        if (!sp_named_tokenizer_is_spelled(options->tokenizers[i]))
            argp_error(state, "--tokenizer: '%s' is not NAME=DIR", options->tokenizers[i]);
    if (options->min_tokens > options->segment_tokens)
        argp_error(state, "--min-tokens: %zu are more than a segment's %zu", options->min_tokens,
                   options->segment_tokens);
    if (options->corpus.options.text.column != NULL &&
        options->corpus.options.text.column[0] == '\0')
        argp_error(state, "--column: an empty name");
}

static error_t parse_option(int key, char *argument, struct argp_state *state) {
    tokenize_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->corpus;
        state->child_inputs[1] = &options->json;
        return 0;
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
    case ARGP_KEY_ARG:
        sp_corpus_arguments_add_name(&options->corpus, argument);
        return 0;
    case ARGP_KEY_END:
        check_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {
    {&sp_corpus_argp, 0, NULL, 0},
    {&sp_json_argp, 0, NULL, 0},
    {&sp_quiet_argp, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_option,
    .children = children,
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

/* Tokens a second of this run, which may have had little or nothing to do. */
static double rate_of(const sp_tokenize_summary *s) { return (double)s->n_new_tokens / s->seconds; }

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

static sp_status run(sp_world *world, const tokenize_options *options, tokenizers *t) {
    SP_TRY(sp_agree(world, open_tokenizers(t, options)));
    sp_tokenize_summary summary = {0};
    SP_TRY(sp_tokenize(
        world,
        &(sp_tokenize_job){.corpus = options->corpus.options,
                           .segmenting = {.streams = t->streams,
                                          .n_streams = t->n,
                                          .segment_tokens = options->segment_tokens,
                                          .min_tokens = options->min_tokens,
                                          .most_document_bytes = options->most_document_bytes},
                           .keeps_duplicates = options->keeps_duplicates,
                           .output = options->output},
        &summary));
    const sp_status status =
        sp_is_first_rank() ? print_summary(&summary, t, options->json.is_wanted) : SP_OK;
    sp_tokenize_summary_free(&summary);
    return status;
}

static sp_status tokenize_files(const tokenize_options *options) {
    tokenizers *t = calloc(1, sizeof *t);
    if (t == NULL) return sp_fail(SP_FAILURE, "no memory for tokenizers");
    sp_world *world = NULL;
    sp_status status = sp_world_begin(&world);
    if (status == SP_OK) status = run(world, options, t);
    for (size_t i = 0; i < MOST_TOKENIZERS; i++) sp_named_tokenizer_close(&t->named[i]);
    free(t);
    return sp_world_end(world, status);
}

static sp_status print_ids(const tokenize_options *options) {
    if (!sp_is_first_rank()) return SP_OK;
    const char *path = options->tokenizers[0];
    const sp_print_ids_job job = {.tokenizer = path,
                                  .specials_are_plain = options->specials_are_plain,
                                  .has_affixes = options->has_affixes,
                                  .wants_json = options->json.is_wanted};
    return sp_print_ids(&job, stdin, stdout);
}

sp_status sp_cmd_tokenize(int argc, char **argv) {
    tokenize_options options = {.segment_tokens = DEFAULT_SEGMENT_TOKENS};
    SP_TRY(sp_corpus_arguments_init(&options.corpus, argc));
    sp_parse_options(&argp, argc, argv, &options);
    sp_status status = sp_corpus_arguments_parse_where(&options.corpus);
    if (status == SP_OK)
        status = options.wants_ids ? print_ids(&options) : tokenize_files(&options);
    sp_corpus_arguments_free(&options.corpus);
    return status;
}
