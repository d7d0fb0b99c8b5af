#include "run/compress_block.h"

#include "base/size.h"
#include "io/atomic_file.h"

#include <string.h>
#include <xxhash.h>

typedef struct head {
    char magic[8];
    char digest[40];
    uint64_t n_segments, n_slots, d, dtype;
    double squares, lost[SP_N_SLOTS_DTYPES], seconds, nll_before, nll_after;
    uint64_t n_targets;
    uint64_t checksum; /* XXH3-64 of all that follows */
} head;

static const char magic[8] = {'s', 'p', 's', 'l', 'o', 't', '1', '\n'};

/* What follows the head. Flags are padded, so that scales are aligned. */
static size_t flag_bytes(const sp_compress_block *b) { return ((size_t)b->n_segments + 7) & ~7UL; }

static size_t scale_bytes(const sp_compress_block *b) {
    return sp_slots_has_scales(b->dtype) ? (size_t)b->n_slots * sizeof(float) : 0;
}

static size_t value_bytes(const sp_compress_block *b) {
    return sp_slots_value_bytes(b->dtype, (size_t)b->n_slots * b->d);
}

static sp_status checksum_of(const sp_compress_block *b, uint64_t *checksum) {
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) return sp_fail(SP_FAILURE, "no memory for a checksum");
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, b->is_poisoned, (size_t)b->n_segments);
    XXH3_64bits_update(state, b->scales, scale_bytes(b));
    XXH3_64bits_update(state, b->values, value_bytes(b));
    *checksum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return SP_OK;
}

static sp_status write_parts(int fd, const head *h, const sp_compress_block *b, const char *path) {
    static const char padding[8] = {0};
    SP_TRY(sp_write_all(fd, h, sizeof *h, path));
    SP_TRY(sp_write_all(fd, b->is_poisoned, (size_t)b->n_segments, path));
    SP_TRY(sp_write_all(fd, padding, flag_bytes(b) - (size_t)b->n_segments, path));
    SP_TRY(sp_write_all(fd, b->scales, scale_bytes(b), path));
    return sp_write_all(fd, b->values, value_bytes(b), path);
}

sp_status sp_compress_block_write(const char *path, const char digest[SP_DIGEST_HEX_SIZE],
                                  const sp_compress_block *b) {
    head h = {.n_segments = b->n_segments,
              .n_slots = b->n_slots,
              .d = b->d,
              .dtype = (uint64_t)b->dtype,
              .squares = b->squares,
              .seconds = b->seconds,
              .nll_before = b->nll_before,
              .nll_after = b->nll_after,
              .n_targets = b->n_targets};
    sp_atomic_file file = {0};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.digest, digest, SP_DIGEST_HEX_SIZE);
    memcpy(h.lost, b->lost, sizeof h.lost);
    SP_TRY(checksum_of(b, &h.checksum));
    SP_TRY(sp_atomic_begin(&file, path));
    const sp_status status = write_parts(file.fd, &h, b, path);
    if (status == SP_OK) return sp_atomic_commit(&file);
    sp_atomic_abort(&file);
    return status;
}

static sp_status read_head(sp_compress_block *b, const char *path, const char *digest) {
    const head *h = (const head *)(const void *)b->mapping.data;
    const size_t n_bytes = b->mapping.n_bytes;
    if (n_bytes < sizeof *h || memcmp(h->magic, magic, sizeof magic) != 0)
        return sp_fail(SP_BAD_DATA, "'%s' is no compressed block", path);
    if (memcmp(h->digest, digest, SP_DIGEST_HEX_SIZE) != 0 || h->n_segments != b->n_segments ||
        h->n_slots != b->n_slots || h->d != b->d || h->dtype != (uint64_t)b->dtype)
        return sp_fail(SP_BAD_DATA, "'%s' is of other input or another command", path);
    const size_t expected = sizeof *h + flag_bytes(b) + scale_bytes(b) + value_bytes(b);
    if (n_bytes != expected)
        return sp_fail(SP_BAD_DATA, "'%s': %zu bytes, not %zu; cut short?", path, n_bytes,
                       expected);
    b->squares = h->squares;
    memcpy(b->lost, h->lost, sizeof b->lost);
    b->seconds = h->seconds;
    b->nll_before = h->nll_before;
    b->nll_after = h->nll_after;
    b->n_targets = h->n_targets;
    b->is_poisoned = b->mapping.data + sizeof *h;
    const unsigned char *scales = b->is_poisoned + flag_bytes(b);
    b->scales = sp_slots_has_scales(b->dtype) ? (const float *)(const void *)scales : NULL;
    b->values = scales + scale_bytes(b);
    return SP_OK;
}

sp_status sp_compress_block_open(sp_compress_block *block, const char *path,
                                 const char digest[SP_DIGEST_HEX_SIZE]) {
    SP_TRY(sp_mapping_open(&block->mapping, path));
    const sp_status status = read_head(block, path, digest);
    if (status != SP_OK) sp_compress_block_close(block);
    return status;
}

void sp_compress_block_close(sp_compress_block *block) {
    sp_mapping_close(&block->mapping);
    *block = (sp_compress_block){0};
}

sp_status sp_compress_block_check(const sp_compress_block *block, const char *path) {
    uint64_t checksum = 0;
    SP_TRY(checksum_of(block, &checksum));
    if (checksum == ((const head *)(const void *)block->mapping.data)->checksum) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s' is not what was written", path);
}
