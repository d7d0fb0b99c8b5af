#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/hdf5_column.h"
#include "io/slots_file.h"
#include "io/slots_schema.h"
#include "tensor/tensor.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sp_slots_writer {
    sp_atomic_file target;
    sp_hdf5_file file;
    sp_hdf5_column values, doc, byte_begin, byte_len, tokens, slot_begin, document_hash;
    sp_hdf5_strings document_ids;
    sp_slots_dtype dtype;
    size_t d;
    uint64_t n_documents, n_slots;
    uint16_t *row; /* [d], owned: one slot as it is stored */
};

static sp_status check_info(const sp_slots_info *info) {
    if (info->d == 0 || info->d > SP_SLOTS_MAX_D)
        return sp_fail(SP_FAILURE, "slots of %zu values", info->d);
    if (strlen(info->compressor_digest) >= SP_SLOTS_DIGEST_SIZE)
        return sp_fail(SP_FAILURE, "a compressor's digest of more than %d bytes",
                       SP_SLOTS_DIGEST_SIZE - 1);
    return SP_OK;
}

static sp_status write_attributes(const sp_hdf5_file *file, const sp_slots_info *info) {
    SP_TRY(sp_hdf5_write_string(file, "/", "format", SP_SLOTS_FORMAT));
    SP_TRY(sp_hdf5_write_u64(file, "/", "format_version", SP_SLOTS_FORMAT_VERSION));
    SP_TRY(sp_hdf5_write_string(file, "/", SP_SLOTS_SPACE, sp_slots_spaces[info->space]));
    SP_TRY(sp_hdf5_write_string(file, "/", SP_SLOTS_DTYPE, sp_slots_dtypes[info->dtype]));
    SP_TRY(sp_hdf5_write_u64(file, "/", SP_SLOTS_D, info->d));
    SP_TRY(sp_hdf5_write_double(file, "/", SP_SLOTS_RATIO, info->ratio));
    return sp_hdf5_write_string(file, "/", SP_SLOTS_COMPRESSOR_DIGEST, info->compressor_digest);
}

static sp_status begin_file(sp_slots_writer *writer, const sp_slots_info *info) {
    const struct {
        sp_hdf5_column *column;
        const char *name;
        sp_hdf5_kind kind;
    } columns[] = {
        {&writer->doc, SP_SLOTS_DOC, SP_HDF5_U64},
        {&writer->byte_begin, SP_SLOTS_BYTE_BEGIN, SP_HDF5_U64},
        {&writer->byte_len, SP_SLOTS_BYTE_LEN, SP_HDF5_U32},
        {&writer->tokens, SP_SLOTS_TOKENS, SP_HDF5_U32},
        {&writer->slot_begin, SP_SLOTS_SLOT_BEGIN, SP_HDF5_U64},
        {&writer->document_hash, SP_SLOTS_DOCUMENT_HASH, SP_HDF5_U64},
    };
    SP_TRY(sp_hdf5_create(&writer->file, writer->target.temp_path, writer->target.path));
    SP_TRY(sp_hdf5_create_group(&writer->file, SP_SLOTS_GROUP));
    SP_TRY(sp_hdf5_create_group(&writer->file, SP_SLOTS_SEGMENTS));
    SP_TRY(sp_hdf5_create_group(&writer->file, SP_SLOTS_DOCUMENTS));
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        SP_TRY(sp_hdf5_column_create(columns[i].column, &writer->file, columns[i].name,
                                     columns[i].kind, 0, true));
    /* 16-bit floats hardly pack: they are checksummed, not deflated. */
    const sp_hdf5_kind kind = info->dtype == SP_SLOTS_F16 ? SP_HDF5_F16 : SP_HDF5_U16;
    SP_TRY(sp_hdf5_column_create(&writer->values, &writer->file, SP_SLOTS_VALUES, kind, info->d,
                                 false));
    return write_attributes(&writer->file, info);
}

sp_status sp_slots_writer_open(sp_slots_writer **writer, const char *path,
                               const sp_slots_info *info) {
    SP_TRY(check_info(info));
    void *block = NULL, *row = NULL;
    SP_TRY(sp_alloc(&block, sizeof **writer, "a slot file"));
    sp_slots_writer *made = block;
    made->dtype = info->dtype;
    made->d = info->d;
    sp_status status = sp_alloc_array(&row, info->d, sizeof *made->row, "a slot");
    made->row = row;
    if (status == SP_OK) status = sp_atomic_begin(&made->target, path);
    if (status == SP_OK) status = sp_hdf5_strings_begin(&made->document_ids, made->target.path);
    if (status == SP_OK) {
        sp_hdf5_lock();
        status = begin_file(made, info);
        sp_hdf5_unlock();
    }
    if (status == SP_OK)
        *writer = made;
    else
        sp_slots_writer_abort(made);
    return status;
}

sp_status sp_slots_writer_document(sp_slots_writer *writer, const char *id, uint64_t hash) {
    SP_TRY(sp_hdf5_strings_append(&writer->document_ids, id));
    writer->n_documents++;
    sp_hdf5_lock();
    const sp_status status = sp_hdf5_column_append(&writer->document_hash, &hash, 1);
    sp_hdf5_unlock();
    return status;
}

/* 2^16 (1 - 2^-12): from here on f16 rounds to infinity. */
static const float f16_end = 65520;

static sp_status check_slots(const sp_slots_writer *writer, const float *slots, size_t n_values) {
    const float end = writer->dtype == SP_SLOTS_F16 ? f16_end : INFINITY;
    for (size_t i = 0; i < n_values; i++)
        if (!(fabsf(slots[i]) < end)) /* so written, NaN is refused */
            return sp_fail(SP_NUMERIC, "'%s', slot %ju: %g cannot be stored as %s",
                           writer->target.path, (uintmax_t)(writer->n_slots + i / writer->d),
                           (double)slots[i], sp_slots_dtypes[writer->dtype]);
    return SP_OK;
}

static sp_status append_segment(sp_slots_writer *writer, uint64_t byte_begin, uint32_t byte_len,
                                uint32_t n_tokens, const float *slots, size_t n_slots) {
    const uint64_t document = writer->n_documents - 1;
    SP_TRY(sp_hdf5_column_append(&writer->doc, &document, 1));
    SP_TRY(sp_hdf5_column_append(&writer->byte_begin, &byte_begin, 1));
    SP_TRY(sp_hdf5_column_append(&writer->byte_len, &byte_len, 1));
    SP_TRY(sp_hdf5_column_append(&writer->tokens, &n_tokens, 1));
    SP_TRY(sp_hdf5_column_append(&writer->slot_begin, &writer->n_slots, 1));
    for (size_t i = 0; i < n_slots; i++) {
        const float *slot = slots + i * writer->d;
        if (writer->dtype == SP_SLOTS_F16)
            sp_f32_to_f16(writer->row, slot, writer->d);
        else
            sp_f32_to_bf16(writer->row, slot, writer->d);
        SP_TRY(sp_hdf5_column_append(&writer->values, writer->row, 1));
    }
    return SP_OK;
}

sp_status sp_slots_writer_segment(sp_slots_writer *writer, uint64_t byte_begin, uint32_t byte_len,
                                  uint32_t n_tokens, const float *slots, size_t n_slots) {
    assert(writer->n_documents > 0);
    SP_TRY(check_slots(writer, slots, n_slots * writer->d));
    sp_hdf5_lock();
    const sp_status status = append_segment(writer, byte_begin, byte_len, n_tokens, slots, n_slots);
    sp_hdf5_unlock();
    writer->n_slots += n_slots;
    return status;
}

static sp_status finish_file(sp_slots_writer *writer) {
    sp_hdf5_column *const columns[] = {&writer->values,       &writer->doc,    &writer->byte_begin,
                                       &writer->byte_len,     &writer->tokens, &writer->slot_begin,
                                       &writer->document_hash};
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        SP_TRY(sp_hdf5_column_finish(columns[i]));
    SP_TRY(sp_hdf5_strings_finish(&writer->document_ids, &writer->file, SP_SLOTS_DOCUMENT_ID));
    return sp_hdf5_finish(&writer->file);
}

sp_status sp_slots_writer_commit(sp_slots_writer *writer) {
    sp_hdf5_lock();
    sp_status status = finish_file(writer);
    sp_hdf5_unlock();
    if (status == SP_OK) status = sp_atomic_commit(&writer->target);
    sp_slots_writer_abort(writer); /* of what was committed nothing is left to remove */
    return status;
}

void sp_slots_writer_abort(sp_slots_writer *writer) {
    if (writer == NULL) return;
    sp_hdf5_lock();
    sp_hdf5_column_release(&writer->document_hash);
    sp_hdf5_column_release(&writer->slot_begin);
    sp_hdf5_column_release(&writer->tokens);
    sp_hdf5_column_release(&writer->byte_len);
    sp_hdf5_column_release(&writer->byte_begin);
    sp_hdf5_column_release(&writer->doc);
    sp_hdf5_column_release(&writer->values);
    sp_hdf5_close(&writer->file);
    sp_hdf5_unlock();
    sp_hdf5_strings_release(&writer->document_ids);
    sp_atomic_abort(&writer->target);
    free(writer->row);
    free(writer);
}
