#include "cli/command.h"

#include "base/log.h"
#include "io/model_source.h"
#include "mpi/agree.h"
#include "mpi/world.h"
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
    const char **paths; /* [n_paths], owned */
    size_t n_paths;
    bool wants_ids, specials_are_plain, has_affixes, wants_json, is_quiet;
} tokenize_options;

enum {
    OPTION_TOKENIZER = 256,
    OPTION_SEGMENT_TOKENS,
    OPTION_OUTPUT,
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
        return;
    }
    if (options->specials_are_plain || options->has_affixes)
        argp_error(state, "--no-special and --bos go with --ids");
    if (options->output == NULL || options->n_paths == 0)
        argp_error(state, "needs --output FILE and text files");
    for (size_t i = 0; i < options->n_tokenizers; i++) {
        const char *equals = strchr(options->tokenizers[i], '=');
        if (equals == NULL || equals == options->tokenizers[i] || equals[1] == '\0')
            argp_error(state, "--tokenizer: '%s' is not NAME=DIR", options->tokenizers[i]);
    }
}

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
    .args_doc = "FILE...\n--ids",
    .doc =
        "Turns documents, .txt (one each) or .jsonl (field text), also .gz or .zst, into a token "
        "file: segments of at most N tokens, with a stream of ids for each tokenizer. Runs "
        "alone or on several ranks, with the same result.",
};

typedef struct tokenizers {
    char names[MOST_TOKENIZERS][SP_STREAM_NAME_SIZE];
    sp_tokenizer *owned[MOST_TOKENIZERS];
    sp_tokenize_stream streams[MOST_TOKENIZERS];
    size_t n;
} tokenizers;

static sp_status open_tokenizer(tokenizers *t, const char *text) {
    const char *equals = strchr(text, '='), *path = equals + 1;
    const size_t name_len = (size_t)(equals - text);
    if (name_len >= SP_STREAM_NAME_SIZE)
        return sp_fail(SP_USAGE, "--tokenizer: the name in '%s' is longer than %d bytes", text,
                       SP_STREAM_NAME_SIZE - 1);
    memcpy(t->names[t->n], text, name_len);
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->names[i], t->names[t->n]) == 0)
            return sp_fail(SP_USAGE, "--tokenizer: '%s' is named twice", t->names[i]);
    json_t *json = NULL;
    SP_TRY(sp_tokenizer_json_load(&json, path));
    const sp_status status = sp_tokenizer_create(&t->owned[t->n], json, path);
    json_decref(json);
    SP_TRY(status);
    t->streams[t->n] = (sp_tokenize_stream){.name = t->names[t->n], .tokenizer = t->owned[t->n]};
    t->n++;
    return SP_OK;
}

static sp_status print_summary(const sp_tokenize_summary *s, const tokenizers *t, bool wants_json) {
    const double rate = (double)s->n_tokens[0] / s->seconds;
    if (!wants_json) {
        printf("%ju documents (%ju empty), %ju segments, %ju bytes of text",
               (uintmax_t)s->n_documents, (uintmax_t)s->n_empty_documents, (uintmax_t)s->n_segments,
               (uintmax_t)s->n_bytes);
        for (size_t i = 0; i < t->n; i++)
            printf(", %ju tokens of %s", (uintmax_t)s->n_tokens[i], t->names[i]);
        printf(", %.1f s, %.0f tokens/s\n", s->seconds, rate);
        return SP_OK;
    }
    json_t *tokens = json_object();
    for (size_t i = 0; i < t->n; i++)
        json_object_set_new(tokens, t->names[i], json_integer((json_int_t)s->n_tokens[i]));
    json_t *object =
        json_pack("{s:I, s:I, s:I, s:I, s:o, s:f, s:f}", "documents", (json_int_t)s->n_documents,
                  "empty_documents", (json_int_t)s->n_empty_documents, "segments",
                  (json_int_t)s->n_segments, "bytes", (json_int_t)s->n_bytes, "tokens", tokens,
                  "seconds", s->seconds, "tokens_per_second", rate);
    if (object == NULL) return sp_fail(SP_FAILURE, "no memory for a summary");
    sp_print_json(object);
    json_decref(object);
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
    SP_TRY(sp_tokenize(world,
                       &(sp_tokenize_job){.streams = t->streams,
                                          .n_streams = t->n,
                                          .paths = options->paths,
                                          .n_paths = options->n_paths,
                                          .segment_tokens = options->segment_tokens,
                                          .output = options->output},
                       &summary));
    const sp_status status =
        sp_is_first_rank() ? print_summary(&summary, t, options->wants_json) : SP_OK;
    sp_tokenize_summary_free(&summary);
    return status;
}

static sp_status tokenize_files(const tokenize_options *options) {
    tokenizers *t = calloc(1, sizeof *t);
    if (t == NULL) return sp_fail(SP_FAILURE, "no memory for tokenizers");
    sp_world *world = NULL;
    sp_status status = sp_world_begin(&world);
    if (status == SP_OK) status = run(world, options, t);
    for (size_t i = 0; i < MOST_TOKENIZERS; i++) sp_tokenizer_destroy(t->owned[i]);
    free(t);
    return sp_world_end(world, status);
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
