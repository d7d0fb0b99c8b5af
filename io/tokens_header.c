#include "io/tokens_header.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_name(const char *name) {
    const size_t n = strlen(name);
    const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    /* "." and ".." would be links to the group itself, as in a file system. */
    return n > 0 && n < SP_STREAM_NAME_SIZE && strspn(name, allowed) == n && name[0] != '.';
}

sp_status sp_tokens_check_streams(const sp_tokens_stream *streams, size_t n_streams) {
    if (n_streams == 0 || n_streams > SP_TOKENS_MAX_STREAMS)
        return sp_fail(SP_USAGE, "%zu streams of tokens: 1 to %d are allowed", n_streams,
                       SP_TOKENS_MAX_STREAMS);
    for (size_t s = 0; s < n_streams; s++) {
        if (!is_name(streams[s].name))
            return sp_fail(SP_USAGE,
                           "stream name '%s': 1 to %d letters, digits, '.', '_' or '-' are allowed",
                           streams[s].name, SP_STREAM_NAME_SIZE - 1);
        for (size_t other = 0; other < s; other++)
            if (strcmp(streams[s].name, streams[other].name) == 0)
                return sp_fail(SP_USAGE, "two streams of the name '%s'", streams[s].name);
        if (streams[s].vocab_size == 0 || streams[s].vocab_size > INT32_MAX)
            return sp_fail(SP_BAD_DATA, "stream '%s': a vocabulary of %zu tokens", streams[s].name,
                           streams[s].vocab_size);
    }
    return SP_OK;
}

sp_status sp_tokens_header(char **text, size_t *text_len, size_t segment_tokens,
                           const sp_tokens_stream *streams, size_t n_streams) {
    FILE *made = open_memstream(text, text_len);
    if (made == NULL) return sp_fail(SP_FAILURE, "no memory for a digest");
    fprintf(made, "segment_tokens %zu\n", segment_tokens);
    for (size_t s = 0; s < n_streams; s++)
        fprintf(made, "stream %s %zu %s\n", streams[s].name, streams[s].vocab_size,
                streams[s].tokenizer_digest);
    if (fclose(made) != 0) return sp_fail(SP_FAILURE, "no memory for a digest");
    return SP_OK;
}

size_t sp_tokens_streams_of(sp_tokens_stream streams[SP_TOKENS_MAX_STREAMS],
                            const sp_tokens *tokens) {
    const size_t n_streams = sp_tokens_n_streams(tokens);
    for (size_t position = 0; position < n_streams; position++) {
        const size_t s = sp_tokens_stream_at(tokens, position);
        streams[position] =
            (sp_tokens_stream){.name = sp_tokens_stream_name(tokens, s),
                               .tokenizer_digest = sp_tokens_tokenizer_digest(tokens, s),
                               .vocab_size = sp_tokens_vocab_size(tokens, s)};
    }
    return n_streams;
}

sp_status sp_tokens_check_ids(const sp_tokens_stream *stream, const int32_t *ids, size_t n_ids) {
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= stream->vocab_size)
            return sp_fail(SP_BAD_DATA, "stream '%s': token id %d is beyond the vocabulary",
                           stream->name, ids[i]);
    return SP_OK;
}
