#include "text/tokenizer_digest.h"

#include "base/memory.h"
#include "text/tokenizer_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static void add_number(XXH3_state_t *hash, uint64_t number) {
    unsigned char bytes[8]; /* little-endian on every machine */
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(number >> 8 * i);
    XXH3_128bits_update(hash, bytes, sizeof bytes);
}

/* With its length, so that no two lists of strings run into the same bytes. */
static void add_bytes(XXH3_state_t *hash, const char *bytes, size_t n_bytes) {
    add_number(hash, n_bytes);
    if (n_bytes > 0) XXH3_128bits_update(hash, bytes, n_bytes);
}

static void add_vocabulary(XXH3_state_t *hash, const sp_vocabulary *vocabulary) {
    add_number(hash, vocabulary->n_present);
    for (size_t id = 0; id < vocabulary->n; id++) {
        const sp_token *token = &vocabulary->tokens[id];
        if (token->kind == SP_TOKEN_ABSENT) continue;
        add_number(hash, id);
        add_number(hash, token->kind == SP_TOKEN_LITERAL);
        add_bytes(hash, token->bytes, token->n_bytes);
    }
}

static int by_rank(const void *a, const void *b) {
    const uint32_t rank_a = ((const sp_merge *)a)->rank, rank_b = ((const sp_merge *)b)->rank;
    return (rank_a > rank_b) - (rank_a < rank_b);
}

/* In the order of their ranks; the ranks themselves may have gaps that change nothing. */
static sp_status add_merges(XXH3_state_t *hash, const sp_merges *table) {
    sp_merge *merges = NULL;
    size_t n = 0;
    SP_TRY(
        sp_alloc_array((void **)&merges, table->slot_mask + 1, sizeof *merges, "sorting merges"));
    for (size_t slot = 0; slot <= table->slot_mask; slot++)
        if (table->slots[slot].rank != SP_NO_RANK) merges[n++] = table->slots[slot];
    qsort(merges, n, sizeof *merges, by_rank);
    add_number(hash, n);
    for (size_t i = 0; i < n; i++) {
        add_number(hash, merges[i].left);
        add_number(hash, merges[i].right);
    }
    free(merges);
    return SP_OK;
}

static void add_added_tokens(XXH3_state_t *hash, const sp_tokenizer *tokenizer) {
    add_number(hash, tokenizer->added.n);
    for (size_t id = 0; id < tokenizer->vocab_size; id++) {
        const sp_added_token *token = tokenizer->added_by_id[id];
        if (token == NULL) continue;
        add_number(hash, id);
        add_bytes(hash, token->content, token->content_len);
        add_number(hash, (uint64_t)token->lstrip | (uint64_t)token->rstrip << 1 |
                             (uint64_t)token->single_word << 2 | (uint64_t)token->normalized << 3 |
                             (uint64_t)token->special << 4);
    }
}

static void add_normalizer(XXH3_state_t *hash, const sp_normalizer *normalizer) {
    add_number(hash, normalizer->n_steps);
    for (size_t i = 0; i < normalizer->n_steps; i++) {
        const sp_normalizer_step *step = &normalizer->steps[i];
        const sp_replacement *replacement = &step->replacement;
        const char *pattern = replacement->regex != NULL     ? sp_regex_pattern(replacement->regex)
                              : replacement->literal != NULL ? replacement->literal
                                                             : "";
        add_number(hash, (uint64_t)step->kind | (uint64_t)(replacement->regex != NULL) << 8);
        add_bytes(hash, step->prefix, step->prefix_len);
        add_bytes(hash, pattern, strlen(pattern));
        add_bytes(hash, replacement->content, replacement->content_len);
    }
}

static void add_pretokenizer(XXH3_state_t *hash, const sp_pretokenizer *pretokenizer) {
    add_number(hash, pretokenizer->n_steps);
    for (size_t i = 0; i < pretokenizer->n_steps; i++) {
        const sp_pretokenizer_step *step = &pretokenizer->steps[i];
        const char *pattern = step->regex != NULL ? sp_regex_pattern(step->regex) : "";
        add_bytes(hash, pattern, strlen(pattern));
        add_bytes(hash, step->space, strlen(step->space));
        add_number(hash, (uint64_t)(step->regex != NULL) |
                             (uint64_t)(step->regex != NULL && sp_regex_is_literal(step->regex))
                                 << 1 |
                             (uint64_t)step->is_inverted << 2 | (uint64_t)step->prefix << 3 |
                             (uint64_t)step->behavior << 8);
    }
}

static void add_options(XXH3_state_t *hash, const sp_tokenizer *tokenizer) {
    const sp_bpe *bpe = &tokenizer->bpe;
    add_number(hash, bpe->is_byte_level);
    add_number(hash, bpe->byte_fallback);
    add_number(hash, bpe->ignore_merges);
    add_number(hash, bpe->fuse_unknown);
    add_number(hash, (uint64_t)(bpe->unknown_id + 1));
}

sp_status sp_tokenizer_compute_digest(sp_tokenizer *tokenizer) {
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL) return sp_fail(SP_FAILURE, "no memory for a digest");
    XXH3_128bits_reset(hash);
    add_vocabulary(hash, &tokenizer->vocabulary);
    const sp_status status = add_merges(hash, &tokenizer->bpe.merges);
    add_added_tokens(hash, tokenizer);
    add_normalizer(hash, &tokenizer->normalizer);
    add_pretokenizer(hash, &tokenizer->pretokenizer);
    add_options(hash, tokenizer);
    const XXH128_hash_t digest = XXH3_128bits_digest(hash);
    XXH3_freeState(hash);
    snprintf(tokenizer->digest, sizeof tokenizer->digest, "%016" PRIx64 "%016" PRIx64,
             (uint64_t)digest.high64, (uint64_t)digest.low64);
    return status;
}
