#include "run/tokenize.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "mpi/agree.h"
#include "text/segmenter.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Documents go to the ranks in turn; a round ends at so many of them, or so many bytes of text, a
   rank: that bounds memory, and keeps what rank 0 does alone small beside the work of all. */
enum { ROUND_DOCUMENTS_A_RANK = 64, ROUND_BYTES_A_RANK = 1 << 24 };

/* Bytes that grow: the segments of a rank's documents, for rank 0. */
typedef struct buffer {
    char *data;
    size_t n, capacity;
} buffer;

/* Where a document stands in its file. */
typedef struct place {
    uint64_t document; /* in input order, from 1; 0: none */
    uint64_t file, row;
} place;

/* What rank 0 keeps of each document of a round. */
typedef struct seen_document {
    char *id; /* owned */
    uint64_t hash;
    int owner; /* rank */
} seen_document;

typedef struct tokenizing {
    sp_world *world;
    const sp_tokenize_job *job;
    sp_tokenize_summary summary; /* n_tokens: this rank's until the end */
    sp_encoding *encodings;      /* [n_streams] */
    sp_corpus *corpus;
    place first_not_utf8; /* of this rank's documents */
    buffer own;
    seen_document *seen; /* rank 0's, [n_seen] */
    size_t n_seen, seen_capacity;
    size_t n_in_round, bytes_in_round;
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
    t->first_not_utf8 = (place){t->summary.n_documents, sp_corpus_file(t->corpus), document->row};
}

static sp_status put_document(tokenizing *t, const sp_document *document) {
    sp_encoding *cut = &t->encodings[0];
    check_utf8(t, document);
    SP_TRY(sp_tokenizer_encode(t->job->streams[0].tokenizer, cut, document->text, document->n_bytes,
                               (sp_encode_options){.specials_are_plain = true}));
    for (size_t token = 0, byte = 0; token < cut->n;) {
        const size_t end =
            sp_segment_end(cut, document->text, document->n_bytes, token, t->job->segment_tokens);
        SP_TRY(put_segment(t, document, token, end, byte));
        byte = cut->ends[end - 1];
        token = end;
    }
    return put(&t->own, &(segment_head){0}, sizeof(segment_head));
}

/* ---- a round: every rank reads all documents and tokenizes its own ---- */

static sp_status note_document(tokenizing *t, const sp_document *document, int owner) {
    t->summary.n_documents++;
    t->summary.n_bytes += document->n_bytes;
    t->summary.n_empty_documents += document->n_bytes == 0;
    t->n_in_round++;
    t->bytes_in_round += document->n_bytes;
    if (!is_first(t)) return SP_OK;
    if (t->n_seen == t->seen_capacity) {
        const size_t capacity = 2 * t->seen_capacity + 64;
        seen_document *grown = realloc(t->seen, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu documents", capacity);
        t->seen = grown;
        t->seen_capacity = capacity;
    }
    char *id = strdup(document->id);
    if (id == NULL) return sp_fail(SP_FAILURE, "no memory for a document's id");
    t->seen[t->n_seen++] = (seen_document){
        .id = id, .hash = XXH3_64bits(document->text, document->n_bytes), .owner = owner};
    return SP_OK;
}

static void empty_round(tokenizing *t) {
    for (size_t i = 0; i < t->n_seen; i++) free(t->seen[i].id);
    t->n_seen = t->n_in_round = t->bytes_in_round = t->own.n = 0;
}

static sp_status read_round(tokenizing *t, bool *is_end) {
    const size_t n_ranks = (size_t)sp_world_size(t->world);
    empty_round(t);
    while (t->n_in_round < n_ranks * ROUND_DOCUMENTS_A_RANK &&
           t->bytes_in_round < n_ranks * ROUND_BYTES_A_RANK) {
        sp_document document;
        SP_TRY(sp_corpus_next(t->corpus, &document, is_end));
        if (*is_end) return SP_OK;
        const int owner = (int)(t->n_in_round % n_ranks);
        SP_TRY(note_document(t, &document, owner));
        if (owner == sp_world_rank(t->world)) SP_TRY(put_document(t, &document));
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
        if (status == SP_OK) status = write_document(t, &next[t->seen[i].owner], ids, n_ids);
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
    const sp_corpus_counts *counts = &t->summary.corpus;
    return sp_fail(SP_BAD_DATA,
                   "no text in '%s'%s: %ju documents, all empty; %ju more failed a condition",
                   sp_corpus_path(t->corpus, 0), counts->n_files > 1 ? " and the other files" : "",
                   (uintmax_t)t->summary.n_documents, (uintmax_t)counts->n_unwanted);
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
    for (size_t i = 0; i < sp_corpus_n_files(t->corpus); i++) {
        const char *path = sp_corpus_path(t->corpus, i);
        uint64_t n_bytes = 0;
        SP_TRY(sp_text_file_size(path, &n_bytes));
        SP_TRY(
            sp_tokens_writer_source(t->writer, path, n_bytes, sp_corpus_n_documents(t->corpus, i)));
    }
    return SP_OK;
}

static sp_status commit(tokenizing *t) {
    SP_TRY(write_sources(t));
    sp_tokens_writer *writer = t->writer;
    t->writer = NULL; /* the commit releases it */
    return sp_tokens_writer_commit(writer);
}

static sp_status finish(tokenizing *t) {
    sp_world_sum_u64(t->world, &t->summary.n_segments, 1);
    sp_world_sum_u64(t->world, t->summary.n_tokens, t->job->n_streams);
    t->summary.corpus = sp_corpus_count(t->corpus);
    if (t->summary.n_segments == 0) return sp_agree(t->world, fail_empty(t));
    SP_TRY(report_utf8(t));
    return sp_agree(t->world, is_first(t) ? commit(t) : SP_OK);
}

static sp_status tokenize(tokenizing *t) {
    SP_TRY(sp_corpus_open(&t->corpus, t->world, &t->job->corpus));
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
