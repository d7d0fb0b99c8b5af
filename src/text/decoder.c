#include "text/decoder.h"

#include <stdlib.h>
#include <string.h>

static sp_status read_character(sp_decoder_step *step, const json_t *object, const char *key,
                                const char *name) {
    const char *value = "";
    uint32_t character;
    SP_TRY(sp_json_get_string(&value, object, key, name));
    const size_t len = strlen(value);
    if (len == 0 || sp_utf8_decode(&character, value, len) != len)
        return sp_fail(SP_BAD_DATA, "'%s': decoder: '%s' is '%s', not one character", name, key,
                       value);
    memcpy(step->character, value, len);
    return SP_OK;
}

static sp_status read_strip(sp_decoder_step *step, const json_t *object, const char *name) {
    SP_TRY(read_character(step, object, "content", name));
    SP_TRY(sp_json_get_size(&step->start, object, "start", name));
    return sp_json_get_size(&step->stop, object, "stop", name);
}

static sp_status read_metaspace(sp_decoder_step *step, const json_t *object, const char *name) {
    bool adds_prefix_space = true;
    SP_TRY(sp_json_get_bool(&adds_prefix_space, object, "add_prefix_space", name));
    const char *scheme = adds_prefix_space ? "always" : "never";
    SP_TRY(sp_json_get_string(&scheme, object, "prepend_scheme", name));
    step->drops_first = strcmp(scheme, "never") != 0;
    return read_character(step, object, "replacement", name);
}

static sp_status read_step(sp_decoder *decoder, const json_t *object, const char *type,
                           bool is_byte_level, const char *name) {
    if (decoder->n_steps == SP_DECODER_STEPS)
        return sp_fail(SP_BAD_DATA, "'%s': decoder has more than %d steps", name, SP_DECODER_STEPS);
    const bool is_first = decoder->n_steps == 0;
    if ((strcmp(type, "ByteLevel") == 0) != (is_byte_level && is_first))
        return sp_fail(SP_BAD_DATA, "'%s': decoder '%s' is not supported %s ByteLevel tokens", name,
                       type, is_byte_level ? "for" : "but for");
    sp_decoder_step *step = &decoder->steps[decoder->n_steps++];
    step->kind = SP_DECODER_FUSE;
    if (strcmp(type, "ByteLevel") == 0 || strcmp(type, "Fuse") == 0) return SP_OK;
    if (strcmp(type, "Replace") == 0) {
        step->kind = SP_DECODER_REPLACE;
        return sp_replacement_read(&step->replacement, object, name);
    }
    if (strcmp(type, "ByteFallback") == 0) {
        step->kind = SP_DECODER_BYTE_FALLBACK;
        return SP_OK;
    }
    if (strcmp(type, "Strip") == 0) {
        step->kind = SP_DECODER_STRIP;
        return read_strip(step, object, name);
    }
    if (strcmp(type, "Metaspace") == 0) {
        step->kind = SP_DECODER_METASPACE;
        return read_metaspace(step, object, name);
    }
    return sp_fail(SP_BAD_DATA, "'%s': decoder '%s' is not supported", name, type);
}

static sp_status read_steps(sp_decoder *decoder, const json_t *object, bool is_byte_level,
                            const char *name) {
    const char *type = "without a type";
    if (object == NULL || json_is_null(object)) return SP_OK;
    SP_TRY(sp_json_get_string(&type, object, "type", name));
    if (strcmp(type, "Sequence") != 0) return read_step(decoder, object, type, is_byte_level, name);
    const json_t *list = json_object_get(object, "decoders"), *inner;
    if (!json_is_array(list))
        return sp_fail(SP_BAD_DATA, "'%s': decoder: a Sequence without 'decoders'", name);
    size_t i;
    json_array_foreach(list, i, inner) SP_TRY(read_steps(decoder, inner, is_byte_level, name));
    return SP_OK;
}

sp_status sp_decoder_read(sp_decoder *decoder, const json_t *object, bool is_byte_level,
                          const char *name) {
    sp_decoder read = {0};
    const sp_status status = read_steps(&read, object, is_byte_level, name);
    if (status == SP_OK)
        *decoder = read;
    else
        sp_decoder_free(&read);
    return status;
}

void sp_decoder_free(sp_decoder *decoder) {
    for (size_t i = 0; i < decoder->n_steps; i++)
        sp_replacement_free(&decoder->steps[i].replacement);
    *decoder = (sp_decoder){0};
}

static sp_status append_bytes(sp_pieces *pieces, const char *bytes, size_t n_bytes) {
    const size_t n = pieces->n_bytes + n_bytes;
    if (n >= pieces->bytes_capacity) { /* so written, an empty piece has an address, too */
        const size_t capacity = n + n / 2 + 256;
        char *grown = realloc(pieces->bytes, capacity);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory: %zu bytes of text", capacity);
        pieces->bytes = grown;
        pieces->bytes_capacity = capacity;
    }
    if (n_bytes > 0) memcpy(pieces->bytes + pieces->n_bytes, bytes, n_bytes);
    pieces->n_bytes = n;
    return SP_OK;
}

/* Ends a piece where the bytes end. */
static sp_status end_piece(sp_pieces *pieces) {
    if (pieces->n == pieces->ends_capacity) {
        const size_t capacity = 2 * pieces->n + 64;
        size_t *grown = realloc(pieces->ends, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory: %zu pieces of text", capacity);
        pieces->ends = grown;
        pieces->ends_capacity = capacity;
    }
    pieces->ends[pieces->n++] = pieces->n_bytes;
    return SP_OK;
}

sp_status sp_pieces_add(sp_pieces *pieces, const char *bytes, size_t n_bytes) {
    SP_TRY(append_bytes(pieces, bytes, n_bytes));
    return end_piece(pieces);
}

void sp_pieces_free(sp_pieces *pieces) {
    free(pieces->bytes);
    free(pieces->ends);
    *pieces = (sp_pieces){0};
}

static const char *piece(const sp_pieces *pieces, size_t i, size_t *n_bytes) {
    const size_t begin = i > 0 ? pieces->ends[i - 1] : 0;
    *n_bytes = pieces->ends[i] - begin;
    return pieces->bytes + begin;
}

static sp_status replace(const sp_decoder_step *step, const sp_pieces *in, sp_pieces *out) {
    sp_regex_search *search = NULL;
    sp_aligned_text replaced = {0};
    sp_status status = SP_OK;
    if (step->replacement.regex != NULL) status = sp_regex_search_create(&search);
    for (size_t i = 0; status == SP_OK && i < in->n; i++) {
        size_t n_bytes;
        const char *bytes = piece(in, i, &n_bytes);
        status = sp_replacement_apply(&step->replacement, search, &replaced, bytes, n_bytes);
        if (status == SP_OK) status = sp_pieces_add(out, replaced.bytes, replaced.n_bytes);
    }
    sp_aligned_free(&replaced);
    sp_regex_search_destroy(search);
    return status;
}

static int hex_value(char digit) {
    static const char digits[] = "0123456789ABCDEF0123456789abcdef";
    const char *found = digit != '\0' ? strchr(digits, digit) : NULL;
    return found != NULL ? (int)((found - digits) % 16) : -1;
}

/* Whether the piece is spelled <0xHH>. */
static bool is_byte_token(const char *bytes, size_t n_bytes, char *byte) {
    if (n_bytes != 6 || memcmp(bytes, "<0x", 3) != 0 || bytes[5] != '>') return false;
    const int high = hex_value(bytes[3]), low = hex_value(bytes[4]);
    *byte = (char)(16 * high + low);
    return high >= 0 && low >= 0;
}

static sp_status join_bytes(const sp_pieces *in, sp_pieces *out) {
    bool is_open = false; /* a run of byte tokens is being joined */
    for (size_t i = 0; i < in->n; i++) {
        size_t n_bytes;
        char byte;
        const char *bytes = piece(in, i, &n_bytes);
        if (is_byte_token(bytes, n_bytes, &byte)) {
            SP_TRY(append_bytes(out, &byte, 1));
            is_open = true;
            continue;
        }
        if (is_open) SP_TRY(end_piece(out));
        is_open = false;
        SP_TRY(sp_pieces_add(out, bytes, n_bytes));
    }
    return is_open ? end_piece(out) : SP_OK;
}

static bool begins_with(const char *bytes, size_t n_bytes, const char *character, size_t len) {
    return n_bytes >= len && memcmp(bytes, character, len) == 0;
}

static sp_status strip(const sp_decoder_step *step, const sp_pieces *in, sp_pieces *out,
                       bool is_continuation) {
    const size_t len = strlen(step->character);
    for (size_t i = 0; i < in->n; i++) {
        size_t n_bytes;
        const char *bytes = piece(in, i, &n_bytes);
        const size_t start = i == 0 && is_continuation ? 0 : step->start;
        for (size_t k = 0; k < start && begins_with(bytes, n_bytes, step->character, len); k++) {
            bytes += len;
            n_bytes -= len;
        }
        for (size_t k = 0; k < step->stop && n_bytes >= len &&
                           memcmp(bytes + n_bytes - len, step->character, len) == 0;
             k++)
            n_bytes -= len;
        SP_TRY(sp_pieces_add(out, bytes, n_bytes));
    }
    return SP_OK;
}

static sp_status put_spaces(const sp_decoder_step *step, const sp_pieces *in, sp_pieces *out,
                            bool is_continuation) {
    const size_t len = strlen(step->character);
    for (size_t i = 0; i < in->n; i++) {
        size_t n_bytes, at = 0;
        const char *bytes = piece(in, i, &n_bytes);
        const bool drops = i == 0 && step->drops_first && !is_continuation;
        while (at < n_bytes) {
            const bool is_space = begins_with(bytes + at, n_bytes - at, step->character, len);
            if (!is_space || !drops) SP_TRY(append_bytes(out, is_space ? " " : bytes + at, 1));
            at += is_space ? len : 1;
        }
        SP_TRY(end_piece(out));
    }
    return SP_OK;
}

static sp_status run_step(const sp_decoder_step *step, const sp_pieces *in, sp_pieces *out,
                          bool is_continuation) {
    switch (step->kind) {
    case SP_DECODER_REPLACE:
        return replace(step, in, out);
    case SP_DECODER_BYTE_FALLBACK:
        return join_bytes(in, out);
    case SP_DECODER_STRIP:
        return strip(step, in, out, is_continuation);
    case SP_DECODER_METASPACE:
        return put_spaces(step, in, out, is_continuation);
    case SP_DECODER_FUSE:
        break;
    }
    return sp_pieces_add(out, in->bytes, in->n_bytes);
}

sp_status sp_decoder_run(const sp_decoder *decoder, sp_pieces *pieces, bool is_continuation) {
    for (size_t i = 0; i < decoder->n_steps; i++) {
        sp_pieces out = {0};
        const sp_status status = run_step(&decoder->steps[i], pieces, &out, is_continuation);
        if (status != SP_OK) {
            sp_pieces_free(&out);
            return status;
        }
        sp_pieces_free(pieces);
        *pieces = out;
    }
    return SP_OK;
}
