#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/content_digest.h"
#include "io/hdf5_seal.h"
#include "io/hdf5_virtual.h"
#include "io/slots_digest.h"
#include "io/slots_header.h"
#include "io/slots_lookup.h"
#include "io/slots_parts.h"
#include "io/slots_schema.h"

#include <stdlib.h>
#include <string.h>

/* Ids are read in parts of this size. */
enum { PART_BYTES = 1 << 18 };

/* What the index is made of while it is written. */
typedef struct index_writer {
    const sp_hdf5_file *file;
    const sp_slots_info *info;
    const sp_slots_counts *parts; /* [n_parts] */
    size_t n_parts;
    char **names;           /* [n_parts], owned: relative to the index's folder */
    size_t *part_rows;      /* [n_parts], owned: of the dataset in work */
    sp_hdf5_piece *pieces;  /* [n_parts], owned: likewise */
    size_t n_rows;          /* of it */
    sp_slots_lookup lookup; /* of all parts' documents */
} index_writer;

/* ---- names ---- */

/* The output's path without its ending. */
static int stem_len(const char *output) {
    const char *slash = strrchr(output, '/'), *name = slash == NULL ? output : slash + 1;
    const char *dot = strrchr(name, '.');
    return (int)(dot == NULL || dot == name ? strlen(output) : (size_t)(dot - output));
}

sp_status sp_slots_parts_folder(char **path, const char *output) {
    if (asprintf(path, "%.*s.parts", stem_len(output), output) >= 0) return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path beside '%s'", output);
}

sp_status sp_slots_part_path(char **path, const char *output, size_t part) {
    if (asprintf(path, "%.*s.parts/part-%06zu.h5", stem_len(output), output, part) >= 0)
        return SP_OK;
    *path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a path beside '%s'", output);
}

static sp_status name_parts(index_writer *index, const char *output) {
    const char *slash = strrchr(output, '/');
    for (size_t p = 0; p < index->n_parts; p++)
        SP_TRY(sp_slots_part_path(&index->names[p], slash == NULL ? output : slash + 1, p));
    const char *name = index->names[0];
    if (strchr(name, '%') != NULL)
        return sp_fail(SP_USAGE, "'%s': HDF5 keeps '%%' for itself in names of parts", output);
    if (strlen(name) >= SP_HDF5_PART_NAME_SIZE)
        return sp_fail(SP_USAGE, "'%s': a name too long for parts", output);
    return SP_OK;
}

/* ---- datasets ---- */

static void set_pieces(index_writer *index, size_t member) {
    size_t begin = 0;
    for (size_t p = 0; p < index->n_parts; p++) {
        const uint64_t *counts =
            (const uint64_t *)(const void *)((const char *)&index->parts[p] + member);
        const size_t n = (size_t)*counts;
        index->pieces[p] = (sp_hdf5_piece){.begin = begin, .n = n, .part = p};
        index->part_rows[p] = n;
        begin += n;
    }
    index->n_rows = begin;
}

static sp_status write_column(const index_writer *index, const char *name, hid_t type) {
    const sp_status status =
        type < 0 ? sp_fail(SP_FAILURE, "no memory for '%s'", name)
                 : sp_hdf5_write_virtual(index->file, name, type, index->n_rows, index->pieces,
                                         index->n_parts, index->names, index->part_rows);
    sp_hdf5_release(&type);
    return status;
}

static sp_status write_number(const index_writer *index, const char *name, sp_hdf5_kind kind) {
    return write_column(index, name, sp_hdf5_number_type(kind));
}

/* Maps a part's rows of values to those of the whole. */
static sp_status map_values(const index_writer *index, hid_t properties, hid_t whole, size_t p) {
    const hsize_t d = index->info->d, extent[] = {index->part_rows[p], d};
    const hsize_t begin[] = {index->pieces[p].begin, 0};
    if (extent[0] == 0) return SP_OK;
    hid_t part = H5Screate_simple(2, extent, NULL);
    sp_status status = SP_OK;
    if (part < 0 || H5Sselect_hyperslab(whole, H5S_SELECT_SET, begin, NULL, extent, NULL) < 0 ||
        H5Pset_virtual(properties, whole, index->names[p], SP_SLOTS_VALUES, part) < 0)
        status = sp_hdf5_fail(index->file->path, SP_SLOTS_VALUES);
    sp_hdf5_release(&part);
    return status;
}

static sp_status write_values(const index_writer *index) {
    const hsize_t extent[] = {index->n_rows, index->info->d};
    hid_t whole = H5Screate_simple(2, extent, NULL);
    hid_t properties = sp_hdf5_properties(0, NULL, false), dataset = H5I_INVALID_HID;
    hid_t type = sp_hdf5_number_type(sp_slots_value_kind(index->info->dtype));
    sp_status status = SP_OK;
    if (whole < 0 || properties < 0 || type < 0)
        status = sp_hdf5_fail(index->file->path, SP_SLOTS_VALUES);
    for (size_t p = 0; p < index->n_parts && status == SP_OK; p++)
        status = map_values(index, properties, whole, p);
    if (status == SP_OK) {
        H5Sselect_all(whole);
        dataset = H5Dcreate2(index->file->id, SP_SLOTS_VALUES, type, whole, H5P_DEFAULT, properties,
                             H5P_DEFAULT);
        if (dataset < 0) status = sp_hdf5_fail(index->file->path, SP_SLOTS_VALUES);
    }
    sp_hdf5_release(&dataset);
    sp_hdf5_release(&type);
    sp_hdf5_release(&properties);
    sp_hdf5_release(&whole);
    return status == SP_OK ? sp_hdf5_check_written(index->file) : status;
}

static sp_status write_datasets(index_writer *index, size_t longest_id) {
    const sp_slots_info *info = index->info;
    set_pieces(index, offsetof(sp_slots_counts, n_documents));
    SP_TRY(write_column(index, SP_SLOTS_DOCUMENT_ID,
                        sp_hdf5_string_type(longest_id > 0 ? longest_id : 1)));
    SP_TRY(write_number(index, SP_SLOTS_DOCUMENT_HASH, SP_HDF5_U64));
    set_pieces(index, offsetof(sp_slots_counts, n_segments));
    SP_TRY(write_number(index, SP_SLOTS_DOC, SP_HDF5_U64));
    SP_TRY(write_number(index, SP_SLOTS_BYTE_BEGIN, SP_HDF5_U64));
    SP_TRY(write_number(index, SP_SLOTS_BYTE_LEN, SP_HDF5_U32));
    SP_TRY(write_number(index, SP_SLOTS_TOKENS, SP_HDF5_U32));
    SP_TRY(write_number(index, SP_SLOTS_SLOT_BEGIN, SP_HDF5_U64));
    if (info->has_text) SP_TRY(write_number(index, SP_SLOTS_TEXT_BEGIN, SP_HDF5_U64));
    set_pieces(index, offsetof(sp_slots_counts, n_text_bytes));
    if (info->has_text) SP_TRY(write_number(index, SP_SLOTS_TEXT_BYTES, SP_HDF5_U8));
    set_pieces(index, offsetof(sp_slots_counts, n_slots));
    if (sp_slots_has_scales(info->dtype)) SP_TRY(write_number(index, SP_SLOTS_SCALES, SP_HDF5_F32));
    return write_values(index);
}

/* ---- digests and ids ---- */

static sp_status add_ids(index_writer *index, const sp_hdf5_dataset *ids) {
    const size_t n_bytes = ids->item_bytes, most = n_bytes < PART_BYTES ? PART_BYTES / n_bytes : 1;
    void *block = NULL; /* [most, n_bytes], and one of them with its end */
    SP_TRY(sp_alloc(&block, (most + 1) * n_bytes + 1, "document ids"));
    char *text = (char *)block + most * n_bytes;
    sp_status status = SP_OK;
    for (size_t begin = 0; begin < ids->extent[0] && status == SP_OK; begin += most) {
        const size_t left = ids->extent[0] - begin, n = left < most ? left : most;
        status = sp_hdf5_read_rows(ids, begin, n, block);
        for (size_t i = 0; i < n && status == SP_OK; i++) {
            memcpy(text, (const char *)block + i * n_bytes, n_bytes);
            text[n_bytes] = '\0';
            status = sp_slots_lookup_add(&index->lookup, text);
        }
    }
    free(block);
    return status;
}

static sp_status read_ids(index_writer *index, const sp_hdf5_file *file, size_t n_documents) {
    sp_hdf5_dataset ids = SP_HDF5_NO_DATASET;
    if (n_documents == 0) return SP_OK;
    SP_TRY(sp_hdf5_open_dataset(&ids, file, SP_SLOTS_DOCUMENT_ID, SP_HDF5_STRING, 1, 0));
    const sp_status status = ids.extent[0] == n_documents
                                 ? add_ids(index, &ids)
                                 : sp_fail(SP_BAD_DATA, "'%s', '%s': %zu ids of %zu documents",
                                           file->path, ids.name, ids.extent[0], n_documents);
    sp_hdf5_release_dataset(&ids);
    return status;
}

/* Reads a part's digests and ids; it is ours if its job is, and its rows are as many. */
static sp_status read_part(index_writer *index, const char *path, size_t p, char *digest,
                           uint64_t sum[2]) {
    sp_hdf5_file file = {.id = H5I_INVALID_HID};
    char format[64] = "", job[64] = "";
    size_t n = 0, n_documents = 0, n_segments = 0;
    SP_TRY(sp_hdf5_open(&file, path));
    sp_status status = sp_hdf5_read_string(&file, "/", "format", format, sizeof format);
    if (status == SP_OK && index->info->job_digest != NULL)
        status = sp_hdf5_read_string(&file, "/", SP_SLOTS_JOB_DIGEST, job, sizeof job);
    if (status == SP_OK)
        status = sp_hdf5_read_string(&file, "/", SP_SLOTS_DIGEST, digest, SP_DIGEST_HEX_SIZE);
    if (status == SP_OK) status = sp_hdf5_read_u64s(&file, "/", SP_SLOTS_DIGEST_SUM, sum, 2, &n);
    if (status == SP_OK)
        status = sp_hdf5_count(&n_documents, &file, SP_SLOTS_DOCUMENT_HASH, SP_HDF5_U64);
    if (status == SP_OK) status = sp_hdf5_count(&n_segments, &file, SP_SLOTS_DOC, SP_HDF5_U64);
    const bool is_ours =
        strcmp(format, SP_SLOTS_PART_FORMAT) == 0 && n == 2 &&
        (index->info->job_digest == NULL || strcmp(job, index->info->job_digest) == 0) &&
        n_documents == index->parts[p].n_documents && n_segments == index->parts[p].n_segments;
    if (status == SP_OK && !is_ours)
        status = sp_fail(SP_BAD_DATA, "'%s': not the part that was to be written", path);
    if (status == SP_OK) status = read_ids(index, &file, n_documents);
    sp_hdf5_close(&file);
    return status;
}

/* What the index has of its own: digests, and where ids are. */
static sp_status write_own(index_writer *index, const char *output) {
    sp_slots_digest digest = {0};
    char hex[SP_DIGEST_HEX_SIZE], name[2 * SP_HDF5_PART_NAME_SIZE];
    for (size_t p = 0; p < index->n_parts; p++) {
        uint64_t sum[2];
        char *path = NULL;
        SP_TRY(sp_slots_part_path(&path, output, p));
        const sp_status status = read_part(index, path, p, hex, sum);
        free(path);
        SP_TRY(status);
        sp_slots_digest_add(&digest, sum);
        snprintf(name, sizeof name, SP_SLOTS_PART_DIGEST, index->names[p]);
        SP_TRY(sp_hdf5_write_string(index->file, "/", name, hex));
    }
    SP_TRY(sp_slots_digest_finish(&digest, index->info, hex));
    SP_TRY(sp_hdf5_write_string(index->file, "/", SP_SLOTS_DIGEST, hex));
    return sp_slots_lookup_write(&index->lookup, index->file);
}

/* ---- the file ---- */

static sp_status write_file(index_writer *index, const sp_atomic_file *target, size_t longest_id) {
    sp_hdf5_file file = {.id = H5I_INVALID_HID};
    index->file = &file;
    sp_hdf5_lock();
    sp_status status = sp_hdf5_create(&file, target->temp_path, target->path, true);
    if (status == SP_OK) status = sp_slots_header_write(&file, index->info, false);
    if (status == SP_OK) status = write_datasets(index, longest_id);
    if (status == SP_OK) status = write_own(index, target->path);
    if (status == SP_OK) status = sp_hdf5_finish(&file);
    if (status == SP_OK) status = sp_hdf5_seal(target->temp_path, target->path);
    sp_hdf5_close(&file);
    sp_hdf5_unlock();
    return status;
}

static sp_status allocate(index_writer *index) {
    void *names = NULL, *rows = NULL, *pieces = NULL;
    SP_TRY(sp_alloc_array(&names, index->n_parts, sizeof *index->names, "an index"));
    index->names = names;
    SP_TRY(sp_alloc_array(&rows, index->n_parts, sizeof *index->part_rows, "an index"));
    index->part_rows = rows;
    SP_TRY(sp_alloc_array(&pieces, index->n_parts, sizeof *index->pieces, "an index"));
    index->pieces = pieces;
    return SP_OK;
}

sp_status sp_slots_index_write(const char *output, const sp_slots_info *info,
                               const sp_slots_counts *parts, size_t n_parts, size_t longest_id) {
    sp_atomic_file target = {0};
    index_writer index = {.info = info, .parts = parts, .n_parts = n_parts};
    sp_status status = allocate(&index);
    if (status == SP_OK) status = name_parts(&index, output);
    if (status == SP_OK) status = sp_atomic_begin(&target, output);
    if (status == SP_OK) status = write_file(&index, &target, longest_id);
    if (status == SP_OK) status = sp_atomic_commit(&target);
    sp_atomic_abort(&target);
    for (size_t p = 0; index.names != NULL && p < n_parts; p++) free(index.names[p]);
    sp_slots_lookup_free(&index.lookup);
    free(index.pieces);
    free(index.part_rows);
    free(index.names);
    return status;
}
