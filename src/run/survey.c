#include "run/survey.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/atomic_file.h"
#include "io/run_lock.h"
#include "mpi/agree.h"
#include "mpi/work_queue.h"
#include "run/block_digests.h"
#include "run/stop_signal.h"
#include "run/unit_reader.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct sp_survey {
    sp_world *world;
    sp_corpus *corpus;
    const sp_blocks *blocks;
    char *dir; /* owned */
    bool needs_hashes;
    sp_run_lock lock;         /* rank 0's */
    sp_block_digest *digests; /* [n_blocks]: what each block's results stand for */
    sp_survey_unit *units;    /* [n_units]: of this rank's blocks, in the end of all */
    uint64_t *first;          /* [n_units + 1]: documents before each unit */
    unsigned char *is_done;   /* [n_blocks] */
    size_t n_found;
    sp_survey_record *records; /* [n_records], of the block at hand */
    size_t n_records, record_capacity;
    sp_progress progress;
};

/* ---- identity ---- */

void sp_survey_digest(const sp_survey *survey, uint64_t value[2]) {
    const XXH128_hash_t hash =
        XXH3_128bits(survey->digests, survey->blocks->n_blocks * sizeof *survey->digests);
    value[0] = hash.low64;
    value[1] = hash.high64;
}

/* ---- the work folder ---- */

static sp_status block_path(const sp_survey *s, size_t block, char **path) {
    if (asprintf(path, "%s/block-%06zu", s->dir, block) >= 0) return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path in '%s'", s->dir);
}

/* Takes a block's results if they are what this survey would find. */
static sp_status take_found(sp_survey *s, size_t block) {
    const size_t begin = s->blocks->begin[block], n_units = s->blocks->begin[block + 1] - begin;
    const bool skips = sp_corpus_get_options(s->corpus)->on_error == SP_ON_ERROR_SKIP;
    sp_survey_block found = {0};
    char *path = NULL;
    SP_TRY(block_path(s, block, &path));
    const bool is_ours =
        sp_survey_block_open(&found, path, s->digests[block].half, n_units) == SP_OK &&
        sp_survey_block_check(&found, path) == SP_OK && (skips || !found.has_losses);
    if (is_ours) {
        memcpy(s->units + begin, found.units, n_units * sizeof *s->units);
        s->is_done[block] = 1;
        s->n_found++;
    }
    sp_survey_block_close(&found);
    free(path);
    return SP_OK;
}

/* The block whose results have this name in the folder, else n_blocks. */
static size_t block_of_name(const sp_survey *s, const char *name) {
    size_t block = 0;
    char expected[64];
    if (sscanf(name, "block-%zu", &block) != 1 || block >= s->blocks->n_blocks)
        return s->blocks->n_blocks;
    snprintf(expected, sizeof expected, "block-%06zu", block);
    return strcmp(name, expected) == 0 ? block : s->blocks->n_blocks;
}

/* By the folder's listing: a network's file system may go on for a while to say that a name is not
   there, once it was asked for. */
static sp_status find_done(sp_survey *s) {
    DIR *folder = opendir(s->dir);
    sp_status status = SP_OK;
    if (folder == NULL) return sp_fail(SP_IO, "cannot read '%s': %s", s->dir, strerror(errno));
    for (const struct dirent *entry; status == SP_OK && (entry = readdir(folder)) != NULL;) {
        const size_t block = block_of_name(s, entry->d_name);
        if (block < s->blocks->n_blocks) status = take_found(s, block);
    }
    closedir(folder);
    return status;
}

/* Rank 0's. */
static sp_status open_folder(sp_survey *s) {
    if (mkdir(s->dir, 0777) != 0 && errno != EEXIST)
        return sp_fail(SP_IO, "cannot create the folder '%s': %s", s->dir, strerror(errno));
    SP_TRY(sp_run_lock_acquire(&s->lock, s->dir));
    return find_done(s);
}

/* ---- a block: every document counted, and those with text hashed ---- */

static sp_status add_record(sp_survey *s, const sp_document *d, uint64_t document) {
    if (s->n_records == s->record_capacity) {
        const size_t larger = 2 * s->record_capacity + 4096;
        sp_survey_record *grown = realloc(s->records, larger * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu documents", larger);
        s->records = grown;
        s->record_capacity = larger;
    }
    const XXH128_hash_t hash = XXH3_128bits(d->text, d->n_bytes);
    s->records[s->n_records++] =
        (sp_survey_record){.high = hash.high64, .low = hash.low64, .document = document};
    return SP_OK;
}

static sp_status read_unit(sp_survey *s, sp_unit_reader *reader, uint64_t n_before,
                           sp_survey_unit *counts) {
    for (;;) {
        sp_input input;
        bool end = false;
        SP_TRY(sp_unit_reader_next(reader, &input, &end));
        if (end) return SP_OK;
        if (s->needs_hashes && input.document.n_bytes > 0)
            SP_TRY(add_record(s, &input.document, n_before + counts->n_documents));
        counts->n_documents++;
    }
}

/* Adds to *n_documents of the block. */
static sp_status survey_unit(sp_survey *s, size_t unit, uint64_t *n_documents, bool *has_losses) {
    const bool skips = sp_corpus_get_options(s->corpus)->on_error == SP_ON_ERROR_SKIP;
    const sp_unit *u = &s->blocks->units[unit];
    sp_survey_unit counts = {0};
    if (!s->needs_hashes && u->range.n_rows > 0) {
        counts.n_documents = u->range.n_rows;
    } else {
        sp_unit_reader *reader = NULL;
        /* What is skipped is told of when it is read again, and then with its line. */
        SP_TRY(sp_unit_reader_open(&reader, s->corpus, u,
                                   skips ? SP_ROWS_UNNEEDED : SP_ROWS_OF_DAMAGE, 0));
        const sp_status status = read_unit(s, reader, *n_documents, &counts);
        const sp_losses losses = sp_unit_reader_losses(reader);
        *has_losses |= losses.n_rows + losses.n_groups + losses.n_files > 0;
        counts.n_lines = sp_unit_reader_n_lines(reader);
        sp_unit_reader_close(reader);
        SP_TRY(status);
    }
    s->units[unit] = counts;
    *n_documents += counts.n_documents;
    return SP_OK;
}

static sp_status survey_block(sp_survey *s, size_t block) {
    const size_t begin = s->blocks->begin[block], end = s->blocks->begin[block + 1];
    uint64_t n_documents = 0;
    bool has_losses = false;
    char *path = NULL;
    s->n_records = 0;
    for (size_t u = begin; u < end; u++) SP_TRY(survey_unit(s, u, &n_documents, &has_losses));
    if (s->n_records > 0)
        qsort(s->records, s->n_records, sizeof *s->records, sp_survey_record_compare);
    SP_TRY(block_path(s, block, &path));
    const sp_status status = sp_survey_block_write(path, s->digests[block].half,
                                                   &(sp_survey_block){.units = s->units + begin,
                                                                      .n_units = end - begin,
                                                                      .records = s->records,
                                                                      .n_records = s->n_records,
                                                                      .has_losses = has_losses});
    free(path);
    return status;
}

/* ---- all blocks ---- */

static sp_status take_blocks(sp_survey *s, sp_work_queue *queue) {
    uint64_t item = 0, n_bytes = 0;
    size_t n_passed = 0; /* blocks before the one at hand */
    while (sp_work_queue_take(queue, &item)) {
        for (; n_passed < item; n_passed++) n_bytes += sp_blocks_n_bytes(s->blocks, n_passed);
        sp_progress_update(&s->progress, n_bytes, NULL);
        if (sp_stop_signal_seen())
            return sp_fail(SP_STOPPED, "stopped by a signal; the same command goes on");
        if (!s->is_done[item]) SP_TRY(survey_block(s, (size_t)item));
    }
    sp_progress_update(&s->progress, s->blocks->n_bytes, NULL);
    return SP_OK;
}

static sp_status share_blocks(sp_survey *s) {
    sp_work_queue *queue = NULL;
    SP_TRY(sp_work_queue_begin(&queue, s->world, s->blocks->n_blocks));
    const sp_status status = take_blocks(s, queue);
    if (status != SP_OK) sp_work_queue_stop(queue);
    sp_work_queue_end(queue);
    return sp_agree(s->world, status);
}

static void add_up(sp_survey *s) {
    /* Each unit was counted by one rank, the others have 0. */
    sp_world_sum_u64(s->world, &s->units[0].n_documents, 2 * s->blocks->n_units);
    for (size_t u = 0; u < s->blocks->n_units; u++)
        s->first[u + 1] = s->first[u] + s->units[u].n_documents;
}

_Static_assert(sizeof(sp_survey_unit) == 2 * sizeof(uint64_t), "units are summed as numbers");

static sp_status survey_all(sp_survey *s) {
    const size_t n_blocks = s->blocks->n_blocks;
    const bool is_first = sp_world_rank(s->world) == 0;
    uint64_t n_found = 0;
    SP_TRY(
        sp_agree(s->world, sp_block_digests(&s->digests, s->corpus, s->blocks, s->needs_hashes)));
    SP_TRY(sp_agree(s->world, is_first ? open_folder(s) : SP_OK));
    n_found = s->n_found;
    sp_world_broadcast(s->world, &n_found, sizeof n_found, 0);
    s->n_found = (size_t)n_found;
    sp_world_broadcast(s->world, s->is_done, n_blocks, 0);
    if (n_found > 0)
        sp_log(SP_LOG_INFO, "'%s': %ju of %zu blocks were surveyed before", s->dir,
               (uintmax_t)n_found, n_blocks);
    if (n_found < n_blocks) {
        sp_progress_begin(&s->progress, "survey", s->blocks->n_bytes, "bytes");
        const sp_status status = share_blocks(s);
        sp_progress_end(&s->progress);
        SP_TRY(status);
    }
    add_up(s);
    return SP_OK;
}

static sp_status reserve(sp_survey *s) {
    void *units = NULL, *first = NULL, *is_done = NULL;
    SP_TRY(sp_alloc_array(&units, s->blocks->n_units + 1, sizeof *s->units, "units"));
    s->units = units;
    SP_TRY(sp_alloc_array(&first, s->blocks->n_units + 1, sizeof *s->first, "units"));
    s->first = first;
    SP_TRY(sp_alloc(&is_done, s->blocks->n_blocks, "blocks"));
    s->is_done = is_done;
    return SP_OK;
}

sp_status sp_survey_open(sp_survey **survey, sp_world *world, sp_corpus *corpus,
                         const sp_blocks *blocks, const char *dir, bool needs_hashes) {
    void *block = NULL;
    SP_TRY(sp_agree(world, sp_alloc(&block, sizeof **survey, "a survey")));
    sp_survey *made = block;
    *made = (sp_survey){.world = world,
                        .corpus = corpus,
                        .blocks = blocks,
                        .dir = strdup(dir),
                        .needs_hashes = needs_hashes};
    sp_status status =
        made->dir == NULL ? sp_fail(SP_FAILURE, "no memory for the path '%s'", dir) : reserve(made);
    status = sp_agree(world, status);
    if (status == SP_OK) status = survey_all(made);
    free(made->records);
    made->records = NULL;
    if (status == SP_OK)
        *survey = made;
    else
        sp_survey_close(made);
    return status;
}

/* Nothing was done, or it was removed. */
static bool is_folder_empty(const sp_survey *s) {
    DIR *folder = opendir(s->dir);
    bool is_empty = folder != NULL;
    for (const struct dirent *entry; is_empty && (entry = readdir(folder)) != NULL;)
        is_empty = entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0;
    if (folder != NULL) closedir(folder);
    return is_empty;
}

void sp_survey_close(sp_survey *survey) {
    if (survey == NULL) return;
    if (survey->lock.is_held && is_folder_empty(survey)) sp_discard_folder(survey->dir);
    sp_run_lock_release(&survey->lock);
    free(survey->is_done);
    free(survey->first);
    free(survey->units);
    free(survey->digests);
    free(survey->dir);
    free(survey);
}

sp_status sp_survey_remove(sp_survey *survey) {
    return survey->lock.is_held ? sp_remove_folder(survey->dir) : SP_OK;
}

/* ---- results ---- */

uint64_t sp_survey_first_document(const sp_survey *survey, size_t unit) {
    return survey->first[unit];
}

uint64_t sp_survey_lines_before(const sp_survey *survey, size_t unit) {
    const sp_unit *units = survey->blocks->units;
    uint64_t n_lines = 0;
    for (size_t u = unit; u-- > 0 && units[u].file == units[unit].file;)
        n_lines += survey->units[u].n_lines;
    return n_lines;
}

size_t sp_survey_n_found(const sp_survey *survey) { return survey->n_found; }
const char *sp_survey_dir(const sp_survey *survey) { return survey->dir; }
const sp_blocks *sp_survey_blocks(const sp_survey *survey) { return survey->blocks; }

sp_status sp_survey_open_block(const sp_survey *survey, size_t block, sp_survey_block *opened) {
    const size_t begin = survey->blocks->begin[block];
    char *path = NULL;
    SP_TRY(block_path(survey, block, &path));
    const sp_status status = sp_survey_block_open(opened, path, survey->digests[block].half,
                                                  survey->blocks->begin[block + 1] - begin);
    free(path);
    return status;
}
