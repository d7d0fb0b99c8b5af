#include "run/tokenize_summary.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* A count and its key. */
typedef struct named_count {
    const char *name;
    size_t offset; /* in sp_tokenize_summary */
} named_count;

#define COUNT(key, member) \
    { key, offsetof(sp_tokenize_summary, member) }
static const named_count counts[] = {
    COUNT("files", n_files),
    COUNT("unchecked_files", n_unlisted_files),
    COUNT("documents", n_documents),
    COUNT("filtered_documents", tallies.n_unwanted),
    COUNT("lost_documents", tallies.n_lost),
    COUNT("empty_documents", tallies.n_empty),
    COUNT("oversized_documents", tallies.n_oversized),
    COUNT("duplicate_documents", tallies.n_duplicates),
    COUNT("not_utf8_documents", tallies.n_not_utf8),
    COUNT("segments", n_segments),
    COUNT("short_tails", tallies.n_short_tails),
    COUNT("bytes", tallies.n_bytes),
};
static const named_count skipped[] = {
    COUNT("rows", tallies.losses.n_rows),
    COUNT("row_groups", tallies.losses.n_groups),
    COUNT("files", tallies.losses.n_files),
};
enum {
    N_COUNTS = sizeof counts / sizeof counts[0],
    N_SKIPPED = sizeof skipped / sizeof skipped[0]
};

void sp_tokenize_summary_free(sp_tokenize_summary *summary) {
    free(summary->n_tokens);
    *summary = (sp_tokenize_summary){0};
}

static bool set_count(json_t *object, const char *name, uint64_t n) {
    return json_object_set_new(object, name, json_integer((json_int_t)n)) == 0;
}

static bool set_counts(json_t *object, const sp_tokenize_summary *summary, const named_count *named,
                       size_t n) {
    bool is_set = true;
    for (size_t i = 0; i < n; i++) {
        uint64_t count;
        memcpy(&count, (const char *)summary + named[i].offset, sizeof count);
        is_set = is_set && set_count(object, named[i].name, count);
    }
    return is_set;
}

sp_status sp_tokenize_summary_as_json(json_t **object, const sp_tokenize_summary *summary,
                                      const char *const *names, size_t n_streams) {
    json_t *made = json_object(), *losses = json_object(), *tokens = json_object();
    bool is_full = set_counts(made, summary, counts, N_COUNTS) &&
                   set_counts(losses, summary, skipped, N_SKIPPED);
    for (size_t s = 0; s < n_streams; s++)
        is_full = is_full && set_count(tokens, names[s], summary->n_tokens[s]);
    is_full = json_object_set_new(made, "skipped", losses) == 0 && is_full;
    is_full = json_object_set_new(made, "tokens", tokens) == 0 && is_full;
    if (is_full)
        *object = made;
    else
        json_decref(made);
    return is_full ? SP_OK : sp_fail(SP_FAILURE, "no memory for a summary");
}

static sp_status get_counts(sp_tokenize_summary *summary, const json_t *object,
                            const named_count *named, size_t n, const char *where) {
    for (size_t i = 0; i < n; i++) {
        size_t count = 0;
        SP_TRY(sp_json_get_size(&count, object, named[i].name, where));
        const uint64_t value = count;
        memcpy((char *)summary + named[i].offset, &value, sizeof value);
    }
    return SP_OK;
}

static sp_status get_all(sp_tokenize_summary *summary, const json_t *object,
                         const char *const *names, size_t n_streams, const char *where) {
    void *n_tokens = NULL;
    const json_t *tokens = json_object_get(object, "tokens");
    SP_TRY(sp_alloc_array(&n_tokens, n_streams, sizeof(uint64_t), "counts"));
    summary->n_tokens = n_tokens;
    SP_TRY(get_counts(summary, object, counts, N_COUNTS, where));
    SP_TRY(get_counts(summary, json_object_get(object, "skipped"), skipped, N_SKIPPED, where));
    for (size_t s = 0; s < n_streams; s++) {
        size_t count = 0;
        SP_TRY(sp_json_get_size(&count, tokens, names[s], where));
        summary->n_tokens[s] = count;
    }
    return SP_OK;
}

sp_status sp_tokenize_summary_parse(sp_tokenize_summary *summary, const char *text,
                                    const char *const *names, size_t n_streams, const char *where) {
    json_t *object = NULL;
    SP_TRY(sp_json_load_text(&object, text, strlen(text), where));
    const sp_status status = get_all(summary, object, names, n_streams, where);
    json_decref(object);
    if (status != SP_OK) sp_tokenize_summary_free(summary);
    return status;
}
