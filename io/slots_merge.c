/* Merging and verifying slot files: both read all of one, in order. */
#include "base/memory.h"
#include "io/slots_digest.h"
#include "io/slots_file.h"
#include "io/slots_lookup.h"

#include <stdlib.h>
#include <string.h>

/* A segment's values, scales and text in memory, which grows. */
typedef struct buffers {
    void *values, *scales, *text;
    size_t n_slots, n_text_bytes;
} buffers;

static sp_status grow(void **block, size_t *capacity, size_t n, size_t item_bytes) {
    if (n <= *capacity) return SP_OK;
    free(*block);
    *block = NULL;
    *capacity = 0;
    SP_TRY(sp_alloc_array(block, n, item_bytes, "a segment"));
    *capacity = n;
    return SP_OK;
}

static sp_status read_segment(const sp_slots *slots, size_t i, const sp_slots_segment *segment,
                              buffers *b, sp_slots_written *written) {
    const sp_slots_info *info = sp_slots_get_info(slots);
    size_t n_values = b->n_slots;
    SP_TRY(
        grow(&b->values, &n_values, segment->n_slots, sp_slots_value_bytes(info->dtype, info->d)));
    SP_TRY(grow(&b->scales, &b->n_slots, segment->n_slots, sizeof(float)));
    SP_TRY(
        sp_slots_read_packed(slots, segment->slot_begin, segment->n_slots, b->values, b->scales));
    if (info->has_text) {
        SP_TRY(grow(&b->text, &b->n_text_bytes, segment->byte_len, 1));
        SP_TRY(sp_slots_read_text(slots, i, b->text));
    }
    *written = (sp_slots_written){.byte_begin = segment->byte_begin,
                                  .byte_len = segment->byte_len,
                                  .n_tokens = segment->n_tokens,
                                  .n_slots = segment->n_slots,
                                  .values = b->values,
                                  .scales = b->scales,
                                  .text = b->text};
    return SP_OK;
}

/* Adds to the digest, and to the writer if there is one. */
typedef struct walk {
    const sp_slots *slots;
    sp_slots_writer *writer; /* NULL: none */
    sp_slots_digest digest;
    sp_slots_lookup lookup; /* where there is no writer, which makes its own */
    buffers buffers;
    size_t next_segment;
} walk;

static sp_status walk_segment(walk *w, size_t i) {
    sp_slots_segment segment;
    sp_slots_written written;
    SP_TRY(sp_slots_get_segment(w->slots, i, &segment));
    SP_TRY(read_segment(w->slots, i, &segment, &w->buffers, &written));
    sp_slots_digest_segment(&w->digest, i, &segment, sp_slots_get_info(w->slots), &written);
    return w->writer != NULL ? sp_slots_writer_segment(w->writer, &written) : SP_OK;
}

static sp_status walk_document(walk *w, size_t document) {
    char *id = NULL;
    uint64_t hash = 0;
    const size_t n_segments = sp_slots_n_segments(w->slots);
    SP_TRY(sp_slots_document_hash(w->slots, document, &hash));
    SP_TRY(sp_slots_document_id(w->slots, document, &id));
    sp_slots_digest_document(&w->digest, document, id, hash);
    sp_status status = w->writer != NULL ? sp_slots_writer_document(w->writer, id, hash)
                                         : sp_slots_lookup_add(&w->lookup, id);
    free(id);
    uint64_t end = 0;
    for (; status == SP_OK && w->next_segment < n_segments; w->next_segment++) {
        sp_slots_segment segment;
        SP_TRY(sp_slots_get_segment(w->slots, w->next_segment, &segment));
        if (segment.doc != document) break;
        if (segment.byte_begin != end)
            return sp_fail(SP_BAD_DATA, "segment %zu: begins at byte %ju of its document, not %ju",
                           w->next_segment, (uintmax_t)segment.byte_begin, (uintmax_t)end);
        end = segment.byte_begin + segment.byte_len;
        status = walk_segment(w, w->next_segment);
    }
    return status;
}

static sp_status walk_all(walk *w) {
    char hex[SP_DIGEST_HEX_SIZE];
    for (size_t i = 0; i < sp_slots_n_documents(w->slots); i++) SP_TRY(walk_document(w, i));
    SP_TRY(sp_slots_digest_finish(&w->digest, sp_slots_get_info(w->slots), hex));
    if (strcmp(hex, sp_slots_digest_of(w->slots)) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "its contents have the digest %s, it was written with %s", hex,
                   sp_slots_digest_of(w->slots));
}

static sp_status run_walk(walk *w) {
    const sp_status status = walk_all(w);
    free(w->buffers.values);
    free(w->buffers.scales);
    free(w->buffers.text);
    return status;
}

sp_status sp_slots_verify(const sp_slots *slots) {
    walk w = {.slots = slots};
    const size_t d = sp_slots_get_info(slots)->d;
    void *values = NULL;
    sp_status status = run_walk(&w);
    if (status == SP_OK) status = sp_slots_check_lookup(slots, &w.lookup);
    sp_slots_lookup_free(&w.lookup);
    SP_TRY(status);
    for (size_t i = 0; i < sp_slots_n_slots(slots); i += 1024) { /* are they finite? */
        const size_t n = sp_slots_n_slots(slots) - i < 1024 ? sp_slots_n_slots(slots) - i : 1024;
        SP_TRY(sp_alloc_array(&values, n * d, sizeof(float), "slots"));
        status = sp_slots_read(slots, i, n, values);
        free(values);
        SP_TRY(status);
    }
    return SP_OK;
}

sp_status sp_slots_merge(const char *output, const char *input) {
    sp_slots *slots = NULL;
    walk w = {0};
    SP_TRY(sp_slots_open(&slots, input));
    w.slots = slots;
    sp_status status = sp_slots_writer_open(&w.writer, output, sp_slots_get_info(slots));
    if (status == SP_OK) {
        status = run_walk(&w);
        if (status == SP_BAD_DATA) status = sp_fail(status, "'%s': %s", input, sp_message());
    }
    if (status == SP_OK)
        status = sp_slots_writer_commit(w.writer);
    else
        sp_slots_writer_abort(w.writer);
    sp_slots_close(slots);
    return status;
}
