#include "run/duplicates.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/mapping.h"
#include "mpi/agree.h"
#include "mpi/work_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* 24 MB of records, twice while they are sorted; ranks share more than so few. */
enum { PART_RECORDS = 1000000, SHARED_RECORDS = 20000 };

struct sp_duplicates {
    sp_world *world;
    const sp_survey *survey;
    uint64_t *words; /* [n_words]: bit d % 64 of word d / 64 is document d's */
    size_t n_words;
    uint64_t count;
    bool were_found;
    uint64_t n_parts, part_width; /* of hashes' high halves; the last part has what is left */
    sp_survey_record *records;    /* [n_records], of the part at hand */
    size_t n_records, capacity;
};

/* ---- the bits as a file ---- */

typedef struct head {
    char magic[8];
    uint64_t digest[2]; /* of the survey */
    uint64_t n_documents, count;
    uint64_t checksum; /* XXH3-64 of the words */
} head;

static const char magic[8] = {'s', 'p', 'd', 'u', 'p', 'l', '1', '\n'};

static sp_status make_path(const sp_duplicates *d, char **path) {
    if (asprintf(path, "%s/duplicates", sp_survey_dir(d->survey)) >= 0) return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path in '%s'", sp_survey_dir(d->survey));
}

static uint64_t n_documents(const sp_duplicates *d) {
    return sp_survey_first_document(d->survey, sp_survey_blocks(d->survey)->n_units);
}

static head make_head(const sp_duplicates *d) {
    head h = {.n_documents = n_documents(d),
              .count = d->count,
              .checksum = XXH3_64bits(d->words, d->n_words * sizeof *d->words)};
    memcpy(h.magic, magic, sizeof magic);
    sp_survey_digest(d->survey, h.digest);
    return h;
}

static sp_status write_bits(const sp_duplicates *d) {
    sp_atomic_file file = {0};
    char *path = NULL;
    const head h = make_head(d);
    SP_TRY(make_path(d, &path));
    sp_status status = sp_atomic_begin(&file, path);
    if (status == SP_OK) status = sp_write_all(file.fd, &h, sizeof h, path);
    if (status == SP_OK)
        status = sp_write_all(file.fd, d->words, d->n_words * sizeof *d->words, path);
    if (status == SP_OK)
        status = sp_atomic_commit(&file);
    else
        sp_atomic_abort(&file);
    free(path);
    return status;
}

static void count_bits(sp_duplicates *d) {
    d->count = 0;
    for (size_t i = 0; i < d->n_words; i++) d->count += (uint64_t)__builtin_popcountll(d->words[i]);
}

static void take_bits(sp_duplicates *d, const sp_mapping *mapping) {
    const size_t n_bytes = d->n_words * sizeof *d->words;
    head found, expected;
    if (mapping->n_bytes != sizeof found + n_bytes) return;
    memcpy(&found, mapping->data, sizeof found);
    memcpy(d->words, mapping->data + sizeof found, n_bytes);
    count_bits(d);
    expected = make_head(d);
    d->were_found = memcmp(&found, &expected, sizeof found) == 0;
    if (d->were_found) return;
    memset(d->words, 0, n_bytes);
    d->count = 0;
}

/* Rank 0's. A file of something else is written anew. */
static sp_status find_bits(sp_duplicates *d) {
    sp_mapping mapping = {0};
    char *path = NULL;
    SP_TRY(make_path(d, &path));
    if (access(path, F_OK) == 0 && sp_mapping_open(&mapping, path) == SP_OK) take_bits(d, &mapping);
    sp_mapping_close(&mapping);
    free(path);
    return SP_OK;
}

/* ---- a part ---- */

/* The first record whose hash's high half is `high` or more. */
static size_t lower_bound(const sp_survey_block *block, uint64_t high) {
    size_t begin = 0, end = block->n_records;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        if (block->records[middle].high < high)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

static sp_status reserve(sp_duplicates *d, size_t n) {
    if (n <= d->capacity) return SP_OK;
    const size_t larger = n + n / 8 + 4096; /* parts are nearly equal */
    sp_survey_record *grown = realloc(d->records, larger * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu documents", larger);
    d->records = grown;
    d->capacity = larger;
    return SP_OK;
}

static sp_status add_records(sp_duplicates *d, size_t block, const sp_survey_block *opened,
                             uint64_t part) {
    const sp_blocks *blocks = sp_survey_blocks(d->survey);
    const uint64_t first = sp_survey_first_document(d->survey, blocks->begin[block]);
    const uint64_t n = sp_survey_first_document(d->survey, blocks->begin[block + 1]) - first;
    const size_t begin = lower_bound(opened, part * d->part_width);
    const size_t end =
        part + 1 < d->n_parts ? lower_bound(opened, (part + 1) * d->part_width) : opened->n_records;
    SP_TRY(reserve(d, d->n_records + (end > begin ? end - begin : 0)));
    for (size_t i = begin; i < end; i++) {
        sp_survey_record *record = &d->records[d->n_records++];
        *record = opened->records[i];
        if (record->document >= n)
            return sp_fail(SP_BAD_DATA, "'%s', block %zu: there is no document %ju",
                           sp_survey_dir(d->survey), block, (uintmax_t)record->document);
        record->document += first;
    }
    return SP_OK;
}

static sp_status gather_part(sp_duplicates *d, uint64_t part) {
    d->n_records = 0;
    for (size_t b = 0; b < sp_survey_blocks(d->survey)->n_blocks; b++) {
        sp_survey_block block = {0};
        SP_TRY(sp_survey_open_block(d->survey, b, &block));
        const sp_status status = add_records(d, b, &block, part);
        sp_survey_block_close(&block);
        SP_TRY(status);
    }
    return SP_OK;
}

static void mark_part(sp_duplicates *d) {
    if (d->n_records == 0) return;
    qsort(d->records, d->n_records, sizeof *d->records, sp_survey_record_compare);
    for (size_t i = 1; i < d->n_records; i++) {
        const sp_survey_record *r = &d->records[i];
        if (r->high != r[-1].high || r->low != r[-1].low) continue;
        d->words[r->document / 64] |= (uint64_t)1 << r->document % 64;
    }
}

/* ---- all parts ---- */

static sp_status take_parts(sp_duplicates *d, sp_work_queue *queue) {
    uint64_t part = 0;
    while (sp_work_queue_take(queue, &part)) {
        SP_TRY(gather_part(d, part));
        mark_part(d);
    }
    return SP_OK;
}

static void choose_parts(sp_duplicates *d, size_t part_records) {
    const uint64_t n = n_documents(d), n_ranks = (uint64_t)sp_world_size(d->world);
    const uint64_t most = part_records > 0 ? part_records : PART_RECORDS;
    d->n_parts = n / most + 1;
    if (d->n_parts < n_ranks && n >= SHARED_RECORDS) d->n_parts = n_ranks;
    d->part_width = d->n_parts > 1 ? UINT64_MAX / d->n_parts + 1 : 0;
}

static sp_status find_all(sp_duplicates *d, size_t part_records) {
    sp_work_queue *queue = NULL;
    choose_parts(d, part_records);
    SP_TRY(sp_work_queue_begin(&queue, d->world, d->n_parts));
    const sp_status status = take_parts(d, queue);
    if (status != SP_OK) sp_work_queue_stop(queue);
    sp_work_queue_end(queue);
    SP_TRY(sp_agree(d->world, status));
    /* Each bit is set by one rank at most. */
    sp_world_sum_u64(d->world, d->words, d->n_words);
    count_bits(d);
    return sp_agree(d->world, sp_world_rank(d->world) == 0 ? write_bits(d) : SP_OK);
}

static sp_status find(sp_duplicates *d, size_t part_records) {
    const bool is_first = sp_world_rank(d->world) == 0;
    SP_TRY(sp_agree(d->world, is_first ? find_bits(d) : SP_OK));
    sp_world_broadcast(d->world, &d->were_found, sizeof d->were_found, 0);
    if (!d->were_found) return find_all(d, part_records);
    sp_world_broadcast(d->world, &d->count, sizeof d->count, 0);
    sp_world_broadcast(d->world, d->words, d->n_words * sizeof *d->words, 0);
    return SP_OK;
}

static sp_status reserve_bits(sp_duplicates *d) {
    void *words = NULL;
    d->n_words = (size_t)(n_documents(d) / 64 + 1);
    SP_TRY(sp_alloc_array(&words, d->n_words, sizeof *d->words, "a bit a document"));
    d->words = words;
    return SP_OK;
}

sp_status sp_duplicates_open(sp_duplicates **duplicates, sp_world *world, const sp_survey *survey,
                             size_t part_records) {
    void *block = NULL;
    SP_TRY(sp_agree(world, sp_alloc(&block, sizeof **duplicates, "duplicates")));
    sp_duplicates *made = block;
    made->world = world;
    made->survey = survey;
    sp_status status = sp_agree(world, reserve_bits(made));
    if (status == SP_OK) status = find(made, part_records);
    free(made->records);
    made->records = NULL;
    if (status == SP_OK)
        *duplicates = made;
    else
        sp_duplicates_close(made);
    return status;
}

void sp_duplicates_close(sp_duplicates *duplicates) {
    if (duplicates == NULL) return;
    free(duplicates->words);
    free(duplicates);
}

bool sp_duplicates_has(const sp_duplicates *duplicates, uint64_t document) {
    return (duplicates->words[document / 64] >> document % 64 & 1) != 0;
}

uint64_t sp_duplicates_count(const sp_duplicates *duplicates) { return duplicates->count; }

bool sp_duplicates_were_found(const sp_duplicates *duplicates) { return duplicates->were_found; }
