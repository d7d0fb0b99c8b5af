#include "io/corpus_digest.h"

#include <stdbool.h>
#include <stdlib.h>

#include <xxhash.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are hashed as they lie");

struct sp_corpus_digest {
    XXH3_state_t *state; /* owned: of the present document */
    bool has_document;
    uint64_t document;
    uint64_t sum[2]; /* 128 bits, the low half first */
};

sp_status sp_corpus_digest_create(sp_corpus_digest **digest) {
    sp_corpus_digest *made = calloc(1, sizeof *made);
    XXH3_state_t *state = XXH3_createState();
    if (made == NULL || state == NULL) {
        XXH3_freeState(state);
        free(made);
        return sp_fail(SP_FAILURE, "no memory for a digest");
    }
    made->state = state;
    *digest = made;
    return SP_OK;
}

void sp_corpus_digest_destroy(sp_corpus_digest *digest) {
    if (digest == NULL) return;
    XXH3_freeState(digest->state);
    free(digest);
}

static void add(sp_corpus_digest *digest, uint64_t low, uint64_t high) {
    digest->sum[0] += low;
    digest->sum[1] += high + (digest->sum[0] < low); /* the carry */
}

/* Adds the present document to the sum. */
static void end_document(sp_corpus_digest *digest) {
    if (!digest->has_document) return;
    const XXH128_hash_t contents = XXH3_128bits_digest(digest->state);
    const uint64_t keyed[] = {digest->document, contents.low64, contents.high64};
    const XXH128_hash_t term = XXH3_128bits(keyed, sizeof keyed);
    add(digest, term.low64, term.high64);
    digest->has_document = false;
}

void sp_corpus_digest_document(sp_corpus_digest *digest, uint64_t document, uint64_t hash) {
    end_document(digest);
    XXH3_128bits_reset(digest->state);
    XXH3_128bits_update(digest->state, &hash, sizeof hash);
    digest->document = document;
    digest->has_document = true;
}

void sp_corpus_digest_segment(sp_corpus_digest *digest, uint64_t byte_begin, uint32_t byte_len) {
    const uint64_t range[] = {byte_begin, byte_len};
    XXH3_128bits_update(digest->state, range, sizeof range);
}

void sp_corpus_digest_ids(sp_corpus_digest *digest, const int32_t *ids, size_t n_ids) {
    const uint64_t count = n_ids; /* so that no id moves from one stream or segment to the next */
    XXH3_128bits_update(digest->state, &count, sizeof count);
    XXH3_128bits_update(digest->state, ids, n_ids * sizeof *ids);
}

void sp_corpus_digest_sum(sp_corpus_digest *digest, uint64_t sum[2]) {
    end_document(digest);
    sum[0] = digest->sum[0];
    sum[1] = digest->sum[1];
}

void sp_corpus_digest_add(sp_corpus_digest *digest, const uint64_t sum[2]) {
    add(digest, sum[0], sum[1]);
}

void sp_corpus_digest_finish(sp_corpus_digest *digest, const char *header, size_t header_len,
                             char hex[SP_DIGEST_HEX_SIZE]) {
    end_document(digest);
    const XXH128_hash_t named = XXH3_128bits(header, header_len);
    const uint64_t whole[] = {digest->sum[0], digest->sum[1], named.low64, named.high64};
    sp_digest_bytes(hex, whole, sizeof whole);
}
