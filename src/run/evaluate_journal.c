#include "run/evaluate_journal.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/content_digest.h"
#include "io/mapping.h"
#include "io/run_lock.h"
#include "mpi/agree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIGITS_IN_NAME = 16, SUM_DIGITS = SP_DIGEST_HEX_SIZE - 1 };

/* A line is these around the sum and the unit. */
static const char before_sum[] = "{\"sum\":\"", before_unit[] = "\",\"unit\":", after_unit[] = "}";

struct sp_evaluate_journal {
    sp_evaluate_extent extent;
    char *dir; /* owned */
    char digest[SP_DIGEST_HEX_SIZE];
    sp_run_lock lock; /* rank 0's */
    uint64_t *ends;   /* [n_methods, n_items] of the unit that begins there; 0: none. Owned */
    json_t *
        *units;   /* rank 0's [n_methods, n_items], owned, as they are; NULL where there is none */
    int rank, fd; /* of this rank's lines, owned; -1: none was written yet */
};

/* ---- lines ---- */

/* The sum of a unit's bytes, with which they are no other evaluation's. */
static sp_status sum_unit(const sp_evaluate_journal *journal, const char *unit, size_t n_bytes,
                          char sum[SP_DIGEST_HEX_SIZE]) {
    void *bytes = NULL;
    SP_TRY(sp_alloc(&bytes, SUM_DIGITS + n_bytes, "a line"));
    memcpy(bytes, journal->digest, SUM_DIGITS);
    memcpy((char *)bytes + SUM_DIGITS, unit, n_bytes);
    sp_digest_bytes(sum, bytes, SUM_DIGITS + n_bytes);
    free(bytes);
    return SP_OK;
}

/* Finds the unit's bytes in a line without its end; false: it is not whole. */
static bool find_unit(const char *line, size_t n_bytes, const char **sum, const char **unit,
                      size_t *unit_bytes) {
    const size_t head = strlen(before_sum), middle = strlen(before_unit), tail = strlen(after_unit);
    const size_t around = head + SUM_DIGITS + middle + tail;
    if (n_bytes <= around) return false;
    *sum = line + head;
    *unit = *sum + SUM_DIGITS + middle;
    *unit_bytes = n_bytes - around;
    return memcmp(line, before_sum, head) == 0 &&
           memcmp(*sum + SUM_DIGITS, before_unit, middle) == 0 &&
           memcmp(*unit + *unit_bytes, after_unit, tail) == 0;
}

/* A count that is there, and at most `most`. */
static bool take_count(size_t *count, const json_t *unit, const char *key, size_t most) {
    const json_t *value = json_object_get(unit, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *count = (size_t)json_integer_value(value);
    return *count <= most;
}

/* Is it a unit of this evaluation? */
static bool fits(const sp_evaluate_extent *extent, const json_t *unit, size_t *method,
                 size_t *begin, size_t *end) {
    const json_t *figures = json_object_get(unit, "figures"), *value;
    const json_t *texts = json_object_get(unit, "texts");
    size_t i;
    if (!take_count(method, unit, "method", extent->n_methods - 1) ||
        !take_count(begin, unit, "begin", extent->n_items) ||
        !take_count(end, unit, "end", extent->n_items) || *begin >= *end)
        return false;
    const size_t n = *end - *begin;
    if (json_array_size(figures) != n * extent->n_figures || !json_is_array(texts)) return false;
    if (json_array_size(texts) != 0 && json_array_size(texts) != n) return false;
    json_array_foreach((json_t *)figures, i, value) if (!json_is_real(value)) return false;
    json_array_foreach((json_t *)texts, i, value) if (!json_is_string(value)) return false;
    return true;
}

/* Keeps what a line holds, unless it is not to be trusted. */
static sp_status take_line(sp_evaluate_journal *journal, const char *line, size_t n_bytes,
                           size_t *n_units) {
    const char *sum = NULL, *text = NULL;
    size_t text_bytes = 0, method = 0, begin = 0, end = 0;
    char wanted[SP_DIGEST_HEX_SIZE];
    if (!find_unit(line, n_bytes, &sum, &text, &text_bytes)) return SP_OK;
    SP_TRY(sum_unit(journal, text, text_bytes, wanted));
    if (memcmp(sum, wanted, SUM_DIGITS) != 0) return SP_OK;
    json_t *unit = json_loadb(text, text_bytes, JSON_ALLOW_NUL, NULL);
    if (unit == NULL || !fits(&journal->extent, unit, &method, &begin, &end)) {
        json_decref(unit);
        return SP_OK;
    }
    const size_t place = method * journal->extent.n_items + begin;
    if (journal->ends[place] == 0) {
        journal->ends[place] = end;
        journal->units[place] = json_incref(unit);
        ++*n_units;
    }
    json_decref(unit);
    return SP_OK;
}

/* ---- what is there: rank 0's ---- */

static sp_status take_file(sp_evaluate_journal *journal, const char *name, size_t *n_units) {
    char *path = NULL;
    sp_mapping file = {0};
    if (asprintf(&path, "%s/%s", journal->dir, name) < 0)
        return sp_fail(SP_FAILURE, "no memory for a path in '%s'", journal->dir);
    sp_status status = sp_mapping_open(&file, path);
    const char *at = (const char *)file.data;
    for (size_t left = file.n_bytes; status == SP_OK && left > 0;) {
        const char *end = memchr(at, '\n', left);
        if (end == NULL) break; /* torn */
        status = take_line(journal, at, (size_t)(end - at), n_units);
        left -= (size_t)(end + 1 - at);
        at = end + 1;
    }
    sp_mapping_close(&file);
    free(path);
    return status;
}

static int is_of_answers(const struct dirent *entry) {
    return strncmp(entry->d_name, "answers-", strlen("answers-")) == 0;
}

/* In the order of their names, so that which of two equal units counts is no matter of the disk. */
static sp_status take_files(sp_evaluate_journal *journal) {
    struct dirent **entries = NULL;
    size_t n_units = 0;
    const int n = scandir(journal->dir, &entries, is_of_answers, alphasort);
    if (n < 0) return sp_fail(SP_IO, "cannot read '%s': %s", journal->dir, strerror(errno));
    sp_status status = SP_OK;
    for (int i = 0; i < n; i++) {
        if (status == SP_OK) status = take_file(journal, entries[i]->d_name, &n_units);
        free(entries[i]);
    }
    free(entries);
    if (status == SP_OK && n_units > 0)
        sp_log(SP_LOG_INFO, "'%s': %zu groups of answers are there from before", journal->dir,
               n_units);
    return status;
}

static sp_status write_identity(const sp_evaluate_journal *journal, const char *identity) {
    char *path = NULL;
    if (asprintf(&path, "%s/identity.json", journal->dir) < 0)
        return sp_fail(SP_FAILURE, "no memory for a path in '%s'", journal->dir);
    const sp_status status =
        access(path, F_OK) == 0 ? SP_OK : sp_atomic_write(path, identity, strlen(identity));
    free(path);
    return status;
}

/* ---- opening ---- */

static sp_status begin_folder(sp_evaluate_journal *journal, const char *identity) {
    void *units = NULL;
    SP_TRY(sp_make_folders(journal->dir));
    SP_TRY(sp_run_lock_acquire(&journal->lock, journal->dir));
    SP_TRY(write_identity(journal, identity));
    SP_TRY(sp_alloc_array(&units, journal->extent.n_methods * journal->extent.n_items,
                          sizeof *journal->units, "answers"));
    journal->units = units;
    return take_files(journal);
}

static sp_status allocate(sp_evaluate_journal **journal, const sp_evaluate_extent *extent,
                          int rank) {
    void *block = NULL, *ends = NULL;
    SP_TRY(sp_alloc(&block, sizeof **journal, "a journal of answers"));
    *journal = block;
    **journal = (sp_evaluate_journal){.extent = *extent, .rank = rank, .fd = -1};
    SP_TRY(sp_alloc_array(&ends, extent->n_methods * extent->n_items, sizeof *(*journal)->ends,
                          "answers"));
    (*journal)->ends = ends;
    return SP_OK;
}

static sp_status name_folder(sp_evaluate_journal *journal, const char *folder, const char *task) {
    if (asprintf(&journal->dir, "%s/%s-%.*s", folder, task, (int)DIGITS_IN_NAME, journal->digest) >=
        0)
        return SP_OK;
    journal->dir = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path in '%s'", folder);
}

static sp_status open_journal(sp_evaluate_journal **opened, sp_world *world, const char *folder,
                              const char *task, char *identity, const sp_evaluate_extent *extent) {
    const bool is_first = sp_world_rank(world) == 0;
    SP_TRY(sp_agree(world, allocate(opened, extent, sp_world_rank(world))));
    sp_evaluate_journal *journal = *opened;
    if (is_first) sp_digest_bytes(journal->digest, identity, strlen(identity));
    sp_world_broadcast(world, journal->digest, sizeof journal->digest, 0);
    SP_TRY(sp_agree(world, name_folder(journal, folder, task)));
    SP_TRY(sp_agree(world, is_first ? begin_folder(journal, identity) : SP_OK));
    sp_world_broadcast(world, journal->ends,
                       extent->n_methods * extent->n_items * sizeof *journal->ends, 0);
    return SP_OK;
}

sp_status sp_evaluate_journal_open(sp_evaluate_journal **journal, sp_world *world,
                                   const char *folder, const char *task, const json_t *identity,
                                   const sp_evaluate_extent *extent) {
    sp_evaluate_journal *made = NULL;
    const bool is_first = sp_world_rank(world) == 0;
    char *text = is_first ? json_dumps(identity, JSON_SORT_KEYS | JSON_INDENT(1)) : NULL;
    sp_status status = sp_agree(world, !is_first || text != NULL
                                           ? SP_OK
                                           : sp_fail(SP_FAILURE, "no memory for an identity"));
    if (status == SP_OK) status = open_journal(&made, world, folder, task, text, extent);
    free(text);
    if (status == SP_OK)
        *journal = made;
    else
        sp_evaluate_journal_close(made);
    return status;
}

void sp_evaluate_journal_close(sp_evaluate_journal *journal) {
    if (journal == NULL) return;
    const size_t n = journal->extent.n_methods * journal->extent.n_items;
    if (journal->fd >= 0) close(journal->fd);
    for (size_t i = 0; journal->units != NULL && i < n; i++) json_decref(journal->units[i]);
    free(journal->units);
    free(journal->ends);
    sp_run_lock_release(&journal->lock);
    free(journal->dir);
    free(journal);
}

/* ---- units ---- */

bool sp_evaluate_journal_has(const sp_evaluate_journal *journal, size_t method, size_t begin,
                             size_t end) {
    return journal->ends[method * journal->extent.n_items + begin] == end;
}

const json_t *sp_evaluate_journal_unit(const sp_evaluate_journal *journal, size_t method,
                                       size_t begin) {
    return journal->units[method * journal->extent.n_items + begin];
}

/* A file of this process's own: whoever outlives a killed run does not write into it. */
static sp_status begin_file(sp_evaluate_journal *journal) {
    for (int k = 0; journal->fd < 0; k++) {
        char *path = NULL;
        if (asprintf(&path, "%s/answers-%04d-%d.jsonl", journal->dir, journal->rank, k) < 0)
            return sp_fail(SP_FAILURE, "no memory for a path in '%s'", journal->dir);
        journal->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        const sp_status status =
            journal->fd >= 0 || errno == EEXIST
                ? SP_OK
                : sp_fail(SP_IO, "cannot write '%s': %s", path, strerror(errno));
        free(path);
        SP_TRY(status);
    }
    return sp_sync_path(journal->dir);
}

static sp_status write_line(sp_evaluate_journal *journal, const char *unit) {
    char sum[SP_DIGEST_HEX_SIZE], *line = NULL;
    SP_TRY(sum_unit(journal, unit, strlen(unit), sum));
    const int n = asprintf(&line, "%s%s%s%s%s\n", before_sum, sum, before_unit, unit, after_unit);
    if (n < 0) return sp_fail(SP_FAILURE, "no memory for a line");
    sp_status status = sp_write_all(journal->fd, line, (size_t)n, journal->dir);
    free(line);
    if (status == SP_OK && fdatasync(journal->fd) != 0)
        status = sp_fail(SP_IO, "cannot write answers in '%s': %s", journal->dir, strerror(errno));
    return status;
}

sp_status sp_evaluate_journal_add(sp_evaluate_journal *journal, const json_t *unit) {
    char *text = json_dumps(unit, JSON_COMPACT);
    if (text == NULL) return sp_fail(SP_FAILURE, "no memory for answers");
    sp_status status = journal->fd >= 0 ? SP_OK : begin_file(journal);
    if (status == SP_OK) status = write_line(journal, text);
    free(text);
    return status;
}
