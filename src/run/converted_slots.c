#include "run/converted_slots.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Rows that pass the converter at once: bounds its scratch for a long document. */
enum { ROWS_AT_ONCE = 1024 };

static sp_status check(const sp_converted_slots *slots, const char *path,
                       const sp_trained *trained) {
    const sp_slots_info *info = sp_slots_get_info(slots->file);
    const sp_converter *converter = &slots->compressor->converter;
    if (strcmp(info->compressor_digest, trained->digest) != 0)
        return sp_fail(SP_BAD_DATA, "'%s' was made by another compressor than '%s'", path,
                       sp_checkpoint_path(trained->checkpoint));
    const size_t d = info->space == SP_SLOTS_MEMORY ? converter->in.n_in : converter->out.n_out;
    if (info->d == d) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': slots of %zu values, the compressor has %zu", path, info->d,
                   d);
}

sp_status sp_converted_slots_open(sp_converted_slots *slots, const char *path,
                                  const sp_trained *trained) {
    *slots = (sp_converted_slots){.compressor = trained->models.compressor};
    sp_status status = sp_slots_open(&slots->file, path);
    if (status == SP_OK) status = check(slots, path, trained);
    if (status != SP_OK) sp_converted_slots_close(slots);
    return status;
}

void sp_converted_slots_close(sp_converted_slots *slots) {
    sp_workspace_release(&slots->workspace);
    sp_slots_close(slots->file);
    *slots = (sp_converted_slots){0};
}

/* Where they begin, too. */
static sp_status find_slots(const sp_converted_slots *slots, size_t segment_begin,
                            size_t segment_end, size_t *begin, size_t *n) {
    sp_slots_segment first, last;
    *begin = *n = 0;
    if (segment_begin == segment_end) return SP_OK;
    SP_TRY(sp_slots_get_segment(slots->file, segment_begin, &first));
    SP_TRY(sp_slots_get_segment(slots->file, segment_end - 1, &last));
    *begin = first.slot_begin;
    *n = last.slot_begin + last.n_slots - first.slot_begin;
    return SP_OK;
}

sp_status sp_converted_slots_count(const sp_converted_slots *slots, size_t segment_begin,
                                   size_t segment_end, size_t *n) {
    size_t begin = 0;
    return find_slots(slots, segment_begin, segment_end, &begin, n);
}

static sp_status convert(sp_converted_slots *slots, float *out, size_t begin, size_t n) {
    const size_t d_in = slots->compressor->converter.in.n_in;
    const size_t d_out = slots->compressor->converter.out.n_out;
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, n < ROWS_AT_ONCE ? n : ROWS_AT_ONCE, d_in * sizeof(float),
                          "memory"));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n && status == SP_OK; i += ROWS_AT_ONCE) {
        const size_t n_rows = n - i < ROWS_AT_ONCE ? n - i : ROWS_AT_ONCE;
        status = sp_slots_read(slots->file, begin + i, n_rows, block);
        if (status == SP_OK)
            status = sp_compressor_convert(slots->compressor, out + i * d_out, block, n_rows,
                                           &slots->workspace);
    }
    free(block);
    return status;
}

sp_status sp_converted_slots_read(sp_converted_slots *slots, float *out, size_t segment_begin,
                                  size_t segment_end) {
    size_t begin = 0, n = 0;
    SP_TRY(find_slots(slots, segment_begin, segment_end, &begin, &n));
    if (n == 0) return SP_OK;
    if (sp_slots_get_info(slots->file)->space == SP_SLOTS_DECODER)
        return sp_slots_read(slots->file, begin, n, out);
    return convert(slots, out, begin, n);
}
