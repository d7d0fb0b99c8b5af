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

sp_status sp_tokens_journal_path(char **path, const char *output, size_t writer) {
    char name[64];
    snprintf(name, sizeof name, "/part-%04zu", writer);
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

static int is_journal(const struct dirent *entry) {
    const size_t n = strlen(entry->d_name), end = sizeof journal_end - 1;
    return strncmp(entry->d_name, "part-", 5) == 0 && n > 5 + end &&
           strcmp(entry->d_name + n - end, journal_end) == 0;
}

static sp_status name_part(sp_tokens_plan *plan, sp_tokens_plan_part *part, char *journal_name) {
    void *n_ids = NULL;
    char stem[256];
    snprintf(stem, sizeof stem, "/%.*s", (int)(strlen(journal_name) - sizeof journal_end + 1),
             journal_name);
    SP_TRY(sp_alloc_array(&n_ids, plan->job->n_streams, sizeof(uint64_t), "parts"));
    part->n_ids = n_ids;
    SP_TRY(make_path(&part->journal_path, plan->output, stem, journal_end));
    SP_TRY(make_path(&part->path, plan->output, stem, part_end));
    const char *slash = strrchr(plan->output, '/');
    part->name = part->path + (slash == NULL ? 0 : slash + 1 - plan->output);
    return SP_OK;
}

static sp_status find_parts(sp_tokens_plan *plan) {
    char *folder = NULL;
    struct dirent **entries = NULL;
    void *parts = NULL;
    SP_TRY(make_path(&folder, plan->output, "", ""));
    const int n = scandir(folder, &entries, is_journal, alphasort);
    sp_status status = SP_OK;
    if (n < 0 && errno != ENOENT)
        status = sp_fail(SP_IO, "cannot read the folder '%s': %s", folder, strerror(errno));
    free(folder);
    if (n < 0) return status;
    status = sp_alloc_array(&parts, (size_t)n, sizeof *plan->parts, "parts");
    plan->parts = parts;
    plan->n_parts = status == SP_OK ? (size_t)n : 0;
    for (int i = 0; i < n; i++) {
        if (status == SP_OK) status = name_part(plan, &plan->parts[i], entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
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
        place->n_segments = blocks[i].n_segments;
        memcpy(place->n_ids, blocks[i].n_ids, plan->job->n_streams * sizeof *place->n_ids);
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
    SP_TRY(sp_alloc_array(&ids, plan->n_blocks, 3 * n_streams * sizeof(uint64_t), "blocks"));
    plan->place_ids = ids;
    for (size_t b = 0; b < plan->n_blocks; b++) {
        plan->places[b].n_ids = plan->place_ids + 3 * b * n_streams;
        plan->places[b].ids = plan->places[b].n_ids + n_streams;
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
    for (size_t b = 0; plan->places != NULL && b < plan->n_blocks; b++)
        free(plan->places[b].is_dropped);
    free(plan->place_ids);
    free(plan->places);
    free(plan->output);
    free(plan);
}

/* ---- what is taken and what is dropped ---- */

bool sp_tokens_plan_has(const sp_tokens_plan *plan, size_t block) {
    assert(block < plan->n_blocks);
    return plan->places[block].is_there;
}

sp_status sp_tokens_plan_documents(const sp_tokens_plan *plan, size_t block, uint64_t **documents,
                                   size_t *n) {
    assert(sp_tokens_plan_has(plan, block));
    const sp_tokens_place *place = &plan->places[block];
    sp_journal *journal = NULL;
    SP_TRY(sp_journal_open(&journal, plan->parts[place->part].journal_path, plan->job));
    const sp_status status = sp_journal_documents(journal, &place->block, documents);
    sp_journal_close(journal);
    if (status == SP_OK) *n = place->block.n_documents;
    return status;
}

/* Takes what a document has from the block's counts; more than there is is damage. */
static sp_status drop_document(sp_tokens_plan *plan, sp_tokens_place *place, const uint64_t *row) {
    bool fits = row[1] <= place->n_segments;
    for (size_t s = 0; s < plan->job->n_streams; s++) fits = fits && row[2 + s] <= place->n_ids[s];
    if (!fits)
        return sp_fail(SP_BAD_DATA, "'%s', offset %ju: counts beyond the block's",
                       plan->parts[place->part].journal_path, (uintmax_t)place->block.documents);
    place->n_segments -= row[1];
    for (size_t s = 0; s < plan->job->n_streams; s++) place->n_ids[s] -= row[2 + s];
    return SP_OK;
}

sp_status sp_tokens_plan_drop(sp_tokens_plan *plan, size_t block, const uint64_t *documents,
                              size_t n) {
    sp_tokens_place *place = &plan->places[block];
    uint64_t *rows = NULL;
    void *is_dropped = NULL;
    size_t n_rows = 0;
    assert(!plan->is_settled && place->is_dropped == NULL);
    SP_TRY(sp_tokens_plan_documents(plan, block, &rows, &n_rows));
    sp_status status = sp_alloc(&is_dropped, n_rows, "dropped documents");
    for (size_t i = 0; i < n && status == SP_OK; i++) {
        assert(documents[i] < n_rows && (i == 0 || documents[i] > documents[i - 1]));
        ((unsigned char *)is_dropped)[documents[i]] = 1;
        status = drop_document(plan, place, rows + documents[i] * (2 + plan->job->n_streams));
    }
    place->is_dropped = is_dropped;
    free(rows);
    return status;
}

/* ---- settling ---- */

static void place_block(sp_tokens_plan *plan, sp_tokens_place *place) {
    sp_tokens_plan_part *part = &plan->parts[place->part];
    place->document = plan->n_documents;
    place->segment = plan->n_segments;
    place->part_document = part->n_documents;
    place->part_segment = part->n_segments;
    plan->n_documents += place->block.n_documents;
    plan->n_segments += place->n_segments;
    part->n_documents += place->block.n_documents;
    part->n_segments += place->n_segments;
    for (size_t s = 0; s < plan->job->n_streams; s++) {
        place->ids[s] = plan->n_ids[s];
        place->part_ids[s] = part->n_ids[s];
        plan->n_ids[s] += place->n_ids[s];
        part->n_ids[s] += place->n_ids[s];
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
    if (plan->n_segments == 0)
        return sp_fail(SP_BAD_DATA, "no text to tokenize: '%s' is not written", plan->output);
    return SP_OK;
}

size_t sp_tokens_plan_n_parts(const sp_tokens_plan *plan) { return plan->n_parts; }
uint64_t sp_tokens_plan_n_documents(const sp_tokens_plan *plan) { return plan->n_documents; }
uint64_t sp_tokens_plan_n_segments(const sp_tokens_plan *plan) { return plan->n_segments; }

uint64_t sp_tokens_plan_n_ids(const sp_tokens_plan *plan, size_t stream) {
    assert(stream < plan->job->n_streams);
    return plan->n_ids[stream];
}

sp_status sp_tokens_journals_remove(const sp_tokens_plan *plan) {
    for (size_t p = 0; p < plan->n_parts; p++)
        if (unlink(plan->parts[p].journal_path) != 0 && errno != ENOENT)
            return sp_fail(SP_IO, "cannot remove '%s': %s", plan->parts[p].journal_path,
                           strerror(errno));
    return SP_OK;
}
