#include "run/tokenize.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/atomic_file.h"
#include "io/run_lock.h"
#include "io/tokens_part.h"
#include "mpi/agree.h"
#include "mpi/work_queue.h"
#include "run/block_digests.h"
#include "run/stop_signal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct tokenizing {
    sp_world *world;
    const sp_tokenize_job *job;
    sp_tokenize_summary summary;
    sp_corpus *corpus;
    sp_blocks blocks;
    sp_tokens_stream *streams; /* [n_streams] */
    const char **names;        /* [n_streams]: theirs */
    char work[SP_DIGEST_HEX_SIZE];
    sp_tokens_job tokens_job;
    sp_survey *survey;
    sp_duplicates *duplicates; /* NULL: they are kept */
    uint64_t *todo;            /* [n_todo]: blocks that no run has done yet */
    size_t n_todo;
    sp_journal_writer *journal;    /* of this rank; NULL: it had no block */
    sp_block_tokenizer *tokenizer; /* likewise */
    sp_tokens_plan *plan;
    sp_progress progress;
} tokenizing;

static bool is_first(const tokenizing *t) { return sp_world_rank(t->world) == 0; }

/* The survey's folder: *dir, owned. */
static sp_status work_folder(const tokenizing *t, char **dir) {
    if (asprintf(dir, "%s.work", t->job->output) >= 0) return SP_OK;
    *dir = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path");
}

/* ---- identity of the job ---- */

static sp_status name_streams(tokenizing *t) {
    const sp_segmenting *how = &t->job->segmenting;
    void *streams = NULL, *names = NULL;
    SP_TRY(sp_alloc_array(&streams, how->n_streams, sizeof *t->streams, "streams"));
    t->streams = streams;
    SP_TRY(sp_alloc_array(&names, how->n_streams, sizeof *t->names, "streams"));
    t->names = names;
    for (size_t s = 0; s < how->n_streams; s++) {
        const sp_tokenizer *tokenizer = how->streams[s].tokenizer;
        t->names[s] = how->streams[s].name;
        t->streams[s] = (sp_tokens_stream){.name = how->streams[s].name,
                                           .tokenizer_digest = sp_tokenizer_digest(tokenizer),
                                           .vocab_size = sp_tokenizer_vocab_size(tokenizer)};
    }
    return SP_OK;
}

/* The tokenizers and the length of a segment are in a journal's head beside it. */
static sp_status identify(tokenizing *t) {
    const sp_segmenting *how = &t->job->segmenting;
    const uint64_t options[] = {how->min_tokens, how->most_document_bytes, t->job->keeps_duplicates,
                                t->blocks.n_blocks};
    sp_block_digest *blocks = NULL;
    SP_TRY(name_streams(t));
    SP_TRY(sp_block_digests(&blocks, t->corpus, &t->blocks, !t->job->keeps_duplicates));
    const XXH128_hash_t files = XXH3_128bits(blocks, t->blocks.n_blocks * sizeof *blocks);
    const XXH128_hash_t all =
        XXH3_128bits_withSeed(options, sizeof options, files.low64 ^ files.high64);
    free(blocks);
    snprintf(t->work, sizeof t->work, "%016jx%016jx", (uintmax_t)(files.low64 ^ all.high64),
             (uintmax_t)all.low64);
    t->tokens_job = (sp_tokens_job){.work = t->work,
                                    .segment_tokens = how->segment_tokens,
                                    .streams = t->streams,
                                    .n_streams = how->n_streams};
    return SP_OK;
}

/* ---- an output that is there already ---- */

/* Rank 0's. What a run left that was killed after its file had its name. */
static sp_status tidy_up(const tokenizing *t) {
    sp_run_lock lock = {0};
    char *dir = NULL;
    SP_TRY(work_folder(t, &dir));
    sp_status status = SP_OK;
    if (access(dir, F_OK) == 0 && sp_run_lock_acquire(&lock, dir) == SP_OK) {
        status = sp_tokens_journals_remove(t->job->output);
        if (status == SP_OK) status = sp_remove_folder(dir);
        sp_run_lock_release(&lock);
    }
    free(dir);
    return status;
}

/* Rank 0's. An input is not to be replaced by what is made of it, nor is a folder. */
static sp_status check_output(const tokenizing *t) {
    const char *output = t->job->output;
    struct stat info, input;
    if (stat(output, &info) != 0) return SP_OK;
    if (S_ISDIR(info.st_mode)) return sp_fail(SP_USAGE, "--output: '%s' is a folder", output);
    for (size_t i = 0; i < sp_corpus_n_files(t->corpus); i++)
        if (stat(sp_corpus_path(t->corpus, i), &input) == 0 && input.st_dev == info.st_dev &&
            input.st_ino == info.st_ino)
            return sp_fail(SP_USAGE, "--output: '%s' is an input", output);
    return SP_OK;
}

/* Rank 0's: *summary, owned, if it is there. */
static sp_status find_done(const tokenizing *t, char **summary) {
    SP_TRY(check_output(t));
    SP_TRY(sp_tokens_find_done(summary, t->job->output, &t->tokens_job));
    return *summary != NULL ? tidy_up(t) : SP_OK;
}

static sp_status take_done(tokenizing *t) {
    char *text = NULL;
    size_t n_bytes = 0;
    sp_status status = sp_agree(t->world, is_first(t) ? find_done(t, &text) : SP_OK);
    if (text != NULL) n_bytes = strlen(text) + 1;
    sp_world_broadcast(t->world, &n_bytes, sizeof n_bytes, 0);
    if (status == SP_OK && n_bytes > 0) {
        if (!is_first(t)) text = malloc(n_bytes);
        status = sp_agree(t->world,
                          text != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a summary"));
        if (status == SP_OK) {
            sp_world_broadcast(t->world, text, n_bytes, 0);
            status = sp_tokenize_summary_parse(&t->summary, text, t->names,
                                               t->job->segmenting.n_streams, t->job->output);
            t->summary.was_done = status == SP_OK;
        }
    }
    free(text);
    return status;
}

/* ---- the survey ---- */

static sp_status survey(tokenizing *t) {
    const sp_tokenize_job *job = t->job;
    char *dir = NULL;
    sp_status status = sp_agree(t->world, work_folder(t, &dir));
    if (status == SP_OK)
        status = sp_survey_open(&t->survey, t->world, t->corpus, &t->blocks, dir,
                                !job->keeps_duplicates);
    free(dir);
    SP_TRY(status);
    return job->keeps_duplicates ? SP_OK
                                 : sp_duplicates_open(&t->duplicates, t->world, t->survey, 0);
}

/* ---- blocks into journals ---- */

/* What is far larger than the others, as a packed file may be, comes first: begun last, it would
   leave the other ranks without work. All else in the order of the input. */
static int compare_blocks(const void *a, const void *b, void *context) {
    const sp_blocks *blocks = context;
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    const uint64_t large = 4 * (blocks->n_bytes / blocks->n_blocks);
    uint64_t x_bytes = sp_blocks_n_bytes(blocks, (size_t)x);
    uint64_t y_bytes = sp_blocks_n_bytes(blocks, (size_t)y);
    if (x_bytes < large) x_bytes = 0;
    if (y_bytes < large) y_bytes = 0;
    if (x_bytes != y_bytes) return x_bytes < y_bytes ? 1 : -1;
    return (x > y) - (x < y);
}

/* Rank 0's: which blocks no journal holds. */
static sp_status list_todo(tokenizing *t) {
    sp_tokens_plan *found = NULL;
    SP_TRY(sp_tokens_parts_create(t->job->output));
    SP_TRY(sp_tokens_plan_create(&found, t->job->output, &t->tokens_job, t->blocks.n_blocks));
    for (size_t b = 0; b < t->blocks.n_blocks; b++)
        if (!sp_tokens_plan_has(found, b)) t->todo[t->n_todo++] = b;
    sp_tokens_plan_destroy(found);
    qsort_r(t->todo, t->n_todo, sizeof *t->todo, compare_blocks, &t->blocks);
    return SP_OK;
}

static sp_status share_todo(tokenizing *t) {
    void *todo = NULL;
    uint64_t n = 0;
    SP_TRY(
        sp_agree(t->world, sp_alloc_array(&todo, t->blocks.n_blocks, sizeof *t->todo, "blocks")));
    t->todo = todo;
    SP_TRY(sp_agree(t->world, is_first(t) ? list_todo(t) : SP_OK));
    n = t->n_todo;
    sp_world_broadcast(t->world, &n, sizeof n, 0);
    t->n_todo = (size_t)n;
    sp_world_broadcast(t->world, t->todo, t->n_todo * sizeof *t->todo, 0);
    if (t->n_todo < t->blocks.n_blocks)
        sp_log(SP_LOG_INFO, "'%s': %zu of %zu blocks were tokenized before", t->job->output,
               t->blocks.n_blocks - t->n_todo, t->blocks.n_blocks);
    return SP_OK;
}

/* A rank that gets no block leaves no journal. */
static sp_status open_journal(tokenizing *t) {
    char *path = NULL;
    if (t->journal != NULL) return SP_OK;
    SP_TRY(sp_tokens_journal_path(&path, t->job->output, &t->tokens_job,
                                  (size_t)sp_world_rank(t->world)));
    const sp_status status = sp_journal_writer_open(&t->journal, path, &t->tokens_job);
    free(path);
    SP_TRY(status);
    return sp_block_tokenizer_open(&t->tokenizer, &t->job->segmenting, t->corpus, t->survey,
                                   t->duplicates);
}

static uint64_t n_tokens_of(const tokenizing *t) {
    return t->tokenizer != NULL ? sp_block_tokenizer_n_tokens(t->tokenizer) : 0;
}

static void show_progress(tokenizing *t, uint64_t n_bytes, double begin_s) {
    char rate[64];
    const double seconds = sp_clock_seconds() - begin_s;
    const uint64_t n_tokens = n_tokens_of(t);
    snprintf(rate, sizeof rate, "%.0f tokens/s a rank", (double)n_tokens / (seconds + 1e-9));
    sp_progress_update(&t->progress, n_bytes, n_tokens > 0 ? rate : NULL);
}

static sp_status take_blocks(tokenizing *t, sp_work_queue *queue) {
    uint64_t item = 0, n_bytes = t->progress.done_before;
    size_t n_passed = 0; /* items before the one at hand */
    const double begin_s = sp_clock_seconds();
    while (sp_work_queue_take(queue, &item)) {
        for (; n_passed < item; n_passed++)
            n_bytes += sp_blocks_n_bytes(&t->blocks, (size_t)t->todo[n_passed]);
        show_progress(t, n_bytes, begin_s);
        if (sp_stop_signal_seen())
            return sp_fail(SP_STOPPED, "stopped by a signal; the same command goes on");
        SP_TRY(open_journal(t));
        SP_TRY(sp_block_tokenizer_run(t->tokenizer, (size_t)t->todo[item], t->journal));
    }
    show_progress(t, t->blocks.n_bytes, begin_s);
    return SP_OK;
}

static sp_status tokenize_blocks(tokenizing *t) {
    sp_work_queue *queue = NULL;
    uint64_t n_left = 0;
    SP_TRY(share_todo(t));
    if (t->n_todo == 0) return SP_OK;
    for (size_t i = 0; i < t->n_todo; i++)
        n_left += sp_blocks_n_bytes(&t->blocks, (size_t)t->todo[i]);
    SP_TRY(sp_work_queue_begin(&queue, t->world, t->n_todo));
    sp_progress_begin(&t->progress, "tokenize", t->blocks.n_bytes, "bytes");
    t->progress.done_before = t->blocks.n_bytes - n_left;
    const sp_status status = take_blocks(t, queue);
    if (status != SP_OK) sp_work_queue_stop(queue);
    sp_work_queue_end(queue);
    sp_progress_end(&t->progress);
    sp_journal_writer_close(t->journal);
    t->journal = NULL;
    return sp_agree(t->world, status);
}

/* ---- what the ranks counted ---- */

static sp_status report_utf8(tokenizing *t) {
    sp_document_place own = {0}, first = {0};
    char *all = NULL;
    size_t *sizes = NULL;
    if (t->tokenizer != NULL) own = sp_block_tokenizer_first_not_utf8(t->tokenizer);
    SP_TRY(sp_agree(t->world, sp_world_gather(t->world, &own, sizeof own, &all, &sizes)));
    for (int rank = 0; all != NULL && rank < sp_world_size(t->world); rank++) {
        memcpy(&own, all + (size_t)rank * sizeof own, sizeof own);
        if (own.document > 0 && (first.document == 0 || own.document < first.document)) first = own;
    }
    if (first.document > 0)
        sp_log(SP_LOG_WARNING,
               "%ju documents are not UTF-8, and kept as they are; the first is "
               "'%s', line or row %ju",
               (uintmax_t)t->summary.tallies.n_not_utf8,
               sp_corpus_path(t->corpus, (size_t)first.file), (uintmax_t)first.row);
    free(all);
    free(sizes);
    return SP_OK;
}

static sp_status count(tokenizing *t) {
    const sp_corpus_counts counts = sp_corpus_count(t->corpus);
    sp_tokenize_summary *summary = &t->summary;
    const size_t n_streams = t->job->segmenting.n_streams;
    void *n_tokens = NULL;
    SP_TRY(sp_alloc_array(&n_tokens, n_streams, sizeof(uint64_t), "counts"));
    summary->n_tokens = n_tokens;
    for (size_t s = 0; s < n_streams; s++) summary->n_tokens[s] = sp_tokens_plan_n_ids(t->plan, s);
    memcpy(&summary->tallies, sp_tokens_plan_tallies(t->plan), sizeof summary->tallies);
    summary->n_documents = sp_tokens_plan_n_documents(t->plan);
    summary->n_segments = sp_tokens_plan_n_segments(t->plan);
    summary->n_files = counts.n_files;
    summary->n_unlisted_files = counts.n_unlisted;
    summary->tallies.losses.n_files += counts.n_refused + t->blocks.n_lost_files;
    return SP_OK;
}

/* Nothing is kept: all is done, to no effect. */
static sp_status fail_empty(tokenizing *t) {
    const sp_tokenize_summary *s = &t->summary;
    const sp_tokenize_tallies *left_out = &s->tallies;
    if (is_first(t)) {
        SP_TRY(sp_tokens_journals_remove(t->job->output));
        SP_TRY(sp_survey_remove(t->survey));
    }
    return sp_fail(
        SP_BAD_DATA,
        "no text in '%s'%s: of %ju documents %ju failed a condition, %ju are damaged, %ju "
        "empty, %ju too long, %ju have too few tokens",
        sp_corpus_path(t->corpus, 0), s->n_files > 1 ? " and the other files" : "",
        (uintmax_t)s->n_documents, (uintmax_t)left_out->n_unwanted, (uintmax_t)left_out->n_lost,
        (uintmax_t)left_out->n_empty, (uintmax_t)left_out->n_oversized,
        (uintmax_t)left_out->n_short_tails);
}

/* ---- journals into the token file ---- */

static sp_status make_plan(tokenizing *t) {
    SP_TRY(sp_tokens_plan_create(&t->plan, t->job->output, &t->tokens_job, t->blocks.n_blocks));
    SP_TRY(sp_tokens_plan_settle(t->plan));
    return count(t);
}

static sp_status take_parts(tokenizing *t, sp_work_queue *queue) {
    uint64_t part = 0;
    while (sp_work_queue_take(queue, &part)) SP_TRY(sp_tokens_part_write(t->plan, (size_t)part));
    return SP_OK;
}

static sp_status write_parts(tokenizing *t) {
    sp_work_queue *queue = NULL;
    SP_TRY(sp_work_queue_begin(&queue, t->world, sp_tokens_plan_n_parts(t->plan)));
    const sp_status status = take_parts(t, queue);
    if (status != SP_OK) sp_work_queue_stop(queue);
    sp_work_queue_end(queue);
    return sp_agree(t->world, status);
}

/* The files that documents come from: *sources [n_files], owned; their paths are the corpus's. */
static sp_status list_sources(const tokenizing *t, sp_tokens_source **sources) {
    const sp_blocks *blocks = &t->blocks;
    const size_t n_files = sp_corpus_n_files(t->corpus);
    void *made = NULL;
    SP_TRY(sp_alloc_array(&made, n_files, sizeof **sources, "sources"));
    *sources = made;
    for (size_t i = 0, unit = 0; i < n_files; i++) {
        const uint64_t first = sp_survey_first_document(t->survey, unit);
        while (unit < blocks->n_units && blocks->units[unit].file == i) unit++;
        (*sources)[i] =
            (sp_tokens_source){.path = (char *)sp_corpus_path(t->corpus, i),
                               .n_bytes = sp_corpus_n_bytes(t->corpus, i),
                               .n_documents = sp_survey_first_document(t->survey, unit) - first};
    }
    return SP_OK;
}

/* Rank 0's. */
static sp_status write_file(tokenizing *t) {
    const size_t n_files = sp_corpus_n_files(t->corpus);
    json_t *object = NULL;
    sp_tokens_source *sources = NULL;
    SP_TRY(
        sp_tokenize_summary_as_json(&object, &t->summary, t->names, t->job->segmenting.n_streams));
    char *summary = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    sp_status status = summary != NULL ? list_sources(t, &sources)
                                       : sp_fail(SP_FAILURE, "no memory for a summary");
    if (status == SP_OK)
        status = sp_tokens_plan_has_one_part(t->plan)
                     ? sp_tokens_plain_write(t->plan, sources, n_files, summary)
                     : sp_tokens_index_write(t->plan, sources, n_files, summary);
    free(sources);
    free(summary);
    SP_TRY(status);
    SP_TRY(sp_tokens_journals_remove(t->job->output));
    return sp_survey_remove(t->survey);
}

static sp_status make_file(tokenizing *t) {
    SP_TRY(sp_agree(t->world, make_plan(t)));
    if (t->summary.n_segments == 0) return sp_agree(t->world, fail_empty(t));
    SP_TRY(report_utf8(t));
    if (!sp_tokens_plan_has_one_part(t->plan)) SP_TRY(write_parts(t));
    return sp_agree(t->world, is_first(t) ? write_file(t) : SP_OK);
}

/* ---- the job ---- */

static sp_status tokenize(tokenizing *t) {
    sp_stop_signal_watch();
    SP_TRY(sp_corpus_open(&t->corpus, t->world, &t->job->corpus));
    SP_TRY(sp_blocks_create(&t->blocks, t->world, t->corpus, t->job->block_bytes));
    SP_TRY(sp_agree(t->world, identify(t)));
    SP_TRY(take_done(t));
    if (t->summary.was_done) return SP_OK;
    SP_TRY(survey(t));
    SP_TRY(tokenize_blocks(t));
    t->summary.n_new_tokens = n_tokens_of(t);
    sp_world_sum_u64(t->world, &t->summary.n_new_tokens, 1);
    return make_file(t);
}

sp_status sp_tokenize(sp_world *world, const sp_tokenize_job *job, sp_tokenize_summary *summary) {
    tokenizing t = {.world = world, .job = job};
    const double begin_s = sp_clock_seconds();
    const sp_status status = tokenize(&t);
    sp_tokens_plan_destroy(t.plan);
    sp_block_tokenizer_close(t.tokenizer);
    sp_journal_writer_close(t.journal);
    free(t.todo);
    sp_duplicates_close(t.duplicates);
    sp_survey_close(t.survey);
    free(t.names);
    free(t.streams);
    sp_blocks_free(&t.blocks);
    sp_corpus_close(t.corpus);
    t.summary.seconds = sp_clock_seconds() - begin_s;
    if (status == SP_OK)
        *summary = t.summary;
    else
        sp_tokenize_summary_free(&t.summary);
    return status;
}
