#include "run/print_ids.h"

#include "base/read_all.h"
#include "io/model_source.h"
#include "text/affixes.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* Where the tokenizer names no tokens to put around a text, a model beside it may name a BOS. */
static sp_status read_affixes(sp_affixes *affixes, const json_t *tokenizer_json, const char *path) {
    SP_TRY(sp_affixes_read(affixes, tokenizer_json, path));
    if (affixes->n_before + affixes->n_after > 0) return SP_OK;
    json_t *config = NULL;
    SP_TRY(sp_model_config_json_load(&config, path));
    const json_t *bos = json_object_get(config, "bos_token_id");
    if (json_is_integer(bos) && json_integer_value(bos) >= 0)
        affixes->before[affixes->n_before++] = (int32_t)json_integer_value(bos);
    json_decref(config);
    return SP_OK;
}

/* A buffer of n ids at most, with what goes around them. */
static size_t join(int32_t *ids, const sp_affixes *affixes, const sp_encoding *encoding) {
    const struct {
        const int32_t *ids;
        size_t n;
    } parts[] = {{affixes->before, affixes->n_before},
                 {encoding->ids, encoding->n},
                 {affixes->after, affixes->n_after}};
    size_t n = 0;
    for (size_t p = 0; p < 3; p++)
        for (size_t i = 0; i < parts[p].n; i++) ids[n++] = parts[p].ids[i];
    return n;
}

static sp_status print(const sp_print_ids_job *job, const sp_affixes *affixes,
                       const sp_encoding *encoding, FILE *out) {
    int32_t *ids = malloc((encoding->n + 2 * SP_MOST_AFFIXES) * sizeof *ids);
    if (ids == NULL) return sp_fail(SP_FAILURE, "no memory for %zu ids", encoding->n);
    const size_t n = join(ids, affixes, encoding);
    const char *before = job->wants_json ? "{\"ids\":[" : "";
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "%s%d", before, ids[i]);
        before = job->wants_json ? "," : " ";
    }
    fprintf(out, "%s%s\n", job->wants_json && n == 0 ? before : "", job->wants_json ? "]}" : "");
    free(ids);
    return SP_OK;
}

sp_status sp_print_ids(const sp_print_ids_job *job, FILE *in, FILE *out) {
    json_t *tokenizer_json = NULL;
    sp_tokenizer *tokenizer = NULL;
    sp_encoding encoding = {0};
    sp_affixes affixes = {0};
    char *text = NULL;
    size_t n_bytes = 0;
    sp_status status = sp_tokenizer_json_load(&tokenizer_json, job->tokenizer);
    if (status == SP_OK) status = sp_tokenizer_create(&tokenizer, tokenizer_json, job->tokenizer);
    if (status == SP_OK && job->has_affixes)
        status = read_affixes(&affixes, tokenizer_json, job->tokenizer);
    if (status == SP_OK) status = sp_read_all(&text, &n_bytes, in, "standard input");
    if (status == SP_OK)
        status =
            sp_tokenizer_encode(tokenizer, &encoding, text, n_bytes,
                                (sp_encode_options){.specials_are_plain = job->specials_are_plain});
    if (status == SP_OK) status = print(job, &affixes, &encoding, out);
    free(text);
    sp_encoding_free(&encoding);
    sp_tokenizer_destroy(tokenizer);
    json_decref(tokenizer_json);
    return status;
}
