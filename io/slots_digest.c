#include "io/slots_digest.h"

#include "io/slots_schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { OF_DOCUMENT = 1, OF_SEGMENT = 2 };

void sp_slots_digest_add(sp_slots_digest *digest, const uint64_t sum[2]) {
    const uint64_t low = digest->sum[0];
    digest->sum[0] += sum[0];
    digest->sum[1] += sum[1] + (digest->sum[0] < low);
}

static void add(sp_slots_digest *digest, const uint64_t *values, size_t n) {
    const XXH128_hash_t hash = XXH3_128bits(values, n * sizeof *values);
    sp_slots_digest_add(digest, (const uint64_t[]){hash.low64, hash.high64});
}

void sp_slots_digest_document(sp_slots_digest *digest, uint64_t document, const char *id,
                              uint64_t hash) {
    const XXH128_hash_t name = XXH3_128bits(id, strlen(id));
    const uint64_t values[] = {OF_DOCUMENT, document, hash, name.low64, name.high64};
    add(digest, values, sizeof values / sizeof *values);
}

void sp_slots_digest_segment(sp_slots_digest *digest, uint64_t segment,
                             const sp_slots_segment *place, const sp_slots_info *info,
                             const sp_slots_written *written) {
    const size_t n = place->n_slots;
    const size_t n_scales = sp_slots_has_scales(info->dtype) ? n : 0;
    const size_t n_text = info->has_text ? place->byte_len : 0;
    const XXH128_hash_t slots =
        XXH3_128bits(written->values, sp_slots_value_bytes(info->dtype, n * info->d));
    const XXH128_hash_t scales = XXH3_128bits(written->scales, n_scales * sizeof(float));
    const XXH128_hash_t text = XXH3_128bits(written->text, n_text);
    const uint64_t values[] = {
        OF_SEGMENT,      segment,           place->doc, place->byte_begin, place->byte_len,
        place->n_tokens, place->slot_begin, n,          slots.low64,       slots.high64,
        scales.low64,    scales.high64,     text.low64, text.high64};
    add(digest, values, sizeof values / sizeof *values);
}

sp_status sp_slots_digest_finish(const sp_slots_digest *digest, const sp_slots_info *info,
                                 char hex[SP_DIGEST_HEX_SIZE]) {
    char *text = NULL;
    const int n = asprintf(
        &text, "%s %s %zu %.17g %s %d %zu %016jx%016jx", sp_slots_spaces[info->space],
        sp_slots_dtype_names[info->dtype], info->d, info->ratio, info->compressor_digest,
        info->has_text, info->n_refinements, (uintmax_t)digest->sum[1], (uintmax_t)digest->sum[0]);
    if (n < 0) return sp_fail(SP_FAILURE, "no memory for a digest");
    sp_digest_bytes(hex, text, (size_t)n);
    free(text);
    return SP_OK;
}
