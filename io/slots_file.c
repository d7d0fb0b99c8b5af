#include "io/slots_file.h"

#include "base/memory.h"
#include "io/hdf5_table.h"
#include "io/slots_header.h"
#include "io/slots_lookup.h"
#include "io/slots_rows.h"
#include "io/slots_schema.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ids are searched, and slots converted, in parts of this size. */
enum { PART_BYTES = 1 << 18 };

/* For chunks of scales, texts and ids that stay unpacked. */
enum { CACHE_BYTES = 1 << 20 };

/* Segments and documents of one file: a part, or the file itself. */
typedef struct file_range {
    size_t part; /* index of the name in `names`; NO_PART: the file itself */
    size_t segment_begin, segment_end, slot_begin, slot_end;
    size_t document_begin, document_end;
} file_range;
enum { NO_PART = -1 };

/* The file whose values were read last. */
typedef struct value_file {
    const file_range *range; /* NULL: none is open */
    char *path;              /* owned */
    sp_hdf5_file file;
    sp_hdf5_dataset values;
} value_file;

struct sp_slots {
    char *path;
    sp_hdf5_table *table;
    size_t hash_column, id_column, scale_column, text_column;
    sp_slots_header header;
    sp_hdf5_parts names;
    file_range *ranges; /* [n_ranges], owned, in order */
    size_t n_ranges;
    value_file *at; /* owned */
    size_t n_documents, n_slots, n_text_bytes;
    sp_slots_rows rows; /* the segments */
};

/* ---- opening: columns ---- */

/* Adds a column that must have n rows. */
static sp_status add_column(sp_slots *slots, size_t *column, const char *name, sp_hdf5_kind kind,
                            size_t n, size_t cache_bytes) {
    size_t n_rows = 0;
    SP_TRY(sp_hdf5_table_add(slots->table, column, &n_rows, name, kind, 0, cache_bytes));
    if (n_rows == n) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s', '%s': %zu values where %zu belong", slots->path, name,
                   n_rows, n);
}

/* The extent of the values, whose rows may lie in parts. */
static sp_status count_slots(sp_slots *slots) {
    hid_t dataset = H5Dopen2(sp_hdf5_table_file(slots->table)->id, SP_SLOTS_VALUES, H5P_DEFAULT);
    if (dataset < 0) return sp_hdf5_fail(slots->path, SP_SLOTS_VALUES);
    hid_t space = H5Dget_space(dataset);
    hsize_t extent[2] = {0};
    const bool is_matrix = space >= 0 && H5Sget_simple_extent_ndims(space) == 2 &&
                           H5Sget_simple_extent_dims(space, extent, NULL) == 2;
    sp_hdf5_release(&space);
    sp_hdf5_release(&dataset);
    H5Eclear2(H5E_DEFAULT);
    if (!is_matrix || extent[1] != slots->header.info.d)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': not rows of %zu values", slots->path,
                       SP_SLOTS_VALUES, slots->header.info.d);
    slots->n_slots = extent[0];
    return SP_OK;
}

static sp_status open_columns(sp_slots *slots) {
    const bool has_text = slots->header.info.has_text;
    sp_hdf5_table *table = slots->table;
    SP_TRY(sp_hdf5_table_add(table, &slots->hash_column, &slots->n_documents,
                             SP_SLOTS_DOCUMENT_HASH, SP_HDF5_U64, 0, CACHE_BYTES));
    SP_TRY(add_column(slots, &slots->id_column, SP_SLOTS_DOCUMENT_ID, SP_HDF5_STRING,
                      slots->n_documents, CACHE_BYTES));
    SP_TRY(sp_slots_rows_add(&slots->rows, table, slots->path, has_text, slots->n_slots));
    if (sp_slots_has_scales(slots->header.info.dtype))
        SP_TRY(add_column(slots, &slots->scale_column, SP_SLOTS_SCALES, SP_HDF5_F32, slots->n_slots,
                          CACHE_BYTES));
    if (has_text)
        SP_TRY(sp_hdf5_table_add(table, &slots->text_column, &slots->n_text_bytes,
                                 SP_SLOTS_TEXT_BYTES, SP_HDF5_U8, 0, CACHE_BYTES));
    SP_TRY(sp_hdf5_table_check(table, SP_SLOTS_PART_FORMAT, SP_SLOTS_PART_DIGEST));
    return sp_slots_rows_check(&slots->rows, slots->n_documents, slots->n_text_bytes);
}

/* ---- opening: which file holds what ---- */

/* The rows that a part has: it is taken as a whole, in one piece. */
static sp_status take_piece(const sp_slots *slots, const sp_hdf5_rows *rows, size_t part,
                            size_t *end) {
    const size_t begin = *end;
    for (size_t i = 0; i < rows->n_pieces; i++) {
        const sp_hdf5_piece *piece = &rows->pieces[i];
        if (piece->part != part) continue;
        if (piece->part_begin != 0 || piece->begin != begin || *end != begin)
            return sp_fail(SP_BAD_DATA, "'%s': part '%s' is not taken as a whole and in its place",
                           slots->path, slots->names.names[part]);
        *end += piece->n;
    }
    return SP_OK;
}

static sp_status slot_at(const sp_slots *slots, size_t segment, size_t *slot) {
    sp_slots_segment at = {.slot_begin = slots->n_slots};
    if (segment < slots->rows.n) SP_TRY(sp_slots_rows_get(&slots->rows, segment, &at, NULL));
    *slot = at.slot_begin;
    return SP_OK;
}

/* Parts follow each other in the order of their names. */
static sp_status set_ranges(sp_slots *slots, const sp_hdf5_rows *segments,
                            const sp_hdf5_rows *documents) {
    size_t document = 0, segment = 0;
    for (size_t i = 0; i < slots->n_ranges; i++) {
        file_range *range = &slots->ranges[i];
        size_t part = slots->names.n;
        for (size_t p = 0; p < slots->names.n; p++) {
            const bool is_behind =
                i == 0 || strcmp(slots->names.names[p], slots->names.names[range[-1].part]) > 0;
            if (is_behind && (part == slots->names.n ||
                              strcmp(slots->names.names[p], slots->names.names[part]) < 0))
                part = p;
        }
        *range = (file_range){.part = part, .segment_begin = segment, .document_begin = document};
        SP_TRY(take_piece(slots, segments, part, &segment));
        SP_TRY(take_piece(slots, documents, part, &document));
        range->segment_end = segment;
        range->document_end = document;
        SP_TRY(slot_at(slots, range->segment_begin, &range->slot_begin));
        SP_TRY(slot_at(slots, segment, &range->slot_end));
    }
    return SP_OK;
}

static sp_status find_ranges(sp_slots *slots) {
    const sp_hdf5_file *file = sp_hdf5_table_file(slots->table);
    sp_hdf5_rows segments = {0}, documents = {0};
    bool is_virtual = false, are_virtual = false;
    void *block = NULL;
    sp_status status = sp_hdf5_read_virtual(&is_virtual, &documents, &slots->names, file,
                                            SP_SLOTS_DOCUMENT_HASH, 0);
    if (status == SP_OK)
        status =
            sp_hdf5_read_virtual(&are_virtual, &segments, &slots->names, file, SP_SLOTS_DOC, 0);
    if (status == SP_OK && is_virtual != are_virtual)
        status = sp_fail(SP_BAD_DATA, "'%s': only some of it lies in parts", slots->path);
    slots->n_ranges = is_virtual ? slots->names.n : 1;
    if (status == SP_OK)
        status = sp_alloc_array(&block, slots->n_ranges, sizeof *slots->ranges, "parts");
    slots->ranges = block;
    if (status == SP_OK && is_virtual) status = set_ranges(slots, &segments, &documents);
    if (status == SP_OK && !is_virtual)
        slots->ranges[0] = (file_range){.part = (size_t)NO_PART,
                                        .segment_end = slots->rows.n,
                                        .slot_end = slots->n_slots,
                                        .document_end = slots->n_documents};
    sp_hdf5_rows_free(&segments);
    sp_hdf5_rows_free(&documents);
    return status;
}

/* ---- opening: the file that a range lies in ---- */

static void close_values(value_file *at) {
    sp_hdf5_release_dataset(&at->values);
    sp_hdf5_close(&at->file);
    free(at->path);
    *at = (value_file){.file = {.id = H5I_INVALID_HID}, .values = SP_HDF5_NO_DATASET};
}

static sp_status open_values(const sp_slots *slots, const file_range *range) {
    value_file *at = slots->at;
    const sp_slots_info *info = &slots->header.info;
    const char *slash = strrchr(slots->path, '/');
    const int folder_len = slash == NULL ? 0 : (int)(slash + 1 - slots->path);
    if (at->range == range) return SP_OK;
    close_values(at);
    const int n = range->part == (size_t)NO_PART
                      ? asprintf(&at->path, "%s", slots->path)
                      : asprintf(&at->path, "%.*s%s", folder_len, slots->path,
                                 slots->names.names[range->part]);
    if (n < 0) {
        at->path = NULL;
        return sp_fail(SP_FAILURE, "no memory for a part's path");
    }
    SP_TRY(sp_hdf5_open(&at->file, at->path));
    SP_TRY(sp_hdf5_open_dataset(&at->values, &at->file, SP_SLOTS_VALUES,
                                sp_slots_value_kind(info->dtype), 2, 0));
    const size_t n_rows = range->slot_end - range->slot_begin;
    if (at->values.extent[0] != n_rows || at->values.extent[1] != info->d)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': %zu rows of %zu values, not %zu of %zu", at->path,
                       SP_SLOTS_VALUES, at->values.extent[0], at->values.extent[1], n_rows,
                       info->d);
    at->range = range;
    return SP_OK;
}

static sp_status open_all(sp_slots *slots) {
    SP_TRY(sp_hdf5_table_open(&slots->table, slots->path));
    SP_TRY(sp_slots_header_read(&slots->header, sp_hdf5_table_file(slots->table)));
    SP_TRY(count_slots(slots));
    SP_TRY(open_columns(slots));
    SP_TRY(find_ranges(slots));
    for (size_t i = 0; i < slots->n_ranges; i++) SP_TRY(open_values(slots, &slots->ranges[i]));
    return SP_OK;
}

sp_status sp_slots_open(sp_slots **slots, const char *path) {
    void *block = NULL, *at = NULL;
    SP_TRY(sp_alloc(&block, sizeof **slots, "a slot file"));
    sp_slots *made = block;
    sp_status status = sp_alloc(&at, sizeof *made->at, "a slot file");
    made->at = at;
    if (made->at != NULL)
        *made->at = (value_file){.file = {.id = H5I_INVALID_HID}, .values = SP_HDF5_NO_DATASET};
    made->path = strdup(path);
    if (made->path == NULL) status = sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    if (status == SP_OK) {
        sp_hdf5_lock();
        status = open_all(made);
        sp_hdf5_unlock();
    }
    if (status == SP_OK)
        *slots = made;
    else
        sp_slots_close(made);
    return status;
}

void sp_slots_close(sp_slots *slots) {
    if (slots == NULL) return;
    sp_hdf5_lock();
    if (slots->at != NULL) close_values(slots->at);
    sp_hdf5_table_close(slots->table);
    sp_hdf5_unlock();
    sp_hdf5_parts_free(&slots->names);
    free(slots->at);
    free(slots->ranges);
    sp_slots_rows_free(&slots->rows);
    free(slots->path);
    free(slots);
}

bool sp_slots_is_of_job(const char *path, const char *job_digest) {
    sp_hdf5_file file = {.id = H5I_INVALID_HID};
    sp_slots_header header;
    if (access(path, F_OK) != 0) return false;
    sp_hdf5_lock();
    const bool is_ours = sp_hdf5_open(&file, path) == SP_OK &&
                         sp_slots_header_read(&header, &file) == SP_OK &&
                         strcmp(header.job_digest, job_digest) == 0;
    sp_hdf5_close(&file);
    sp_hdf5_unlock();
    return is_ours;
}

/* ---- what is known ---- */

const sp_slots_info *sp_slots_get_info(const sp_slots *slots) { return &slots->header.info; }
const char *sp_slots_digest_of(const sp_slots *slots) { return slots->header.digest; }
size_t sp_slots_n_documents(const sp_slots *slots) { return slots->n_documents; }
size_t sp_slots_n_segments(const sp_slots *slots) { return slots->rows.n; }
size_t sp_slots_n_slots(const sp_slots *slots) { return slots->n_slots; }
size_t sp_slots_n_parts(const sp_slots *slots) { return sp_hdf5_table_n_parts(slots->table); }

sp_status sp_slots_get_segment(const sp_slots *slots, size_t segment, sp_slots_segment *out) {
    sp_hdf5_lock();
    const sp_status status = sp_slots_rows_get(&slots->rows, segment, out, NULL);
    sp_hdf5_unlock();
    return status;
}

/* ---- documents ---- */

/* Finds the first row of `ids` that is `id`, padded with NUL; *row is the number of rows if none. */
static sp_status search_ids(const sp_hdf5_dataset *ids, const char *id, size_t *row) {
    const size_t n_bytes = ids->item_bytes, len = strlen(id), n_rows = ids->extent[0];
    const size_t part = n_bytes < PART_BYTES ? PART_BYTES / n_bytes : 1;
    void *block = NULL;
    *row = n_rows;
    if (len > n_bytes) return SP_OK;
    SP_TRY(sp_alloc_array(&block, part, n_bytes, "document ids"));
    sp_status status = SP_OK;
    for (size_t begin = 0; begin < n_rows && status == SP_OK && *row == n_rows; begin += part) {
        const size_t n = n_rows - begin < part ? n_rows - begin : part;
        status = sp_hdf5_read_rows(ids, begin, n, block);
        for (size_t i = 0; i < n && status == SP_OK && *row == n_rows; i++) {
            const char *text = (const char *)block + i * n_bytes;
            if (memcmp(text, id, len) == 0 && (len == n_bytes || text[len] == '\0'))
                *row = begin + i;
        }
    }
    free(block);
    return status;
}

/* *row: in the whole file; its number of documents if none of the range is it. */
static sp_status find_in_range(const sp_slots *slots, const file_range *range, const char *id,
                               size_t *row) {
    sp_hdf5_dataset ids = SP_HDF5_NO_DATASET;
    const size_t n = range->document_end - range->document_begin;
    size_t found = n;
    SP_TRY(open_values(slots, range));
    SP_TRY(
        sp_hdf5_open_dataset(&ids, &slots->at->file, SP_SLOTS_DOCUMENT_ID, SP_HDF5_STRING, 1, 0));
    sp_status status = SP_OK;
    if (ids.extent[0] != n)
        status = sp_fail(SP_BAD_DATA, "'%s', '%s': %zu ids of %zu documents", slots->at->path,
                         SP_SLOTS_DOCUMENT_ID, ids.extent[0], n);
    if (status == SP_OK) status = search_ids(&ids, id, &found);
    sp_hdf5_release_dataset(&ids);
    *row = found < n ? range->document_begin + found : slots->n_documents;
    return status;
}

static sp_status search_row(const sp_slots *slots, const char *id, size_t *row) {
    *row = slots->n_documents;
    for (size_t i = 0; i < slots->n_ranges && *row == slots->n_documents; i++)
        SP_TRY(find_in_range(slots, &slots->ranges[i], id, row));
    return SP_OK;
}

/* That an id is not there is the end of a command, and worth a search of all. */
static sp_status find_row(const sp_slots *slots, const char *id, size_t *row) {
    const bool has_lookup = sp_slots_lookup_is_there(sp_hdf5_table_file(slots->table));
    *row = slots->n_documents;
    if (has_lookup)
        SP_TRY(sp_slots_lookup_find(slots->table, slots->id_column, slots->n_documents, id, row));
    if (*row < slots->n_documents) return SP_OK;
    SP_TRY(search_row(slots, id, row));
    if (!has_lookup || *row == slots->n_documents) return SP_OK;
    return sp_slots_lookup_fail(slots->path);
}

sp_status sp_slots_find_id(const sp_slots *slots, const char *id, size_t *document) {
    sp_hdf5_lock();
    const sp_status status = find_row(slots, id, document);
    sp_hdf5_unlock();
    return status;
}

/* For verifying: rows of an index are those of the ids. */
sp_status sp_slots_check_lookup(const sp_slots *slots, sp_slots_lookup *lookup) {
    const sp_hdf5_file *file = sp_hdf5_table_file(slots->table);
    sp_hdf5_lock();
    const sp_status status =
        sp_slots_lookup_is_there(file) ? sp_slots_lookup_compare(lookup, file) : SP_OK;
    sp_hdf5_unlock();
    return status;
}

sp_status sp_slots_find_document(const sp_slots *slots, const char *id, size_t *segment_begin,
                                 size_t *segment_end) {
    size_t row = 0;
    SP_TRY(sp_slots_find_id(slots, id, &row));
    if (row == slots->n_documents)
        return sp_fail(SP_USAGE,
                       "'%s': no document '%s' among its %zu; `slotpress inspect` lists them",
                       slots->path, id, slots->n_documents);
    return sp_slots_document_segments(slots, row, segment_begin, segment_end);
}

sp_status sp_slots_document_segments(const sp_slots *slots, size_t document, size_t *segment_begin,
                                     size_t *segment_end) {
    sp_hdf5_lock();
    sp_status status = sp_slots_rows_first(&slots->rows, document, segment_begin);
    if (status == SP_OK) status = sp_slots_rows_first(&slots->rows, document + 1, segment_end);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_slots_document_id(const sp_slots *slots, size_t document, char **id) {
    sp_hdf5_lock();
    const sp_status status = sp_hdf5_table_string(slots->table, slots->id_column, document, id);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_slots_document_hash(const sp_slots *slots, size_t document, uint64_t *hash) {
    sp_hdf5_lock();
    const sp_status status =
        sp_hdf5_table_read(slots->table, slots->hash_column, document, 1, hash);
    sp_hdf5_unlock();
    return status;
}

/* ---- values and texts ---- */

/* The first range that ends behind the slot. */
static const file_range *range_of_slot(const sp_slots *slots, size_t slot) {
    size_t low = 0, high = slots->n_ranges - 1;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (slots->ranges[middle].slot_end <= slot)
            low = middle + 1;
        else
            high = middle;
    }
    return &slots->ranges[low];
}

static sp_status read_values(const sp_slots *slots, size_t begin, size_t n, char *out) {
    const size_t row_bytes = sp_slots_value_bytes(slots->header.info.dtype, slots->header.info.d);
    for (size_t part = 0; n > 0; n -= part, begin += part, out += part * row_bytes) {
        const file_range *range = range_of_slot(slots, begin);
        part = range->slot_end - begin < n ? range->slot_end - begin : n;
        SP_TRY(open_values(slots, range));
        SP_TRY(sp_hdf5_read_rows(&slots->at->values, begin - range->slot_begin, part, out));
    }
    return SP_OK;
}

sp_status sp_slots_read_packed(const sp_slots *slots, size_t begin, size_t n, void *values,
                               float *scales) {
    assert(begin <= slots->n_slots && n <= slots->n_slots - begin);
    sp_hdf5_lock();
    sp_status status = read_values(slots, begin, n, values);
    if (status == SP_OK && sp_slots_has_scales(slots->header.info.dtype))
        status = sp_hdf5_table_read(slots->table, slots->scale_column, begin, n, scales);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_slots_read(const sp_slots *slots, size_t begin, size_t n, float *out) {
    const sp_slots_info *info = &slots->header.info;
    const size_t d = info->d;
    void *values = NULL, *scales = NULL;
    sp_status status = sp_alloc_array(&values, n, sp_slots_value_bytes(info->dtype, d), "slots");
    if (status == SP_OK) status = sp_alloc_array(&scales, n, sizeof(float), "slots");
    if (status == SP_OK) status = sp_slots_read_packed(slots, begin, n, values, scales);
    if (status == SP_OK) sp_slots_unpack(info->dtype, out, values, scales, n, d);
    for (size_t i = 0; i < n * d && status == SP_OK; i++)
        if (!isfinite(out[i]))
            status = sp_fail(SP_BAD_DATA, "'%s', '%s', row %zu: not finite", slots->path,
                             SP_SLOTS_VALUES, begin + i / d);
    free(scales);
    free(values);
    return status;
}

sp_status sp_slots_read_text(const sp_slots *slots, size_t segment, char *text) {
    assert(slots->rows.has_text);
    sp_slots_segment at = {0};
    uint64_t begin = 0;
    sp_hdf5_lock();
    sp_status status = sp_slots_rows_get(&slots->rows, segment, &at, &begin);
    if (status == SP_OK)
        status =
            sp_hdf5_table_read(slots->table, slots->text_column, (size_t)begin, at.byte_len, text);
    sp_hdf5_unlock();
    return status;
}
