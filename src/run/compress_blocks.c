#include "run/compress_blocks.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "mpi/agree.h"
#include "mpi/work_queue.h"
#include "run/stop_signal.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A segment of the group at hand that is to be encoded. */
typedef struct member {
    size_t segment, n_slots, slot; /* the first one in the block */
} member;

typedef struct encoding {
    sp_compress_work *work;
    unsigned char *is_done; /* [n_blocks] */
    size_t *blocks;         /* [n_left], to be done */
    size_t n_left;
    uint64_t n_left_tokens;
    sp_batch batch;
    sp_workspace workspace;
    int32_t *ids;          /* [segment_tokens or the longest segment] */
    float *memory, *slots; /* of a group: the encoder's rows, the converter's */
    float *rounded;
    char *packed; /* of a group, as any type */
    float *packed_scales;
    unsigned char *is_poisoned; /* of the block at hand */
    float *scales;
    char *values;
    sp_progress progress;
} encoding;

static sp_status block_path(const sp_compress_work *work, size_t index, char **path) {
    char name[32];
    snprintf(name, sizeof name, "block-%06zu", index);
    return sp_compress_path(work, name, path);
}

static size_t n_block_slots(const sp_compress_work *work, size_t index) {
    size_t n = 0;
    for (size_t i = sp_compress_block_begin(work, index);
         i < sp_compress_block_begin(work, index + 1); i++)
        n += sp_compress_n_slots(work, i);
    return n;
}

static uint64_t n_block_tokens(const sp_compress_work *work, size_t index) {
    uint64_t n = 0;
    for (size_t i = sp_compress_block_begin(work, index);
         i < sp_compress_block_begin(work, index + 1); i++)
        n += sp_tokens_length(work->tokens, work->stream, i);
    return n;
}

static sp_compress_block outline_of(const sp_compress_work *work, size_t index) {
    const size_t begin = sp_compress_block_begin(work, index);
    return (sp_compress_block){.n_segments = sp_compress_block_begin(work, index + 1) - begin,
                               .n_slots = n_block_slots(work, index),
                               .d = work->d,
                               .dtype = work->job->dtype};
}

sp_status sp_compress_open_block(const sp_compress_work *work, size_t index,
                                 sp_compress_block *block) {
    char *path = NULL;
    *block = outline_of(work, index);
    SP_TRY(block_path(work, index, &path));
    const sp_status status = sp_compress_block_open(block, path, work->state);
    free(path);
    return status;
}

/* ---- what is done ---- */

/* The block that has this name in the folder, else n_blocks. */
static size_t block_of_name(const sp_compress_work *work, const char *name) {
    size_t index = 0;
    char expected[32];
    if (sscanf(name, "block-%zu", &index) != 1 || index >= work->n_blocks) return work->n_blocks;
    snprintf(expected, sizeof expected, "block-%06zu", index);
    return strcmp(name, expected) == 0 ? index : work->n_blocks;
}

/* Rank 0's. A block that is damaged or of other input is none. By the folder's listing: a network's
   file system may go on for a while to say that a name is not there, once it was asked for. */
static sp_status list_done(encoding *e) {
    const sp_compress_work *work = e->work;
    DIR *folder = opendir(work->dir);
    if (folder == NULL) return sp_fail(SP_IO, "cannot read '%s': %s", work->dir, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const size_t index = block_of_name(work, entry->d_name);
        sp_compress_block block = {0};
        if (index == work->n_blocks) continue;
        e->is_done[index] = sp_compress_open_block(work, index, &block) == SP_OK &&
                            sp_compress_block_check(&block, "") == SP_OK;
        sp_compress_block_close(&block);
    }
    closedir(folder);
    return SP_OK;
}

static sp_status find_done(encoding *e) {
    const sp_compress_work *work = e->work;
    void *is_done = NULL, *blocks = NULL;
    sp_status status = sp_alloc(&is_done, work->n_blocks, "blocks");
    e->is_done = is_done;
    if (status == SP_OK)
        status = sp_alloc_array(&blocks, work->n_blocks, sizeof *e->blocks, "blocks");
    e->blocks = blocks;
    if (status == SP_OK && sp_world_rank(work->world) == 0) status = list_done(e);
    SP_TRY(sp_agree(work->world, status));
    sp_world_broadcast(work->world, e->is_done, work->n_blocks, 0);
    for (size_t i = 0; i < work->n_blocks; i++) {
        if (e->is_done[i]) continue;
        e->blocks[e->n_left++] = i;
        e->n_left_tokens += n_block_tokens(work, i);
    }
    if (e->n_left < work->n_blocks)
        sp_log(SP_LOG_INFO, "'%s': %zu of %zu blocks were done before", work->dir,
               work->n_blocks - e->n_left, work->n_blocks);
    return SP_OK;
}

/* ---- a group of segments ---- */

/* The segment's document cannot be compressed, as the present message says. */
static sp_status poison(encoding *e, size_t first, size_t segment, sp_status status) {
    const sp_compress_work *work = e->work;
    char *id = NULL;
    if (work->job->corpus.on_error == SP_ON_ERROR_SKIP) {
        e->is_poisoned[segment - first] =
            status == SP_NUMERIC ? SP_POISON_VALUES : SP_POISON_TOKENS;
        return SP_OK;
    }
    SP_TRY(sp_tokens_document_id(work->tokens, sp_tokens_document(work->tokens, segment), &id));
    status = sp_fail(status, "document '%s' cannot be compressed: %s", id, sp_message());
    free(id);
    return status;
}

static sp_status add_segment(encoding *e, size_t segment) {
    const sp_compress_work *work = e->work;
    const size_t n = sp_tokens_length(work->tokens, work->stream, segment);
    const size_t vocab_size = work->trained.models.encoder_weights->config.vocab_size;
    SP_TRY(sp_tokens_read(work->tokens, work->stream, segment, e->ids));
    for (size_t i = 0; i < n; i++)
        if ((size_t)e->ids[i] >= vocab_size)
            return sp_fail(SP_BAD_DATA, "token id %d is beyond the encoder's %zu", e->ids[i],
                           vocab_size);
    return sp_layout_add_encoder(&work->layout, &e->batch, e->ids, n, 0);
}

/* Adds what rounding n slots to each type would take. */
static void measure(encoding *e, sp_compress_block *block, const float *slots, size_t n) {
    const size_t d = e->work->d;
    for (size_t i = 0; i < n * d; i++) block->squares += (double)slots[i] * (double)slots[i];
    for (int type = 0; type < SP_N_SLOTS_DTYPES; type++) {
        const sp_slots_dtype dtype = (sp_slots_dtype)type;
        if (sp_slots_pack(dtype, e->packed, e->packed_scales, slots, n, d) != SP_OK) {
            block->lost[type] = (double)INFINITY;
            continue;
        }
        sp_slots_unpack(dtype, e->rounded, e->packed, e->packed_scales, n, d);
        for (size_t i = 0; i < n * d; i++) {
            const double lost = (double)slots[i] - (double)e->rounded[i];
            block->lost[type] += lost * lost;
        }
    }
}

/* Encodes the batch to e->slots, in the space that is asked for. */
static sp_status run_batch(encoding *e) {
    const sp_compress_work *work = e->work;
    sp_compressor *compressor = work->trained.models.compressor;
    if (work->job->space == SP_SLOTS_MEMORY)
        return sp_compressor_encode(compressor, &e->batch, e->slots, &e->workspace);
    SP_TRY(sp_compressor_encode(compressor, &e->batch, e->memory, &e->workspace));
    return sp_compressor_convert(compressor, e->slots, e->memory, e->batch.n_taken, &e->workspace);
}

/* Encodes members [n] of the group and stores each one's slots in the block's buffers. */
static sp_status store_members(encoding *e, sp_compress_block *block, size_t first,
                               const member *members, size_t n) {
    const sp_compress_work *work = e->work;
    const float *slots = e->slots;
    if (e->batch.n_taken == 0) return SP_OK;
    SP_TRY(run_batch(e));
    for (size_t i = 0; i < n; i++) {
        const member *m = &members[i];
        const sp_status status = sp_slots_pack(
            work->job->dtype, e->values + sp_slots_value_bytes(work->job->dtype, m->slot * work->d),
            e->scales + m->slot, slots, m->n_slots, work->d);
        if (status == SP_NUMERIC)
            SP_TRY(poison(e, first, m->segment, status));
        else
            measure(e, block, slots, m->n_slots);
        slots += m->n_slots * work->d;
    }
    return SP_OK;
}

static sp_status encode_group(encoding *e, sp_compress_block *block, size_t first, size_t begin,
                              size_t end, size_t *slot) {
    member members[SP_COMPRESS_GROUP];
    size_t n = 0;
    sp_batch_clear(&e->batch);
    for (size_t i = begin; i < end; i++) {
        const size_t n_slots = sp_compress_n_slots(e->work, i);
        const sp_status status = n_slots > 0 ? add_segment(e, i) : SP_OK;
        if (status == SP_BAD_DATA)
            SP_TRY(poison(e, first, i, status));
        else if (status != SP_OK)
            return status;
        else
            members[n++] = (member){i, n_slots, *slot};
        *slot += n_slots;
    }
    return store_members(e, block, first, members, n);
}

/* ---- blocks ---- */

static sp_status encode_block(encoding *e, size_t index) {
    const sp_compress_work *work = e->work;
    const double begin_s = sp_clock_seconds();
    sp_compress_block block = outline_of(work, index);
    const size_t first = sp_compress_block_begin(work, index), end = first + block.n_segments;
    size_t slot = 0;
    char *path = NULL;
    memset(e->is_poisoned, 0, block.n_segments);
    memset(e->scales, 0, block.n_slots * sizeof *e->scales);
    memset(e->values, 0, sp_slots_value_bytes(block.dtype, block.n_slots * block.d));
    for (size_t i = first; i < end; i += SP_COMPRESS_GROUP)
        SP_TRY(encode_group(e, &block, first, i,
                            end - i < SP_COMPRESS_GROUP ? end : i + SP_COMPRESS_GROUP, &slot));
    block.is_poisoned = e->is_poisoned;
    block.scales = e->scales;
    block.values = e->values;
    block.seconds = sp_clock_seconds() - begin_s;
    SP_TRY(block_path(work, index, &path));
    const sp_status status = sp_compress_block_write(path, work->state, &block);
    free(path);
    return status;
}

static sp_status take_blocks(encoding *e, sp_work_queue *queue) {
    uint64_t item = 0, n_tokens = 0;
    size_t n_passed = 0; /* of those left */
    while (sp_work_queue_take(queue, &item)) {
        if (sp_stop_signal_seen())
            return sp_fail(SP_STOPPED, "stopped by a signal; the same command goes on");
        for (; n_passed < item; n_passed++)
            n_tokens += n_block_tokens(e->work, e->blocks[n_passed]);
        sp_progress_update(&e->progress, n_tokens, NULL);
        SP_TRY(encode_block(e, e->blocks[item]));
    }
    sp_progress_update(&e->progress, e->n_left_tokens, NULL);
    return SP_OK;
}

static sp_status share_blocks(encoding *e) {
    sp_world *world = e->work->world;
    sp_work_queue *queue = NULL;
    SP_TRY(sp_work_queue_begin(&queue, world, e->n_left));
    const sp_status status = take_blocks(e, queue);
    if (status != SP_OK) sp_work_queue_stop(queue);
    sp_work_queue_end(queue);
    return sp_agree(world, status);
}

/* Room for the largest group and the largest block. */
static sp_status reserve(encoding *e) {
    const sp_compress_work *work = e->work;
    const size_t most = work->trained.config.encoder.memory_tokens;
    const size_t n_group = SP_COMPRESS_GROUP * most, n_block = work->block_segments * most;
    const size_t d_memory = work->trained.models.compressor->converter.in.n_in, d = work->d;
    size_t longest = 0;
    for (size_t i = 0; i < sp_tokens_n_segments(work->tokens); i++) {
        const size_t n = sp_tokens_length(work->tokens, work->stream, i);
        if (n > longest) longest = n;
    }
    const struct {
        void **place;
        size_t n, item_bytes;
    } blocks[] = {
        {(void **)&e->ids, longest, sizeof *e->ids},
        {(void **)&e->memory, n_group, d_memory * sizeof *e->memory},
        {(void **)&e->slots, n_group, d * sizeof *e->slots},
        {(void **)&e->rounded, n_group, d * sizeof *e->rounded},
        {(void **)&e->packed, n_group, d * sizeof(uint16_t)},
        {(void **)&e->packed_scales, n_group, sizeof *e->packed_scales},
        {(void **)&e->is_poisoned, work->block_segments, 1},
        {(void **)&e->scales, n_block, sizeof *e->scales},
        {(void **)&e->values, n_block, sp_slots_value_bytes(work->job->dtype, d)},
    };
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        SP_TRY(sp_alloc_array(blocks[i].place, blocks[i].n, blocks[i].item_bytes, "a block"));
    return SP_OK;
}

static void release(encoding *e) {
    sp_workspace_release(&e->workspace);
    sp_batch_free(&e->batch);
    free(e->values);
    free(e->scales);
    free(e->is_poisoned);
    free(e->packed_scales);
    free(e->packed);
    free(e->rounded);
    free(e->slots);
    free(e->memory);
    free(e->ids);
    free(e->blocks);
    free(e->is_done);
}

sp_status sp_compress_encode(sp_compress_work *work) {
    encoding e = {.work = work};
    sp_status status = find_done(&e);
    if (status == SP_OK && e.n_left > 0) {
        status = sp_agree(work->world, reserve(&e));
        if (status == SP_OK) {
            sp_progress_begin(&e.progress, "compress", e.n_left_tokens, "tokens");
            status = share_blocks(&e);
            sp_progress_end(&e.progress);
        }
    }
    release(&e);
    return status;
}
