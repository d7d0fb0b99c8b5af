#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/hdf5_column.h"
#include "io/slots_digest.h"
#include "io/slots_header.h"
#include "io/slots_lookup.h"
#include "io/slots_parts.h"
#include "io/slots_schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct sp_slots_writer {
    sp_atomic_file target;
    sp_hdf5_file file;
    sp_hdf5_column values, scales, doc, byte_begin, byte_len, tokens, slot_begin, text_begin,
        text_bytes, document_hash;
    sp_hdf5_strings document_ids;
    sp_slots_info info; /* its strings are owned */
    bool is_part;
    sp_slots_lookup lookup; /* of a whole file */
    sp_slots_counts next;   /* numbers in the whole file of what is appended next */
    sp_slots_digest digest;
};

static sp_status copy_info(sp_slots_writer *writer, const sp_slots_info *info) {
    if (info->d == 0 || info->d > SP_SLOTS_MAX_D)
        return sp_fail(SP_FAILURE, "slots of %zu values", info->d);
    if (strlen(info->compressor_digest) >= SP_SLOTS_DIGEST_SIZE)
        return sp_fail(SP_FAILURE, "a compressor's digest of more than %d bytes",
                       SP_SLOTS_DIGEST_SIZE - 1);
    writer->info = *info;
    writer->info.compressor_digest = strdup(info->compressor_digest);
    writer->info.job_digest = info->job_digest == NULL ? NULL : strdup(info->job_digest);
    if (writer->info.compressor_digest == NULL ||
        (info->job_digest != NULL && writer->info.job_digest == NULL))
        return sp_fail(SP_FAILURE, "no memory for a digest");
    return SP_OK;
}

static sp_status create_columns(sp_slots_writer *writer) {
    const sp_slots_info *info = &writer->info;
    const struct {
        sp_hdf5_column *column;
        const char *name;
        sp_hdf5_kind kind;
        bool is_there;
    } columns[] = {
        {&writer->doc, SP_SLOTS_DOC, SP_HDF5_U64, true},
        {&writer->byte_begin, SP_SLOTS_BYTE_BEGIN, SP_HDF5_U64, true},
        {&writer->byte_len, SP_SLOTS_BYTE_LEN, SP_HDF5_U32, true},
        {&writer->tokens, SP_SLOTS_TOKENS, SP_HDF5_U32, true},
        {&writer->slot_begin, SP_SLOTS_SLOT_BEGIN, SP_HDF5_U64, true},
        {&writer->document_hash, SP_SLOTS_DOCUMENT_HASH, SP_HDF5_U64, true},
        {&writer->scales, SP_SLOTS_SCALES, SP_HDF5_F32, sp_slots_has_scales(info->dtype)},
        {&writer->text_begin, SP_SLOTS_TEXT_BEGIN, SP_HDF5_U64, info->has_text},
        {&writer->text_bytes, SP_SLOTS_TEXT_BYTES, SP_HDF5_U8, info->has_text},
    };
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        if (columns[i].is_there)
            SP_TRY(sp_hdf5_column_create(columns[i].column, &writer->file, columns[i].name,
                                         columns[i].kind, 0, true));
    /* Slots hardly pack: they are checksummed, not deflated. */
    return sp_hdf5_column_create(&writer->values, &writer->file, SP_SLOTS_VALUES,
                                 sp_slots_value_kind(info->dtype), info->d, false);
}

static sp_status begin_file(sp_slots_writer *writer) {
    SP_TRY(sp_hdf5_create(&writer->file, writer->target.temp_path, writer->target.path, false));
    SP_TRY(sp_slots_header_write(&writer->file, &writer->info, writer->is_part));
    return create_columns(writer);
}

sp_status sp_slots_writer_open_part(sp_slots_writer **writer, const char *path,
                                    const sp_slots_info *info, const sp_slots_counts *before,
                                    size_t longest_id) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **writer, "a slot file"));
    sp_slots_writer *made = block;
    made->is_part = before != NULL;
    if (before != NULL) made->next = *before;
    made->file.id = H5I_INVALID_HID;
    sp_hdf5_column *const columns[] = {&made->values,       &made->scales,     &made->doc,
                                       &made->byte_begin,   &made->byte_len,   &made->tokens,
                                       &made->slot_begin,   &made->text_begin, &made->text_bytes,
                                       &made->document_hash};
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) *columns[i] = SP_HDF5_NO_COLUMN;
    sp_status status = copy_info(made, info);
    if (status == SP_OK) status = sp_atomic_begin(&made->target, path);
    if (status == SP_OK) status = sp_hdf5_strings_begin(&made->document_ids, made->target.path);
    made->document_ids.longest = longest_id;
    if (status == SP_OK) {
        sp_hdf5_lock();
        status = begin_file(made);
        sp_hdf5_unlock();
    }
    if (status == SP_OK)
        *writer = made;
    else
        sp_slots_writer_abort(made);
    return status;
}

sp_status sp_slots_writer_open(sp_slots_writer **writer, const char *path,
                               const sp_slots_info *info) {
    return sp_slots_writer_open_part(writer, path, info, NULL, 0);
}

sp_status sp_slots_writer_document(sp_slots_writer *writer, const char *id, uint64_t hash) {
    SP_TRY(sp_hdf5_strings_append(&writer->document_ids, id));
    if (!writer->is_part) SP_TRY(sp_slots_lookup_add(&writer->lookup, id));
    sp_slots_digest_document(&writer->digest, writer->next.n_documents++, id, hash);
    sp_hdf5_lock();
    const sp_status status = sp_hdf5_column_append(&writer->document_hash, &hash, 1);
    sp_hdf5_unlock();
    return status;
}

static sp_status append_segment(sp_slots_writer *writer, const sp_slots_segment *place,
                                const sp_slots_written *segment) {
    const uint64_t slot_begin = place->slot_begin;
    SP_TRY(sp_hdf5_column_append(&writer->doc, &place->doc, 1));
    SP_TRY(sp_hdf5_column_append(&writer->byte_begin, &place->byte_begin, 1));
    SP_TRY(sp_hdf5_column_append(&writer->byte_len, &place->byte_len, 1));
    SP_TRY(sp_hdf5_column_append(&writer->tokens, &place->n_tokens, 1));
    SP_TRY(sp_hdf5_column_append(&writer->slot_begin, &slot_begin, 1));
    SP_TRY(sp_hdf5_column_append(&writer->values, segment->values, segment->n_slots));
    if (sp_slots_has_scales(writer->info.dtype))
        SP_TRY(sp_hdf5_column_append(&writer->scales, segment->scales, segment->n_slots));
    if (!writer->info.has_text) return SP_OK;
    SP_TRY(sp_hdf5_column_append(&writer->text_begin, &writer->next.n_text_bytes, 1));
    return sp_hdf5_column_append(&writer->text_bytes, segment->text, segment->byte_len);
}

sp_status sp_slots_writer_segment(sp_slots_writer *writer, const sp_slots_written *segment) {
    sp_slots_counts *next = &writer->next;
    assert(next->n_documents > 0);
    const sp_slots_segment place = {.doc = next->n_documents - 1,
                                    .byte_begin = segment->byte_begin,
                                    .byte_len = segment->byte_len,
                                    .n_tokens = segment->n_tokens,
                                    .slot_begin = (size_t)next->n_slots,
                                    .n_slots = segment->n_slots};
    sp_slots_digest_segment(&writer->digest, next->n_segments, &place, &writer->info, segment);
    sp_hdf5_lock();
    const sp_status status = append_segment(writer, &place, segment);
    sp_hdf5_unlock();
    next->n_segments++;
    next->n_slots += segment->n_slots;
    if (writer->info.has_text) next->n_text_bytes += segment->byte_len;
    return status;
}

static sp_status finish_file(sp_slots_writer *writer) {
    sp_hdf5_column *const columns[] = {
        &writer->values,     &writer->doc,          &writer->byte_begin, &writer->byte_len,
        &writer->tokens,     &writer->slot_begin,   &writer->scales,     &writer->text_begin,
        &writer->text_bytes, &writer->document_hash};
    char hex[SP_DIGEST_HEX_SIZE];
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        if (columns[i]->name != NULL) SP_TRY(sp_hdf5_column_finish(columns[i]));
    SP_TRY(sp_hdf5_strings_finish(&writer->document_ids, &writer->file, SP_SLOTS_DOCUMENT_ID));
    if (!writer->is_part) SP_TRY(sp_slots_lookup_write(&writer->lookup, &writer->file));
    SP_TRY(sp_slots_digest_finish(&writer->digest, &writer->info, hex));
    SP_TRY(sp_hdf5_write_string(&writer->file, "/", SP_SLOTS_DIGEST, hex));
    if (writer->is_part)
        SP_TRY(sp_hdf5_write_u64s(&writer->file, "/", SP_SLOTS_DIGEST_SUM, writer->digest.sum, 2));
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
    sp_hdf5_column_release(&writer->text_bytes);
    sp_hdf5_column_release(&writer->text_begin);
    sp_hdf5_column_release(&writer->slot_begin);
    sp_hdf5_column_release(&writer->tokens);
    sp_hdf5_column_release(&writer->byte_len);
    sp_hdf5_column_release(&writer->byte_begin);
    sp_hdf5_column_release(&writer->doc);
    sp_hdf5_column_release(&writer->scales);
    sp_hdf5_column_release(&writer->values);
    sp_hdf5_close(&writer->file);
    sp_hdf5_unlock();
    sp_slots_lookup_free(&writer->lookup);
    sp_hdf5_strings_release(&writer->document_ids);
    sp_atomic_abort(&writer->target);
    free((char *)(uintptr_t)writer->info.job_digest);
    free((char *)(uintptr_t)writer->info.compressor_digest);
    free(writer);
}
