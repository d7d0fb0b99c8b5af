#include "run/verify.h"

#include "io/tokens_verify.h"
#include "run/blocks.h"
#include "run/unit_reader.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* The documents of the source, one after the other. */
typedef struct source {
    sp_corpus *corpus; /* NULL: there is none */
    sp_blocks blocks;
    size_t unit; /* the one at hand */
    sp_unit_reader *reader;
} source;

typedef struct comparison {
    const sp_verify_job *job;
    const sp_tokens *tokens;
    const sp_tokenizer *tokenizers[SP_TOKENS_MAX_STREAMS]; /* by position; NULL: not compared */
    source source;
    sp_document document; /* at hand */
    sp_encoding whole,
        piece; /* of the document by the first tokenizer, if `is_encoded`; of a segment */
    bool is_encoded;
    size_t n_cut_ids; /* of the document's segments before, in the stream that cuts */
    sp_verify_summary summary;
} comparison;

static sp_status open_source(source *s, sp_world *world, const sp_corpus_options *options) {
    if (options == NULL) return SP_OK;
    SP_TRY(sp_corpus_open(&s->corpus, world, options));
    return sp_blocks_create(&s->blocks, world, s->corpus, 0);
}

static void close_source(source *s) {
    sp_unit_reader_close(s->reader);
    sp_blocks_free(&s->blocks);
    sp_corpus_close(s->corpus);
}

static sp_status next_input(source *s, sp_input *input, bool *is_end) {
    for (; s->unit < s->blocks.n_units; s->unit++) {
        bool is_unit_end = false;
        if (s->reader == NULL)
            SP_TRY(sp_unit_reader_open(&s->reader, s->corpus, &s->blocks.units[s->unit],
                                       SP_ROWS_NEEDED, 0));
        SP_TRY(sp_unit_reader_next(s->reader, input, &is_unit_end));
        *is_end = false;
        if (!is_unit_end) return SP_OK;
        sp_unit_reader_close(s->reader);
        s->reader = NULL;
    }
    *is_end = true;
    return SP_OK;
}

static sp_status compare_document(comparison *c, const sp_tokens_record *record) {
    bool is_end = false;
    sp_input input;
    SP_TRY(next_input(&c->source, &input, &is_end));
    if (is_end)
        return sp_fail(SP_BAD_DATA, "'%s': the source ends before document '%s', number %ju",
                       c->job->path, record->id, (uintmax_t)c->summary.n_documents);
    /* What is not wanted has no text in the file, nor a hash. */
    const bool is_wanted = input.state == SP_INPUT_WANTED;
    c->document = input.document;
    if ((is_wanted ? XXH3_64bits(c->document.text, c->document.n_bytes) : 0) != record->hash)
        return sp_fail(SP_BAD_DATA,
                       "'%s', document '%s', number %ju: the source, document '%s', has other text",
                       c->job->path, record->id, (uintmax_t)c->summary.n_documents, c->document.id);
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
                       c->job->path, (uintmax_t)c->summary.n_segments, (uintmax_t)end,
                       c->document.id, c->document.n_bytes);
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
                c->job->path, (uintmax_t)c->summary.n_segments,
                sp_tokens_stream_name(c->tokens, sp_tokens_stream_at(c->tokens, position)),
                (uintmax_t)record->byte_begin, (uintmax_t)end, c->document.id);
        c->summary.n_compared++;
    }
    c->n_cut_ids += record->n_ids[0];
    return SP_OK;
}

static sp_status visit(void *context, const sp_tokens_record *record) {
    comparison *c = context;
    if (c->source.corpus != NULL)
        SP_TRY(record->is_document ? compare_document(c, record) : compare_segment(c, record));
    if (record->is_document)
        c->summary.n_documents++;
    else
        c->summary.n_segments++;
    return SP_OK;
}

static sp_status check_source_ends(comparison *c) {
    bool is_end = true;
    sp_input input;
    if (c->source.corpus != NULL) SP_TRY(next_input(&c->source, &input, &is_end));
    if (is_end) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': ends with %ju documents, where the source goes on with '%s'",
                   c->job->path, (uintmax_t)c->summary.n_documents, input.document.id);
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

sp_status sp_verify(sp_world *world, const sp_verify_job *job, sp_verify_summary *summary) {
    comparison c = {.job = job};
    sp_tokens *tokens = NULL;
    const sp_tokens_visitor visitor = {visit, &c};
    sp_status status = open_source(&c.source, world, job->source);
    if (status == SP_OK) status = sp_tokens_open(&tokens, job->path);
    c.tokens = tokens;
    if (status == SP_OK) status = place_tokenizers(&c);
    if (status == SP_OK) status = sp_tokens_verify(tokens, &visitor);
    if (status == SP_OK) status = check_source_ends(&c);
    sp_encoding_free(&c.piece);
    sp_encoding_free(&c.whole);
    sp_tokens_close(tokens);
    close_source(&c.source);
    if (status == SP_OK) *summary = c.summary;
    return status;
}
