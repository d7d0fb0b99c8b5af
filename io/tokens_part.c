#include "io/tokens_part.h"

#include "io/tokens_origin.h"
#include "io/tokens_plan.h"
#include "io/tokens_replaced.h"
#include "io/tokens_writer.h"

#include <assert.h>

/* What a block's records gave, to be held against the plan: parts that do not fit would shift
   everything behind them. */
typedef struct block_counts {
    uint64_t n_documents, n_segments, n_ids[SP_TOKENS_MAX_STREAMS];
} block_counts;

static sp_status check_counts(const sp_tokens_plan *plan, const sp_tokens_place *place,
                              const block_counts *counts) {
    bool fits = counts->n_documents == place->block.n_documents &&
                counts->n_segments == place->block.n_segments;
    for (size_t s = 0; s < plan->job->n_streams; s++)
        fits = fits && counts->n_ids[s] == place->block.n_ids[s];
    if (fits) return SP_OK;
    return sp_fail(SP_BAD_DATA,
                   "'%s', offset %ju: block %ju holds other than it counts; remove the file to "
                   "tokenize its blocks anew",
                   plan->parts[place->part].journal_path, (uintmax_t)place->block.begin,
                   (uintmax_t)place->block.index);
}

static sp_status check_segment(const sp_tokens_plan *plan, const sp_tokens_place *place,
                               const sp_tokens_record *record) {
    if (record->n_ids[0] > 0 && record->n_ids[0] <= plan->job->segment_tokens) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s', block %ju: a segment of %zu tokens, not 1 to %zu",
                   plan->parts[place->part].journal_path, (uintmax_t)place->block.index,
                   record->n_ids[0], plan->job->segment_tokens);
}

static sp_status write_record(const sp_tokens_plan *plan, const sp_tokens_place *place,
                              const sp_tokens_record *record, sp_tokens_writer *writer,
                              block_counts *counts) {
    if (record->is_document) {
        if (counts->n_documents++ >= place->block.n_documents)
            return check_counts(plan, place, counts);
        return sp_tokens_writer_document(writer, record->id, record->hash);
    }
    SP_TRY(check_segment(plan, place, record));
    counts->n_segments++;
    for (size_t s = 0; s < plan->job->n_streams; s++) counts->n_ids[s] += record->n_ids[s];
    return sp_tokens_writer_segment(writer, record->byte_begin, record->byte_len, record->ids,
                                    record->n_ids);
}

static sp_status write_block(const sp_tokens_plan *plan, const sp_tokens_place *place,
                             sp_journal *journal, sp_tokens_writer *writer) {
    block_counts counts = {0};
    SP_TRY(sp_journal_seek(journal, &place->block));
    for (;;) {
        sp_tokens_record record;
        bool is_end = false;
        SP_TRY(sp_journal_next(journal, &record, &is_end));
        if (is_end) return check_counts(plan, place, &counts);
        SP_TRY(write_record(plan, place, &record, writer, &counts));
    }
}

/* ---- the parts of an index ---- */

static sp_status write_part(const sp_tokens_plan *plan, size_t part, sp_journal *journal,
                            sp_tokens_writer *writer) {
    for (size_t b = 0; b < plan->n_blocks; b++) {
        const sp_tokens_place *place = &plan->places[b];
        if (place->part != part) continue;
        sp_tokens_writer_place(writer, place->document, place->ids);
        SP_TRY(write_block(plan, place, journal, writer));
    }
    return SP_OK;
}

sp_status sp_tokens_part_write(const sp_tokens_plan *plan, size_t part) {
    assert(plan->is_settled && part < plan->n_parts);
    const sp_tokens_job *job = plan->job;
    sp_tokens_writer *writer = NULL;
    sp_journal *journal = NULL;
    if (plan->parts[part].n_blocks == 0) return SP_OK;
    sp_status status = sp_journal_open(&journal, plan->parts[part].journal_path, job);
    if (status == SP_OK)
        status = sp_tokens_writer_open_part(&writer, plan->parts[part].path, job->segment_tokens,
                                            job->streams, job->n_streams, plan->longest_id);
    if (status == SP_OK) status = write_part(plan, part, journal, writer);
    if (status == SP_OK) {
        status = sp_tokens_writer_commit(writer);
        writer = NULL;
    }
    sp_tokens_writer_abort(writer);
    sp_journal_close(journal);
    return status;
}

/* ---- a plain file, of one writer's blocks ---- */

static sp_status write_all(const sp_tokens_plan *plan, const sp_tokens_source *sources,
                           size_t n_sources, sp_journal *journal, sp_tokens_writer *writer) {
    for (size_t i = 0; i < n_sources; i++)
        SP_TRY(sp_tokens_writer_source(writer, sources[i].path, sources[i].n_bytes,
                                       sources[i].n_documents));
    for (size_t b = 0; b < plan->n_blocks; b++)
        SP_TRY(write_block(plan, &plan->places[b], journal, writer));
    return SP_OK;
}

sp_status sp_tokens_plain_write(const sp_tokens_plan *plan, const sp_tokens_source *sources,
                                size_t n_sources, const char *summary) {
    assert(plan->is_settled && sp_tokens_plan_has_one_part(plan));
    const sp_tokens_job *job = plan->job;
    sp_tokens_writer *writer = NULL;
    sp_journal *journal = NULL;
    sp_tokens_origin origin;
    sp_tokens_replaced replaced = {0};
    sp_status status =
        sp_journal_open(&journal, plan->parts[plan->places[0].part].journal_path, job);
    if (status == SP_OK) status = sp_tokens_origin_make(&origin, job, summary);
    if (status == SP_OK) status = sp_tokens_replaced_find(&replaced, plan->output);
    if (status == SP_OK)
        status = sp_tokens_writer_open(&writer, plan->output, job->segment_tokens, job->streams,
                                       job->n_streams);
    if (status == SP_OK) status = write_all(plan, sources, n_sources, journal, writer);
    if (status == SP_OK) {
        sp_tokens_writer_origin(writer, &origin);
        status = sp_tokens_writer_commit(writer);
        writer = NULL;
    }
    if (status == SP_OK) status = sp_tokens_replaced_remove(&replaced, NULL);
    sp_tokens_replaced_free(&replaced);
    sp_tokens_writer_abort(writer);
    sp_journal_close(journal);
    return status;
}
