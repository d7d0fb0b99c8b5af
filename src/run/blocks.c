#include "run/blocks.h"

#include "base/memory.h"
#include "mpi/agree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_BLOCK_BYTES ((uint64_t)1 << 20)
#define LARGE_BLOCK_BYTES ((uint64_t)64 << 20)
enum {
    MOST_SMALL_BLOCKS = 256,
    MOST_BLOCKS = 4096,
    UNITS_A_BLOCK = 4, /* at least, where the file allows it: so blocks come out nearly equal */
    NOTE_SIZE = 512
};

/* Why a file is left out; travels to rank 0. */
typedef struct note {
    char text[NOTE_SIZE];
} note;

/* What a rank finds. */
typedef struct finds {
    sp_unit *units;
    size_t n_units, unit_capacity;
    note *notes;
    size_t n_notes, note_capacity;
} finds;

static sp_status reserve(void **items, size_t *capacity, size_t n, size_t item_bytes) {
    if (n <= *capacity) return SP_OK;
    const size_t larger = 2 * n + 64;
    void *grown = realloc(*items, larger * item_bytes);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu units", larger);
    *items = grown;
    *capacity = larger;
    return SP_OK;
}

/* ---- units: each rank looks at some files ---- */

/* Adds a range, or what lies right before it grows by it. */
static sp_status add_range(finds *f, uint64_t file, const sp_text_unit *range,
                           uint64_t range_bytes) {
    sp_unit *last = f->n_units > 0 ? &f->units[f->n_units - 1] : NULL;
    if (last != NULL && last->file == file && last->range.end == range->begin &&
        last->range.n_bytes <= range_bytes && range->n_bytes <= range_bytes - last->range.n_bytes) {
        last->range.end = range->end;
        last->range.n_bytes += range->n_bytes;
        last->range.n_rows += range->n_rows;
        return SP_OK;
    }
    void *units = f->units;
    const sp_status status = reserve(&units, &f->unit_capacity, f->n_units + 1, sizeof *f->units);
    f->units = units;
    SP_TRY(status);
    f->units[f->n_units++] = (sp_unit){file, *range};
    return SP_OK;
}

static sp_status lose_file(finds *f) {
    void *notes = f->notes;
    const sp_status status = reserve(&notes, &f->note_capacity, f->n_notes + 1, sizeof *f->notes);
    f->notes = notes;
    SP_TRY(status);
    snprintf(f->notes[f->n_notes++].text, NOTE_SIZE, "%s", sp_message());
    return SP_OK;
}

static sp_status find_units(finds *f, const sp_corpus *corpus, size_t file, uint64_t range_bytes) {
    const sp_corpus_options *options = sp_corpus_get_options(corpus);
    sp_text_unit *ranges = NULL;
    size_t n = 0;
    sp_status status =
        sp_text_units(&ranges, &n, sp_corpus_path(corpus, file), range_bytes, &options->text);
    if (status == SP_BAD_DATA && options->on_error == SP_ON_ERROR_SKIP) return lose_file(f);
    for (size_t i = 0; status == SP_OK && i < n; i++)
        status = add_range(f, file, &ranges[i], range_bytes);
    free(ranges);
    return status;
}

static sp_status find_own_units(finds *f, const sp_world *world, const sp_corpus *corpus,
                                uint64_t range_bytes) {
    const size_t n_ranks = (size_t)sp_world_size(world);
    for (size_t i = (size_t)sp_world_rank(world); i < sp_corpus_n_files(corpus); i += n_ranks)
        if (!sp_corpus_is_refused(corpus, i)) SP_TRY(find_units(f, corpus, i, range_bytes));
    return SP_OK;
}

/* ---- all ranks' finds on every rank ---- */

static int in_input_order(const void *a, const void *b) {
    const sp_unit *x = a, *y = b;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return x->range.begin < y->range.begin ? -1 : x->range.begin > y->range.begin;
}

static size_t sum_of(const size_t *sizes, int n_ranks) {
    size_t sum = 0;
    for (int rank = 0; sizes != NULL && rank < n_ranks; rank++) sum += sizes[rank];
    return sum;
}

static sp_status share_units(sp_blocks *blocks, sp_world *world, const finds *f) {
    char *all = NULL;
    size_t *sizes = NULL;
    SP_TRY(sp_agree(world,
                    sp_world_gather(world, f->units, f->n_units * sizeof *f->units, &all, &sizes)));
    uint64_t n_bytes = sum_of(sizes, sp_world_size(world));
    sp_world_broadcast(world, &n_bytes, sizeof n_bytes, 0);
    void *units = NULL;
    const sp_status status = sp_agree(world, sp_alloc(&units, (size_t)n_bytes, "units"));
    if (status == SP_OK) {
        blocks->units = units;
        blocks->n_units = (size_t)n_bytes / sizeof *blocks->units;
        if (all != NULL && n_bytes > 0) {
            memcpy(units, all, (size_t)n_bytes);
            qsort(units, blocks->n_units, sizeof *blocks->units, in_input_order);
        }
        sp_world_broadcast(world, units, (size_t)n_bytes, 0);
    }
    free(all);
    free(sizes);
    return status;
}

static sp_status share_notes(sp_blocks *blocks, sp_world *world, sp_corpus *corpus,
                             const finds *f) {
    char *all = NULL;
    size_t *sizes = NULL;
    SP_TRY(sp_agree(world,
                    sp_world_gather(world, f->notes, f->n_notes * sizeof *f->notes, &all, &sizes)));
    blocks->n_lost_files = sum_of(sizes, sp_world_size(world)) / sizeof(note);
    for (size_t i = 0; i < blocks->n_lost_files; i++)
        if (sp_fail(SP_BAD_DATA, "%s", all + i * sizeof(note)) != SP_OK)
            sp_corpus_warn(corpus, "the file");
    sp_world_broadcast(world, &blocks->n_lost_files, sizeof blocks->n_lost_files, 0);
    free(all);
    free(sizes);
    return SP_OK;
}

/* ---- blocks ---- */

uint64_t sp_block_bytes(uint64_t n_bytes) {
    uint64_t block = n_bytes / MOST_SMALL_BLOCKS;
    if (block > LARGE_BLOCK_BYTES) block = LARGE_BLOCK_BYTES;
    if (block < n_bytes / MOST_BLOCKS) block = n_bytes / MOST_BLOCKS;
    return block < LEAST_BLOCK_BYTES ? LEAST_BLOCK_BYTES : block;
}

size_t sp_blocks_cut(size_t *begin, const sp_unit *units, size_t n_units, uint64_t block_bytes) {
    size_t n_blocks = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < n_units; i++) {
        const uint64_t n_bytes = units[i].range.n_bytes;
        const bool is_nearer_without = sum >= block_bytes || n_bytes / 2 > block_bytes - sum;
        if (i == 0 || (sum > 0 && is_nearer_without)) {
            begin[n_blocks++] = i;
            sum = 0;
        }
        sum = n_bytes > UINT64_MAX - sum ? UINT64_MAX : sum + n_bytes;
    }
    begin[n_blocks] = n_units;
    return n_blocks;
}

uint64_t sp_blocks_n_bytes(const sp_blocks *blocks, size_t block) {
    uint64_t sum = 0;
    for (size_t i = blocks->begin[block]; i < blocks->begin[block + 1]; i++)
        sum += blocks->units[i].range.n_bytes;
    return sum;
}

static sp_status cut_blocks(sp_blocks *blocks, uint64_t block_bytes) {
    void *begin = NULL;
    SP_TRY(sp_alloc_array(&begin, blocks->n_units + 1, sizeof *blocks->begin, "blocks"));
    blocks->begin = begin;
    for (size_t i = 0; i < blocks->n_units; i++) blocks->n_bytes += blocks->units[i].range.n_bytes;
    if (block_bytes == 0) block_bytes = sp_block_bytes(blocks->n_bytes);
    blocks->n_blocks = sp_blocks_cut(blocks->begin, blocks->units, blocks->n_units, block_bytes);
    return SP_OK;
}

static uint64_t choose_range_bytes(const sp_corpus *corpus, uint64_t block_bytes) {
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < sp_corpus_n_files(corpus); i++) n_bytes += sp_corpus_n_bytes(corpus, i);
    if (block_bytes == 0) block_bytes = sp_block_bytes(n_bytes);
    return block_bytes < UNITS_A_BLOCK ? 1 : block_bytes / UNITS_A_BLOCK;
}

sp_status sp_blocks_create(sp_blocks *blocks, sp_world *world, sp_corpus *corpus,
                           uint64_t block_bytes) {
    sp_blocks made = {0};
    finds f = {0};
    sp_status status =
        sp_agree(world, find_own_units(&f, world, corpus, choose_range_bytes(corpus, block_bytes)));
    if (status == SP_OK) status = share_units(&made, world, &f);
    if (status == SP_OK) status = share_notes(&made, world, corpus, &f);
    if (status == SP_OK) status = sp_agree(world, cut_blocks(&made, block_bytes));
    free(f.units);
    free(f.notes);
    if (status == SP_OK)
        *blocks = made;
    else
        sp_blocks_free(&made);
    return status;
}

void sp_blocks_free(sp_blocks *blocks) {
    free(blocks->begin);
    free(blocks->units);
    *blocks = (sp_blocks){0};
}
