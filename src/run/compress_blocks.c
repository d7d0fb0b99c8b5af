#include "run/compress_blocks.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "mpi/agree.h"
#include "mpi/work_queue.h"
#include "run/compress_group.h"
#include "run/stop_signal.h"
#include "tensor/dnnl_matmul.h"
#include "tensor/linear.h"

#include <dirent.h>
#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct encoding {
    sp_compress_work *work;
    unsigned char *is_done; /* [n_blocks] */
    size_t *blocks;         /* [n_left], to be done */
    size_t n_left;
    uint64_t n_left_tokens;
    sp_compress_group *groups; /* [n_threads], owned: one a thread */
    size_t n_threads;
    sp_compress_sums *sums;    /* [groups of a block], owned */
    size_t *slots;             /* likewise: each one's first slot in the block */
    sp_compress_target target; /* the block's buffers, owned */
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

/* ---- blocks ---- */

/* Each group by one thread, and their sums in the groups' order. */
static sp_status run_groups(encoding *e, size_t first, size_t end, size_t n_groups) {
    bool has_failed = false;
#pragma omp parallel for schedule(dynamic) num_threads((int)e->n_threads)
    for (size_t g = 0; g < n_groups; g++) {
        const size_t begin = first + g * SP_COMPRESS_GROUP;
        const size_t group_end = end - begin < SP_COMPRESS_GROUP ? end : begin + SP_COMPRESS_GROUP;
        bool stops = false;
#pragma omp atomic read
        stops = has_failed;
        if (stops) continue;
        if (sp_compress_group_run(&e->groups[omp_get_thread_num()], &e->target, begin, group_end,
                                  e->slots[g], &e->sums[g]) != SP_OK) {
#pragma omp atomic write
            has_failed = true;
        }
    }
    for (size_t t = 0; t < e->n_threads; t++)
        if (e->groups[t].status != SP_OK)
            return sp_fail(e->groups[t].status, "%s", e->groups[t].message);
    return SP_OK;
}

static void add_sums(sp_compress_block *block, const sp_compress_sums *sums) {
    block->squares += sums->squares;
    for (int t = 0; t < SP_N_SLOTS_DTYPES; t++) block->lost[t] += sums->lost[t];
    block->nll_before += sums->loss.before;
    block->nll_after += sums->loss.after;
    block->n_targets += sums->loss.n_targets;
}

static sp_status encode_block(encoding *e, size_t index) {
    const sp_compress_work *work = e->work;
    const double begin_s = sp_clock_seconds();
    sp_compress_block block = outline_of(work, index);
    const size_t first = sp_compress_block_begin(work, index), end = first + block.n_segments;
    const size_t n_groups = (block.n_segments + SP_COMPRESS_GROUP - 1) / SP_COMPRESS_GROUP;
    char *path = NULL;
    e->target.first = first;
    memset(e->target.is_poisoned, 0, block.n_segments);
    memset(e->target.scales, 0, block.n_slots * sizeof *e->target.scales);
    memset(e->target.values, 0, sp_slots_value_bytes(block.dtype, block.n_slots * block.d));
    memset(e->sums, 0, n_groups * sizeof *e->sums);
    size_t slot = 0;
    for (size_t i = first; i < end; i++) {
        if ((i - first) % SP_COMPRESS_GROUP == 0) e->slots[(i - first) / SP_COMPRESS_GROUP] = slot;
        slot += sp_compress_n_slots(work, i);
    }
    SP_TRY(run_groups(e, first, end, n_groups));
    for (size_t g = 0; g < n_groups; g++) add_sums(&block, &e->sums[g]);
    block.is_poisoned = e->target.is_poisoned;
    block.scales = e->target.scales;
    block.values = e->target.values;
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

/* oneDNN's products of bf16 and of bytes, which a CPU with instructions for them takes, share a scratch
   pad that belongs to one thread: there all threads share each product instead. */
static size_t n_threads_of(const sp_compress_work *work) {
    sp_precision of_encoder = SP_PRECISION_F32, of_decoder = SP_PRECISION_F32;
    sp_models_precisions(&work->trained.config, &of_encoder, &of_decoder);
    if (work->job->n_refinements == 0) of_decoder = SP_PRECISION_F32; /* it has nothing to do */
    const bool has_int8 = of_encoder == SP_PRECISION_INT8 || of_decoder == SP_PRECISION_INT8;
    const bool has_bf16 = of_encoder == SP_PRECISION_BF16 || of_decoder == SP_PRECISION_BF16;
    if ((has_int8 && sp_dnnl_computes_int8()) || (has_bf16 && sp_linear_computes_bf16())) return 1;
    const size_t n_groups = work->block_segments / SP_COMPRESS_GROUP;
    const size_t n_threads = (size_t)omp_get_max_threads();
    return n_threads < n_groups ? n_threads : n_groups;
}

/* Room for the largest block, and for each thread a group. */
static sp_status reserve(encoding *e) {
    const sp_compress_work *work = e->work;
    const size_t most = sp_run_config_most_slots(&work->trained.config);
    const size_t n_slots = work->block_segments * most;
    const size_t n_groups = work->block_segments / SP_COMPRESS_GROUP;
    const size_t n_threads = n_threads_of(work);
    const struct {
        void **place;
        size_t n, item_bytes;
    } blocks[] = {
        {(void **)&e->target.is_poisoned, work->block_segments, 1},
        {(void **)&e->target.scales, n_slots, sizeof *e->target.scales},
        {(void **)&e->target.values, n_slots, sp_slots_value_bytes(work->job->dtype, work->d)},
        {(void **)&e->sums, n_groups, sizeof *e->sums},
        {(void **)&e->slots, n_groups, sizeof *e->slots},
        {(void **)&e->groups, n_threads, sizeof *e->groups},
    };
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        SP_TRY(sp_alloc_array(blocks[i].place, blocks[i].n, blocks[i].item_bytes, "a block"));
    e->n_threads = n_threads;
    for (size_t t = 0; t < n_threads; t++) SP_TRY(sp_compress_group_reserve(&e->groups[t], work));
    return SP_OK;
}

static void release(encoding *e) {
    for (size_t t = 0; t < e->n_threads; t++) sp_compress_group_release(&e->groups[t]);
    free(e->groups);
    free(e->slots);
    free(e->sums);
    free(e->target.values);
    free(e->target.scales);
    free(e->target.is_poisoned);
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
