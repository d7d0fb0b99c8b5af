#include "run/survey_block.h"

#include "io/atomic_file.h"

#include <string.h>
#include <xxhash.h>

typedef struct head {
    char magic[8];
    uint64_t digest[2];
    uint64_t n_units, n_records, has_losses;
    uint64_t checksum; /* XXH3-64 of all that follows */
} head;

static const char magic[8] = {'s', 'p', 's', 'u', 'r', 'v', '1', '\n'};

int sp_survey_record_compare(const void *a, const void *b) {
    const sp_survey_record *x = a, *y = b;
    if (x->high != y->high) return x->high < y->high ? -1 : 1;
    if (x->low != y->low) return x->low < y->low ? -1 : 1;
    return x->document < y->document ? -1 : x->document > y->document;
}

static size_t units_bytes(const sp_survey_block *block) {
    return block->n_units * sizeof *block->units;
}

static size_t records_bytes(const sp_survey_block *block) {
    return block->n_records * sizeof *block->records;
}

static sp_status checksum_of(const sp_survey_block *block, uint64_t *checksum) {
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) return sp_fail(SP_FAILURE, "no memory for a checksum");
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, block->units, units_bytes(block));
    XXH3_64bits_update(state, block->records, records_bytes(block));
    *checksum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return SP_OK;
}

static sp_status write_parts(int fd, const head *h, const sp_survey_block *block,
                             const char *path) {
    SP_TRY(sp_write_all(fd, h, sizeof *h, path));
    SP_TRY(sp_write_all(fd, block->units, units_bytes(block), path));
    return sp_write_all(fd, block->records, records_bytes(block), path);
}

sp_status sp_survey_block_write(const char *path, const uint64_t digest[2],
                                const sp_survey_block *block) {
    head h = {.digest = {digest[0], digest[1]},
              .n_units = block->n_units,
              .n_records = block->n_records,
              .has_losses = block->has_losses};
    sp_atomic_file file = {0};
    memcpy(h.magic, magic, sizeof magic);
    SP_TRY(checksum_of(block, &h.checksum));
    SP_TRY(sp_atomic_begin(&file, path));
    const sp_status status = write_parts(file.fd, &h, block, path);
    if (status == SP_OK) return sp_atomic_commit(&file);
    sp_atomic_abort(&file);
    return status;
}

static sp_status read_head(const sp_mapping *mapping, const uint64_t digest[2], size_t n_units,
                           const char *path) {
    const head *h = (const head *)(const void *)mapping->data;
    if (mapping->n_bytes < sizeof *h || memcmp(h->magic, magic, sizeof magic) != 0)
        return sp_fail(SP_BAD_DATA, "'%s' is no surveyed block", path);
    if (memcmp(h->digest, digest, sizeof h->digest) != 0 || h->n_units != n_units)
        return sp_fail(SP_BAD_DATA, "'%s' is of other files or another command", path);
    const size_t rest = mapping->n_bytes - sizeof *h;
    if (n_units > rest / sizeof(sp_survey_unit) ||
        rest - n_units * sizeof(sp_survey_unit) != h->n_records * sizeof(sp_survey_record) ||
        h->n_records > rest / sizeof(sp_survey_record))
        return sp_fail(SP_BAD_DATA, "'%s': %zu bytes are not %zu units and %ju records", path,
                       mapping->n_bytes, n_units, (uintmax_t)h->n_records);
    return SP_OK;
}

sp_status sp_survey_block_open(sp_survey_block *block, const char *path, const uint64_t digest[2],
                               size_t n_units) {
    sp_mapping mapping = {0};
    SP_TRY(sp_mapping_open(&mapping, path));
    const sp_status status = read_head(&mapping, digest, n_units, path);
    if (status != SP_OK) {
        sp_mapping_close(&mapping);
        return status;
    }
    const head *h = (const head *)(const void *)mapping.data;
    const sp_survey_unit *units = (const sp_survey_unit *)(const void *)(h + 1);
    *block = (sp_survey_block){.units = units,
                               .n_units = n_units,
                               .records = (const sp_survey_record *)(const void *)(units + n_units),
                               .n_records = (size_t)h->n_records,
                               .has_losses = h->has_losses != 0,
                               .mapping = mapping};
    return SP_OK;
}

void sp_survey_block_close(sp_survey_block *block) {
    sp_mapping_close(&block->mapping);
    *block = (sp_survey_block){0};
}

sp_status sp_survey_block_check(const sp_survey_block *block, const char *path) {
    uint64_t checksum = 0;
    SP_TRY(checksum_of(block, &checksum));
    const head *h = (const head *)(const void *)block->mapping.data;
    if (checksum == h->checksum) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s' is not what was written", path);
}
