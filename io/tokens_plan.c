#include "io/tokens_plan.h"

#include "base/memory.h"
#include "io/atomic_file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char journal_end[] = ".journal", part_end[] = ".h5";

/* Names of parts end in the first digits of their job's digest: what one run makes never takes the
   place of what another made, whose index may still be read. */
enum { TAG_BYTES = 8 };

/* ---- names ---- */

/* Length of the output's name without ".h5". */
static int stem_length(const char *output) {
    const size_t n = strlen(output), end = sizeof part_end - 1;
    return (int)(n > end && strcmp(output + n - end, part_end) == 0 ? n - end : n);
}

static sp_status make_path(char **path, const char *output, const char *name, const char *end) {
    if (asprintf(path, "%.*s.parts%s%s", stem_length(output), output, name, end) >= 0) return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for the path '%s'", output);
}

sp_status sp_tokens_journal_path(char **path, const char *output, const sp_tokens_job *job,
                                 size_t writer) {
    char digest[SP_DIGEST_HEX_SIZE], name[64];
    SP_TRY(sp_tokens_job_digest(digest, job));
    snprintf(name, sizeof name, "/part-%04zu-%.*s", writer, TAG_BYTES, digest);
    return make_path(path, output, name, journal_end);
}

sp_status sp_tokens_parts_create(const char *output) {
    const char *slash = strrchr(output, '/'), *name = slash == NULL ? output : slash + 1;
    char *folder = NULL;
    if (strchr(name, '%') != NULL)
        return sp_fail(SP_USAGE, "'%s': a token file in parts cannot have '%%' in its name",
                       output);
    SP_TRY(make_path(&folder, output, "", ""));
    const sp_status status = sp_make_folders(folder);
    free(folder);
    return status;
}

/* ---- journals ---- */

/* The length of a name "part-NUMBER-TAG" with one of the ends behind it; 0: it is none. */
static size_t part_name_length(const char *name, const char *tag, const char *end) {
    size_t n = 5;
    if (strncmp(name, "part-", n) != 0) return 0;
    n += strspn(name + n, "0123456789");
    if (n == 5 || name[n++] != '-') return 0;
    if (strspn(name + n, "0123456789abcdef") != TAG_BYTES) return 0;
    if (tag != NULL && strncmp(name + n, tag, TAG_BYTES) != 0) return 0;
    n += TAG_BYTES;
    return strcmp(name + n, end) == 0 ? n : 0;
}

static sp_status name_part(sp_tokens_plan *plan, sp_tokens_plan_part *part,
                           const char *journal_name) {
    void *n_ids = NULL;
    char stem[300];
    snprintf(stem, sizeof stem, "/%.*s", (int)part_name_length(journal_name, NULL, journal_end),
             journal_name);
    SP_TRY(sp_alloc_array(&n_ids, plan->job->n_streams, sizeof(uint64_t), "parts"));
    part->n_ids = n_ids;
    SP_TRY(make_path(&part->journal_path, plan->output, stem, journal_end));
    SP_TRY(make_path(&part->path, plan->output, stem, part_end));
    const char *slash = strrchr(plan->output, '/');
    part->name = part->path + (slash == NULL ? 0 : slash + 1 - plan->output);
    return SP_OK;
}

/* The names in the folder of parts, sorted: *entries [*n], owned; none where there is no folder. */
static sp_status list_folder(const char *output, struct dirent ***entries, size_t *n) {
    char *folder = NULL;
    SP_TRY(make_path(&folder, output, "", ""));
    *entries = NULL;
    const int found = scandir(folder, entries, NULL, alphasort);
    sp_status status = SP_OK;
    if (found < 0 && errno != ENOENT)
        status = sp_fail(SP_IO, "cannot read the folder '%s': %s", folder, strerror(errno));
    free(folder);
    *n = found < 0 ? 0 : (size_t)found;
    return status;
}

static void free_entries(struct dirent **entries, size_t n) {
    for (size_t i = 0; i < n; i++) free(entries[i]);
    free(entries);
}

static sp_status find_parts(sp_tokens_plan *plan) {
    struct dirent **entries = NULL;
    size_t n = 0;
    void *parts = NULL;
    SP_TRY(list_folder(plan->output, &entries, &n));
    sp_status status = sp_alloc_array(&parts, n, sizeof *plan->parts, "parts");
    plan->parts = parts;
    for (size_t i = 0; i < n && status == SP_OK; i++)
        if (part_name_length(entries[i]->d_name, plan->job_digest, journal_end) > 0)
            status = name_part(plan, &plan->parts[plan->n_parts++], entries[i]->d_name);
    free_entries(entries, n);
    return status;
}

/* A block that is in two journals counts in the first. */
static sp_status take_blocks(sp_tokens_plan *plan, size_t p) {
    sp_journal *journal = NULL;
    const sp_tokens_block *blocks = NULL;
    sp_tokens_plan_part *part = &plan->parts[p];
    SP_TRY(sp_journal_open(&journal, part->journal_path, plan->job));
    const size_t n = sp_journal_blocks(journal, &blocks);
    sp_status status = SP_OK;
    for (size_t i = 0; i < n && status == SP_OK; i++) {
        if (blocks[i].index >= plan->n_blocks) {
            status = sp_fail(SP_BAD_DATA, "'%s': block %ju of %zu", part->journal_path,
                             (uintmax_t)blocks[i].index, plan->n_blocks);
            break;
        }
        sp_tokens_place *place = &plan->places[blocks[i].index];
        if (place->is_there) continue;
        place->is_there = true;
        place->block = blocks[i];
        place->part = p;
        for (size_t k = 0; k < SP_TOKENS_N_TALLIES; k++) plan->tallies[k] += blocks[i].tallies[k];
        part->n_blocks++;
    }
    sp_journal_close(journal);
    return status;
}

static sp_status allocate(sp_tokens_plan *plan) {
    void *places = NULL, *ids = NULL;
    const size_t n_streams = plan->job->n_streams;
    SP_TRY(sp_alloc_array(&places, plan->n_blocks, sizeof *plan->places, "blocks"));
    plan->places = places;
    SP_TRY(sp_alloc_array(&ids, plan->n_blocks, 2 * n_streams * sizeof(uint64_t), "blocks"));
    plan->place_ids = ids;
    for (size_t b = 0; b < plan->n_blocks; b++) {
        plan->places[b].ids = plan->place_ids + 2 * b * n_streams;
        plan->places[b].part_ids = plan->places[b].ids + n_streams;
    }
    return SP_OK;
}

sp_status sp_tokens_plan_create(sp_tokens_plan **plan, const char *output, const sp_tokens_job *job,
                                size_t n_blocks) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **plan, "a plan"));
    sp_tokens_plan *made = block;
    made->job = job;
    made->output = strdup(output);
    sp_status status = SP_OK;
    if (made->output == NULL) status = sp_fail(SP_FAILURE, "no memory for '%s'", output);
    made->n_blocks = n_blocks;
    if (status == SP_OK) status = sp_tokens_job_digest(made->job_digest, job);
    if (status == SP_OK) status = allocate(made);
    if (status == SP_OK) status = find_parts(made);
    for (size_t p = 0; p < made->n_parts && status == SP_OK; p++) status = take_blocks(made, p);
    if (status == SP_OK)
        *plan = made;
    else
        sp_tokens_plan_destroy(made);
    return status;
}

void sp_tokens_plan_destroy(sp_tokens_plan *plan) {
    if (plan == NULL) return;
    for (size_t p = 0; p < plan->n_parts; p++) {
        free(plan->parts[p].n_ids);
        free(plan->parts[p].path);
        free(plan->parts[p].journal_path);
    }
    free(plan->parts);
    free(plan->place_ids);
    free(plan->places);
    free(plan->output);
    free(plan);
}

bool sp_tokens_plan_has(const sp_tokens_plan *plan, size_t block) {
    assert(block < plan->n_blocks);
    return plan->places[block].is_there;
}

/* ---- settling ---- */

static void place_block(sp_tokens_plan *plan, sp_tokens_place *place) {
    sp_tokens_plan_part *part = &plan->parts[place->part];
    place->document = plan->n_documents;
    place->segment = plan->n_segments;
    place->part_document = part->n_documents;
    place->part_segment = part->n_segments;
    plan->n_documents += place->block.n_documents;
    plan->n_segments += place->block.n_segments;
    part->n_documents += place->block.n_documents;
    part->n_segments += place->block.n_segments;
    for (size_t s = 0; s < plan->job->n_streams; s++) {
        place->ids[s] = plan->n_ids[s];
        place->part_ids[s] = part->n_ids[s];
        plan->n_ids[s] += place->block.n_ids[s];
        part->n_ids[s] += place->block.n_ids[s];
    }
    if (place->block.longest_id > plan->longest_id) plan->longest_id = place->block.longest_id;
}

sp_status sp_tokens_plan_settle(sp_tokens_plan *plan) {
    assert(!plan->is_settled);
    for (size_t b = 0; b < plan->n_blocks; b++)
        if (!plan->places[b].is_there)
            return sp_fail(SP_BAD_DATA, "'%s': block %zu of %zu is not tokenized yet", plan->output,
                           b, plan->n_blocks);
    for (size_t b = 0; b < plan->n_blocks; b++) place_block(plan, &plan->places[b]);
    plan->is_settled = true;
    return SP_OK;
}

size_t sp_tokens_plan_n_parts(const sp_tokens_plan *plan) { return plan->n_parts; }
uint64_t sp_tokens_plan_n_documents(const sp_tokens_plan *plan) { return plan->n_documents; }
uint64_t sp_tokens_plan_n_segments(const sp_tokens_plan *plan) { return plan->n_segments; }

uint64_t sp_tokens_plan_n_ids(const sp_tokens_plan *plan, size_t stream) {
    assert(stream < plan->job->n_streams);
    return plan->n_ids[stream];
}

const uint64_t *sp_tokens_plan_tallies(const sp_tokens_plan *plan) { return plan->tallies; }

bool sp_tokens_plan_has_one_part(const sp_tokens_plan *plan) {
    for (size_t p = 0; p < plan->n_parts; p++)
        if (plan->parts[p].n_blocks > 0) return plan->parts[p].n_blocks == plan->n_blocks;
    return false;
}

/* ---- what is left ---- */

/* A journal of any job, or a part that its writer did not finish. */
static bool is_left_over(const char *name) {
    return part_name_length(name, NULL, journal_end) > 0 ||
           part_name_length(name, NULL, ".h5.tmp") > 0;
}

sp_status sp_tokens_journals_remove(const char *output) {
    struct dirent **entries = NULL;
    char *path = NULL;
    size_t n = 0;
    SP_TRY(list_folder(output, &entries, &n));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n && status == SP_OK; i++) {
        char name[300];
        if (!is_left_over(entries[i]->d_name)) continue;
        snprintf(name, sizeof name, "/%s", entries[i]->d_name);
        status = make_path(&path, output, name, "");
        if (status == SP_OK && unlink(path) != 0 && errno != ENOENT)
            status = sp_fail(SP_IO, "cannot remove '%s': %s", path, strerror(errno));
        free(path);
    }
    free_entries(entries, n);
    SP_TRY(status);
    SP_TRY(make_path(&path, output, "", ""));
    if (n > 0 && rmdir(path) != 0) errno = 0; /* there are parts in it */
    free(path);
    return SP_OK;
}
