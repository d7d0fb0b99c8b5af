#include "io/tokens_verify.h"

#include "io/corpus_digest.h"
#include "io/tokens_header.h"

#include <stdlib.h>
#include <string.h>

typedef struct verification {
    const sp_tokens *tokens;
    const sp_tokens_visitor *visitor;
    sp_corpus_digest *digest;
    uint64_t n_documents, n_segments;
    uint64_t byte_end; /* of the document's last segment */
} verification;

static sp_status verify_segment(verification *v, const sp_tokens_record *record) {
    if (record->byte_begin < v->byte_end)
        return sp_fail(
            SP_BAD_DATA,
            "'%s', segment %ju: begins at byte %ju of its document, where the one before "
            "ends at %ju",
            sp_tokens_path(v->tokens), (uintmax_t)v->n_segments, (uintmax_t)record->byte_begin,
            (uintmax_t)v->byte_end);
    v->byte_end = record->byte_begin + record->byte_len;
    v->n_segments++;
    sp_corpus_digest_segment(v->digest, record->byte_begin, record->byte_len);
    for (size_t s = 0; s < sp_tokens_n_streams(v->tokens); s++)
        sp_corpus_digest_ids(v->digest, record->ids[s], record->n_ids[s]);
    return SP_OK;
}

static sp_status verify_records(verification *v, sp_tokens_walk *walk) {
    for (;;) {
        sp_tokens_record record;
        bool is_end = false;
        SP_TRY(sp_tokens_walk_next(walk, &record, &is_end));
        if (is_end) return SP_OK;
        if (record.is_document) {
            sp_corpus_digest_document(v->digest, v->n_documents++, record.hash);
            v->byte_end = 0;
        } else {
            SP_TRY(verify_segment(v, &record));
        }
        if (v->visitor != NULL) SP_TRY(v->visitor->visit(v->visitor->context, &record));
    }
}

static sp_status verify_digest(const verification *v) {
    const sp_tokens *tokens = v->tokens;
    sp_tokens_stream streams[SP_TOKENS_MAX_STREAMS];
    char hex[SP_DIGEST_HEX_SIZE], *header = NULL;
    size_t header_len = 0;
    const size_t n_streams = sp_tokens_streams_of(streams, tokens);
    SP_TRY(sp_tokens_header(&header, &header_len, sp_tokens_segment_tokens(tokens), streams,
                            n_streams));
    sp_corpus_digest_finish(v->digest, header, header_len, hex);
    free(header);
    if (strcmp(hex, sp_tokens_digest(tokens)) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': its contents have the digest %s, it was written with %s",
                   sp_tokens_path(tokens), hex, sp_tokens_digest(tokens));
}

static sp_status verify_sources(const sp_tokens *tokens) {
    sp_tokens_source *sources = NULL;
    size_t n = 0;
    SP_TRY(sp_tokens_sources(tokens, &sources, &n));
    sp_tokens_sources_free(sources, n);
    return SP_OK;
}

sp_status sp_tokens_verify(const sp_tokens *tokens, const sp_tokens_visitor *visitor) {
    verification v = {.tokens = tokens, .visitor = visitor};
    sp_tokens_walk *walk = NULL;
    sp_status status = sp_corpus_digest_create(&v.digest);
    if (status == SP_OK) status = sp_tokens_walk_open(&walk, tokens);
    if (status == SP_OK) status = verify_sources(tokens);
    if (status == SP_OK) status = verify_records(&v, walk);
    if (status == SP_OK) status = verify_digest(&v);
    sp_tokens_walk_close(walk);
    sp_corpus_digest_destroy(v.digest);
    return status;
}
