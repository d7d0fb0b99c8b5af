#include "run/unit_counts.h"

#include "base/memory.h"
#include "base/progress.h"
#include "mpi/agree.h"
#include "mpi/work_queue.h"
#include "run/unit_reader.h"

#include <stdlib.h>

/* Reads a unit for nothing but its numbers. */
static sp_status count_by_reading(uint64_t *n_documents, uint64_t *n_lines, sp_corpus *corpus,
                                  const sp_unit *unit) {
    const bool skips = sp_corpus_get_options(corpus)->on_error == SP_ON_ERROR_SKIP;
    sp_unit_reader *reader = NULL;
    bool is_end = false;
    SP_TRY(sp_unit_reader_open(&reader, corpus, unit, skips ? SP_ROWS_UNNEEDED : SP_ROWS_OF_DAMAGE,
                               0));
    sp_status status = SP_OK;
    while (status == SP_OK && !is_end) {
        sp_input input;
        status = sp_unit_reader_next(reader, &input, &is_end);
        *n_documents += status == SP_OK && !is_end;
    }
    *n_lines = sp_unit_reader_n_lines(reader);
    sp_unit_reader_close(reader);
    return status;
}

/* n_documents [n_units] and n_lines [n_units] of the units that this rank takes. */
static sp_status count_units(uint64_t *n_documents, uint64_t *n_lines, sp_world *world,
                             sp_corpus *corpus, const sp_blocks *blocks, const char *what) {
    sp_work_queue *queue = NULL;
    sp_progress progress;
    sp_status status = SP_OK;
    uint64_t item = 0, n_done = 0, counted = 0;
    SP_TRY(sp_work_queue_begin(&queue, world, blocks->n_units));
    sp_progress_begin(&progress, what, blocks->n_bytes, "bytes");
    while (status == SP_OK && sp_work_queue_take(queue, &item)) {
        const sp_unit *unit = &blocks->units[item];
        /* Items rise: those before are done, or in work elsewhere. */
        for (; counted < item; counted++) n_done += blocks->units[counted].range.n_bytes;
        sp_progress_update(&progress, n_done, NULL);
        n_documents[item] = unit->range.n_rows;
        if (unit->range.n_rows == 0)
            status = count_by_reading(&n_documents[item], &n_lines[item], corpus, unit);
    }
    if (status != SP_OK) sp_work_queue_stop(queue);
    sp_work_queue_end(queue);
    sp_progress_end(&progress);
    return sp_agree_on_first(world, item, status);
}

/* From each unit's own numbers to those before it. */
static void add_up(sp_unit_counts *counts, const sp_blocks *blocks) {
    uint64_t n_documents = 0, n_lines = 0;
    for (size_t i = 0; i < blocks->n_units; i++) {
        const uint64_t documents = counts->first_document[i], lines = counts->lines_before[i];
        if (i > 0 && blocks->units[i].file != blocks->units[i - 1].file) n_lines = 0;
        counts->first_document[i] = n_documents;
        counts->lines_before[i] = n_lines;
        n_documents += documents;
        n_lines += lines;
    }
    counts->first_document[blocks->n_units] = n_documents;
}

sp_status sp_unit_counts_create(sp_unit_counts *counts, sp_world *world, sp_corpus *corpus,
                                const sp_blocks *blocks, const char *what) {
    const size_t n = blocks->n_units;
    void *documents = NULL, *lines = NULL;
    sp_status status = sp_alloc_array(&documents, n + 1, sizeof(uint64_t), "counts");
    if (status == SP_OK) status = sp_alloc_array(&lines, n + 1, sizeof(uint64_t), "counts");
    sp_unit_counts made = {documents, lines};
    status = sp_agree(world, status);
    if (status == SP_OK)
        status = count_units(made.first_document, made.lines_before, world, corpus, blocks, what);
    if (status == SP_OK) {
        sp_world_sum_u64(world, made.first_document, n);
        sp_world_sum_u64(world, made.lines_before, n);
        add_up(&made, blocks);
        *counts = made;
    } else {
        sp_unit_counts_free(&made);
    }
    return status;
}

void sp_unit_counts_free(sp_unit_counts *counts) {
    free(counts->lines_before);
    free(counts->first_document);
    *counts = (sp_unit_counts){0};
}
