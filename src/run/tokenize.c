#include "run/tokenize.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "mpi/agree.h"
#include "run/blocks.h"
#include "run/duplicates.h"
#include "run/survey.h"
#include "text/segmenter.h"
#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Documents with segments go to the ranks in turn; a round ends at so many of them, or so many bytes of text, a
   rank: that bounds memory, and keeps what rank 0 does alone small beside the work of all. */
enum { ROUND_DOCUMENTS_A_RANK = 64, ROUND_BYTES_A_RANK = 1 << 24 };

/* Bytes that grow: the segments of a rank's documents, for rank 0. */
typedef struct buffer {
    char *data;
    size_t n, capacity;
} buffer;

/* Where a document stands in its file. */
typedef struct place {
    uint64_t document; /* its number, from 1; 0: none */
    uint64_t file, row;
} place;

/* What rank 0 keeps of each document of a round. */
typedef struct seen_document {
    char *id; /* owned */
    uint64_t hash;
    int owner; /* the rank that has its segments, or NOBODY */
} seen_document;
enum { NOBODY = -1 };

typedef struct tokenizing {
    sp_world *world;
    const sp_tokenize_job *job;
    sp_tokenize_summary summary; /* n_tokens: this rank's until the end */
    sp_encoding *encodings;      /* [n_streams] */
    sp_corpus *corpus;
    sp_blocks blocks;
    sp_survey *survey;
    sp_duplicates *duplicates; /* NULL: they are kept */
    sp_unit_reader *reader;    /* of the unit at hand */
    size_t unit;               /* at hand, or to be opened next */
    uint64_t document;         /* the next one's number */
    place first_not_utf8;      /* of this rank's documents */
    buffer own;
    seen_document *seen; /* rank 0's, [n_seen] */
    size_t n_seen, seen_capacity;
    size_t n_in_round, n_owned_in_round, bytes_in_round;
    sp_tokens_writer *writer; /* rank 0's */
    sp_progress progress;
} tokenizing;

static bool is_first(const tokenizing *t) { return sp_world_rank(t->world) == 0; }

static sp_status put(buffer *b, const void *data, size_t n_bytes) {
    if (b->capacity - b->n < n_bytes) {
        const size_t capacity = 2 * (b->n + n_bytes) + 4096;
        char *grown = realloc(b->data, capacity);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu bytes of ids", capacity);
        b->data = grown;
        b->capacity = capacity;
    }
    if (n_bytes > 0) memcpy(b->data + b->n, data, n_bytes);
    b->n += n_bytes;
    return SP_OK;
}

/* ---- a document: cut by the first tokenizer, each segment's bytes read by the others ---- */

/* One segment: its place in the text, then each stream's count and ids. */
typedef struct segment_head {
    uint64_t byte_begin;
    uint32_t byte_len, is_there; /* is_there 0: no more segments of this document */
} segment_head;

static sp_status put_ids(tokenizing *t, size_t stream, const int32_t *ids, uint64_t n) {
    SP_TRY(put(&t->own, &n, sizeof n));
    t->summary.n_tokens[stream] += n;
    return put(&t->own, ids, n * sizeof *ids);
}

static sp_status put_segment(tokenizing *t, const sp_document *document, size_t token_begin,
                             size_t token_end, size_t byte_begin) {
    const sp_encoding *cut = &t->encodings[0];
    const size_t byte_end = cut->ends[token_end - 1];
    const segment_head head = {
        .byte_begin = byte_begin, .byte_len = (uint32_t)(byte_end - byte_begin), .is_there = 1};
    SP_TRY(put(&t->own, &head, sizeof head));
    SP_TRY(put_ids(t, 0, cut->ids + token_begin, token_end - token_begin));
    for (size_t s = 1; s < t->job->n_streams; s++) {
        sp_encoding *other = &t->encodings[s];
        SP_TRY(sp_tokenizer_encode(
            t->job->streams[s].tokenizer, other, document->text + byte_begin, byte_end - byte_begin,
            (sp_encode_options){.specials_are_plain = true, .is_continuation = true}));
        SP_TRY(put_ids(t, s, other->ids, other->n));
    }
    t->summary.n_segments++;
    return SP_OK;
}

/* Bytes that are no character stay, as the tokenizers take them; but a user may want to know. */
static void check_utf8(tokenizing *t, const sp_document *document) {
    if (sp_utf8_valid_prefix(document->text, document->n_bytes) == document->n_bytes) return;
    if (t->summary.n_not_utf8++ > 0) return;
    t->first_not_utf8 =
        (place){t->summary.n_documents, t->blocks.units[t->unit].file, document->row};
}

static sp_status put_document(tokenizing *t, const sp_document *document) {
    sp_encoding *cut = &t->encodings[0];
    check_utf8(t, document);
    SP_TRY(sp_tokenizer_encode(t->job->streams[0].tokenizer, cut, document->text, document->n_bytes,
                               (sp_encode_options){.specials_are_plain = true}));
    for (size_t token = 0, byte = 0; token < cut->n;) {
        const size_t end =
            sp_segment_end(cut, document->text, document->n_bytes, token, t->job->segment_tokens);
        if (end == cut->n && end - token < t->job->min_tokens) {
            t->summary.n_short_tails++;
            break;
        }
        SP_TRY(put_segment(t, document, token, end, byte));
        byte = cut->ends[end - 1];
        token = end;
    }
    return put(&t->own, &(segment_head){0}, sizeof(segment_head));
}

/* ---- a round: every rank reads all documents and tokenizes its own ---- */

/* Counts a document, and says whether it has segments. */
static bool is_taken(tokenizing *t, const sp_input *input, uint64_t number) {
    sp_tokenize_summary *summary = &t->summary;
    const uint64_t n_bytes = input->document.n_bytes, most = t->job->most_document_bytes;
    uint64_t *reason = NULL;
    if (input->state == SP_INPUT_UNWANTED)
        reason = &summary->n_unwanted;
    else if (input->state == SP_INPUT_LOST)
        reason = &summary->n_lost;
    else if (n_bytes == 0)
        reason = &summary->n_empty;
    else if (most > 0 && n_bytes > most)
        reason = &summary->n_oversized;
    else if (t->duplicates != NULL && sp_duplicates_has(t->duplicates, number))
        reason = &summary->n_duplicates;
    summary->n_documents++;
    if (reason != NULL)
        ++*reason;
    else
        summary->n_bytes += n_bytes;
    return reason == NULL;
}

static sp_status note_document(tokenizing *t, const sp_input *input, int owner) {
    if (!is_first(t)) return SP_OK;
    if (t->n_seen == t->seen_capacity) {
        const size_t capacity = 2 * t->seen_capacity + 64;
        seen_document *grown = realloc(t->seen, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu documents", capacity);
        t->seen = grown;
        t->seen_capacity = capacity;
    }
    const sp_document *document = &input->document;
    char *id = strdup(document->id);
    if (id == NULL) return sp_fail(SP_FAILURE, "no memory for a document's id");
    const bool has_text = input->state == SP_INPUT_WANTED;
    t->seen[t->n_seen++] =
        (seen_document){.id = id,
                        .hash = has_text ? XXH3_64bits(document->text, document->n_bytes) : 0,
                        .owner = owner};
    return SP_OK;
}

static void empty_round(tokenizing *t) {
    for (size_t i = 0; i < t->n_seen; i++) free(t->seen[i].id);
    t->n_seen = t->n_in_round = t->n_owned_in_round = t->bytes_in_round = t->own.n = 0;
}

static sp_status close_unit(tokenizing *t) {
    const sp_losses losses = sp_unit_reader_losses(t->reader);
    const uint64_t next = sp_survey_first_document(t->survey, t->unit + 1);
    t->summary.losses.n_rows += losses.n_rows;
    t->summary.losses.n_groups += losses.n_groups;
    t->summary.losses.n_files += losses.n_files;
    sp_unit_reader_close(t->reader);
    t->reader = NULL;
    t->unit++;
    if (t->document == next) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s' was changed while it was read",
                   sp_corpus_path(t->corpus, (size_t)t->blocks.units[t->unit - 1].file));
}

/* *is_end after the last document of the corpus. */
static sp_status next_document(tokenizing *t, sp_input *input, bool *is_end) {
    for (;;) {
        bool is_unit_end = false;
        *is_end = t->unit == t->blocks.n_units;
        if (*is_end) return SP_OK;
        if (t->reader == NULL)
            SP_TRY(sp_unit_reader_open(&t->reader, t->corpus, &t->blocks.units[t->unit],
                                       SP_ROWS_NEEDED, sp_survey_lines_before(t->survey, t->unit)));
        SP_TRY(sp_unit_reader_next(t->reader, input, &is_unit_end));
        if (!is_unit_end) break;
        SP_TRY(close_unit(t));
    }
    t->document++;
    return SP_OK;
}

static sp_status read_round(tokenizing *t, bool *is_end) {
    const size_t n_ranks = (size_t)sp_world_size(t->world);
    empty_round(t);
    while (t->n_in_round < n_ranks * ROUND_DOCUMENTS_A_RANK &&
           t->bytes_in_round < n_ranks * ROUND_BYTES_A_RANK) {
        sp_input input;
        SP_TRY(next_document(t, &input, is_end));
        if (*is_end) return SP_OK;
        const bool has_segments = is_taken(t, &input, t->document - 1);
        const int owner = has_segments ? (int)(t->n_owned_in_round++ % n_ranks) : NOBODY;
        t->n_in_round++;
        t->bytes_in_round += input.document.n_bytes;
        SP_TRY(note_document(t, &input, owner));
        if (owner == sp_world_rank(t->world)) SP_TRY(put_document(t, &input.document));
        sp_progress_update(&t->progress, t->summary.n_bytes, NULL);
    }
    return SP_OK;
}

/* ---- writing: rank 0, in the order of the documents ---- */

/* Takes n_bytes from the front; a rank's bytes are our own, so they are whole. */
static void get(const char **bytes, void *out, size_t n_bytes) {
    memcpy(out, *bytes, n_bytes);
    *bytes += n_bytes;
}

static sp_status write_document(tokenizing *t, const char **bytes, const int32_t **ids,
                                size_t *n_ids) {
    segment_head head;
    for (get(bytes, &head, sizeof head); head.is_there; get(bytes, &head, sizeof head)) {
        for (size_t s = 0; s < t->job->n_streams; s++) {
            uint64_t n = 0;
            get(bytes, &n, sizeof n);
            n_ids[s] = (size_t)n;
            ids[s] = (const int32_t *)(const void *)*bytes; /* every record is a multiple of 4 */
            *bytes += n * sizeof **ids;
        }
        SP_TRY(sp_tokens_writer_segment(t->writer, head.byte_begin, head.byte_len, ids, n_ids));
    }
    return SP_OK;
}

static sp_status write_round(tokenizing *t, const char *all, const size_t *sizes) {
    const size_t n_ranks = (size_t)sp_world_size(t->world), n_streams = t->job->n_streams;
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, n_ranks + 2 * n_streams, sizeof(void *), "a round"));
    const char **next = block; /* of each rank */
    const int32_t **ids = (const int32_t **)(void *)(next + n_ranks);
    size_t *n_ids = (size_t *)(void *)(ids + n_streams);
    for (size_t rank = 0; rank < n_ranks; rank++) {
        next[rank] = all;
        all += sizes[rank];
    }
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < t->n_seen; i++) {
        status = sp_tokens_writer_document(t->writer, t->seen[i].id, t->seen[i].hash);
        if (status == SP_OK && t->seen[i].owner != NOBODY)
            status = write_document(t, &next[t->seen[i].owner], ids, n_ids);
    }
    free(block);
    return status;
}

static sp_status gather_and_write(tokenizing *t) {
    char *all = NULL;
    size_t *sizes = NULL;
    SP_TRY(sp_agree(t->world, sp_world_gather(t->world, t->own.data, t->own.n, &all, &sizes)));
    const sp_status status = is_first(t) ? write_round(t, all, sizes) : SP_OK;
    free(all);
    free(sizes);
    return sp_agree(t->world, status);
}

static sp_status tokenize_all(tokenizing *t) {
    bool is_end = false;
    while (!is_end) {
        SP_TRY(sp_agree(t->world, read_round(t, &is_end)));
        SP_TRY(gather_and_write(t));
    }
    return SP_OK;
}

/* ---- the job ---- */

static sp_status open_job(tokenizing *t) {
    const sp_tokenize_job *job = t->job;
    void *encodings = NULL, *n_tokens = NULL, *streams = NULL;
    SP_TRY(sp_alloc_array(&encodings, job->n_streams, sizeof *t->encodings, "encodings"));
    t->encodings = encodings;
    SP_TRY(sp_alloc_array(&n_tokens, job->n_streams, sizeof(uint64_t), "counts"));
    t->summary.n_tokens = n_tokens;
    if (!is_first(t)) return SP_OK;
    SP_TRY(sp_alloc_array(&streams, job->n_streams, sizeof(sp_tokens_stream), "streams"));
    sp_tokens_stream *made = streams;
    for (size_t s = 0; s < job->n_streams; s++)
        made[s] =
            (sp_tokens_stream){.name = job->streams[s].name,
                               .tokenizer_digest = sp_tokenizer_digest(job->streams[s].tokenizer),
                               .vocab_size = sp_tokenizer_vocab_size(job->streams[s].tokenizer)};
    const sp_status status =
        sp_tokens_writer_open(&t->writer, job->output, job->segment_tokens, made, job->n_streams);
    free(streams);
    return status;
}

static sp_status fail_empty(const tokenizing *t) {
    const sp_tokenize_summary *s = &t->summary;
    SP_TRY(sp_survey_remove(t->survey)); /* all is done, to no effect */
    return sp_fail(
        SP_BAD_DATA,
        "no text in '%s'%s: of %ju documents %ju failed a condition, %ju are damaged, %ju "
        "empty, %ju too long, %ju have too few tokens",
        sp_corpus_path(t->corpus, 0), s->n_files > 1 ? " and the other files" : "",
        (uintmax_t)s->n_documents, (uintmax_t)s->n_unwanted, (uintmax_t)s->n_lost,
        (uintmax_t)s->n_empty, (uintmax_t)s->n_oversized, (uintmax_t)s->n_short_tails);
}

static sp_status report_utf8(tokenizing *t) {
    char *all = NULL;
    size_t *sizes = NULL;
    sp_world_sum_u64(t->world, &t->summary.n_not_utf8, 1);
    SP_TRY(sp_agree(t->world,
                    sp_world_gather(t->world, &t->first_not_utf8, sizeof(place), &all, &sizes)));
    place first = {0};
    for (int rank = 0; all != NULL && rank < sp_world_size(t->world); rank++) {
        place own;
        memcpy(&own, all + (size_t)rank * sizeof own, sizeof own);
        if (own.document > 0 && (first.document == 0 || own.document < first.document)) first = own;
    }
    if (first.document > 0)
        sp_log(SP_LOG_WARNING,
               "%ju documents are not UTF-8, and kept as they are; the first is "
               "'%s', line or row %ju",
               (uintmax_t)t->summary.n_not_utf8, sp_corpus_path(t->corpus, (size_t)first.file),
               (uintmax_t)first.row);
    free(all);
    free(sizes);
    return SP_OK;
}

static sp_status write_sources(tokenizing *t) {
    const sp_blocks *blocks = &t->blocks;
    for (size_t i = 0, unit = 0; i < sp_corpus_n_files(t->corpus); i++) {
        const uint64_t first = sp_survey_first_document(t->survey, unit);
        while (unit < blocks->n_units && blocks->units[unit].file == i) unit++;
        SP_TRY(sp_tokens_writer_source(t->writer, sp_corpus_path(t->corpus, i),
                                       sp_corpus_n_bytes(t->corpus, i),
                                       sp_survey_first_document(t->survey, unit) - first));
    }
    return SP_OK;
}

static sp_status commit(tokenizing *t) {
    SP_TRY(write_sources(t));
    sp_tokens_writer *writer = t->writer;
    t->writer = NULL; /* the commit releases it */
    SP_TRY(sp_tokens_writer_commit(writer));
    return sp_survey_remove(t->survey);
}

static sp_status finish(tokenizing *t) {
    sp_world_sum_u64(t->world, &t->summary.n_segments, 1);
    sp_world_sum_u64(t->world, &t->summary.n_short_tails, 1);
    sp_world_sum_u64(t->world, t->summary.n_tokens, t->job->n_streams);
    const sp_corpus_counts counts = sp_corpus_count(t->corpus);
    t->summary.n_files = counts.n_files;
    t->summary.n_unlisted_files = counts.n_unlisted;
    t->summary.losses.n_files += counts.n_refused + t->blocks.n_lost_files;
    if (t->summary.n_segments == 0) return sp_agree(t->world, fail_empty(t));
    SP_TRY(report_utf8(t));
    return sp_agree(t->world, is_first(t) ? commit(t) : SP_OK);
}

static sp_status survey(tokenizing *t) {
    const sp_tokenize_job *job = t->job;
    char *dir = NULL;
    SP_TRY(sp_blocks_create(&t->blocks, t->world, t->corpus, job->block_bytes));
    if (asprintf(&dir, "%s.work", job->output) < 0) dir = NULL;
    sp_status status =
        sp_agree(t->world, dir != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a path"));
    if (status == SP_OK)
        status = sp_survey_open(&t->survey, t->world, t->corpus, &t->blocks, dir,
                                !job->keeps_duplicates);
    free(dir);
    SP_TRY(status);
    return job->keeps_duplicates ? SP_OK
                                 : sp_duplicates_open(&t->duplicates, t->world, t->survey, 0);
}

static sp_status tokenize(tokenizing *t) {
    SP_TRY(sp_corpus_open(&t->corpus, t->world, &t->job->corpus));
    SP_TRY(survey(t));
    SP_TRY(sp_agree(t->world, open_job(t)));
    sp_progress_begin(&t->progress, "tokenize", 0, "bytes");
    const sp_status status = tokenize_all(t);
    sp_progress_end(&t->progress);
    SP_TRY(status);
    return finish(t);
}

sp_status sp_tokenize(sp_world *world, const sp_tokenize_job *job, sp_tokenize_summary *summary) {
    tokenizing t = {.world = world, .job = job};
    const double begin_s = sp_clock_seconds();
    const sp_status status = tokenize(&t);
    sp_tokens_writer_abort(t.writer);
    sp_unit_reader_close(t.reader);
    sp_duplicates_close(t.duplicates);
    sp_survey_close(t.survey);
    sp_blocks_free(&t.blocks);
    sp_corpus_close(t.corpus);
    for (size_t s = 0; t.encodings != NULL && s < job->n_streams; s++)
        sp_encoding_free(&t.encodings[s]);
    free(t.encodings);
    empty_round(&t);
    free(t.seen);
    free(t.own.data);
    t.summary.seconds = sp_clock_seconds() - begin_s;
    if (status == SP_OK)
        *summary = t.summary;
    else
        sp_tokenize_summary_free(&t.summary);
    return status;
}

void sp_tokenize_summary_free(sp_tokenize_summary *summary) {
    free(summary->n_tokens);
    *summary = (sp_tokenize_summary){0};
}
