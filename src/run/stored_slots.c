#include "run/stored_slots.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct sp_stored_text {
    uint64_t hash;
    size_t document;
} sp_stored_text;

/* ---- opening ---- */

static int compare_texts(const void *a, const void *b) {
    const sp_stored_text *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->document < y->document ? -1 : x->document > y->document;
}

static sp_status load_hashes(sp_stored_slots *stored) {
    const size_t n = sp_slots_n_documents(stored->slots.file);
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, n, sizeof *stored->texts, "documents"));
    stored->texts = block;
    for (size_t i = 0; i < n; i++) {
        stored->texts[i].document = i;
        SP_TRY(sp_slots_document_hash(stored->slots.file, i, &stored->texts[i].hash));
    }
    stored->n_texts = n;
    if (n > 0) qsort(stored->texts, n, sizeof *stored->texts, compare_texts);
    return SP_OK;
}

static sp_status check_ratio(const sp_stored_slots *stored, const sp_trained *trained) {
    const double ratio = sp_slots_get_info(stored->slots.file)->ratio;
    if (ratio == (double)trained->ratio) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s' has slots at ratio %g, '%s' is read at ratio %zu",
                   stored->path, ratio, sp_checkpoint_path(trained->checkpoint), trained->ratio);
}

sp_status sp_stored_slots_open(sp_stored_slots *stored, const char *path,
                               const sp_trained *trained) {
    *stored = (sp_stored_slots){.path = path};
    sp_status status = sp_converted_slots_open(&stored->slots, path, trained);
    if (status == SP_OK) status = check_ratio(stored, trained);
    if (status == SP_OK) status = load_hashes(stored);
    if (status != SP_OK) sp_stored_slots_close(stored);
    return status;
}

void sp_stored_slots_close(sp_stored_slots *stored) {
    free(stored->texts);
    sp_converted_slots_close(&stored->slots);
    *stored = (sp_stored_slots){0};
}

/* ---- finding ---- */

/* Bytes of the document's text that its segments are of. */
static sp_status text_len(const sp_slots *file, size_t begin, size_t end, size_t *n_bytes) {
    sp_slots_segment last = {0};
    if (begin < end) SP_TRY(sp_slots_get_segment(file, end - 1, &last));
    *n_bytes = (size_t)last.byte_begin + last.byte_len;
    return SP_OK;
}

/* *is_found: a document has just this text. */
static sp_status find_whole(const sp_stored_slots *stored, const char *text, size_t n_bytes,
                            bool *is_found, size_t *begin, size_t *end) {
    const uint64_t hash = XXH3_64bits(text, n_bytes);
    size_t low = 0, high = stored->n_texts;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (stored->texts[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < stored->n_texts && stored->texts[low].hash == hash; low++) {
        const sp_slots *file = stored->slots.file;
        size_t len = 0;
        SP_TRY(sp_slots_document_segments(file, stored->texts[low].document, begin, end));
        SP_TRY(text_len(file, *begin, *end, &len));
        *is_found = len == n_bytes;
        if (*is_found) return SP_OK;
    }
    return SP_OK;
}

/* The longest part of fewer than n_bytes that ends in front of a blank line, or 0; byte n_bytes is
   there. */
static size_t shorter_part(const char *text, size_t n_bytes) {
    while (n_bytes > 1) {
        n_bytes--;
        if (text[n_bytes] == '\n' && text[n_bytes + 1] == '\n') return n_bytes;
    }
    return 0;
}

sp_status sp_stored_slots_next_text(const sp_stored_slots *stored, const char *text, size_t n_bytes,
                                    size_t *at, size_t *begin, size_t *end) {
    const char *rest = text + *at;
    const size_t left = n_bytes - *at;
    bool is_found = false;
    size_t n = left;
    while (n > 0) {
        SP_TRY(find_whole(stored, rest, n, &is_found, begin, end));
        if (is_found) break;
        n = n < left ? shorter_part(rest, n) : shorter_part(rest, n - 1);
    }
    if (n == 0)
        return sp_fail(SP_BAD_DATA, "'%s': none of its %zu documents is the text '%.*s%s'",
                       stored->path, stored->n_texts, left < 40 ? (int)left : 40, rest,
                       left > 40 ? "..." : "");
    *at += n < left ? n + strlen("\n\n") : n;
    return SP_OK;
}

/* Makes the segment's document the one that was found last. */
static sp_status find_document(sp_stored_slots *stored, const sp_tokens *tokens, size_t segment) {
    const sp_slots *file = stored->slots.file;
    const size_t wanted = sp_tokens_document(tokens, segment);
    const uint64_t hash = sp_tokens_document_hash(tokens, segment);
    uint64_t stored_hash = 0;
    char *id = NULL;
    if (stored->has_found && stored->tokens_document == wanted) return SP_OK;
    SP_TRY(sp_tokens_document_id(tokens, wanted, &id));
    sp_status status = sp_slots_find_id(file, id, &stored->document);
    if (status == SP_OK && stored->document == sp_slots_n_documents(file))
        status =
            sp_fail(SP_BAD_DATA, "'%s': no document '%s' among its %zu, '%s' has segments of it",
                    stored->path, id, stored->document, sp_tokens_path(tokens));
    if (status == SP_OK) status = sp_slots_document_hash(file, stored->document, &stored_hash);
    if (status == SP_OK && stored_hash != hash && stored_hash != 0 && hash != 0)
        status = sp_fail(SP_BAD_DATA, "'%s': its document '%s' has another text than that of '%s'",
                         stored->path, id, sp_tokens_path(tokens));
    free(id);
    stored->has_found = status == SP_OK;
    stored->tokens_document = wanted;
    return status;
}

sp_status sp_stored_slots_find_segment(sp_stored_slots *stored, const sp_tokens *tokens,
                                       size_t stream, size_t segment, size_t *found) {
    const sp_slots *file = stored->slots.file;
    uint64_t byte_begin = 0;
    uint32_t byte_len = 0;
    size_t begin = 0, end = 0;
    SP_TRY(find_document(stored, tokens, segment));
    SP_TRY(sp_tokens_bytes(tokens, segment, &byte_begin, &byte_len));
    SP_TRY(sp_slots_document_segments(file, stored->document, &begin, &end));
    *found =
        begin + (segment - sp_tokens_first_segment(tokens, sp_tokens_document(tokens, segment)));
    if (*found < end) {
        sp_slots_segment made;
        SP_TRY(sp_slots_get_segment(file, *found, &made));
        if (made.byte_begin == byte_begin && made.byte_len == byte_len &&
            made.n_tokens == sp_tokens_length(tokens, stream, segment))
            return SP_OK;
    }
    return sp_fail(SP_BAD_DATA,
                   "'%s': document %zu has no slots of the segment at byte %ju with %zu tokens, as "
                   "'%s' has it: left out, or cut by another tokenizer or at another length",
                   stored->path, stored->document, (uintmax_t)byte_begin,
                   sp_tokens_length(tokens, stream, segment), sp_tokens_path(tokens));
}
