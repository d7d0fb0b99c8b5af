#include "base/memory.h"
#include "io/tokens_file.h"
#include "io/tokens_schema.h"

#include <assert.h>
#include <stdlib.h>

struct sp_tokens_walk {
    const sp_tokens *tokens;
    size_t n_streams;
    size_t document, segment; /* the next ones */
    char *id;                 /* owned: of the document before */
    int32_t *ids;             /* [capacity], owned: all streams' */
    size_t capacity;
    const int32_t *stream_ids[SP_TOKENS_MAX_STREAMS];
    size_t n_ids[SP_TOKENS_MAX_STREAMS];
};

sp_status sp_tokens_walk_open(sp_tokens_walk **walk, const sp_tokens *tokens) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **walk, "a walk"));
    *walk = block;
    (*walk)->tokens = tokens;
    (*walk)->n_streams = sp_tokens_n_streams(tokens);
    return SP_OK;
}

void sp_tokens_walk_close(sp_tokens_walk *walk) {
    if (walk == NULL) return;
    free(walk->ids);
    free(walk->id);
    free(walk);
}

void sp_tokens_walk_seek(sp_tokens_walk *walk, size_t document) {
    assert(document <= sp_tokens_n_documents(walk->tokens));
    walk->document = document;
    walk->segment = sp_tokens_first_segment(walk->tokens, document);
}

static sp_status reserve(sp_tokens_walk *walk, size_t n) {
    if (n <= walk->capacity) return SP_OK;
    int32_t *grown = realloc(walk->ids, n * sizeof *grown);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu ids", n);
    walk->ids = grown;
    walk->capacity = n;
    return SP_OK;
}

static sp_status read_segment(sp_tokens_walk *walk, sp_tokens_record *record) {
    const sp_tokens *tokens = walk->tokens;
    const size_t segment = walk->segment++;
    size_t n = 0;
    for (size_t s = 0; s < walk->n_streams; s++) n += sp_tokens_length(tokens, s, segment);
    SP_TRY(reserve(walk, n));
    n = 0;
    for (size_t position = 0; position < walk->n_streams; position++) {
        const size_t s = sp_tokens_stream_at(tokens, position);
        SP_TRY(sp_tokens_read(tokens, s, segment, walk->ids + n));
        walk->stream_ids[position] = walk->ids + n;
        walk->n_ids[position] = sp_tokens_length(tokens, s, segment);
        n += walk->n_ids[position];
    }
    sp_tokens_record made = {.ids = walk->stream_ids, .n_ids = walk->n_ids};
    SP_TRY(sp_tokens_bytes(tokens, segment, &made.byte_begin, &made.byte_len));
    *record = made;
    return SP_OK;
}

sp_status sp_tokens_walk_next(sp_tokens_walk *walk, sp_tokens_record *record, bool *is_end) {
    const sp_tokens *tokens = walk->tokens;
    *is_end = false;
    /* A segment of the document that came last goes before the next document. */
    if (walk->segment < sp_tokens_n_segments(tokens) &&
        sp_tokens_document(tokens, walk->segment) < walk->document)
        return read_segment(walk, record);
    *is_end = walk->document == sp_tokens_n_documents(tokens);
    if (*is_end) return SP_OK;
    free(walk->id);
    walk->id = NULL;
    SP_TRY(sp_tokens_document_id(tokens, walk->document, &walk->id));
    *record = (sp_tokens_record){
        .is_document = true, .id = walk->id, .hash = sp_tokens_hash(tokens, walk->document)};
    walk->document++;
    return SP_OK;
}
