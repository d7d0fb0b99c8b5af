#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/corpus_digest.h"
#include "io/hdf5_column.h"
#include "io/hdf5_seal.h"
#include "io/hdf5_virtual.h"
#include "io/tokens_header.h"
#include "io/tokens_origin.h"
#include "io/tokens_plan.h"
#include "io/tokens_replaced.h"
#include "io/tokens_schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What the index is made of while it is written. */
typedef struct index_writer {
    const sp_tokens_plan *plan; /* borrowed */
    const sp_hdf5_file *file;   /* borrowed */
    char **part_names;          /* [n_parts], owned; the names are borrowed */
    size_t *part_rows;          /* [n_parts], owned: of the dataset in work */
    sp_hdf5_piece *pieces;      /* [n_blocks], owned: likewise */
} index_writer;

/* ---- virtual datasets ---- */

static sp_status write_dataset(const index_writer *index, const char *name, hid_t type,
                               uint64_t n_rows) {
    const sp_tokens_plan *plan = index->plan;
    const sp_status status =
        type < 0 ? sp_fail(SP_FAILURE, "no memory for '%s'", name)
                 : sp_hdf5_write_virtual(index->file, name, type, n_rows, index->pieces,
                                         plan->n_blocks, index->part_names, index->part_rows);
    sp_hdf5_release(&type);
    return status;
}

static sp_status write_documents(const index_writer *index) {
    const sp_tokens_plan *plan = index->plan;
    for (size_t b = 0; b < plan->n_blocks; b++) {
        const sp_tokens_place *place = &plan->places[b];
        index->pieces[b] = (sp_hdf5_piece){.begin = place->document,
                                           .n = place->block.n_documents,
                                           .part = place->part,
                                           .part_begin = place->part_document};
    }
    for (size_t p = 0; p < plan->n_parts; p++) index->part_rows[p] = plan->parts[p].n_documents;
    SP_TRY(write_dataset(index, SP_TOKENS_DOCUMENT_ID, sp_hdf5_string_type(plan->longest_id),
                         plan->n_documents));
    return write_dataset(index, SP_TOKENS_DOCUMENT_HASH, sp_hdf5_number_type(SP_HDF5_U64),
                         plan->n_documents);
}

/* Pieces of the datasets with a row a segment, which begin at row `first`. */
static void set_segment_pieces(const index_writer *index, size_t first) {
    const sp_tokens_plan *plan = index->plan;
    for (size_t b = 0; b < plan->n_blocks; b++) {
        const sp_tokens_place *place = &plan->places[b];
        index->pieces[b] = (sp_hdf5_piece){.begin = first + place->segment,
                                           .n = place->block.n_segments,
                                           .part = place->part,
                                           .part_begin = place->part_segment};
    }
    for (size_t p = 0; p < plan->n_parts; p++) index->part_rows[p] = plan->parts[p].n_segments;
}

static sp_status write_segments(const index_writer *index) {
    const uint64_t n = index->plan->n_segments;
    set_segment_pieces(index, 0);
    SP_TRY(write_dataset(index, SP_TOKENS_DOC, sp_hdf5_number_type(SP_HDF5_U64), n));
    SP_TRY(write_dataset(index, SP_TOKENS_BYTE_BEGIN, sp_hdf5_number_type(SP_HDF5_U64), n));
    return write_dataset(index, SP_TOKENS_BYTE_LEN, sp_hdf5_number_type(SP_HDF5_U32), n);
}

static sp_status write_ids(const index_writer *index, size_t s, const char *name) {
    const sp_tokens_plan *plan = index->plan;
    for (size_t b = 0; b < plan->n_blocks; b++) {
        const sp_tokens_place *place = &plan->places[b];
        index->pieces[b] = (sp_hdf5_piece){.begin = place->ids[s],
                                           .n = place->block.n_ids[s],
                                           .part = place->part,
                                           .part_begin = place->part_ids[s]};
    }
    for (size_t p = 0; p < plan->n_parts; p++) index->part_rows[p] = plan->parts[p].n_ids[s];
    const sp_hdf5_kind kind =
        plan->job->streams[s].vocab_size <= SP_TOKENS_U16_VOCAB ? SP_HDF5_U16 : SP_HDF5_U32;
    return write_dataset(index, name, sp_hdf5_number_type(kind), plan->n_ids[s]);
}

static sp_status write_stream(const index_writer *index, size_t s) {
    const sp_tokens_stream *stream = &index->plan->job->streams[s];
    char object[SP_TOKENS_OBJECT_SIZE];
    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s", stream->name);
    SP_TRY(sp_hdf5_create_group(index->file, object));
    SP_TRY(sp_hdf5_write_u64(index->file, object, SP_TOKENS_VOCAB_SIZE, stream->vocab_size));
    SP_TRY(sp_hdf5_write_string(index->file, object, SP_TOKENS_TOKENIZER_DIGEST,
                                stream->tokenizer_digest));
    SP_TRY(sp_hdf5_write_u64(index->file, object, SP_TOKENS_POSITION, s));
    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s/" SP_TOKENS_IDS, stream->name);
    SP_TRY(write_ids(index, s, object));
    snprintf(object, sizeof object, SP_TOKENS_STREAMS "/%s/" SP_TOKENS_OFFSETS, stream->name);
    set_segment_pieces(index, 1); /* row 0 has no part and reads as 0 */
    return write_dataset(index, object, sp_hdf5_number_type(SP_HDF5_U64),
                         index->plan->n_segments + 1);
}

/* ---- sources ---- */

static sp_status write_source_numbers(const sp_hdf5_file *file, const char *name,
                                      const sp_tokens_source *sources, size_t n, size_t offset) {
    sp_hdf5_column column = SP_HDF5_NO_COLUMN;
    SP_TRY(sp_hdf5_column_create(&column, file, name, SP_HDF5_U64, 0, true));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n && status == SP_OK; i++)
        status = sp_hdf5_column_append(&column, (const char *)&sources[i] + offset, 1);
    if (status == SP_OK) status = sp_hdf5_column_finish(&column);
    sp_hdf5_column_release(&column);
    return status;
}

static sp_status write_sources(const index_writer *index, const sp_tokens_source *sources,
                               size_t n) {
    sp_hdf5_strings paths = {0};
    SP_TRY(write_source_numbers(index->file, SP_TOKENS_SOURCE_BYTES, sources, n,
                                offsetof(sp_tokens_source, n_bytes)));
    SP_TRY(write_source_numbers(index->file, SP_TOKENS_SOURCE_DOCUMENTS, sources, n,
                                offsetof(sp_tokens_source, n_documents)));
    SP_TRY(sp_hdf5_strings_begin(&paths, index->file->path));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n && status == SP_OK; i++)
        status = sp_hdf5_strings_append(&paths, sources[i].path);
    if (status == SP_OK)
        status = sp_hdf5_strings_finish(&paths, index->file, SP_TOKENS_SOURCE_PATH);
    sp_hdf5_strings_release(&paths);
    return status;
}

/* ---- digests ---- */

/* Reads a part's digest and its sum; the part is what the plan says if its documents are as
   many. */
static sp_status read_part(const sp_tokens_plan_part *part, char digest[SP_DIGEST_HEX_SIZE],
                           uint64_t sum[2]) {
    sp_hdf5_file file = {.id = H5I_INVALID_HID};
    char format[64] = "";
    size_t n = 0, n_documents = 0;
    SP_TRY(sp_hdf5_open(&file, part->path));
    sp_status status = sp_hdf5_read_string(&file, "/", "format", format, sizeof format);
    if (status == SP_OK)
        status = sp_hdf5_read_string(&file, "/", SP_TOKENS_DIGEST, digest, SP_DIGEST_HEX_SIZE);
    if (status == SP_OK) status = sp_hdf5_read_u64s(&file, "/", SP_TOKENS_DIGEST_SUM, sum, 2, &n);
    if (status == SP_OK)
        status = sp_hdf5_count(&n_documents, &file, SP_TOKENS_DOCUMENT_HASH, SP_HDF5_U64);
    if (status == SP_OK &&
        (strcmp(format, SP_TOKENS_PART_FORMAT) != 0 || n != 2 || n_documents != part->n_documents))
        status = sp_fail(SP_BAD_DATA, "'%s': not the part that was to be written", part->path);
    sp_hdf5_close(&file);
    return status;
}

/* The whole file's digest, from the parts' sums; each part's own goes into the index. */
static sp_status write_digests(const index_writer *index, sp_corpus_digest *digest) {
    const sp_tokens_plan *plan = index->plan;
    const sp_tokens_job *job = plan->job;
    char hex[SP_DIGEST_HEX_SIZE], *header = NULL;
    size_t header_len = 0;
    for (size_t p = 0; p < plan->n_parts; p++) {
        char name[2 * SP_HDF5_PART_NAME_SIZE];
        uint64_t sum[2];
        if (plan->parts[p].n_blocks == 0) continue;
        SP_TRY(read_part(&plan->parts[p], hex, sum));
        sp_corpus_digest_add(digest, sum);
        snprintf(name, sizeof name, SP_TOKENS_PART_DIGEST, plan->parts[p].name);
        SP_TRY(sp_hdf5_write_string(index->file, "/", name, hex));
    }
    SP_TRY(
        sp_tokens_header(&header, &header_len, job->segment_tokens, job->streams, job->n_streams));
    sp_corpus_digest_finish(digest, header, header_len, hex);
    free(header);
    return sp_hdf5_write_string(index->file, "/", SP_TOKENS_DIGEST, hex);
}

/* ---- the file ---- */

static sp_status write_attributes(const index_writer *index, const sp_tokens_origin *origin) {
    const sp_hdf5_file *file = index->file;
    const sp_tokens_job *job = index->plan->job;
    sp_corpus_digest *digest = NULL;
    SP_TRY(sp_hdf5_write_string(file, "/", "format", SP_TOKENS_FORMAT));
    SP_TRY(sp_hdf5_write_u64(file, "/", "format_version", SP_TOKENS_FORMAT_VERSION));
    SP_TRY(sp_hdf5_write_u64(file, "/", SP_TOKENS_SEGMENT_TOKENS, job->segment_tokens));
    SP_TRY(sp_hdf5_write_string(file, "/", SP_TOKENS_CUT_STREAM, job->streams[0].name));
    SP_TRY(sp_tokens_origin_write(file, origin));
    SP_TRY(sp_corpus_digest_create(&digest));
    const sp_status status = write_digests(index, digest);
    sp_corpus_digest_destroy(digest);
    return status;
}

static sp_status write_all(const index_writer *index, const sp_tokens_source *sources,
                           size_t n_sources, const sp_tokens_origin *origin) {
    static const char *const groups[] = {SP_TOKENS_SEGMENTS, SP_TOKENS_STREAMS, SP_TOKENS_DOCUMENTS,
                                         SP_TOKENS_SOURCES};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        SP_TRY(sp_hdf5_create_group(index->file, groups[i]));
    SP_TRY(write_documents(index));
    SP_TRY(write_segments(index));
    for (size_t s = 0; s < index->plan->job->n_streams; s++) SP_TRY(write_stream(index, s));
    SP_TRY(write_sources(index, sources, n_sources));
    return write_attributes(index, origin);
}

static sp_status allocate(index_writer *index) {
    const sp_tokens_plan *plan = index->plan;
    void *names = NULL, *rows = NULL, *pieces = NULL;
    SP_TRY(sp_alloc_array(&names, plan->n_parts, sizeof *index->part_names, "an index"));
    index->part_names = names;
    SP_TRY(sp_alloc_array(&rows, plan->n_parts, sizeof *index->part_rows, "an index"));
    index->part_rows = rows;
    SP_TRY(sp_alloc_array(&pieces, plan->n_blocks, sizeof *index->pieces, "an index"));
    index->pieces = pieces;
    for (size_t p = 0; p < plan->n_parts; p++) index->part_names[p] = plan->parts[p].name;
    return SP_OK;
}

sp_status sp_tokens_index_write(const sp_tokens_plan *plan, const sp_tokens_source *sources,
                                size_t n_sources, const char *summary) {
    assert(plan->is_settled);
    sp_atomic_file target = {0};
    sp_hdf5_file file = {.id = H5I_INVALID_HID};
    index_writer index = {.plan = plan, .file = &file};
    sp_tokens_origin origin;
    sp_tokens_replaced replaced = {0};
    if (plan->n_segments == 0)
        return sp_fail(SP_BAD_DATA, "no text to tokenize: '%s' is not written", plan->output);
    sp_status status = allocate(&index);
    if (status == SP_OK) status = sp_tokens_origin_make(&origin, plan->job, summary);
    if (status == SP_OK) status = sp_tokens_replaced_find(&replaced, plan->output);
    if (status == SP_OK) status = sp_atomic_begin(&target, plan->output);
    if (status == SP_OK) {
        sp_hdf5_lock();
        status = sp_hdf5_create(&file, target.temp_path, target.path, true);
        if (status == SP_OK) status = write_all(&index, sources, n_sources, &origin);
        if (status == SP_OK) status = sp_hdf5_finish(&file);
        if (status == SP_OK) status = sp_hdf5_seal(target.temp_path, target.path);
        sp_hdf5_close(&file);
        sp_hdf5_unlock();
    }
    if (status == SP_OK) status = sp_atomic_commit(&target);
    if (status == SP_OK) status = sp_tokens_replaced_remove(&replaced, plan);
    sp_tokens_replaced_free(&replaced);
    sp_atomic_abort(&target);
    free(index.pieces);
    free(index.part_rows);
    free(index.part_names);
    return status;
}
