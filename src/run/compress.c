#include "run/compress.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/progress.h"
#include "io/slots_file.h"
#include "io/text_reader.h"
#include "mpi/agree.h"
#include "run/trained.h"
#include "text/segmenter.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Consecutive segments in one pass: fixed, so that the bits do not depend on the ranks. */
enum { SEGMENTS_AT_ONCE = 8 };

/* A segment of the present round. */
typedef struct segment {
    uint64_t byte_begin;
    uint32_t byte_len;
    size_t id_begin, n_ids; /* in the round's ids */
} segment;

/* A document that began in this round, before segment `at`. */
typedef struct begun {
    char *id; /* owned */
    uint64_t hash;
    size_t at;
} begun;

/* One group of segments for each rank, and what rank 0 needs to write them. Growable arrays. */
typedef struct round_of_groups {
    segment *segments;
    size_t n_segments, segment_capacity;
    begun *documents;
    size_t n_documents, document_capacity;
    int32_t *ids;
    size_t n_ids, id_capacity;
} round_of_groups;

typedef struct compression {
    sp_world *world;
    const sp_compress_job *job;
    sp_trained trained;
    sp_layout layout;
    json_t *tokenizer_json;
    sp_tokenizer *tokenizer;
    sp_encoding encoding; /* of the document at hand */
    sp_text_reader *reader;
    size_t n_paths_done;
    sp_document document;
    size_t next_token; /* of the document at hand, still to be cut; encoding.n: it is done */
    size_t next_byte;
    round_of_groups round;
    sp_slots_writer *writer; /* rank 0's */
    sp_batch batch;
    sp_workspace workspace;
    float *memory;
    size_t memory_capacity; /* slots */
    sp_progress progress;
    sp_compress_summary summary;
} compression;

static bool is_first(const compression *c) { return sp_world_rank(c->world) == 0; }

/* ---- reading: every rank sees the whole stream of segments ---- */

static sp_status grow(void *array, size_t n, size_t *capacity, size_t item_bytes) {
    if (n <= *capacity) return SP_OK;
    void **place = array;
    const size_t wanted = 2 * n;
    void *grown = realloc(*place, wanted * item_bytes);
    if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu segments", wanted);
    *place = grown;
    *capacity = wanted;
    return SP_OK;
}

static sp_status note_document(compression *c) {
    round_of_groups *r = &c->round;
    c->summary.n_documents++;
    if (!is_first(c)) return SP_OK;
    SP_TRY(grow(&r->documents, r->n_documents + 1, &r->document_capacity, sizeof *r->documents));
    char *id = strdup(c->document.id);
    if (id == NULL) return sp_fail(SP_FAILURE, "no memory for a document's id");
    r->documents[r->n_documents++] = (begun){
        .id = id, .hash = XXH3_64bits(c->document.text, c->document.n_bytes), .at = r->n_segments};
    return SP_OK;
}

/* Moves to the next document of any file; *is_end after the last. */
static sp_status next_document(compression *c, bool *is_end) {
    for (;;) {
        bool is_file_end = true;
        if (c->reader != NULL) SP_TRY(sp_text_reader_next(c->reader, &c->document, &is_file_end));
        if (!is_file_end) break;
        sp_text_reader_close(c->reader);
        c->reader = NULL;
        *is_end = c->n_paths_done == c->job->n_paths;
        if (*is_end) return SP_OK;
        SP_TRY(sp_text_reader_open(&c->reader, c->job->paths[c->n_paths_done++], NULL, NULL));
    }
    SP_TRY(sp_tokenizer_encode(c->tokenizer, &c->encoding, c->document.text, c->document.n_bytes,
                               (sp_encode_options){.specials_are_plain = true}));
    c->next_token = c->next_byte = 0;
    return note_document(c);
}

static sp_status take_segment(compression *c) {
    round_of_groups *r = &c->round;
    const size_t end = sp_segment_end(&c->encoding, c->document.text, c->document.n_bytes,
                                      c->next_token, c->layout.segment_tokens);
    const size_t n_ids = end - c->next_token, end_byte = c->encoding.ends[end - 1];
    const size_t vocab_size = c->trained.models.encoder_weights->config.vocab_size;
    SP_TRY(grow(&r->segments, r->n_segments + 1, &r->segment_capacity, sizeof *r->segments));
    SP_TRY(grow(&r->ids, r->n_ids + n_ids, &r->id_capacity, sizeof *r->ids));
    for (size_t i = 0; i < n_ids; i++) {
        const int32_t id = c->encoding.ids[c->next_token + i];
        if ((size_t)id >= vocab_size)
            return sp_fail(SP_BAD_DATA, "document '%s': token id %d is beyond the encoder's %zu",
                           c->document.id, id, vocab_size);
        r->ids[r->n_ids + i] = id;
    }
    r->segments[r->n_segments++] = (segment){.byte_begin = c->next_byte,
                                             .byte_len = (uint32_t)(end_byte - c->next_byte),
                                             .id_begin = r->n_ids,
                                             .n_ids = n_ids};
    r->n_ids += n_ids;
    c->next_token = end;
    c->next_byte = end_byte;
    return SP_OK;
}

static void empty_round(round_of_groups *r) {
    for (size_t i = 0; i < r->n_documents; i++) free(r->documents[i].id);
    r->n_documents = r->n_segments = r->n_ids = 0;
}

static sp_status fill_round(compression *c, bool *is_end) {
    const size_t most = SEGMENTS_AT_ONCE * (size_t)sp_world_size(c->world);
    empty_round(&c->round);
    while (c->round.n_segments < most) {
        while (c->next_token == c->encoding.n) {
            SP_TRY(next_document(c, is_end));
            if (*is_end) return SP_OK;
        }
        SP_TRY(take_segment(c));
    }
    return SP_OK;
}

/* ---- encoding: each rank its group ---- */

static sp_status encode_group(compression *c, size_t *n_slots) {
    const round_of_groups *r = &c->round;
    const size_t begin = SEGMENTS_AT_ONCE * (size_t)sp_world_rank(c->world);
    *n_slots = 0;
    sp_batch_clear(&c->batch);
    for (size_t i = begin; i < r->n_segments && i < begin + SEGMENTS_AT_ONCE; i++)
        SP_TRY(sp_layout_add_encoder(&c->layout, &c->batch, r->ids + r->segments[i].id_begin,
                                     r->segments[i].n_ids, 0));
    if (c->batch.n_taken == 0) return SP_OK;
    if (c->batch.n_taken > c->memory_capacity) {
        void *memory = NULL;
        const size_t d = c->trained.models.compressor->converter.in.n_in;
        SP_TRY(sp_alloc_array(&memory, c->batch.n_taken, d * sizeof(float), "memory"));
        free(c->memory);
        c->memory = memory;
        c->memory_capacity = c->batch.n_taken;
    }
    *n_slots = c->batch.n_taken;
    return sp_compressor_encode(c->trained.models.compressor, &c->batch, c->memory, &c->workspace);
}

/* ---- writing: rank 0, in order ---- */

static sp_status write_round(compression *c, const float *memory) {
    const round_of_groups *r = &c->round;
    const size_t d = c->trained.models.compressor->converter.in.n_in;
    size_t next = 0;
    for (size_t i = 0; i <= r->n_segments; i++) {
        for (; next < r->n_documents && r->documents[next].at == i; next++)
            SP_TRY(sp_slots_writer_document(c->writer, r->documents[next].id,
                                            r->documents[next].hash));
        if (i == r->n_segments) break;
        const segment *s = &r->segments[i];
        const size_t n_slots = sp_layout_n_slots(&c->layout, s->n_ids);
        SP_TRY(sp_slots_writer_segment(c->writer, s->byte_begin, s->byte_len, (uint32_t)s->n_ids,
                                       memory, n_slots));
        memory += n_slots * d;
    }
    return SP_OK;
}

static sp_status gather_and_write(compression *c, size_t n_slots) {
    const size_t d = c->trained.models.compressor->converter.in.n_in;
    char *all = NULL;
    size_t *sizes = NULL;
    SP_TRY(sp_agree(
        c->world, sp_world_gather(c->world, c->memory, n_slots * d * sizeof(float), &all, &sizes)));
    const sp_status status = is_first(c) ? write_round(c, (const float *)(const void *)all) : SP_OK;
    free(all);
    free(sizes);
    return sp_agree(c->world, status);
}

static void count_round(compression *c) {
    for (size_t i = 0; i < c->round.n_segments; i++)
        c->summary.n_slots += sp_layout_n_slots(&c->layout, c->round.segments[i].n_ids);
    c->summary.n_segments += c->round.n_segments;
    c->summary.n_tokens += c->round.n_ids;
    sp_progress_update(&c->progress, c->summary.n_tokens, NULL);
}

static sp_status compress_all(compression *c) {
    bool is_end = false;
    while (!is_end) {
        size_t n_slots = 0;
        SP_TRY(sp_agree(c->world, fill_round(c, &is_end)));
        SP_TRY(sp_agree(c->world, encode_group(c, &n_slots)));
        SP_TRY(gather_and_write(c, n_slots));
        count_round(c);
    }
    return SP_OK;
}

/* ---- opening ---- */

static sp_status open_compression(compression *c) {
    const sp_compress_job *job = c->job;
    for (size_t i = 0; i < job->n_paths; i++) {
        uint64_t unused;
        SP_TRY(sp_text_file_size(job->paths[i], &unused));
    }
    SP_TRY(sp_trained_open(&c->trained, job->checkpoint, job->assignments, job->n_assignments,
                           SP_SIDES_ENCODER));
    c->layout = sp_trained_layout(&c->trained);
    if (job->ratio != 0 && job->ratio != c->layout.ratio)
        return sp_fail(SP_USAGE, "--ratio %zu: '%s' was trained for ratio %zu", job->ratio,
                       sp_checkpoint_path(c->trained.checkpoint), c->layout.ratio);
    const char *encoder = c->trained.config.encoder.model;
    SP_TRY(sp_tokenizer_json_load(&c->tokenizer_json, encoder));
    SP_TRY(sp_tokenizer_create(&c->tokenizer, c->tokenizer_json, encoder));
    if (!is_first(c)) return SP_OK;
    return sp_slots_writer_open(
        &c->writer, job->output,
        &(sp_slots_info){.space = SP_SLOTS_MEMORY,
                         .dtype = SP_SLOTS_F16,
                         .d = c->trained.models.compressor->converter.in.n_in,
                         .ratio = (double)c->layout.ratio,
                         .compressor_digest = c->trained.digest});
}

static sp_status commit(compression *c) {
    const sp_compress_job *job = c->job;
    if (c->summary.n_segments == 0)
        return sp_fail(SP_BAD_DATA, "no text in '%s'%s: %ju documents, all empty", job->paths[0],
                       job->n_paths > 1 ? " and the other files" : "",
                       (uintmax_t)c->summary.n_documents);
    sp_slots_writer *writer = c->writer;
    c->writer = NULL; /* the commit releases it */
    return is_first(c) ? sp_slots_writer_commit(writer) : SP_OK;
}

static sp_status compress(compression *c) {
    SP_TRY(sp_agree(c->world, open_compression(c)));
    sp_progress_begin(&c->progress, "compress", 0, "tokens");
    const sp_status status = compress_all(c);
    sp_progress_end(&c->progress);
    SP_TRY(status);
    return sp_agree(c->world, commit(c));
}

sp_status sp_compress(sp_world *world, const sp_compress_job *job, sp_compress_summary *summary) {
    compression c = {.world = world, .job = job};
    const double begin_s = sp_clock_seconds();
    const sp_status status = compress(&c);
    sp_slots_writer_abort(c.writer);
    sp_text_reader_close(c.reader);
    sp_encoding_free(&c.encoding);
    sp_tokenizer_destroy(c.tokenizer);
    json_decref(c.tokenizer_json);
    empty_round(&c.round);
    free(c.round.segments);
    free(c.round.documents);
    free(c.round.ids);
    free(c.memory);
    sp_workspace_release(&c.workspace);
    sp_batch_free(&c.batch);
    sp_trained_close(&c.trained);
    c.summary.seconds = sp_clock_seconds() - begin_s;
    if (status == SP_OK) *summary = c.summary;
    return status;
}
