#include "run/verify.h"

#include "base/memory.h"
#include "base/progress.h"
#include "io/tokens_verify.h"
#include "mpi/agree.h"
#include "mpi/work_queue.h"
#include "run/blocks.h"
#include "run/unit_counts.h"
#include "run/unit_reader.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* What the file is made from; all zero: there is none. */
typedef struct source {
    sp_corpus *corpus;
    sp_blocks blocks;
    sp_unit_counts counts;
    size_t unit, unit_end; /* the one at hand, and the first one that is not this stretch's */
    sp_unit_reader *reader;
} source;

/* The documents of the file are verified in stretches, which the ranks share: those of a block of the
   source each, and one of what the source does not have; without a source, of some segments each. */
typedef struct stretches {
    size_t *begin;   /* [n + 1], owned: the first document of each */
    uint64_t *bytes; /* [n + 1], owned: before it, for progress; without a source, tokens */
    size_t n;
} stretches;

/* Without a source: enough for ranks to share, and more than a chunk of the file each. */
enum { MOST_STRETCHES = 256, SEGMENTS_A_STRETCH = 1024 };

typedef struct comparison {
    sp_world *world;
    const sp_verify_job *job;
    const sp_tokens *tokens;
    const sp_tokenizer *tokenizers[SP_TOKENS_MAX_STREAMS]; /* by position; NULL: not compared */
    source source;
    stretches stretches;
    sp_tokens_check *check;
    uint64_t number, segment; /* of the next document, and of the next segment */
    sp_document document;     /* at hand */
    sp_encoding whole,
        piece; /* of the document by the first tokenizer, if `is_encoded`; of a segment */
    bool is_encoded;
    size_t n_cut_ids; /* of the document's segments before, in the stream that cuts */
    sp_verify_summary summary;
    sp_progress progress;
    uint64_t done, done_most; /* of the progress: within the stretch at hand */
} comparison;

/* ---- the source ---- */

static sp_status open_source(source *s, sp_world *world, const sp_corpus_options *options) {
    if (options == NULL) return SP_OK;
    SP_TRY(sp_corpus_open(&s->corpus, world, options));
    SP_TRY(sp_blocks_create(&s->blocks, world, s->corpus, 0));
    return sp_unit_counts_create(&s->counts, world, s->corpus, &s->blocks, "count");
}

static void close_source(source *s) {
    sp_unit_reader_close(s->reader);
    sp_unit_counts_free(&s->counts);
    sp_blocks_free(&s->blocks);
    sp_corpus_close(s->corpus);
}

/* Goes to a block; beyond the last one there is nothing. */
static void begin_block(source *s, size_t block) {
    sp_unit_reader_close(s->reader);
    s->reader = NULL;
    const bool is_there = block < s->blocks.n_blocks;
    s->unit = is_there ? s->blocks.begin[block] : s->blocks.n_units;
    s->unit_end = is_there ? s->blocks.begin[block + 1] : s->blocks.n_units;
}

static sp_status next_input(source *s, sp_input *input, bool *is_end) {
    for (; s->unit < s->unit_end; s->unit++) {
        bool is_unit_end = false;
        if (s->reader == NULL)
            SP_TRY(sp_unit_reader_open(&s->reader, s->corpus, &s->blocks.units[s->unit],
                                       SP_ROWS_NEEDED, s->counts.lines_before[s->unit]));
        SP_TRY(sp_unit_reader_next(s->reader, input, &is_unit_end));
        *is_end = false;
        if (!is_unit_end) return SP_OK;
        sp_unit_reader_close(s->reader);
        s->reader = NULL;
    }
    *is_end = true;
    return SP_OK;
}

/* ---- documents and segments ---- */

static sp_status compare_document(comparison *c, const sp_tokens_record *record) {
    bool is_end = false;
    sp_input input;
    SP_TRY(next_input(&c->source, &input, &is_end));
    if (is_end)
        return sp_fail(SP_BAD_DATA, "'%s': the source ends before document '%s', number %ju",
                       c->job->path, record->id, (uintmax_t)c->number);
    /* What is not wanted has no text in the file, nor a hash. */
    const bool is_wanted = input.state == SP_INPUT_WANTED;
    c->document = input.document;
    if ((is_wanted ? XXH3_64bits(c->document.text, c->document.n_bytes) : 0) != record->hash)
        return sp_fail(SP_BAD_DATA,
                       "'%s', document '%s', number %ju: the source, document '%s', has other text",
                       c->job->path, record->id, (uintmax_t)c->number, c->document.id);
    c->summary.n_lost += input.state == SP_INPUT_LOST;
    c->is_encoded = false;
    c->n_cut_ids = 0;
    return SP_OK;
}

/* Does decoding give the segment's bytes? Only a document's begin in the stream that cuts is
   encoded as the begin of a text. */
static sp_status decodes(const comparison *c, size_t position, const sp_tokens_record *record,
                         bool *is_equal) {
    char *text = NULL;
    size_t n_bytes = 0;
    const sp_decode_options options = {.is_continuation = position > 0 || c->n_cut_ids > 0};
    SP_TRY(sp_tokenizer_decode(c->tokenizers[position], &text, &n_bytes, record->ids[position],
                               record->n_ids[position], options));
    *is_equal = n_bytes == record->byte_len &&
                memcmp(text, c->document.text + record->byte_begin, n_bytes) == 0;
    free(text);
    return SP_OK;
}

/* Does encoding anew give the segment's ids? */
static sp_status encodes(comparison *c, size_t position, const sp_tokens_record *record,
                         bool *is_equal) {
    const sp_tokenizer *tokenizer = c->tokenizers[position];
    const size_t n = record->n_ids[position], begin = position == 0 ? c->n_cut_ids : 0;
    sp_encoding *encoding = position == 0 ? &c->whole : &c->piece;
    if (position == 0 && !c->is_encoded)
        SP_TRY(sp_tokenizer_encode(tokenizer, encoding, c->document.text, c->document.n_bytes,
                                   (sp_encode_options){.specials_are_plain = true}));
    if (position == 0) c->is_encoded = true;
    if (position > 0)
        SP_TRY(sp_tokenizer_encode(
            tokenizer, encoding, c->document.text + record->byte_begin, record->byte_len,
            (sp_encode_options){.specials_are_plain = true, .is_continuation = true}));
    *is_equal =
        (position == 0 ? begin <= encoding->n && n <= encoding->n - begin : n == encoding->n) &&
        memcmp(encoding->ids + begin, record->ids[position], n * sizeof *encoding->ids) == 0;
    return SP_OK;
}

static sp_status compare_segment(comparison *c, const sp_tokens_record *record) {
    const uint64_t end = record->byte_begin + record->byte_len;
    if (end > c->document.n_bytes)
        return sp_fail(SP_BAD_DATA, "'%s', segment %ju: ends at byte %ju of '%s', which has %zu",
                       c->job->path, (uintmax_t)c->segment, (uintmax_t)end, c->document.id,
                       c->document.n_bytes);
    for (size_t position = 0; position < sp_tokens_n_streams(c->tokens); position++) {
        bool is_equal = false;
        if (c->tokenizers[position] == NULL) continue;
        SP_TRY(decodes(c, position, record, &is_equal));
        if (!is_equal) {
            SP_TRY(encodes(c, position, record, &is_equal));
            c->summary.n_reencoded++;
        }
        if (!is_equal)
            return sp_fail(
                SP_BAD_DATA,
                "'%s', segment %ju, stream '%s': not the text of bytes %ju to %ju of '%s'",
                c->job->path, (uintmax_t)c->segment,
                sp_tokens_stream_name(c->tokens, sp_tokens_stream_at(c->tokens, position)),
                (uintmax_t)record->byte_begin, (uintmax_t)end, c->document.id);
        c->summary.n_compared++;
    }
    c->n_cut_ids += record->n_ids[0];
    return SP_OK;
}

/* Each record counts as work when it is done; a stretch's estimate is not overdrawn. */
static void show_progress(comparison *c, const sp_tokens_record *record) {
    uint64_t n_more = record->is_document ? c->document.n_bytes : 0;
    if (c->source.corpus == NULL)
        for (size_t s = 0; !record->is_document && s < sp_tokens_n_streams(c->tokens); s++)
            n_more += record->n_ids[s];
    c->done += n_more;
    sp_progress_update(&c->progress, c->done < c->done_most ? c->done : c->done_most, NULL);
}

static sp_status visit(void *context, const sp_tokens_record *record) {
    comparison *c = context;
    if (c->source.corpus != NULL)
        SP_TRY(record->is_document ? compare_document(c, record) : compare_segment(c, record));
    show_progress(c, record);
    if (record->is_document) {
        c->summary.n_documents++;
        c->number++;
    } else {
        c->summary.n_segments++;
        c->segment++;
    }
    return SP_OK;
}

/* ---- stretches ---- */

static sp_status check_block_ends(comparison *c) {
    bool is_end = true;
    sp_input input;
    if (c->source.corpus != NULL) SP_TRY(next_input(&c->source, &input, &is_end));
    if (is_end) return SP_OK;
    if (c->number < sp_tokens_n_documents(c->tokens))
        return sp_fail(SP_BAD_DATA, "the source of '%s' was changed while it was read: '%s'",
                       c->job->path, input.document.id);
    return sp_fail(SP_BAD_DATA, "'%s': ends with %ju documents, where the source goes on with '%s'",
                   c->job->path, (uintmax_t)c->number, input.document.id);
}

static sp_status verify_stretch(comparison *c, size_t stretch) {
    const size_t begin = c->stretches.begin[stretch], end = c->stretches.begin[stretch + 1];
    const sp_tokens_visitor visitor = {visit, c};
    begin_block(&c->source, stretch);
    c->number = begin;
    c->segment = sp_tokens_first_segment(c->tokens, begin);
    c->done = c->stretches.bytes[stretch];
    c->done_most = c->stretches.bytes[stretch + 1];
    SP_TRY(sp_tokens_check_documents(c->check, begin, end, &visitor));
    return check_block_ends(c);
}

/* Tokens of segments [begin, end) in all streams. */
static uint64_t count_tokens(const sp_tokens *tokens, size_t begin, size_t end) {
    uint64_t n = 0;
    for (size_t s = 0; s < sp_tokens_n_streams(tokens); s++)
        for (size_t i = begin; i < end; i++) n += sp_tokens_length(tokens, s, i);
    return n;
}

static void cut_by_segments(stretches *made, const sp_tokens *tokens) {
    const size_t n_segments = sp_tokens_n_segments(tokens);
    for (size_t i = 1, before = 0; i <= made->n; i++) {
        const bool is_last = i == made->n;
        made->begin[i] = is_last ? sp_tokens_n_documents(tokens)
                                 : sp_tokens_document(tokens, n_segments / made->n * i);
        const size_t segment = sp_tokens_first_segment(tokens, made->begin[i]);
        made->bytes[i] = made->bytes[i - 1] + count_tokens(tokens, before, segment);
        before = segment;
    }
}

static void cut_by_blocks(stretches *made, const source *s, size_t n_documents) {
    const sp_blocks *blocks = &s->blocks;
    for (size_t b = 0; b <= blocks->n_blocks; b++) {
        const size_t unit = b < blocks->n_blocks ? blocks->begin[b] : blocks->n_units;
        const uint64_t first = s->counts.first_document[unit];
        made->begin[b] = first < n_documents ? (size_t)first : n_documents;
        if (b > 0) made->bytes[b] = made->bytes[b - 1] + sp_blocks_n_bytes(blocks, b - 1);
    }
    made->begin[made->n] = n_documents;
    made->bytes[made->n] = made->bytes[made->n - 1];
}

static sp_status cut_stretches(comparison *c) {
    const bool has_source = c->source.corpus != NULL;
    size_t n = sp_tokens_n_segments(c->tokens) / SEGMENTS_A_STRETCH + 1;
    if (n > MOST_STRETCHES) n = MOST_STRETCHES;
    if (has_source) n = c->source.blocks.n_blocks + 1;
    void *begin = NULL, *bytes = NULL;
    SP_TRY(sp_alloc_array(&begin, n + 1, sizeof *c->stretches.begin, "a verification"));
    c->stretches.begin = begin;
    SP_TRY(sp_alloc_array(&bytes, n + 1, sizeof *c->stretches.bytes, "a verification"));
    c->stretches.bytes = bytes;
    c->stretches.n = n;
    if (has_source)
        cut_by_blocks(&c->stretches, &c->source, sp_tokens_n_documents(c->tokens));
    else
        cut_by_segments(&c->stretches, c->tokens);
    return SP_OK;
}

static sp_status verify_stretches(comparison *c) {
    sp_work_queue *queue = NULL;
    sp_status status = SP_OK;
    uint64_t item = 0;
    SP_TRY(sp_work_queue_begin(&queue, c->world, c->stretches.n));
    sp_progress_begin(&c->progress, "verify", c->stretches.bytes[c->stretches.n],
                      c->source.corpus != NULL ? "bytes" : "tokens");
    while (status == SP_OK && sp_work_queue_take(queue, &item)) status = verify_stretch(c, item);
    if (status != SP_OK) sp_work_queue_stop(queue);
    sp_work_queue_end(queue);
    if (status == SP_OK) sp_progress_update(&c->progress, c->progress.total, NULL);
    sp_progress_end(&c->progress);
    return sp_agree_on_first(c->world, item, status);
}

/* ---- all of it ---- */

static sp_status check_sums(comparison *c) {
    uint64_t sum[2];
    char *all = NULL;
    size_t *sizes = NULL;
    sp_tokens_check_sum(c->check, sum);
    SP_TRY(sp_agree(c->world, sp_world_gather(c->world, sum, sizeof sum, &all, &sizes)));
    for (int rank = 1; all != NULL && rank < sp_world_size(c->world); rank++) {
        memcpy(sum, all + (size_t)rank * sizeof sum, sizeof sum);
        sp_tokens_check_add(c->check, sum);
    }
    const sp_status status = all != NULL ? sp_tokens_check_finish(c->check) : SP_OK;
    free(all);
    free(sizes);
    return sp_agree_on_first(c->world, 0, status);
}

static void sum_summary(sp_world *world, sp_verify_summary *summary) {
    uint64_t *const counts[] = {&summary->n_documents, &summary->n_segments, &summary->n_lost,
                                &summary->n_compared, &summary->n_reencoded};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        sp_world_sum_u64(world, counts[i], 1);
}

static sp_status place_tokenizers(comparison *c) {
    for (size_t i = 0; i < c->job->n_tokenizers; i++) {
        size_t stream = 0;
        SP_TRY(sp_named_tokenizer_find(&c->job->tokenizers[i], c->tokens, &stream));
        for (size_t position = 0; position < sp_tokens_n_streams(c->tokens); position++)
            if (sp_tokens_stream_at(c->tokens, position) == stream)
                c->tokenizers[position] = c->job->tokenizers[i].tokenizer;
    }
    return SP_OK;
}

static sp_status open_file(comparison *c, sp_tokens **tokens) {
    SP_TRY(sp_tokens_open(tokens, c->job->path));
    c->tokens = *tokens;
    SP_TRY(place_tokenizers(c));
    return sp_tokens_check_open(&c->check, *tokens);
}

sp_status sp_verify(sp_world *world, const sp_verify_job *job, sp_verify_summary *summary) {
    comparison c = {.world = world, .job = job};
    sp_tokens *tokens = NULL;
    sp_status status = sp_agree(world, open_file(&c, &tokens));
    if (status == SP_OK) status = open_source(&c.source, world, job->source);
    if (status == SP_OK) status = sp_agree(world, cut_stretches(&c));
    if (status == SP_OK) status = verify_stretches(&c);
    if (status == SP_OK) status = check_sums(&c);
    if (status == SP_OK) sum_summary(world, &c.summary);
    sp_encoding_free(&c.piece);
    sp_encoding_free(&c.whole);
    free(c.stretches.bytes);
    free(c.stretches.begin);
    sp_tokens_check_close(c.check);
    sp_tokens_close(tokens);
    close_source(&c.source);
    if (status == SP_OK) *summary = c.summary;
    return status;
}
