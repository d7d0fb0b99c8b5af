/* A model of each family gives the same logits from a folder and from a GGUF file, in each precision,
   on both sides of its window and of longrope's trained context. */
#include "tests/check.h"
#include "tests/parity/fixture.h"

#include "io/model_source.h"
#include "model/kv_cache.h"
#include "model/language_model.h"

#include <stdio.h>
#include <stdlib.h>

/* Both hold the same values, but for longrope's attention factor, which GGUF rounds to f32. */
static const double ROUNDING = 1e-6;
static const double ROUNDING_ANEW =
    1e-2; /* activations are rounded too, and then may be a step apart */

enum { MOST_IDS = 30, N_VOCABULARY = 37 };

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static void compute_logits(float *logits, sp_transformer *t, const sp_model_config *config,
                           size_t n) {
    sp_kv_cache cache = {0};
    sp_arena arena = {0};
    int32_t ids[MOST_IDS];
    uint32_t positions[MOST_IDS];
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(i * 7 % N_VOCABULARY);
        positions[i] = (uint32_t)i;
    }
    float *x = malloc(n * config->d_model * sizeof *x);
    assert_non_null(x);
    must(sp_transformer_reserve(t, n));
    sp_kv_cache_init(&cache, t);
    size_t seq = 0;
    must(sp_kv_cache_open(&cache, &seq, -1, n > sp_longrope_switch(config)));
    must(sp_kv_cache_reserve(&cache, seq, n));
    must(sp_arena_reserve(&arena, sp_extend_scratch_bytes(t, n, 1, n), "test"));
    sp_embed(&t->embedding, x, &(sp_embed_rows){ids, positions, n, NULL}, &arena);
    sp_transformer_extend(t, &cache, x, &(sp_extension){seq, n}, 1, &arena);
    sp_transformer_logits(t, logits, x, n, &arena);
    sp_arena_release(&arena);
    sp_kv_cache_release(&cache);
    free(x);
}

static void read_logits(float *logits, const char *family, const char *ending, size_t n,
                        sp_precision precision) {
    char path[128];
    sp_model_source source = {0};
    sp_weights weights = {0};
    sp_language_model model = {0};
    snprintf(path, sizeof path, "tests/fixtures/model_files/%s%s", family, ending);
    must(sp_model_source_open(&source, path));
    must(
        sp_weights_load(&weights, &source.tensors, source.config, precision, SP_WEIGHTS_ALL, path));
    assert_int_equal(weights.config.vocab_size, N_VOCABULARY);
    must(sp_language_model_create(&model, &weights));
    compute_logits(logits, model.transformer, &weights.config, n);
    sp_language_model_destroy(&model);
    sp_weights_free(&weights);
    sp_model_source_close(&source);
}

static void check_family(const char *family, size_t n, sp_precision precision, double tolerance) {
    static float folder[MOST_IDS * N_VOCABULARY], gguf[MOST_IDS * N_VOCABULARY];
    read_logits(folder, family, "", n, precision);
    read_logits(gguf, family, ".gguf", n, precision);
    const double difference = relative_difference(gguf, folder, n * N_VOCABULARY, 0);
    if (!(difference <= tolerance))
        fail_msg("%s, %s, %zu tokens: logits differ by %g", family, sp_precision_names[precision],
                 n, difference);
}

static void folder_and_gguf_give_the_same_logits(void **state) {
    static const char *const families[] = {"gpt2", "llama-biased", "mistral", "qwen2", "phi3"};
    const double tolerances[] = {[SP_PRECISION_F32] = ROUNDING,
                                 [SP_PRECISION_BF16] = ROUNDING_ANEW,
                                 [SP_PRECISION_INT8] = ROUNDING_ANEW};
    static const size_t lengths[] = {8, MOST_IDS};
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++)
        for (size_t i = 0; i < 2; i++)
            for (sp_precision p = 0; p < SP_N_PRECISIONS; p++)
                check_family(families[f], lengths[i], p, tolerances[p]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(folder_and_gguf_give_the_same_logits)};
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
