#include "run/tokenize_block.h"

#include "base/memory.h"
#include "run/tokenize_summary.h"
#include "run/unit_reader.h"
#include "text/segmenter.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct sp_block_tokenizer {
    const sp_segmenting *how;
    sp_corpus *corpus;
    const sp_survey *survey;
    const sp_duplicates *duplicates;
    sp_encoding *encodings; /* [n_streams] */
    const int32_t **ids;    /* [n_streams]: of the segment at hand */
    size_t *n_ids;          /* likewise */
    sp_journal_writer *journal;
    sp_tokenize_tallies tallies; /* of the block at hand */
    uint64_t document;           /* the next one's number */
    uint64_t n_tokens;           /* of the stream that cuts, in all blocks so far */
    sp_document_place first_not_utf8;
};

/* ---- a document: cut by the first tokenizer, each segment's bytes read by the others ---- */

static sp_status put_segment(sp_block_tokenizer *t, const sp_document *document, size_t token_begin,
                             size_t token_end, size_t byte_begin) {
    const sp_encoding *cut = &t->encodings[0];
    const size_t byte_end = cut->ends[token_end - 1];
    t->ids[0] = cut->ids + token_begin;
    t->n_ids[0] = token_end - token_begin;
    for (size_t s = 1; s < t->how->n_streams; s++) {
        sp_encoding *other = &t->encodings[s];
        SP_TRY(sp_tokenizer_encode(
            t->how->streams[s].tokenizer, other, document->text + byte_begin, byte_end - byte_begin,
            (sp_encode_options){.specials_are_plain = true, .is_continuation = true}));
        t->ids[s] = other->ids;
        t->n_ids[s] = other->n;
    }
    t->n_tokens += t->n_ids[0];
    return sp_journal_writer_segment(t->journal, byte_begin, (uint32_t)(byte_end - byte_begin),
                                     t->ids, t->n_ids);
}

static sp_status put_segments(sp_block_tokenizer *t, const sp_document *document) {
    sp_encoding *cut = &t->encodings[0];
    SP_TRY(sp_tokenizer_encode(t->how->streams[0].tokenizer, cut, document->text, document->n_bytes,
                               (sp_encode_options){.specials_are_plain = true}));
    for (size_t token = 0, byte = 0; token < cut->n;) {
        const size_t end =
            sp_segment_end(cut, document->text, document->n_bytes, token, t->how->segment_tokens);
        if (end == cut->n && end - token < t->how->min_tokens) {
            t->tallies.n_short_tails++;
            break;
        }
        SP_TRY(put_segment(t, document, token, end, byte));
        byte = cut->ends[end - 1];
        token = end;
    }
    return SP_OK;
}

/* Bytes that are no character stay, as the tokenizers take them; but a user may want to know. */
static void check_utf8(sp_block_tokenizer *t, const sp_document *document, uint64_t file) {
    if (sp_utf8_valid_prefix(document->text, document->n_bytes) == document->n_bytes) return;
    t->tallies.n_not_utf8++;
    const uint64_t number = t->document + 1;
    if (t->first_not_utf8.document == 0 || number < t->first_not_utf8.document)
        t->first_not_utf8 = (sp_document_place){number, file, document->row};
}

/* Counts a document, and says whether it has segments. */
static bool is_taken(sp_block_tokenizer *t, const sp_input *input) {
    sp_tokenize_tallies *tallies = &t->tallies;
    const uint64_t n_bytes = input->document.n_bytes, most = t->how->most_document_bytes;
    uint64_t *reason = NULL;
    if (input->state == SP_INPUT_UNWANTED)
        reason = &tallies->n_unwanted;
    else if (input->state == SP_INPUT_LOST)
        reason = &tallies->n_lost;
    else if (n_bytes == 0)
        reason = &tallies->n_empty;
    else if (most > 0 && n_bytes > most)
        reason = &tallies->n_oversized;
    else if (t->duplicates != NULL && sp_duplicates_has(t->duplicates, t->document))
        reason = &tallies->n_duplicates;
    if (reason != NULL)
        ++*reason;
    else
        tallies->n_bytes += n_bytes;
    return reason == NULL;
}

static sp_status put_document(sp_block_tokenizer *t, const sp_input *input, uint64_t file) {
    const sp_document *document = &input->document;
    const bool has_text = input->state == SP_INPUT_WANTED;
    const uint64_t hash = has_text ? XXH3_64bits(document->text, document->n_bytes) : 0;
    SP_TRY(sp_journal_writer_document(t->journal, document->id, hash));
    if (is_taken(t, input)) {
        check_utf8(t, document, file);
        SP_TRY(put_segments(t, document));
    }
    t->document++;
    return SP_OK;
}

/* ---- units and blocks ---- */

static sp_status read_unit(sp_block_tokenizer *t, sp_unit_reader *reader, uint64_t file) {
    for (;;) {
        sp_input input;
        bool is_end = false;
        SP_TRY(sp_unit_reader_next(reader, &input, &is_end));
        if (is_end) return SP_OK;
        SP_TRY(put_document(t, &input, file));
    }
}

static sp_status run_unit(sp_block_tokenizer *t, size_t unit) {
    const sp_unit *of = &sp_survey_blocks(t->survey)->units[unit];
    sp_unit_reader *reader = NULL;
    SP_TRY(sp_unit_reader_open(&reader, t->corpus, of, SP_ROWS_NEEDED,
                               sp_survey_lines_before(t->survey, unit)));
    const sp_status status = read_unit(t, reader, of->file);
    const sp_losses losses = sp_unit_reader_losses(reader);
    sp_unit_reader_close(reader);
    SP_TRY(status);
    t->tallies.losses.n_rows += losses.n_rows;
    t->tallies.losses.n_groups += losses.n_groups;
    t->tallies.losses.n_files += losses.n_files;
    if (t->document == sp_survey_first_document(t->survey, unit + 1)) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s' was changed while it was read",
                   sp_corpus_path(t->corpus, (size_t)of->file));
}

sp_status sp_block_tokenizer_run(sp_block_tokenizer *t, size_t block, sp_journal_writer *journal) {
    const sp_blocks *blocks = sp_survey_blocks(t->survey);
    uint64_t numbers[SP_TOKENS_N_TALLIES] = {0};
    t->journal = journal;
    t->tallies = (sp_tokenize_tallies){0};
    t->document = sp_survey_first_document(t->survey, blocks->begin[block]);
    SP_TRY(sp_journal_writer_begin(journal, block));
    for (size_t u = blocks->begin[block]; u < blocks->begin[block + 1]; u++) SP_TRY(run_unit(t, u));
    memcpy(numbers, &t->tallies, sizeof t->tallies);
    return sp_journal_writer_end(journal, numbers);
}

/* ---- opening ---- */

static sp_status allocate(sp_block_tokenizer *t) {
    const size_t n = t->how->n_streams;
    void *encodings = NULL, *ids = NULL, *n_ids = NULL;
    SP_TRY(sp_alloc_array(&encodings, n, sizeof *t->encodings, "encodings"));
    t->encodings = encodings;
    SP_TRY(sp_alloc_array(&ids, n, sizeof *t->ids, "streams"));
    t->ids = ids;
    SP_TRY(sp_alloc_array(&n_ids, n, sizeof *t->n_ids, "streams"));
    t->n_ids = n_ids;
    return SP_OK;
}

sp_status sp_block_tokenizer_open(sp_block_tokenizer **tokenizer, const sp_segmenting *segmenting,
                                  sp_corpus *corpus, const sp_survey *survey,
                                  const sp_duplicates *duplicates) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **tokenizer, "a tokenizer of blocks"));
    sp_block_tokenizer *made = block;
    *made = (sp_block_tokenizer){
        .how = segmenting, .corpus = corpus, .survey = survey, .duplicates = duplicates};
    const sp_status status = allocate(made);
    if (status == SP_OK)
        *tokenizer = made;
    else
        sp_block_tokenizer_close(made);
    return status;
}

void sp_block_tokenizer_close(sp_block_tokenizer *t) {
    if (t == NULL) return;
    for (size_t s = 0; t->encodings != NULL && s < t->how->n_streams; s++)
        sp_encoding_free(&t->encodings[s]);
    free(t->encodings);
    free(t->ids);
    free(t->n_ids);
    free(t);
}

sp_document_place sp_block_tokenizer_first_not_utf8(const sp_block_tokenizer *t) {
    return t->first_not_utf8;
}

uint64_t sp_block_tokenizer_n_tokens(const sp_block_tokenizer *t) { return t->n_tokens; }
