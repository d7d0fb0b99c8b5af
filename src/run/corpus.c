#include "run/corpus.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/checksums.h"
#include "io/text_inputs.h"
#include "mpi/agree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_WARNINGS = 20 }; /* of damage; the rest is only counted */

/* What its sum says of a file. */
typedef enum verdict { USED, UNLISTED, REFUSED } verdict;

typedef struct file_state {
    uint64_t n_bytes, changed_ns;
} file_state;

struct sp_corpus {
    const sp_corpus_options *options;
    char *names; /* all paths, each with its NUL */
    size_t n_names_bytes;
    const char **paths; /* [n_files], into names */
    uint64_t *verdicts; /* [n_files] */
    file_state *states; /* [n_files] */
    size_t n_warnings;
    sp_corpus_counts counts;
};

/* ---- finding the shards ---- */

/* Rank 0's. */
static sp_status find_files(sp_corpus *corpus) {
    const sp_corpus_options *options = corpus->options;
    sp_text_inputs inputs = {0};
    void *block = NULL;
    size_t n_bytes = 0;
    SP_TRY(sp_text_inputs_expand(&inputs, options->names, options->n_names));
    if (inputs.n_passed_by > 0)
        sp_log(SP_LOG_INFO, "%zu files in folders are neither .parquet, .jsonl nor .txt: passed by",
               inputs.n_passed_by);
    for (size_t i = 0; i < inputs.n; i++) n_bytes += strlen(inputs.paths[i]) + 1;
    const sp_status status = sp_alloc(&block, n_bytes, "paths");
    if (status == SP_OK) {
        char *out = block;
        for (size_t i = 0; i < inputs.n; i++) out = stpcpy(out, inputs.paths[i]) + 1;
        corpus->names = block;
        corpus->n_names_bytes = n_bytes;
        corpus->counts.n_files = inputs.n;
    }
    sp_text_inputs_free(&inputs);
    return status;
}

static sp_status receive_names(sp_corpus *corpus) {
    void *block = NULL;
    if (corpus->names != NULL) return SP_OK;
    SP_TRY(sp_alloc(&block, corpus->n_names_bytes, "paths"));
    corpus->names = block;
    return SP_OK;
}

static sp_status share_files(sp_corpus *corpus, sp_world *world) {
    uint64_t sizes[] = {corpus->counts.n_files, corpus->n_names_bytes};
    sp_world_broadcast(world, sizes, sizeof sizes, 0);
    corpus->counts.n_files = sizes[0];
    corpus->n_names_bytes = sizes[1];
    SP_TRY(sp_agree(world, receive_names(corpus)));
    sp_world_broadcast(world, corpus->names, corpus->n_names_bytes, 0);
    return SP_OK;
}

static sp_status list_files(sp_corpus *corpus) {
    void *paths = NULL, *verdicts = NULL, *states = NULL;
    const size_t n = corpus->counts.n_files;
    SP_TRY(sp_alloc_array(&paths, n, sizeof *corpus->paths, "paths"));
    corpus->paths = paths;
    SP_TRY(sp_alloc_array(&verdicts, n, sizeof *corpus->verdicts, "files"));
    corpus->verdicts = verdicts;
    SP_TRY(sp_alloc_array(&states, n, sizeof *corpus->states, "files"));
    corpus->states = states;
    const char *name = corpus->names;
    for (size_t i = 0; i < n; i++, name += strlen(name) + 1) corpus->paths[i] = name;
    return SP_OK;
}

/* Rank 0's: nodes may not agree for a while on what they see. */
static sp_status look_at_files(sp_corpus *corpus) {
    for (size_t i = 0; i < corpus->counts.n_files; i++) {
        struct stat info;
        SP_TRY(sp_text_file_size(corpus->paths[i], &corpus->states[i].n_bytes));
        if (stat(corpus->paths[i], &info) != 0)
            return sp_fail(SP_IO, "cannot open '%s': %s", corpus->paths[i], strerror(errno));
        corpus->states[i].changed_ns =
            (uint64_t)info.st_mtim.tv_sec * 1000000000U + (uint64_t)info.st_mtim.tv_nsec;
    }
    return SP_OK;
}

/* ---- checking them ---- */

static sp_status check_file(sp_corpus *corpus, const sp_checksums *list, size_t file) {
    bool is_listed = false;
    const sp_status status = sp_checksums_check(list, corpus->paths[file], &is_listed);
    if (status == SP_BAD_DATA && corpus->options->on_error == SP_ON_ERROR_SKIP)
        corpus->verdicts[file] = REFUSED;
    else if (status != SP_OK)
        return status;
    else if (!is_listed)
        corpus->verdicts[file] = UNLISTED;
    return SP_OK;
}

static sp_status check_own_files(sp_corpus *corpus, const sp_world *world) {
    sp_checksums *list = NULL;
    SP_TRY(sp_checksums_open(&list, corpus->options->checksums));
    const size_t n_ranks = (size_t)sp_world_size(world);
    sp_status status = SP_OK;
    for (size_t i = (size_t)sp_world_rank(world); status == SP_OK && i < corpus->counts.n_files;
         i += n_ranks)
        status = check_file(corpus, list, i);
    sp_checksums_close(list);
    return status;
}

static void report_verdicts(sp_corpus *corpus) {
    sp_corpus_counts *counts = &corpus->counts;
    size_t first_unlisted = 0;
    for (size_t i = 0; i < counts->n_files; i++) {
        if (corpus->verdicts[i] == UNLISTED && counts->n_unlisted++ == 0) first_unlisted = i;
        if (corpus->verdicts[i] != REFUSED) continue;
        counts->n_refused++;
        sp_log(SP_LOG_WARNING, "'%s' is not the file that '%s' lists; skipped", corpus->paths[i],
               corpus->options->checksums);
    }
    if (counts->n_unlisted > 0)
        sp_log(SP_LOG_WARNING,
               "'%s' lists no sum for %ju of %ju files, which are read unchecked; "
               "the first is '%s'",
               corpus->options->checksums, (uintmax_t)counts->n_unlisted,
               (uintmax_t)counts->n_files, corpus->paths[first_unlisted]);
}

static sp_status check_files(sp_corpus *corpus, sp_world *world) {
    if (corpus->options->checksums == NULL) return SP_OK;
    sp_log(SP_LOG_INFO, "checking %ju files against '%s'", (uintmax_t)corpus->counts.n_files,
           corpus->options->checksums);
    SP_TRY(sp_agree(world, check_own_files(corpus, world)));
    /* Each file has a verdict on one rank alone. */
    sp_world_sum_u64(world, corpus->verdicts, corpus->counts.n_files);
    report_verdicts(corpus);
    return SP_OK;
}

static sp_status open_corpus(sp_corpus *corpus, sp_world *world) {
    const bool is_first = sp_world_rank(world) == 0;
    SP_TRY(sp_agree(world, is_first ? find_files(corpus) : SP_OK));
    SP_TRY(share_files(corpus, world));
    SP_TRY(sp_agree(world, list_files(corpus)));
    SP_TRY(sp_agree(world, is_first ? look_at_files(corpus) : SP_OK));
    sp_world_broadcast(world, corpus->states, corpus->counts.n_files * sizeof *corpus->states, 0);
    return check_files(corpus, world);
}

sp_status sp_corpus_open(sp_corpus **corpus, sp_world *world, const sp_corpus_options *options) {
    void *block = NULL;
    sp_status status = sp_agree(world, sp_alloc(&block, sizeof **corpus, "a corpus"));
    sp_corpus *made = block;
    if (status == SP_OK) {
        made->options = options;
        status = open_corpus(made, world);
    }
    if (status == SP_OK)
        *corpus = made;
    else
        sp_corpus_close(made);
    return status;
}

void sp_corpus_close(sp_corpus *corpus) {
    if (corpus == NULL) return;
    free(corpus->states);
    free(corpus->verdicts);
    free(corpus->paths);
    free(corpus->names);
    free(corpus);
}

/* ---- what is known ---- */

size_t sp_corpus_n_files(const sp_corpus *corpus) { return corpus->counts.n_files; }

const char *sp_corpus_path(const sp_corpus *corpus, size_t file) { return corpus->paths[file]; }

uint64_t sp_corpus_n_bytes(const sp_corpus *corpus, size_t file) {
    return corpus->states[file].n_bytes;
}

uint64_t sp_corpus_changed_ns(const sp_corpus *corpus, size_t file) {
    return corpus->states[file].changed_ns;
}

bool sp_corpus_is_refused(const sp_corpus *corpus, size_t file) {
    return corpus->verdicts[file] == REFUSED;
}

sp_corpus_counts sp_corpus_count(const sp_corpus *corpus) { return corpus->counts; }

const sp_corpus_options *sp_corpus_get_options(const sp_corpus *corpus) { return corpus->options; }

void sp_corpus_warn(sp_corpus *corpus, const char *what) {
    if (corpus->n_warnings < MOST_WARNINGS)
        sp_log(SP_LOG_WARNING, "%s; %s is skipped", sp_message(), what);
    else if (corpus->n_warnings == MOST_WARNINGS)
        sp_log(SP_LOG_WARNING, "more damage; it is only counted from here on");
    corpus->n_warnings++;
}
