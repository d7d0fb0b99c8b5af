#include "io/slots_file.h"

#include "base/memory.h"
#include "io/hdf5_internal.h"
#include "io/slots_schema.h"
#include "tensor/tensor.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ids are searched, and slots converted, in parts of this size. */
enum { PART_BYTES = 1 << 18 };

struct sp_slots {
    char *path;
    sp_hdf5_file file;
    sp_slots_info info;
    char compressor_digest[SP_SLOTS_DIGEST_SIZE];
    sp_hdf5_dataset values;
    size_t n_documents, n_segments, n_slots;
    uint64_t *doc, *byte_begin, *slot_begin; /* [n_segments], owned */
    uint32_t *byte_len, *n_tokens;           /* [n_segments], owned */
};

/* ---- opening ---- */

/* Reads an attribute that is one of two words. */
static sp_status read_choice(const sp_hdf5_file *file, const char *name, const char *const words[2],
                             int *choice) {
    char text[32];
    SP_TRY(sp_hdf5_read_string(file, "/", name, text, sizeof text));
    for (*choice = 0; *choice < 2; ++*choice)
        if (strcmp(text, words[*choice]) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': attribute '%s' is '%s', neither '%s' nor '%s'", file->path,
                   name, text, words[0], words[1]);
}

static sp_status read_header(sp_slots *slots) {
    const sp_hdf5_file *file = &slots->file;
    char format[64];
    uint64_t version = 0, d = 0;
    double ratio = 0;
    int space = 0, dtype = 0;
    if (sp_hdf5_read_string(file, "/", "format", format, sizeof format) != SP_OK ||
        strcmp(format, SP_SLOTS_FORMAT) != 0)
        return sp_fail(SP_BAD_DATA, "'%s': not a slot file of slotpress", slots->path);
    SP_TRY(sp_hdf5_read_u64(file, "/", "format_version", &version));
    if (version != SP_SLOTS_FORMAT_VERSION)
        return sp_fail(SP_BAD_DATA, "'%s': slot format version %ju; this program reads %d",
                       slots->path, (uintmax_t)version, SP_SLOTS_FORMAT_VERSION);
    SP_TRY(read_choice(file, SP_SLOTS_SPACE, sp_slots_spaces, &space));
    SP_TRY(read_choice(file, SP_SLOTS_DTYPE, sp_slots_dtypes, &dtype));
    SP_TRY(sp_hdf5_read_u64(file, "/", SP_SLOTS_D, &d));
    if (d == 0 || d > SP_SLOTS_MAX_D)
        return sp_fail(SP_BAD_DATA, "'%s': slots of %ju values", slots->path, (uintmax_t)d);
    SP_TRY(sp_hdf5_read_double(file, "/", SP_SLOTS_RATIO, &ratio));
    if (!(ratio > 0 && ratio < INFINITY))
        return sp_fail(SP_BAD_DATA, "'%s': a ratio of %g", slots->path, ratio);
    SP_TRY(sp_hdf5_read_string(file, "/", SP_SLOTS_COMPRESSOR_DIGEST, slots->compressor_digest,
                               sizeof slots->compressor_digest));
    slots->info = (sp_slots_info){.space = (sp_slots_space)space,
                                  .dtype = (sp_slots_dtype)dtype,
                                  .d = d,
                                  .ratio = ratio,
                                  .compressor_digest = slots->compressor_digest};
    return SP_OK;
}

static sp_status load_segments(sp_slots *slots) {
    const struct {
        void **values;
        const char *name;
        sp_hdf5_kind kind;
    } columns[] = {
        {(void **)&slots->doc, SP_SLOTS_DOC, SP_HDF5_U64},
        {(void **)&slots->byte_begin, SP_SLOTS_BYTE_BEGIN, SP_HDF5_U64},
        {(void **)&slots->slot_begin, SP_SLOTS_SLOT_BEGIN, SP_HDF5_U64},
        {(void **)&slots->byte_len, SP_SLOTS_BYTE_LEN, SP_HDF5_U32},
        {(void **)&slots->n_tokens, SP_SLOTS_TOKENS, SP_HDF5_U32},
    };
    SP_TRY(sp_hdf5_count(&slots->n_segments, &slots->file, SP_SLOTS_DOC, SP_HDF5_U64));
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        SP_TRY(sp_hdf5_load(columns[i].values, &slots->file, columns[i].name, columns[i].kind,
                            slots->n_segments));
    return SP_OK;
}

/* Documents never fall, slots follow each other from 0, and text ranges can be added up. */
static sp_status check_segments(const sp_slots *slots) {
    if (slots->n_segments > 0 && slots->slot_begin[0] != 0)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': does not begin at 0", slots->path,
                       SP_SLOTS_SLOT_BEGIN);
    for (size_t i = 0; i < slots->n_segments; i++) {
        const char *wrong = NULL;
        if (slots->doc[i] >= slots->n_documents) wrong = "its document is beyond /documents";
        if (i > 0 && slots->doc[i] < slots->doc[i - 1]) wrong = "its document falls";
        if (slots->slot_begin[i] > slots->n_slots) wrong = "its slots are beyond the file's";
        if (i > 0 && slots->slot_begin[i] < slots->slot_begin[i - 1]) wrong = "its slots fall";
        if (slots->byte_begin[i] > UINT64_MAX - slots->byte_len[i]) wrong = "absurd text range";
        if (wrong != NULL)
            return sp_fail(SP_BAD_DATA, "'%s', segment %zu: %s", slots->path, i, wrong);
    }
    return SP_OK;
}

static sp_status open_all(sp_slots *slots) {
    SP_TRY(sp_hdf5_open(&slots->file, slots->path));
    SP_TRY(read_header(slots));
    const sp_hdf5_kind kind = slots->info.dtype == SP_SLOTS_F16 ? SP_HDF5_F16 : SP_HDF5_U16;
    SP_TRY(sp_hdf5_open_dataset(&slots->values, &slots->file, SP_SLOTS_VALUES, kind, 2, 0));
    if (slots->values.extent[1] != slots->info.d)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': rows of %zu values, not %zu", slots->path,
                       SP_SLOTS_VALUES, slots->values.extent[1], slots->info.d);
    slots->n_slots = slots->values.extent[0];
    SP_TRY(sp_hdf5_count(&slots->n_documents, &slots->file, SP_SLOTS_DOCUMENT_HASH, SP_HDF5_U64));
    SP_TRY(load_segments(slots));
    return check_segments(slots);
}

sp_status sp_slots_open(sp_slots **slots, const char *path) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **slots, "a slot file"));
    sp_slots *made = block;
    made->values = SP_HDF5_NO_DATASET;
    made->path = strdup(path);
    sp_status status = SP_OK;
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
    sp_hdf5_release_dataset(&slots->values);
    sp_hdf5_close(&slots->file);
    sp_hdf5_unlock();
    free(slots->n_tokens);
    free(slots->byte_len);
    free(slots->slot_begin);
    free(slots->byte_begin);
    free(slots->doc);
    free(slots->path);
    free(slots);
}

/* ---- reading ---- */

const sp_slots_info *sp_slots_get_info(const sp_slots *slots) { return &slots->info; }
size_t sp_slots_n_documents(const sp_slots *slots) { return slots->n_documents; }
size_t sp_slots_n_segments(const sp_slots *slots) { return slots->n_segments; }
size_t sp_slots_n_slots(const sp_slots *slots) { return slots->n_slots; }

sp_slots_segment sp_slots_get_segment(const sp_slots *slots, size_t segment) {
    assert(segment < slots->n_segments);
    const bool is_last = segment + 1 == slots->n_segments;
    const size_t slot_end = is_last ? slots->n_slots : slots->slot_begin[segment + 1];
    return (sp_slots_segment){.doc = slots->doc[segment],
                              .byte_begin = slots->byte_begin[segment],
                              .byte_len = slots->byte_len[segment],
                              .n_tokens = slots->n_tokens[segment],
                              .slot_begin = slots->slot_begin[segment],
                              .n_slots = slot_end - slots->slot_begin[segment]};
}

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

static sp_status find_row(const sp_slots *slots, const char *id, size_t *row) {
    sp_hdf5_dataset ids = SP_HDF5_NO_DATASET;
    SP_TRY(sp_hdf5_open_dataset(&ids, &slots->file, SP_SLOTS_DOCUMENT_ID, SP_HDF5_STRING, 1, 0));
    sp_status status = SP_OK;
    if (ids.extent[0] != slots->n_documents)
        status = sp_fail(SP_BAD_DATA, "'%s', '%s': %zu ids of %zu documents", slots->path,
                         SP_SLOTS_DOCUMENT_ID, ids.extent[0], slots->n_documents);
    if (status == SP_OK) status = search_ids(&ids, id, row);
    sp_hdf5_release_dataset(&ids);
    return status;
}

/* The first segment whose document is `document` or a later one. */
static size_t first_segment(const sp_slots *slots, uint64_t document) {
    size_t begin = 0, end = slots->n_segments;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        if (slots->doc[middle] < document)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

sp_status sp_slots_find_document(const sp_slots *slots, const char *id, size_t *segment_begin,
                                 size_t *segment_end) {
    size_t row = 0;
    sp_hdf5_lock();
    const sp_status status = find_row(slots, id, &row);
    sp_hdf5_unlock();
    if (status != SP_OK) return status;
    if (row == slots->n_documents)
        return sp_fail(SP_USAGE,
                       "'%s': no document '%s' among its %zu; `slotpress inspect` lists them",
                       slots->path, id, slots->n_documents);
    sp_slots_document_segments(slots, row, segment_begin, segment_end);
    return SP_OK;
}

void sp_slots_document_segments(const sp_slots *slots, size_t document, size_t *segment_begin,
                                size_t *segment_end) {
    *segment_begin = first_segment(slots, document);
    *segment_end = first_segment(slots, document + 1);
}

sp_status sp_slots_document_id(const sp_slots *slots, size_t document, char **id) {
    sp_hdf5_lock();
    const sp_status status = sp_hdf5_load_string(id, &slots->file, SP_SLOTS_DOCUMENT_ID, document);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_slots_read(const sp_slots *slots, size_t begin, size_t n, float *out) {
    assert(begin <= slots->n_slots && n <= slots->n_slots - begin);
    const size_t d = slots->info.d;
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, n * d, sizeof(uint16_t), "slots"));
    sp_hdf5_lock();
    sp_status status = sp_hdf5_read_rows(&slots->values, begin, n, block);
    sp_hdf5_unlock();
    if (status == SP_OK && slots->info.dtype == SP_SLOTS_F16) sp_f16_to_f32(out, block, n * d);
    if (status == SP_OK && slots->info.dtype == SP_SLOTS_BF16) sp_bf16_to_f32(out, block, n * d);
    for (size_t i = 0; i < n * d && status == SP_OK; i++)
        if (!isfinite(out[i]))
            status = sp_fail(SP_BAD_DATA, "'%s', '%s', row %zu: not finite", slots->path,
                             SP_SLOTS_VALUES, begin + i / d);
    free(block);
    return status;
}

/* ---- describing ---- */

/* The first documents with their ids and numbers of segments; a corpus may have millions. */
static sp_status describe_documents(json_t *documents, const sp_slots *slots) {
    enum { MOST_LISTED = 100 };
    const size_t n = slots->n_documents < MOST_LISTED ? slots->n_documents : MOST_LISTED;
    for (size_t i = 0; i < n; i++) {
        char *id = NULL;
        SP_TRY(sp_slots_document_id(slots, i, &id));
        const size_t n_segments = first_segment(slots, i + 1) - first_segment(slots, i);
        json_array_append_new(
            documents, json_pack("{s:s*, s:I}", "id", id, "segments", (json_int_t)n_segments));
        free(id);
    }
    return SP_OK;
}

sp_status sp_slots_describe(json_t **description, const char *path) {
    sp_slots *slots = NULL;
    SP_TRY(sp_slots_open(&slots, path));
    json_t *documents = json_array();
    sp_status status = describe_documents(documents, slots);
    json_t *made = json_pack(
        "{s:s, s:i, s:s, s:s, s:I, s:f, s:s, s:I, s:I, s:I, s:o}", "format", SP_SLOTS_FORMAT,
        "format_version", SP_SLOTS_FORMAT_VERSION, "space", sp_slots_spaces[slots->info.space],
        "dtype", sp_slots_dtypes[slots->info.dtype], "d", (json_int_t)slots->info.d, "ratio",
        slots->info.ratio, "compressor_digest", slots->compressor_digest, "documents",
        (json_int_t)slots->n_documents, "segments", (json_int_t)slots->n_segments, "slots",
        (json_int_t)slots->n_slots, "first_documents", documents);
    if (status == SP_OK && made == NULL)
        status = sp_fail(SP_BAD_DATA, "'%s': a name in it is not UTF-8", path);
    if (status == SP_OK) {
        *description = made;
        made = NULL;
    }
    json_decref(made);
    sp_slots_close(slots);
    return status;
}
