#include "run/compress_work.h"

#include "base/log.h"
#include "io/atomic_file.h"
#include "io/file_kind.h"
#include "io/mapping.h"
#include "mpi/agree.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

sp_status sp_compress_path(const sp_compress_work *work, const char *name, char **path) {
    if (asprintf(path, "%s/%s", work->dir, name) >= 0) return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path in '%s'", work->dir);
}

/* ---- identity ---- */

static uint64_t nanoseconds(const struct timespec *time) {
    return (uint64_t)time->tv_sec * 1000000000U + (uint64_t)time->tv_nsec;
}

/* Adds a file: its name and size to the command, its time of change to the state. A file that was
   moved here is as new as the move, which its time of change does not tell. */
static sp_status add_file(sp_compress_work *work, FILE *command, FILE *state, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0)
        return sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    fprintf(command, "file %s %jd\n", path, (intmax_t)info.st_size);
    fprintf(state, "%ju\n", (uintmax_t)nanoseconds(&info.st_mtim));
    const uint64_t moved_ns = nanoseconds(&info.st_ctim);
    if (moved_ns > work->newest_ns) work->newest_ns = moved_ns;
    return SP_OK;
}

static void add_options(const sp_compress_work *work, FILE *command) {
    const sp_compress_job *job = work->job;
    const sp_corpus_options *corpus = &job->corpus;
    const sp_conditions *where = corpus->text.where;
    fprintf(
        command,
        "compress 1\ncompressor %s\nspace %d dtype %d text %d refine %zu ratio %zu on error %d\n",
        work->trained.digest, job->space, job->dtype, job->keeps_text, job->n_refinements,
        work->trained.ratio, corpus->on_error);
    if (job->n_refinements > 0)
        fprintf(command, "decoder %s\n", work->trained.config.decoder.model);
    for (size_t i = 0; i < job->n_assignments; i++)
        fprintf(command, "set %s\n", job->assignments[i]);
    if (corpus->text.column != NULL) fprintf(command, "column %s\n", corpus->text.column);
    if (corpus->checksums != NULL) fprintf(command, "checksums %s\n", corpus->checksums);
    for (size_t i = 0; where != NULL && i < where->n; i++)
        fprintf(command, "where %s %d %s\n", where->items[i].name, where->items[i].comparison,
                where->items[i].value);
}

static sp_status write_identity(sp_compress_work *work, FILE *command, FILE *state) {
    add_options(work, command);
    if (!work->is_text) return add_file(work, command, state, work->job->corpus.names[0]);
    for (size_t i = 0; i < sp_corpus_n_files(work->corpus); i++)
        SP_TRY(add_file(work, command, state, sp_corpus_path(work->corpus, i)));
    return SP_OK;
}

/* Rank 0's, since nodes may not agree for a while on what they see. */
static sp_status make_digests(sp_compress_work *work) {
    char *texts[2] = {NULL, NULL};
    size_t sizes[2] = {0, 0};
    FILE *command = open_memstream(&texts[0], &sizes[0]);
    FILE *state = open_memstream(&texts[1], &sizes[1]);
    sp_status status = SP_OK;
    if (command == NULL || state == NULL) status = sp_fail(SP_FAILURE, "no memory for a digest");
    if (status == SP_OK) status = write_identity(work, command, state);
    if (command != NULL) fclose(command);
    if (status == SP_OK) {
        sp_digest_bytes(work->digest, texts[0], sizes[0]);
        fputs(work->digest, state);
    }
    if (state != NULL) fclose(state);
    if (status == SP_OK) sp_digest_bytes(work->state, texts[1], sizes[1]);
    free(texts[0]);
    free(texts[1]);
    return status;
}

/* One token file, or text. */
static sp_status tell_input(sp_compress_work *work) {
    const sp_corpus_options *corpus = &work->job->corpus;
    bool has_tokens = false;
    for (size_t i = 0; i < corpus->n_names; i++) {
        sp_file_kind kind = SP_FILE_TEXT;
        /* What cannot be told is text: a pattern, or its reader says what is wrong. */
        if (sp_file_kind_of(&kind, corpus->names[i]) == SP_OK && kind == SP_FILE_TOKENS)
            has_tokens = true;
    }
    work->is_text = !has_tokens;
    if (!has_tokens) return SP_OK;
    if (corpus->n_names > 1)
        return sp_fail(SP_USAGE, "a token file is compressed by itself; name no other input");
    if (corpus->text.column != NULL || corpus->checksums != NULL ||
        (corpus->text.where != NULL && corpus->text.where->n > 0))
        return sp_fail(SP_USAGE,
                       "'%s': a token file; --column, --where and --checksums are for "
                       "text",
                       corpus->names[0]);
    return SP_OK;
}

static sp_status open_corpus(sp_compress_work *work) {
    if (!work->is_text) return SP_OK;
    work->unchecked = work->job->corpus;
    work->unchecked.checksums = NULL;
    return sp_corpus_open(&work->corpus, work->world, &work->unchecked);
}

sp_status sp_compress_identify(sp_compress_work *work) {
    const bool is_first = sp_world_rank(work->world) == 0;
    SP_TRY(sp_agree(work->world, tell_input(work)));
    uint8_t is_text = work->is_text;
    sp_world_broadcast(work->world, &is_text, sizeof is_text, 0);
    work->is_text = is_text != 0;
    SP_TRY(open_corpus(work));
    SP_TRY(sp_agree(work->world, is_first ? make_digests(work) : SP_OK));
    sp_world_broadcast(work->world, work->digest, sizeof work->digest, 0);
    sp_world_broadcast(work->world, work->state, sizeof work->state, 0);
    return SP_OK;
}

bool sp_compress_is_done(const sp_compress_work *work) {
    struct stat info;
    return stat(work->job->output, &info) == 0 && nanoseconds(&info.st_mtim) >= work->newest_ns &&
           sp_slots_is_of_job(work->job->output, work->digest);
}

/* ---- the folder ---- */

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

sp_status sp_remove_tree(const char *path) {
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) return SP_OK;
    return sp_fail(SP_IO, "cannot remove '%s': %s", path, strerror(errno));
}

static sp_status remove_contents(const sp_compress_work *work) {
    DIR *folder = opendir(work->dir);
    sp_status status = SP_OK;
    if (folder == NULL) return sp_fail(SP_IO, "cannot read '%s': %s", work->dir, strerror(errno));
    for (const struct dirent *entry; status == SP_OK && (entry = readdir(folder)) != NULL;) {
        char *path = NULL;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, "lock") == 0)
            continue;
        status = sp_compress_path(work, entry->d_name, &path);
        if (status == SP_OK) status = sp_remove_tree(path);
        free(path);
    }
    closedir(folder);
    return status;
}

static bool is_ours(const sp_compress_work *work, const char *path) {
    sp_mapping job = {0};
    if (access(path, F_OK) != 0 || sp_mapping_open(&job, path) != SP_OK) return false;
    const size_t n = strlen(work->state);
    const bool is_equal = job.n_bytes == n && memcmp(job.data, work->state, n) == 0;
    sp_mapping_close(&job);
    return is_equal;
}

sp_status sp_compress_open_folder(sp_compress_work *work) {
    char *path = NULL;
    if (mkdir(work->dir, 0777) != 0 && errno != EEXIST)
        return sp_fail(SP_IO, "cannot create the folder '%s': %s", work->dir, strerror(errno));
    SP_TRY(sp_run_lock_acquire(&work->lock, work->dir));
    SP_TRY(sp_compress_path(work, "job", &path));
    sp_status status = SP_OK;
    if (!is_ours(work, path)) {
        if (access(path, F_OK) == 0)
            sp_log(SP_LOG_WARNING, "'%s' is of another command or other input; removed", work->dir);
        status = remove_contents(work);
        if (status == SP_OK) status = sp_atomic_write(path, work->state, strlen(work->state));
    }
    free(path);
    return status;
}

void sp_compress_leave_folder(sp_compress_work *work) {
    DIR *folder = work->lock.is_held ? opendir(work->dir) : NULL;
    bool is_empty = folder != NULL;
    for (const struct dirent *entry; is_empty && (entry = readdir(folder)) != NULL;)
        is_empty = entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0 ||
                   strcmp(entry->d_name, "job") == 0;
    if (folder != NULL) closedir(folder);
    if (is_empty) sp_discard_folder(work->dir);
    sp_run_lock_release(&work->lock);
}

sp_status sp_compress_remove_folder(sp_compress_work *work) {
    const sp_status status = sp_remove_tree(work->dir);
    sp_run_lock_release(&work->lock);
    return status;
}
