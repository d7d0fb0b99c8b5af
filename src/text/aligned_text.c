#include "text/aligned_text.h"

#include <stdlib.h>
#include <string.h>

static sp_status reserve_bytes(sp_aligned_text *aligned, size_t n_more) {
    const size_t n = aligned->n_bytes + n_more;
    if (n > INT32_MAX)
        return sp_fail(SP_BAD_DATA, "a text of more than %d bytes once it is normalized",
                       INT32_MAX);
    if (n <= aligned->buffer_capacity) return SP_OK;
    const size_t capacity = n + n / 2 + 64;
    char *grown = realloc(aligned->buffer, capacity);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory: %zu bytes of text", capacity);
    aligned->buffer = grown;
    aligned->buffer_capacity = capacity;
    return SP_OK;
}

static sp_status reserve_change(sp_aligned_text *aligned) {
    if (aligned->n_changes < aligned->changes_capacity) return SP_OK;
    const size_t capacity = 2 * aligned->n_changes + 64;
    sp_aligned_change *grown = realloc(aligned->changes, capacity * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory: %zu changes of a text", capacity);
    aligned->changes = grown;
    aligned->changes_capacity = capacity;
    return SP_OK;
}

/* The source up to here is in the result. */
static size_t copied_to(const sp_aligned_text *aligned) {
    return aligned->n_changes > 0 ? aligned->changes[aligned->n_changes - 1].source_end : 0;
}

static void append(sp_aligned_text *aligned, const char *bytes, size_t n_bytes) {
    if (n_bytes > 0) memcpy(aligned->buffer + aligned->n_bytes, bytes, n_bytes);
    aligned->n_bytes += n_bytes;
}

void sp_aligned_begin(sp_aligned_text *aligned, const char *source, size_t n_source) {
    aligned->source = source;
    aligned->n_source = n_source;
    aligned->n_bytes = aligned->n_changes = 0;
    aligned->last_change = aligned->last_offset = 0;
}

sp_status sp_aligned_replace(sp_aligned_text *aligned, size_t begin, size_t end, const char *bytes,
                             size_t n_bytes) {
    const size_t from = copied_to(aligned);
    SP_TRY(reserve_bytes(aligned, begin - from + n_bytes));
    SP_TRY(reserve_change(aligned));
    append(aligned, aligned->source + from, begin - from);
    const size_t at = aligned->n_bytes; /* the source and the result are below 2^31 bytes */
    aligned->changes[aligned->n_changes++] =
        (sp_aligned_change){.source_begin = (uint32_t)begin,
                            .source_end = (uint32_t)end,
                            .result_begin = (uint32_t)at,
                            .result_end = (uint32_t)(at + n_bytes)};
    append(aligned, bytes, n_bytes);
    return SP_OK;
}

sp_status sp_aligned_end(sp_aligned_text *aligned) {
    if (aligned->n_changes == 0) {
        aligned->bytes = aligned->source;
        aligned->n_bytes = aligned->n_source;
        return SP_OK;
    }
    const size_t from = copied_to(aligned);
    SP_TRY(reserve_bytes(aligned, aligned->n_source - from));
    append(aligned, aligned->source + from, aligned->n_source - from);
    aligned->bytes = aligned->buffer;
    return SP_OK;
}

void sp_aligned_free(sp_aligned_text *aligned) {
    free(aligned->buffer);
    free(aligned->changes);
    *aligned = (sp_aligned_text){0};
}

size_t sp_aligned_source_offset(sp_aligned_text *aligned, size_t offset) {
    if (offset < aligned->last_offset) aligned->last_change = 0;
    aligned->last_offset = offset;
    size_t *next = &aligned->last_change; /* the first change that does not end before the offset */
    while (*next < aligned->n_changes && aligned->changes[*next].result_end <= offset) ++*next;
    if (*next < aligned->n_changes && offset > aligned->changes[*next].result_begin)
        return aligned->changes[*next].source_end;
    if (*next == 0) return offset;
    const sp_aligned_change *last = &aligned->changes[*next - 1];
    return last->source_end + (offset - last->result_end);
}
