#include "run/compress_source.h"

#include "base/memory.h"
#include "io/model_source.h"
#include "mpi/agree.h"
#include "run/blocks.h"
#include "run/tokenize.h"
#include "run/unit_reader.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A block is 1/1024 of the corpus, so that ranks can share it and little is lost to a kill, but no less
   than threads can share, and no more than some 64 MB of slots. */
enum { MOST_BLOCKS = 1024, LEAST_BLOCK_SEGMENTS = 32, MOST_BLOCK_SEGMENTS = 512 };

typedef struct model_tokenizer {
    json_t *json;
    sp_tokenizer *tokenizer;
} model_tokenizer; /* all zero: none */

static sp_status open_tokenizer(model_tokenizer *t, const char *model) {
    SP_TRY(sp_tokenizer_json_load(&t->json, model));
    return sp_tokenizer_create(&t->tokenizer, t->json, model);
}

static void close_tokenizer(model_tokenizer *t) {
    sp_tokenizer_destroy(t->tokenizer);
    json_decref(t->json);
    *t = (model_tokenizer){0};
}

static const char *encoder_of(const sp_compress_work *work) {
    return work->trained.config.encoder.model;
}

/* ---- text to tokens ---- */

/* Goes on where it stopped, and does nothing over tokens that are there. */
static sp_status tokenize(sp_compress_work *work, const sp_tokenize_stream *streams,
                          const char *output) {
    sp_tokenize_summary made = {0};
    const sp_tokenize_job job = {.corpus = work->job->corpus,
                                 .segmenting = {.streams = streams,
                                                .n_streams = work->job->n_refinements > 0 ? 2 : 1,
                                                .segment_tokens = work->layout.segment_tokens},
                                 .keeps_duplicates = true,
                                 .output = output};
    SP_TRY(sp_tokenize(work->world, &job, &made));
    work->summary.n_lost = made.tallies.n_lost;
    work->summary.n_unwanted = made.tallies.n_unwanted;
    work->summary.losses = made.tallies.losses;
    sp_tokenize_summary_free(&made);
    return SP_OK;
}

/* *tokens: the path, owned. The decoder reads text only where slots are refined. */
static sp_status make_tokens(sp_compress_work *work, char **tokens) {
    model_tokenizer encoder = {0}, decoder = {0};
    sp_status status = sp_compress_path(work, "tokens.h5", tokens);
    if (status == SP_OK) status = open_tokenizer(&encoder, encoder_of(work));
    if (status == SP_OK && work->job->n_refinements > 0)
        status = open_tokenizer(&decoder, work->trained.config.decoder.model);
    status = sp_agree(work->world, status);
    const sp_tokenize_stream streams[] = {{.name = "encoder", .tokenizer = encoder.tokenizer},
                                          {.name = "decoder", .tokenizer = decoder.tokenizer}};
    if (status == SP_OK) status = tokenize(work, streams, *tokens);
    close_tokenizer(&decoder);
    close_tokenizer(&encoder);
    return status;
}

/* ---- tokens ---- */

/* The stream that a model's tokenizer made. */
static sp_status find_stream(const sp_tokens *tokens, const char *model, size_t *stream) {
    model_tokenizer t = {0};
    const size_t n_streams = sp_tokens_n_streams(tokens);
    sp_status status = open_tokenizer(&t, model);
    const char *digest = status == SP_OK ? sp_tokenizer_digest(t.tokenizer) : "";
    for (*stream = 0; *stream < n_streams; ++*stream)
        if (strcmp(sp_tokens_tokenizer_digest(tokens, *stream), digest) == 0) break;
    if (status == SP_OK && *stream == n_streams)
        status = sp_fail(SP_BAD_DATA, "'%s': no stream of the tokenizer of '%s'; compress the text",
                         sp_tokens_path(tokens), model);
    close_tokenizer(&t);
    return status;
}

static sp_status check_lengths(const sp_compress_work *work) {
    const size_t n_tokens = sp_tokens_segment_tokens(work->tokens);
    const size_t most = work->layout.segment_tokens;
    if (n_tokens != most)
        return sp_fail(SP_BAD_DATA, "'%s': segments of %zu tokens, '%s' was trained for %zu",
                       sp_tokens_path(work->tokens), n_tokens,
                       sp_checkpoint_path(work->trained.checkpoint), most);
    const size_t n_segments = sp_tokens_n_segments(work->tokens);
    const size_t most_slots = sp_run_config_most_slots(&work->trained.config);
    for (size_t i = 0; i < n_segments; i++)
        if (sp_compress_n_slots(work, i) > most_slots)
            return sp_fail(
                SP_BAD_DATA,
                "'%s', segment %zu: %zu tokens of the encoder, cut by another tokenizer, "
                "need more than the %zu slots that it has for one; compress the text",
                sp_tokens_path(work->tokens), i, sp_tokens_length(work->tokens, work->stream, i),
                most_slots);
    return SP_OK;
}

static sp_status open_tokens(sp_compress_work *work, const char *path) {
    SP_TRY(sp_tokens_open(&work->tokens, path));
    SP_TRY(find_stream(work->tokens, encoder_of(work), &work->stream));
    if (work->job->n_refinements > 0)
        SP_TRY(
            find_stream(work->tokens, work->trained.config.decoder.model, &work->decoder_stream));
    SP_TRY(check_lengths(work));
    const size_t n = sp_tokens_n_segments(work->tokens);
    size_t n_in_block = n / MOST_BLOCKS;
    if (n_in_block < LEAST_BLOCK_SEGMENTS) n_in_block = LEAST_BLOCK_SEGMENTS;
    if (n_in_block > MOST_BLOCK_SEGMENTS) n_in_block = MOST_BLOCK_SEGMENTS;
    work->block_segments = n_in_block - n_in_block % SP_COMPRESS_GROUP;
    work->n_blocks = (n + work->block_segments - 1) / work->block_segments;
    work->summary.n_documents = sp_tokens_n_documents(work->tokens);
    if (n == 0)
        return sp_fail(SP_BAD_DATA, "no text in '%s': its %zu documents are all empty",
                       work->job->corpus.names[0], sp_tokens_n_documents(work->tokens));
    return SP_OK;
}

sp_status sp_compress_open_tokens(sp_compress_work *work) {
    char *made = NULL;
    sp_status status = work->is_text ? make_tokens(work, &made) : SP_OK;
    if (status == SP_OK)
        status = sp_agree(work->world,
                          open_tokens(work, work->is_text ? made : work->job->corpus.names[0]));
    free(made);
    return status;
}

/* ---- texts ---- */

struct sp_compress_texts {
    const sp_compress_work *work;
    sp_corpus *corpus; /* of text */
    sp_blocks blocks;
    size_t unit; /* at hand */
    sp_unit_reader *reader;
    uint64_t next_document;    /* that will be read next */
    sp_input input;            /* the one before it */
    model_tokenizer tokenizer; /* the encoder's, of a token file */
    char *decoded;             /* owned: of document next_document - 1 */
    size_t n_decoded;
};

static sp_status open_texts(sp_compress_texts *t) {
    const sp_compress_work *work = t->work;
    if (!work->is_text)
        return sp_agree(work->world, open_tokenizer(&t->tokenizer, encoder_of(work)));
    SP_TRY(sp_corpus_open(&t->corpus, work->world, &work->job->corpus));
    return sp_blocks_create(&t->blocks, work->world, t->corpus, 0);
}

sp_status sp_compress_texts_open(sp_compress_texts **texts, const sp_compress_work *work) {
    void *block = NULL;
    SP_TRY(sp_agree(work->world, sp_alloc(&block, sizeof **texts, "texts")));
    sp_compress_texts *made = block;
    made->work = work;
    const sp_status status = open_texts(made);
    if (status == SP_OK)
        *texts = made;
    else
        sp_compress_texts_close(made);
    return status;
}

void sp_compress_texts_close(sp_compress_texts *texts) {
    if (texts == NULL) return;
    free(texts->decoded);
    close_tokenizer(&texts->tokenizer);
    sp_unit_reader_close(texts->reader);
    sp_blocks_free(&texts->blocks);
    sp_corpus_close(texts->corpus);
    free(texts);
}

static sp_status read_next(sp_compress_texts *t) {
    for (; t->unit < t->blocks.n_units; t->unit++) {
        bool is_unit_end = false;
        if (t->reader == NULL)
            SP_TRY(sp_unit_reader_open(&t->reader, t->corpus, &t->blocks.units[t->unit],
                                       SP_ROWS_UNNEEDED, 0));
        SP_TRY(sp_unit_reader_next(t->reader, &t->input, &is_unit_end));
        if (!is_unit_end) {
            t->next_document++;
            return SP_OK;
        }
        sp_unit_reader_close(t->reader);
        t->reader = NULL;
    }
    return sp_fail(SP_BAD_DATA, "'%s': fewer documents than before; changed while it was read",
                   t->work->job->corpus.names[0]);
}

/* Decodes all of a document's tokens. */
static sp_status decode(sp_compress_texts *t, uint64_t document) {
    const sp_compress_work *work = t->work;
    const size_t n_segments = sp_tokens_n_segments(work->tokens);
    size_t begin = 0, end = n_segments, n_ids = 0;
    while (begin < end) { /* the document's first segment */
        const size_t middle = begin + (end - begin) / 2;
        if (sp_tokens_document(work->tokens, middle) < document)
            begin = middle + 1;
        else
            end = middle;
    }
    for (; end < n_segments && sp_tokens_document(work->tokens, end) == document; end++)
        n_ids += sp_tokens_length(work->tokens, work->stream, end);
    void *ids = NULL;
    SP_TRY(sp_alloc_array(&ids, n_ids, sizeof(int32_t), "a document's tokens"));
    sp_status status = SP_OK;
    int32_t *at = ids;
    for (size_t i = begin; i < end && status == SP_OK; i++) {
        status = sp_tokens_read(work->tokens, work->stream, i, at);
        at += sp_tokens_length(work->tokens, work->stream, i);
    }
    free(t->decoded);
    t->decoded = NULL;
    if (status == SP_OK)
        status = sp_tokenizer_decode(t->tokenizer.tokenizer, &t->decoded, &t->n_decoded, ids, n_ids,
                                     (sp_decode_options){0});
    free(ids);
    t->next_document = document + 1;
    return status;
}

static sp_status check_text(const sp_compress_texts *t, uint64_t document, const char *text,
                            size_t n_bytes) {
    const sp_tokens *tokens = t->work->tokens;
    if (XXH3_64bits(text, n_bytes) == sp_tokens_hash(tokens, (size_t)document)) return SP_OK;
    if (t->work->is_text)
        return sp_fail(SP_BAD_DATA, "'%s': document %ju was changed while it was read",
                       t->work->job->corpus.names[0], (uintmax_t)document);
    return sp_fail(SP_BAD_DATA,
                   "'%s': document %ju: its tokens do not decode to its text, which --with-text is "
                   "to keep; compress the text itself",
                   sp_tokens_path(tokens), (uintmax_t)document);
}

sp_status sp_compress_texts_of(sp_compress_texts *t, uint64_t document, const char **text,
                               size_t *n_bytes) {
    if (t->work->is_text) {
        const bool is_new = t->next_document <= document;
        while (t->next_document <= document) SP_TRY(read_next(t));
        *text = t->input.document.text;
        *n_bytes = t->input.document.n_bytes;
        return is_new ? check_text(t, document, *text, *n_bytes) : SP_OK;
    }
    const bool is_new = t->next_document != document + 1;
    if (is_new) SP_TRY(decode(t, document));
    *text = t->decoded;
    *n_bytes = t->n_decoded;
    return is_new ? check_text(t, document, *text, *n_bytes) : SP_OK;
}
