#include "io/states_file.h"

#include "base/size.h"
#include "io/atomic_file.h"

#include <stdint.h>
#include <string.h>
#include <xxhash.h>

static const char magic[8] = "SPSTATES";
enum { VERSION = 1, KEY_BYTES = SP_STATES_KEY_SIZE - 1 };

/* As it lies in the file: no padding, and rows behind it are aligned for f32. */
typedef struct header {
    char magic[sizeof magic];
    uint32_t version, d;
    uint64_t n_rows;
    char key[KEY_BYTES];
    uint64_t sum[2];
} header;
_Static_assert(sizeof(header) == 72, "a header has no padding");

static header make_header(const sp_states_group *group, XXH128_hash_t sum) {
    header made = {.version = VERSION,
                   .d = (uint32_t)group->d,
                   .n_rows = group->n_rows,
                   .sum = {sum.low64, sum.high64}};
    memcpy(made.magic, magic, sizeof magic);
    memcpy(made.key, group->key, KEY_BYTES);
    return made;
}

sp_status sp_states_write(const sp_states_group *group, const float *rows) {
    const size_t n_bytes = group->n_rows * group->d * sizeof *rows;
    const header head = make_header(group, XXH3_128bits(rows, n_bytes));
    sp_atomic_file file = {0};
    SP_TRY(sp_atomic_begin(&file, group->path));
    sp_status status = sp_write_all(file.fd, &head, sizeof head, file.temp_path);
    if (status == SP_OK) status = sp_write_all(file.fd, rows, n_bytes, file.temp_path);
    if (status == SP_OK) return sp_atomic_commit(&file);
    sp_atomic_abort(&file);
    return status;
}

static sp_status check(const sp_mapping *mapping, const sp_states_group *group, bool verified) {
    size_t n_values = 0, n_bytes = 0;
    if (!sp_size_mul(&n_values, group->n_rows, group->d) ||
        !sp_size_mul(&n_bytes, n_values, sizeof(float)) ||
        !sp_size_add(&n_bytes, n_bytes, sizeof(header)))
        return sp_fail(SP_BAD_DATA, "'%s': too many rows", group->path);
    if (mapping->n_bytes != n_bytes)
        return sp_fail(SP_BAD_DATA, "'%s' has %zu bytes, not %zu", group->path, mapping->n_bytes,
                       n_bytes);
    header head;
    memcpy(&head, mapping->data, sizeof head);
    header expected = make_header(group, (XXH128_hash_t){head.sum[0], head.sum[1]});
    if (memcmp(&head, &expected, sizeof head) != 0)
        return sp_fail(SP_BAD_DATA, "'%s': not these states", group->path);
    if (!verified) return SP_OK;
    const XXH128_hash_t sum = XXH3_128bits(mapping->data + sizeof head, n_bytes - sizeof head);
    if (sum.low64 == head.sum[0] && sum.high64 == head.sum[1]) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': its checksum does not fit", group->path);
}

sp_status sp_states_open(sp_mapping *mapping, const float **rows, const sp_states_group *group,
                         bool verified) {
    SP_TRY(sp_mapping_open(mapping, group->path));
    const sp_status status = check(mapping, group, verified);
    if (status != SP_OK)
        sp_mapping_close(mapping);
    else
        *rows = (const float *)(const void *)(mapping->data + sizeof(header));
    return status;
}
