#include "io/slots_file.h"
#include "io/slots_schema.h"

#include <stdio.h>
#include <stdlib.h>

/* The first documents with their ids and numbers of segments; a corpus may have millions. */
static sp_status describe_documents(json_t *documents, const sp_slots *slots) {
    enum { MOST_LISTED = 100 };
    const size_t n =
        sp_slots_n_documents(slots) < MOST_LISTED ? sp_slots_n_documents(slots) : MOST_LISTED;
    for (size_t i = 0; i < n; i++) {
        char *id = NULL;
        size_t begin = 0, end = 0;
        SP_TRY(sp_slots_document_segments(slots, i, &begin, &end));
        SP_TRY(sp_slots_document_id(slots, i, &id));
        json_array_append_new(
            documents, json_pack("{s:s*, s:I}", "id", id, "segments", (json_int_t)(end - begin)));
        free(id);
    }
    return SP_OK;
}

sp_status sp_slots_describe(json_t **description, const char *path) {
    sp_slots *slots = NULL;
    SP_TRY(sp_slots_open(&slots, path));
    const sp_slots_info *info = sp_slots_get_info(slots);
    json_t *documents = json_array();
    json_int_t n_tokens = 0, n_text_bytes = 0;
    sp_status status = SP_OK;
    for (size_t i = 0; status == SP_OK && i < sp_slots_n_segments(slots); i++) {
        sp_slots_segment segment = {0};
        status = sp_slots_get_segment(slots, i, &segment);
        n_tokens += segment.n_tokens;
        n_text_bytes += info->has_text ? segment.byte_len : 0;
    }
    if (status == SP_OK) status = describe_documents(documents, slots);
    json_t *made = json_pack(
        "{s:s, s:i, s:s, s:s, s:I, s:f, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
        "format", SP_SLOTS_FORMAT, "format_version", SP_SLOTS_FORMAT_VERSION, "space",
        sp_slots_spaces[info->space], "dtype", sp_slots_dtype_names[info->dtype], "d",
        (json_int_t)info->d, "ratio", info->ratio, "compressor_digest", info->compressor_digest,
        "digest", sp_slots_digest_of(slots), "has_text", info->has_text, "text_bytes", n_text_bytes,
        "refined", (json_int_t)info->n_refinements, "parts", (json_int_t)sp_slots_n_parts(slots),
        "documents", (json_int_t)sp_slots_n_documents(slots), "segments",
        (json_int_t)sp_slots_n_segments(slots), "tokens", n_tokens, "slots",
        (json_int_t)sp_slots_n_slots(slots), "first_documents", documents);
    if (status == SP_OK && made == NULL)
        status = sp_fail(SP_BAD_DATA, "'%s': a name in it is not UTF-8", path);
    if (status == SP_OK) {
        *description = made;
        made = NULL;
    }
    json_decref(made);
    sp_slots_close(slots);
    return status;
}

static sp_status describe_segments(json_t *list, const sp_slots *slots, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
        sp_slots_segment s;
        SP_TRY(sp_slots_get_segment(slots, i, &s));
        json_t *made =
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "segment", (json_int_t)i, "byte_begin",
                      (json_int_t)s.byte_begin, "byte_len", (json_int_t)s.byte_len, "tokens",
                      (json_int_t)s.n_tokens, "slot_begin", (json_int_t)s.slot_begin, "slots",
                      (json_int_t)s.n_slots);
        if (json_array_append_new(list, made) != 0)
            return sp_fail(SP_FAILURE, "no memory to describe segments");
    }
    return SP_OK;
}

static sp_status describe_document(json_t **description, const sp_slots *slots, const char *id) {
    size_t begin = 0, end = 0, document = 0;
    uint64_t hash = 0;
    SP_TRY(sp_slots_find_document(slots, id, &begin, &end));
    SP_TRY(sp_slots_find_id(slots, id, &document));
    SP_TRY(sp_slots_document_hash(slots, document, &hash));
    json_t *segments = json_array();
    const sp_status status = describe_segments(segments, slots, begin, end);
    char text[17];
    (void)snprintf(text, sizeof text, "%016jx", (uintmax_t)hash);
    json_t *made = json_pack("{s:s, s:s, s:I, s:s, s:o}", "format", SP_SLOTS_FORMAT, "document", id,
                             "index", (json_int_t)document, "hash", text, "segments", segments);
    if (status == SP_OK && made != NULL) {
        *description = made;
        return SP_OK;
    }
    json_decref(made);
    return status != SP_OK ? status : sp_fail(SP_BAD_DATA, "a document's id is not UTF-8");
}

sp_status sp_slots_describe_document(json_t **description, const char *path, const char *id) {
    sp_slots *slots = NULL;
    SP_TRY(sp_slots_open(&slots, path));
    const sp_status status = describe_document(description, slots, id);
    sp_slots_close(slots);
    return status;
}
