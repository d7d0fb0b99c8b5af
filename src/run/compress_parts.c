#include "run/compress_parts.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/slots_parts.h"
#include "mpi/agree.h"
#include "run/compress_blocks.h"
#include "run/compress_source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_WARNINGS = 20 };

typedef struct assembling {
    sp_compress_work *work;
    unsigned char *is_poisoned; /* [n_documents]: such documents have no segments */
    size_t n_parts, part;       /* this rank's, if it is below n_parts */
    size_t block_begin, block_end, document_begin, document_end;
    size_t longest_id;
    sp_slots_counts before, own;
    sp_compress_texts *texts;
    sp_slots_writer *writer;
    size_t next_document; /* of the writer */
} assembling;

/* ---- what the blocks say ---- */

static void warn_of(const sp_compress_work *work, size_t document, int reason) {
    char *id = NULL;
    if (sp_tokens_document_id(work->tokens, document, &id) != SP_OK) return;
    sp_log(SP_LOG_WARNING, "document '%s' cannot be compressed: %s; skipped", id,
           reason == SP_POISON_TOKENS ? "a token is beyond the encoder's vocabulary"
                                      : "its slots cannot be stored");
    free(id);
}

static sp_status read_block(assembling *a, size_t index, double *squares, double *lost) {
    sp_compress_work *work = a->work;
    const size_t first = sp_compress_block_begin(work, index);
    sp_compress_block block;
    SP_TRY(sp_compress_open_block(work, index, &block));
    for (size_t i = 0; i < block.n_segments; i++) {
        const size_t document = sp_tokens_document(work->tokens, first + i);
        if (block.is_poisoned[i] == SP_POISON_NONE || a->is_poisoned[document]) continue;
        a->is_poisoned[document] = 1;
        if (work->summary.n_poisoned++ < MOST_WARNINGS)
            warn_of(work, document, block.is_poisoned[i]);
    }
    *squares += block.squares;
    for (int t = 0; t < SP_N_SLOTS_DTYPES; t++) lost[t] += block.lost[t];
    work->summary.rank_seconds += block.seconds;
    work->summary.nll_before += block.nll_before;
    work->summary.nll_after += block.nll_after;
    work->summary.n_targets += block.n_targets;
    sp_compress_block_close(&block);
    return SP_OK;
}

/* Rank 0's. */
static sp_status read_blocks(assembling *a) {
    sp_compress_summary *summary = &a->work->summary;
    double squares = 0, lost[SP_N_SLOTS_DTYPES] = {0};
    for (size_t i = 0; i < a->work->n_blocks; i++) SP_TRY(read_block(a, i, &squares, lost));
    for (int t = 0; t < SP_N_SLOTS_DTYPES; t++)
        summary->relative_errors[t] = squares > 0 ? sqrt(lost[t] / squares) : 0;
    return SP_OK;
}

static sp_status share_blocks(assembling *a) {
    sp_compress_work *work = a->work;
    const size_t n_documents = sp_tokens_n_documents(work->tokens);
    void *is_poisoned = NULL;
    SP_TRY(sp_agree(work->world, sp_alloc(&is_poisoned, n_documents, "documents")));
    a->is_poisoned = is_poisoned;
    SP_TRY(sp_agree(work->world, sp_world_rank(work->world) == 0 ? read_blocks(a) : SP_OK));
    sp_world_broadcast(work->world, a->is_poisoned, n_documents, 0);
    sp_world_broadcast(work->world, &work->summary, sizeof work->summary, 0);
    return SP_OK;
}

/* ---- who writes what ---- */

static void count_segment(const assembling *a, sp_slots_counts *counts, size_t i) {
    const sp_compress_work *work = a->work;
    if (a->is_poisoned[sp_tokens_document(work->tokens, i)]) return;
    counts->n_segments++;
    counts->n_slots += sp_compress_n_slots(work, i);
}

/* The row of /documents that the part that begins with this block begins with: a document belongs
   to the part with its first segment, and one without segments to that with the next. */
static size_t first_document(const sp_compress_work *work, size_t block) {
    const size_t segment = sp_compress_block_begin(work, block);
    if (segment == 0) return 0;
    if (segment == sp_tokens_n_segments(work->tokens)) return sp_tokens_n_documents(work->tokens);
    return sp_tokens_document(work->tokens, segment - 1) + 1;
}

static sp_status share_out(assembling *a) {
    sp_compress_work *work = a->work;
    const size_t n_ranks = (size_t)sp_world_size(work->world), n = work->n_blocks;
    sp_compress_summary *summary = &work->summary;
    a->part = (size_t)sp_world_rank(work->world);
    a->n_parts = n_ranks < n ? n_ranks : n;
    if (a->part < a->n_parts) {
        a->block_begin = n * a->part / a->n_parts;
        a->block_end = n * (a->part + 1) / a->n_parts;
    }
    const size_t begin = sp_compress_block_begin(work, a->block_begin);
    const size_t end = sp_compress_block_begin(work, a->block_end);
    sp_slots_counts all = {0};
    for (size_t i = 0; i < sp_tokens_n_segments(work->tokens); i++) {
        count_segment(a, i < begin ? &a->before : &all, i);
        if (i >= begin && i < end) count_segment(a, &a->own, i);
        if (!a->is_poisoned[sp_tokens_document(work->tokens, i)])
            summary->n_tokens += sp_tokens_length(work->tokens, work->stream, i);
    }
    summary->n_segments = a->before.n_segments + all.n_segments;
    summary->n_slots = a->before.n_slots + all.n_slots;
    a->document_begin = a->before.n_documents = first_document(work, a->block_begin);
    a->document_end = first_document(work, a->block_end);
    if (a->part >= a->n_parts) a->document_end = a->document_begin;
    a->own.n_documents = a->document_end - a->document_begin;
    if (summary->n_segments > 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': none of its %ju documents can be compressed",
                   work->job->corpus.names[0], (uintmax_t)summary->n_documents);
}

/* Strings of all parts have room for the longest id, and texts follow those of the parts before. */
static sp_status measure_own(assembling *a) {
    const sp_compress_work *work = a->work;
    const size_t begin = sp_compress_block_begin(work, a->block_begin);
    const size_t end = sp_compress_block_begin(work, a->block_end);
    for (size_t i = a->document_begin; i < a->document_end; i++) {
        char *id = NULL;
        SP_TRY(sp_tokens_document_id(work->tokens, i, &id));
        if (strlen(id) > a->longest_id) a->longest_id = strlen(id);
        free(id);
    }
    for (size_t i = begin; i < end; i++) {
        uint64_t byte_begin = 0;
        uint32_t byte_len = 0;
        if (a->is_poisoned[sp_tokens_document(work->tokens, i)]) continue;
        SP_TRY(sp_tokens_bytes(work->tokens, i, &byte_begin, &byte_len));
        a->own.n_text_bytes += byte_len;
    }
    return SP_OK;
}

/* counts [n_ranks], owned, of all ranks' parts. */
static sp_status share_counts(assembling *a, sp_slots_counts **counts) {
    sp_compress_work *work = a->work;
    const size_t n_ranks = (size_t)sp_world_size(work->world);
    const size_t rank = (size_t)sp_world_rank(work->world);
    void *block = NULL;
    double longest = 0;
    sp_status status = measure_own(a);
    if (status == SP_OK) status = sp_alloc_array(&block, n_ranks, sizeof **counts, "parts");
    *counts = block;
    SP_TRY(sp_agree(work->world, status));
    longest = (double)a->longest_id;
    sp_world_max_double(work->world, &longest, 1);
    a->longest_id = (size_t)longest;
    (*counts)[rank] = a->own;
    sp_world_sum_u64(work->world, &(*counts)[0].n_documents, 4 * n_ranks);
    for (size_t r = 0; r < n_ranks; r++) {
        if (r < rank) a->before.n_text_bytes += (*counts)[r].n_text_bytes;
        work->summary.n_text_bytes += (*counts)[r].n_text_bytes;
    }
    if (!work->job->keeps_text) a->before.n_text_bytes = 0;
    return SP_OK;
}

_Static_assert(sizeof(sp_slots_counts) == 4 * sizeof(uint64_t), "counts are summed as numbers");

/* ---- writing ---- */

static sp_status write_documents(assembling *a, size_t end) {
    for (; a->next_document < end; a->next_document++) {
        char *id = NULL;
        SP_TRY(sp_tokens_document_id(a->work->tokens, a->next_document, &id));
        const sp_status status = sp_slots_writer_document(
            a->writer, id, sp_tokens_hash(a->work->tokens, a->next_document));
        free(id);
        SP_TRY(status);
    }
    return SP_OK;
}

static sp_status write_segment(assembling *a, size_t segment, const sp_compress_block *block,
                               size_t slot) {
    const sp_compress_work *work = a->work;
    const size_t document = sp_tokens_document(work->tokens, segment);
    const size_t n_values = slot * work->d;
    sp_slots_written written = {
        .n_tokens = (uint32_t)sp_tokens_length(work->tokens, work->stream, segment),
        .n_slots = sp_compress_n_slots(work, segment),
        .values = (const char *)block->values + sp_slots_value_bytes(block->dtype, n_values),
        .scales = block->scales != NULL ? block->scales + slot : NULL};
    SP_TRY(sp_tokens_bytes(work->tokens, segment, &written.byte_begin, &written.byte_len));
    SP_TRY(write_documents(a, document + 1));
    if (a->texts != NULL) {
        const char *text = NULL;
        size_t n_bytes = 0;
        SP_TRY(sp_compress_texts_of(a->texts, document, &text, &n_bytes));
        if (written.byte_begin > n_bytes || written.byte_len > n_bytes - written.byte_begin)
            return sp_fail(SP_BAD_DATA, "'%s', segment %zu: beyond its document's %zu bytes",
                           sp_tokens_path(work->tokens), segment, n_bytes);
        written.text = text + written.byte_begin;
    }
    return sp_slots_writer_segment(a->writer, &written);
}

static sp_status write_block(assembling *a, size_t index) {
    const sp_compress_work *work = a->work;
    const size_t first = sp_compress_block_begin(work, index);
    size_t slot = 0;
    sp_compress_block block;
    SP_TRY(sp_compress_open_block(work, index, &block));
    sp_status status = SP_OK;
    for (size_t i = first; status == SP_OK && i < first + block.n_segments; i++) {
        if (!a->is_poisoned[sp_tokens_document(work->tokens, i)])
            status = write_segment(a, i, &block, slot);
        slot += sp_compress_n_slots(work, i);
    }
    sp_compress_block_close(&block);
    return status;
}

static sp_status write_own(assembling *a) {
    const sp_compress_work *work = a->work;
    char *path = NULL;
    if (a->part >= a->n_parts) return SP_OK;
    if (a->n_parts > 1) SP_TRY(sp_slots_part_path(&path, work->job->output, a->part));
    sp_status status =
        a->n_parts > 1
            ? sp_slots_writer_open_part(&a->writer, path, &work->info, &a->before, a->longest_id)
            : sp_slots_writer_open(&a->writer, work->job->output, &work->info);
    a->next_document = a->document_begin;
    for (size_t i = a->block_begin; i < a->block_end && status == SP_OK; i++)
        status = write_block(a, i);
    if (status == SP_OK) status = write_documents(a, a->document_end);
    if (status == SP_OK)
        status = sp_slots_writer_commit(a->writer);
    else
        sp_slots_writer_abort(a->writer);
    free(path);
    return status;
}

/* Rank 0's. An index whose parts are written anew is not left as if it were whole. */
static sp_status prepare_parts(const assembling *a) {
    const char *output = a->work->job->output;
    char *folder = NULL;
    SP_TRY(sp_slots_parts_folder(&folder, output));
    sp_status status = SP_OK;
    if (access(folder, F_OK) == 0) {
        unlink(output);
        status = sp_remove_tree(folder);
    }
    if (status == SP_OK && a->n_parts > 1) status = sp_make_folders(folder);
    free(folder);
    return status;
}

static sp_status write_all(assembling *a) {
    sp_compress_work *work = a->work;
    const bool is_first = sp_world_rank(work->world) == 0;
    sp_slots_counts *counts = NULL;
    sp_status status = share_counts(a, &counts);
    if (status == SP_OK) status = sp_agree(work->world, is_first ? prepare_parts(a) : SP_OK);
    if (status == SP_OK) status = sp_agree(work->world, write_own(a));
    for (size_t p = 0; counts != NULL && !work->job->keeps_text && p < a->n_parts; p++)
        counts[p].n_text_bytes = 0;
    if (status == SP_OK)
        status = sp_agree(work->world, is_first && a->n_parts > 1
                                           ? sp_slots_index_write(work->job->output, &work->info,
                                                                  counts, a->n_parts, a->longest_id)
                                           : SP_OK);
    free(counts);
    return status;
}

static sp_status assemble(assembling *a) {
    sp_compress_work *work = a->work;
    SP_TRY(share_blocks(a));
    SP_TRY(sp_agree(work->world, share_out(a)));
    if (work->job->keeps_text) SP_TRY(sp_compress_texts_open(&a->texts, work));
    return write_all(a);
}

sp_status sp_compress_assemble(sp_compress_work *work) {
    assembling a = {.work = work};
    const sp_status status = assemble(&a);
    sp_compress_texts_close(a.texts);
    free(a.is_poisoned);
    const uint64_t n_slots = work->summary.n_slots;
    work->summary.n_stored_bytes = sp_slots_value_bytes(work->job->dtype, n_slots * work->d) +
                                   (sp_slots_has_scales(work->job->dtype) ? 4 * n_slots : 0);
    return status;
}
