#include "run/block_digests.h"

#include "base/memory.h"

#include <string.h>
#include <xxhash.h>

static void add_text(XXH3_state_t *state, const char *text) {
    XXH3_128bits_update(state, text, strlen(text) + 1);
}

static void add_number(XXH3_state_t *state, uint64_t number) {
    XXH3_128bits_update(state, &number, sizeof number);
}

static void add_options(XXH3_state_t *state, const sp_corpus *corpus) {
    const sp_text_options *options = &sp_corpus_get_options(corpus)->text;
    const size_t n_conditions = options->where != NULL ? options->where->n : 0;
    add_text(state, options->column != NULL ? options->column : "text");
    add_number(state, n_conditions);
    for (size_t i = 0; i < n_conditions; i++) {
        const sp_condition *condition = &options->where->items[i];
        add_text(state, condition->name);
        add_number(state, (uint64_t)condition->comparison);
        add_text(state, condition->value);
    }
}

static void add_unit(XXH3_state_t *state, const sp_corpus *corpus, const sp_unit *unit) {
    const size_t file = (size_t)unit->file;
    add_text(state, sp_corpus_path(corpus, file));
    add_number(state, sp_corpus_n_bytes(corpus, file));
    add_number(state, sp_corpus_changed_ns(corpus, file));
    add_number(state, unit->range.begin);
    add_number(state, unit->range.end);
}

sp_status sp_block_digests(sp_block_digest **digests, const sp_corpus *corpus,
                           const sp_blocks *blocks, bool wants_hashes) {
    void *made = NULL;
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) return sp_fail(SP_FAILURE, "no memory for a digest");
    sp_status status = sp_alloc_array(&made, blocks->n_blocks, sizeof **digests, "blocks");
    sp_block_digest *digest = made;
    for (size_t b = 0; status == SP_OK && b < blocks->n_blocks; b++) {
        XXH3_128bits_reset(state);
        add_options(state, corpus);
        add_number(state, wants_hashes);
        for (size_t u = blocks->begin[b]; u < blocks->begin[b + 1]; u++)
            add_unit(state, corpus, &blocks->units[u]);
        const XXH128_hash_t hash = XXH3_128bits_digest(state);
        digest[b] = (sp_block_digest){{hash.low64, hash.high64}};
    }
    XXH3_freeState(state);
    *digests = digest;
    return status;
}
