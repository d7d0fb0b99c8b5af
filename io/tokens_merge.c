#include "io/tokens_merge.h"

#include "io/tokens_file.h"
#include "io/tokens_header.h"
#include "io/tokens_writer.h"

static sp_status copy_sources(sp_tokens_writer *writer, const sp_tokens *tokens) {
    sp_tokens_source *sources = NULL;
    size_t n = 0;
    SP_TRY(sp_tokens_sources(tokens, &sources, &n));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n && status == SP_OK; i++)
        status = sp_tokens_writer_source(writer, sources[i].path, sources[i].n_bytes,
                                         sources[i].n_documents);
    sp_tokens_sources_free(sources, n);
    return status;
}

static sp_status copy_records(sp_tokens_writer *writer, sp_tokens_walk *walk) {
    for (;;) {
        sp_tokens_record record;
        bool is_end = false;
        SP_TRY(sp_tokens_walk_next(walk, &record, &is_end));
        if (is_end) return SP_OK;
        SP_TRY(record.is_document
                   ? sp_tokens_writer_document(writer, record.id, record.hash)
                   : sp_tokens_writer_segment(writer, record.byte_begin, record.byte_len,
                                              record.ids, record.n_ids));
    }
}

/* So that the merged file is the very one that a single rank writes. */
static void copy_origin(sp_tokens_writer *writer, const sp_tokens *tokens) {
    sp_tokens_origin origin;
    sp_tokens_origin_read(&origin, sp_tokens_path(tokens));
    sp_tokens_writer_origin(writer, &origin);
}

static sp_status copy_file(const char *output, const sp_tokens *tokens) {
    sp_tokens_stream streams[SP_TOKENS_MAX_STREAMS];
    sp_tokens_writer *writer = NULL;
    sp_tokens_walk *walk = NULL;
    const size_t n_streams = sp_tokens_streams_of(streams, tokens);
    SP_TRY(sp_tokens_writer_open(&writer, output, sp_tokens_segment_tokens(tokens), streams,
                                 n_streams));
    sp_status status = sp_tokens_walk_open(&walk, tokens);
    if (status == SP_OK) status = copy_sources(writer, tokens);
    if (status == SP_OK) status = copy_records(writer, walk);
    if (status == SP_OK) copy_origin(writer, tokens);
    sp_tokens_walk_close(walk);
    if (status == SP_OK) return sp_tokens_writer_commit(writer);
    sp_tokens_writer_abort(writer);
    return status;
}

sp_status sp_tokens_merge(const char *output, const char *input) {
    sp_tokens *tokens = NULL;
    SP_TRY(sp_tokens_open(&tokens, input));
    const sp_status status = copy_file(output, tokens);
    sp_tokens_close(tokens);
    return status;
}
