#include "io/tokens_verify.h"

#include "base/memory.h"
#include "io/corpus_digest.h"
#include "io/tokens_header.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct sp_tokens_check {
    const sp_tokens *tokens;
    sp_tokens_walk *walk;
    sp_corpus_digest *digest;
    uint64_t segment;  /* the next one */
    uint64_t byte_end; /* of the document's last segment */
};

sp_status sp_tokens_check_open(sp_tokens_check **check, const sp_tokens *tokens) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **check, "a verification"));
    sp_tokens_check *made = block;
    made->tokens = tokens;
    sp_status status = sp_corpus_digest_create(&made->digest);
    if (status == SP_OK) status = sp_tokens_walk_open(&made->walk, tokens);
    if (status == SP_OK)
        *check = made;
    else
        sp_tokens_check_close(made);
    return status;
}

void sp_tokens_check_close(sp_tokens_check *check) {
    if (check == NULL) return;
    sp_tokens_walk_close(check->walk);
    sp_corpus_digest_destroy(check->digest);
    free(check);
}

static sp_status check_segment(sp_tokens_check *check, const sp_tokens_record *record) {
    if (record->byte_begin < check->byte_end)
        return sp_fail(
            SP_BAD_DATA,
            "'%s', segment %ju: begins at byte %ju of its document, where the one before "
            "ends at %ju",
            sp_tokens_path(check->tokens), (uintmax_t)check->segment, (uintmax_t)record->byte_begin,
            (uintmax_t)check->byte_end);
    check->byte_end = record->byte_begin + record->byte_len;
    check->segment++;
    sp_corpus_digest_segment(check->digest, record->byte_begin, record->byte_len);
    for (size_t s = 0; s < sp_tokens_n_streams(check->tokens); s++)
        sp_corpus_digest_ids(check->digest, record->ids[s], record->n_ids[s]);
    return SP_OK;
}

sp_status sp_tokens_check_documents(sp_tokens_check *check, size_t begin, size_t end,
                                    const sp_tokens_visitor *visitor) {
    size_t n_left = end - begin +
                    (sp_tokens_first_segment(check->tokens, end) -
                     sp_tokens_first_segment(check->tokens, begin));
    sp_tokens_walk_seek(check->walk, begin);
    check->segment = sp_tokens_first_segment(check->tokens, begin);
    for (uint64_t document = begin; n_left > 0; n_left--) {
        sp_tokens_record record;
        bool is_end = false;
        SP_TRY(sp_tokens_walk_next(check->walk, &record, &is_end));
        assert(!is_end);
        if (record.is_document) {
            sp_corpus_digest_document(check->digest, document++, record.hash);
            check->byte_end = 0;
        } else {
            SP_TRY(check_segment(check, &record));
        }
        if (visitor != NULL) SP_TRY(visitor->visit(visitor->context, &record));
    }
    return SP_OK;
}

void sp_tokens_check_sum(sp_tokens_check *check, uint64_t sum[2]) {
    sp_corpus_digest_sum(check->digest, sum);
}

void sp_tokens_check_add(sp_tokens_check *check, const uint64_t sum[2]) {
    sp_corpus_digest_add(check->digest, sum);
}

static sp_status check_sources(const sp_tokens *tokens) {
    sp_tokens_source *sources = NULL;
    size_t n = 0;
    SP_TRY(sp_tokens_sources(tokens, &sources, &n));
    sp_tokens_sources_free(sources, n);
    return SP_OK;
}

sp_status sp_tokens_check_finish(sp_tokens_check *check) {
    const sp_tokens *tokens = check->tokens;
    sp_tokens_stream streams[SP_TOKENS_MAX_STREAMS];
    char hex[SP_DIGEST_HEX_SIZE], *header = NULL;
    size_t header_len = 0;
    SP_TRY(check_sources(tokens));
    const size_t n_streams = sp_tokens_streams_of(streams, tokens);
    SP_TRY(sp_tokens_header(&header, &header_len, sp_tokens_segment_tokens(tokens), streams,
                            n_streams));
    sp_corpus_digest_finish(check->digest, header, header_len, hex);
    free(header);
    if (strcmp(hex, sp_tokens_digest(tokens)) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': its contents have the digest %s, it was written with %s",
                   sp_tokens_path(tokens), hex, sp_tokens_digest(tokens));
}

sp_status sp_tokens_verify(const sp_tokens *tokens) {
    sp_tokens_check *check = NULL;
    SP_TRY(sp_tokens_check_open(&check, tokens));
    sp_status status = sp_tokens_check_documents(check, 0, sp_tokens_n_documents(tokens), NULL);
    if (status == SP_OK) status = sp_tokens_check_finish(check);
    sp_tokens_check_close(check);
    return status;
}
