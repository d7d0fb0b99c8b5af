#include "io/tokens_file.h"
#include "io/tokens_origin.h"
#include "io/tokens_schema.h"

#include <stdbool.h>

/* ---- parts of the description: each NULL if there is no memory ---- */

static json_t *describe_sources(const sp_tokens_source *sources, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_pack("{s:s*, s:I, s:I}", "path", sources[i].path, "bytes",
                                               (json_int_t)sources[i].n_bytes, "documents",
                                               (json_int_t)sources[i].n_documents));
    return array;
}

static json_t *describe_stream(const sp_tokens *tokens, size_t stream) {
    json_int_t n_tokens = 0;
    for (size_t i = 0; i < sp_tokens_n_segments(tokens); i++)
        n_tokens += (json_int_t)sp_tokens_length(tokens, stream, i);
    return json_pack("{s:s, s:I, s:I, s:s, s:b}", "name", sp_tokens_stream_name(tokens, stream),
                     "vocab_size", (json_int_t)sp_tokens_vocab_size(tokens, stream), "tokens",
                     n_tokens, "tokenizer_digest", sp_tokens_tokenizer_digest(tokens, stream),
                     "cuts", stream == sp_tokens_stream_at(tokens, 0));
}

/* Segments by their tokens in the stream that cuts: eight equal ranges, and the full ones apart. */
static json_t *describe_lengths(const sp_tokens *tokens) {
    enum { N_RANGES = 8 };
    const size_t most = sp_tokens_segment_tokens(tokens), cut = sp_tokens_stream_at(tokens, 0);
    const size_t n_ranges = most - 1 < N_RANGES ? most - 1 : N_RANGES;
    json_int_t counts[N_RANGES + 1] = {0};
    for (size_t i = 0; i < sp_tokens_n_segments(tokens); i++) {
        const size_t length = sp_tokens_length(tokens, cut, i);
        counts[length == most ? n_ranges : (length - 1) * n_ranges / (most - 1)]++;
    }
    json_t *lengths = json_array();
    for (size_t r = 0; r <= n_ranges; r++) {
        const bool is_full = r == n_ranges;
        /* The least length whose range is r, and of the next. */
        const size_t first = is_full ? most : (r * (most - 1) + n_ranges - 1) / n_ranges + 1;
        const size_t last = is_full ? most : ((r + 1) * (most - 1) + n_ranges - 1) / n_ranges;
        json_array_append_new(lengths, json_pack("{s:I, s:I, s:I}", "from", (json_int_t)first, "to",
                                                 (json_int_t)last, "segments", counts[r]));
    }
    return lengths;
}

/* What the run that made it counted, documents left out and the like; NULL: not known. */
static json_t *describe_run(const char *path) {
    sp_tokens_origin origin;
    sp_tokens_origin_read(&origin, path);
    return json_loads(origin.summary, 0, NULL);
}

/* ---- the whole ---- */

sp_status sp_tokens_describe(json_t **description, const char *path) {
    sp_tokens *tokens = NULL;
    sp_tokens_source *sources = NULL;
    size_t n_sources = 0;
    SP_TRY(sp_tokens_open(&tokens, path));
    sp_status status = sp_tokens_sources(tokens, &sources, &n_sources);
    if (status != SP_OK) goto cleanup;
    json_t *streams = json_array();
    for (size_t s = 0; s < sp_tokens_n_streams(tokens); s++)
        json_array_append_new(streams, describe_stream(tokens, s));
    json_t *made = json_pack(
        "{s:s, s:i, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:o, s:o*}", "format", SP_TOKENS_FORMAT,
        "format_version", SP_TOKENS_FORMAT_VERSION, "parts", (json_int_t)sp_tokens_n_parts(tokens),
        "segment_tokens", (json_int_t)sp_tokens_segment_tokens(tokens), "segments",
        (json_int_t)sp_tokens_n_segments(tokens), "documents",
        (json_int_t)sp_tokens_n_documents(tokens), "digest", sp_tokens_digest(tokens), "streams",
        streams, "segment_lengths", describe_lengths(tokens), "sources",
        describe_sources(sources, n_sources), "run", describe_run(path));
    if (made == NULL)
        status = sp_fail(SP_BAD_DATA, "'%s': a name in it is not UTF-8", path);
    else
        *description = made;

cleanup:
    sp_tokens_sources_free(sources, n_sources);
    sp_tokens_close(tokens);
    return status;
}
