#include "io/tokens_part.h"

#include "io/tokens_plan.h"
#include "io/tokens_writer.h"

#include <assert.h>

/* What a block's records gave, to be held against the plan: parts that do not fit would shift
   everything behind them. */
typedef struct block_counts {
    uint64_t n_documents, n_segments, n_ids[SP_TOKENS_MAX_STREAMS];
} block_counts;

static sp_status check_counts(const sp_tokens_plan *plan, const sp_tokens_place *place,
                              const block_counts *counts) {
    bool fits =
        counts->n_documents == place->block.n_documents && counts->n_segments == place->n_segments;
    for (size_t s = 0; s < plan->job->n_streams; s++)
        fits = fits && counts->n_ids[s] == place->n_ids[s];
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
    if (place->is_dropped != NULL && place->is_dropped[counts->n_documents - 1]) return SP_OK;
    SP_TRY(check_segment(plan, place, record));
    counts->n_segments++;
    for (size_t s = 0; s < plan->job->n_streams; s++) counts->n_ids[s] += record->n_ids[s];
    return sp_tokens_writer_segment(writer, record->byte_begin, record->byte_len, record->ids,
                                    record->n_ids);
}

static sp_status write_block(const sp_tokens_plan *plan, const sp_tokens_place *place,
                             sp_journal *journal, sp_tokens_writer *writer) {
    block_counts counts = {0};
    sp_tokens_writer_place(writer, place->document, place->ids);
    SP_TRY(sp_journal_seek(journal, &place->block));
    for (;;) {
        sp_tokens_record record;
        bool is_end = false;
        SP_TRY(sp_journal_next(journal, &record, &is_end));
        if (is_end) return check_counts(plan, place, &counts);
        SP_TRY(write_record(plan, place, &record, writer, &counts));
    }
}

static sp_status write_blocks(const sp_tokens_plan *plan, size_t part, sp_journal *journal,
                              sp_tokens_writer *writer) {
    for (size_t b = 0; b < plan->n_blocks; b++)
        if (plan->places[b].part == part)
            SP_TRY(write_block(plan, &plan->places[b], journal, writer));
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
    if (status == SP_OK) status = write_blocks(plan, part, journal, writer);
    if (status == SP_OK) {
        status = sp_tokens_writer_commit(writer);
        writer = NULL;
    }
    sp_tokens_writer_abort(writer);
    sp_journal_close(journal);
    return status;
}
