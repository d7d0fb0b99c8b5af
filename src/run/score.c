#include "run/score.h"

#include "chain/pass.h"
#include "io/model_source.h"
#include "model/language_model.h"
#include "text/affixes.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>

typedef struct scoring {
    sp_model_source source;
    sp_weights weights;
    sp_language_model model;
    json_t *tokenizer_json;
    sp_tokenizer *tokenizer;
    sp_encoding encoding;
    sp_batch batch;
    sp_workspace workspace;
    double *nll; /* [n - 1] */
} scoring;

/* Rows that read each id, with the next one as their target. */
static sp_status fill_batch(scoring *s, bool has_bos) {
    const sp_model_config *config = &s->weights.config;
    int32_t seq = 0;
    SP_TRY(sp_batch_add_seq(&s->batch, SP_DECODER, SP_NO_PARENT, 0, &seq));
    if (has_bos) SP_TRY(sp_batch_add_row(&s->batch, SP_DECODER, config->bos_token_id));
    for (size_t i = 0; i < s->encoding.n; i++) {
        const int32_t id = s->encoding.ids[i];
        if ((size_t)id >= config->vocab_size)
            return sp_fail(SP_BAD_DATA, "'%s': token id %d is beyond the model's vocabulary of %zu",
                           s->source.path, id, config->vocab_size);
        if (s->batch.rows[SP_DECODER].n_rows > 0)
            sp_batch_set_target(&s->batch, SP_DECODER, seq, id, SP_RECONSTRUCTION);
        SP_TRY(sp_batch_add_row(&s->batch, SP_DECODER, id));
    }
    return SP_OK;
}

static sp_status run_model(scoring *s) {
    sp_rows *rows = &s->batch.rows[SP_DECODER];
    sp_chain *chain = &s->model.chain;
    void *nll = NULL;
    SP_TRY(sp_alloc_array(&nll, rows->n_rows, sizeof *s->nll, "scores"));
    s->nll = nll;
    s->batch.target_nll = s->nll;
    if (rows->n_rows < 2) return SP_OK;
    const sp_status status = sp_transformer_prepare(s->model.transformer, rows);
    if (status != SP_OK) return sp_fail(status, "'%s': %s", s->source.path, sp_message());
    SP_TRY(sp_workspace_reserve(&s->workspace, chain, 0, chain->n_blocks, &s->batch, false));
    (void)sp_chain_run(chain, 0, chain->n_blocks, &s->batch, NULL, &s->workspace);
    return SP_OK;
}

static sp_status make_result(json_t **result, const scoring *s) {
    const sp_rows *rows = &s->batch.rows[SP_DECODER];
    json_t *ids = json_array(), *logprobs = json_array(), *perplexity = json_null();
    double sum = 0;
    for (size_t i = 0; i < rows->n_rows; i++)
        json_array_append_new(ids, json_integer(rows->ids[i]));
    for (size_t i = 0; i + 1 < rows->n_rows; i++) {
        if (!isfinite(s->nll[i]))
            return sp_fail(SP_NUMERIC, "'%s': the score of token %zu is not finite", s->source.path,
                           i + 1);
        json_array_append_new(logprobs, json_real(-s->nll[i]));
        sum += s->nll[i];
    }
    const double mean = rows->n_rows > 1 ? sum / (double)(rows->n_rows - 1) : 0;
    if (!isfinite(exp(mean)))
        return sp_fail(SP_NUMERIC, "'%s': the perplexity is not finite: %g nats a token",
                       s->source.path, mean);
    if (rows->n_rows > 1) perplexity = json_real(exp(mean));
    *result = json_pack("{s:o, s:o, s:I, s:o}", "ids", ids, "logprobs", logprobs, "tokens",
                        (json_int_t)rows->n_rows, "perplexity", perplexity);
    return *result != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

static sp_status score(scoring *s, json_t **result, const char *path, const char *text,
                       size_t n_bytes, sp_bos_use bos, sp_precision precision) {
    SP_TRY(sp_tokenizer_json_load(&s->tokenizer_json, path));
    SP_TRY(sp_tokenizer_create(&s->tokenizer, s->tokenizer_json, path));
    SP_TRY(sp_model_source_open(&s->source, path));
    SP_TRY(sp_weights_load(&s->weights, &s->source.tensors, s->source.config, precision,
                           SP_WEIGHTS_ALL, path));
    SP_TRY(sp_language_model_create(&s->model, &s->weights));
    SP_TRY(sp_tokenizer_encode(s->tokenizer, &s->encoding, text, n_bytes, (sp_encode_options){0}));
    sp_affixes affixes;
    SP_TRY(sp_affixes_read(&affixes, s->tokenizer_json, path));
    const bool is_wanted = bos == SP_BOS_ALWAYS || (bos == SP_BOS_AUTO && affixes.n_before > 0);
    const bool has_bos = s->weights.config.bos_token_id != SP_NO_TOKEN;
    if (bos == SP_BOS_ALWAYS && !has_bos)
        return sp_fail(SP_USAGE, "--bos always: '%s' has no bos_token_id", path);
    SP_TRY(fill_batch(s, is_wanted && has_bos));
    SP_TRY(run_model(s));
    return make_result(result, s);
}

sp_status sp_score(json_t **result, const char *path, const char *text, size_t n_bytes,
                   sp_bos_use bos, sp_precision precision) {
    scoring s = {0};
    const sp_status status = score(&s, result, path, text, n_bytes, bos, precision);
    free(s.nll);
    sp_workspace_release(&s.workspace);
    sp_batch_free(&s.batch);
    sp_encoding_free(&s.encoding);
    sp_tokenizer_destroy(s.tokenizer);
    json_decref(s.tokenizer_json);
    sp_language_model_destroy(&s.model);
    sp_weights_free(&s.weights);
    sp_model_source_close(&s.source);
    return status;
}
