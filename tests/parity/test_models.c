/* Models as published against transformers: hidden states, logits, scores, losses, gradients and
   greedy continuations of tiny models of each family, dialect and type, and scores of SmolLM2-135M
   from its quantised GGUF file. */
#include "tests/check.h"
#include "tests/parity/fixture.h"

#include "chain/pass.h"
#include "io/model_source.h"
#include "model/kv_cache.h"
#include "model/language_model.h"
#include "run/decoding.h"
#include "run/score.h"
#include "tensor/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* architecture.md §5 */
static const double TOLERANCE = 1e-4, GRADIENT_TOLERANCE = 1e-3, BF16_TOLERANCE = 2e-2;

/* Steps of 1/127 of a weight row's greatest value come to 1 % of a product, and to more behind three
   narrow layers, whose rows are hardly turned; with VNNI, 1/255 of a row's range adds to it. */
static double int8_tolerance(void) { return sp_cpu_may_use(SP_ISA_AVX512_VNNI) ? 7e-2 : 5e-2; }

static const char *const tiny[] = {
    "llama-tiny",   "llama-tied-bf16", "llama-f16-sharded", "llama-biased",       "gpt2-tiny",
    "gpt2-bare",    "mistral-window",  "mistral-wide",      "mistral-unwindowed", "qwen2-tiny",
    "qwen2-window", "qwen2-yarn",      "phi3-tiny",         "phi3-longrope",      "phi3-partial",
};
enum { N_TINY = sizeof tiny / sizeof tiny[0] };

typedef struct subject {
    sp_model_source source;
    sp_weights weights;
    sp_language_model model;
} subject;

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static void open_subject(subject *s, const char *path, sp_precision precision) {
    *s = (subject){0};
    must(sp_model_source_open(&s->source, path));
    must(sp_weights_load(&s->weights, &s->source.tensors, s->source.config, precision,
                         SP_WEIGHTS_ALL, path));
    must(sp_language_model_create(&s->model, &s->weights));
}

static void close_subject(subject *s) {
    sp_language_model_destroy(&s->model);
    sp_weights_free(&s->weights);
    sp_model_source_close(&s->source);
}

static size_t read_ids(int32_t *ids, const json_t *array) {
    for (size_t i = 0; i < json_array_size(array); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return json_array_size(array);
}

/* Logits [n, vocab_size], owned, of ids read in pieces of at most `piece` through a KV cache. */
static float *logits_of(subject *s, const int32_t *ids, size_t n, size_t piece) {
    sp_transformer *t = s->model.transformer;
    const sp_model_config *c = &s->weights.config;
    sp_kv_cache cache = {0};
    sp_arena arena = {0};
    float *x = malloc(n * c->d_model * sizeof *x);
    float *logits = malloc(n * c->vocab_size * sizeof *logits);
    must(sp_transformer_reserve(t, n));
    sp_kv_cache_init(&cache, t);
    size_t seq = 0;
    must(sp_kv_cache_open(&cache, &seq, -1, n > sp_longrope_switch(c)));
    must(sp_arena_reserve(&arena, sp_extend_scratch_bytes(t, n, 1, n), "test"));
    uint32_t positions[256];
    for (size_t i = 0; i < n; i++) positions[i] = (uint32_t)i;
    const sp_embed_rows rows = {ids, positions, n, NULL};
    sp_embed(&t->embedding, x, &rows, &arena);
    for (size_t begin = 0; begin < n; begin += piece) {
        const sp_extension extension = {seq, n - begin < piece ? n - begin : piece};
        must(sp_kv_cache_reserve(&cache, seq, extension.n_rows));
        sp_transformer_extend(t, &cache, x + begin * c->d_model, &extension, 1, &arena);
    }
    sp_transformer_logits(t, logits, x, n, &arena);
    free(x);
    sp_arena_release(&arena);
    sp_kv_cache_release(&cache);
    return logits;
}

static void open_expected(fixture *expected, subject *s, const char *name, sp_precision precision) {
    char path[128], json_name[128], tensors_name[128];
    snprintf(path, sizeof path, "tests/fixtures/models/%s", name);
    snprintf(json_name, sizeof json_name, "models/%s.expected.json", name);
    snprintf(tensors_name, sizeof tensors_name, "models/%s.expected.safetensors", name);
    fixture_open(expected, json_name, tensors_name);
    open_subject(s, path, precision);
}

static void logits_equal_transformers_whole_and_in_pieces(void **state) {
    for (size_t i = 0; i < N_TINY; i++) {
        fixture expected;
        subject s;
        open_expected(&expected, &s, tiny[i], SP_PRECISION_F32);
        int32_t ids[256];
        const size_t n = read_ids(ids, json_object_get(expected.json, "ids"));
        size_t n_values = 0; /* of the last rows */
        float *wanted = fixture_tensor(&expected, "logits", &n_values);
        const size_t n_before = n * s.weights.config.vocab_size - n_values;
        static const size_t pieces[] = {256, 1, 7};
        for (size_t p = 0; p < 3; p++) {
            float *logits = logits_of(&s, ids, n, pieces[p]);
            const double difference = relative_difference(logits + n_before, wanted, n_values, 0);
            if (!(difference <= TOLERANCE))
                fail_msg("%s in pieces of %zu: logits differ by %g", tiny[i], pieces[p],
                         difference);
            free(logits);
        }
        free(wanted);
        close_subject(&s);
        fixture_close(&expected);
    }
}

static void check(const char *name, const char *what, const float *values, const float *expected,
                  size_t n, double tolerance) {
    const double difference = relative_difference(values, expected, n, 0);
    if (!(difference <= tolerance)) fail_msg("%s: %s differs by %g", name, what, difference);
}

static double log_probability(const float *logits, size_t n, size_t id) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) max = fmax(max, (double)logits[i]);
    for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - max);
    return (double)logits[id] - max - log(sum);
}

/* Through the cache, longrope's first list of factors. */
static void a_short_text_in_pieces_scores_as_in_transformers(void **state) {
    for (size_t i = 0; i < N_TINY; i++) {
        fixture expected;
        subject s;
        open_expected(&expected, &s, tiny[i], SP_PRECISION_F32);
        const json_t *brief = json_object_get(expected.json, "short");
        const size_t vocab_size = s.weights.config.vocab_size;
        int32_t ids[64];
        const size_t n = read_ids(ids, json_object_get(brief, "ids"));
        float *logits = logits_of(&s, ids, n, 2);
        for (size_t r = 0; r + 1 < n; r++)
            assert_close(log_probability(logits + r * vocab_size, vocab_size, (size_t)ids[r + 1]),
                         fixture_number_at(brief, "logprobs", r), TOLERANCE);
        free(logits);
        close_subject(&s);
        fixture_close(&expected);
    }
}

static void check_logits(sp_precision precision, double tolerance) {
    for (size_t i = 0; i < N_TINY; i++) {
        fixture expected;
        subject s;
        open_expected(&expected, &s, tiny[i], precision);
        int32_t ids[256];
        const size_t n = read_ids(ids, json_object_get(expected.json, "ids"));
        size_t n_values = 0;
        float *wanted = fixture_tensor(&expected, "logits", &n_values);
        float *logits = logits_of(&s, ids, n, n);
        check(tiny[i], sp_precision_names[precision],
              logits + n * s.weights.config.vocab_size - n_values, wanted, n_values, tolerance);
        free(logits);
        free(wanted);
        close_subject(&s);
        fixture_close(&expected);
    }
}

static void logits_in_bf16_are_near(void **state) {
    check_logits(SP_PRECISION_BF16, BF16_TOLERANCE);
}

static void logits_in_int8_are_near(void **state) {
    check_logits(SP_PRECISION_INT8, int8_tolerance());
}

static void fill_batch(sp_batch *batch, const int32_t *ids, size_t n) {
    int32_t seq = 0;
    *batch = (sp_batch){.is_training = true};
    batch->loss_scale[SP_RECONSTRUCTION] = 1 / (float)(n - 1);
    must(sp_batch_add_seq(batch, SP_DECODER, SP_NO_PARENT, 0, &seq));
    for (size_t i = 0; i < n; i++) {
        if (i > 0) sp_batch_set_target(batch, SP_DECODER, seq, ids[i], SP_RECONSTRUCTION);
        must(sp_batch_add_row(batch, SP_DECODER, ids[i]));
    }
}

/* dL/d(what the first layer reads) [n, d_model], owned, after a forward pass. */
static float *input_gradient_of(const sp_pass *pass, const sp_chain *chain, sp_batch *batch,
                                size_t n_values, sp_workspace *workspace) {
    float *copy = malloc(n_values * sizeof *copy);
    const float *dx = sp_pass_backward(pass, chain, 1, chain->n_blocks, batch, NULL, workspace);
    memcpy(copy, dx, n_values * sizeof *copy);
    return copy;
}

typedef struct tolerances {
    double states, loss, gradient;
} tolerances;

static void check_states_loss_and_gradient(sp_precision precision, tolerances allowed) {
    for (size_t i = 0; i < N_TINY; i++) {
        fixture expected;
        subject s;
        sp_batch batch;
        sp_pass pass = {0};
        sp_workspace workspace = {0};
        int32_t ids[256];
        open_expected(&expected, &s, tiny[i], precision);
        const size_t n = read_ids(ids, json_object_get(expected.json, "ids"));
        const size_t n_values = n * s.weights.config.d_model;
        fill_batch(&batch, ids, n);
        sp_chain *chain = &s.model.chain;
        must(sp_transformer_prepare(s.model.transformer, &batch.rows[SP_DECODER]));
        must(sp_pass_reserve(&pass, chain, 0, chain->n_blocks, &batch));
        must(sp_workspace_reserve(&workspace, chain, 0, chain->n_blocks, &batch, true));
        (void)sp_pass_forward(&pass, chain, 0, chain->n_blocks, &batch, NULL, &workspace);
        size_t n_states = 0, n_slopes = 0;
        float *states = fixture_tensor(&expected, "hidden_states", &n_states);
        assert_int_equal(n_states, (s.weights.config.n_layers + 1) * n_values);
        for (size_t l = 0; l < s.weights.config.n_layers; l++) {
            char what[64];
            snprintf(what, sizeof what, "hidden state %zu", l);
            check(tiny[i], what, pass.inputs[l + 1], states + l * n_values, n_values,
                  allowed.states);
        }
        assert_close(batch.loss_sum[SP_RECONSTRUCTION] / (double)(n - 1),
                     fixture_number(expected.json, "loss"), allowed.loss);

        float *slopes = fixture_tensor(&expected, "input_gradient", &n_slopes);
        assert_int_equal(n_slopes, n_values);
        float *got = input_gradient_of(&pass, chain, &batch, n_values, &workspace);
        check(tiny[i], "input gradient", got, slopes, n_values, allowed.gradient);
        free(got);
        free(slopes);
        free(states);
        sp_workspace_release(&workspace);
        sp_pass_release(&pass);
        sp_batch_free(&batch);
        close_subject(&s);
        fixture_close(&expected);
    }
}

static void hidden_states_loss_and_input_gradient_equal_transformers(void **state) {
    check_states_loss_and_gradient(SP_PRECISION_F32,
                                   (tolerances){TOLERANCE, TOLERANCE, GRADIENT_TOLERANCE});
}

/* Errors of single values hardly reach a mean of losses; gradients go through every layer twice. */
static void the_same_in_bf16_is_near(void **state) {
    check_states_loss_and_gradient(SP_PRECISION_BF16,
                                   (tolerances){BF16_TOLERANCE, 1e-3, 3 * BF16_TOLERANCE});
}

static void the_same_in_int8_is_near(void **state) {
    check_states_loss_and_gradient(SP_PRECISION_INT8,
                                   (tolerances){int8_tolerance(), 5e-3, 2 * int8_tolerance()});
}

static void check_score(const char *path, const json_t *expected, const char *text,
                        sp_bos_use bos) {
    json_t *result = NULL;
    must(sp_score(&result, path, text, strlen(text), bos, SP_PRECISION_F32));
    const json_t *ids = json_object_get(result, "ids"), *same = json_object_get(expected, "ids");
    assert_int_equal(json_array_size(ids), json_array_size(same));
    for (size_t i = 0; i < json_array_size(ids); i++)
        assert_int_equal(json_integer_value(json_array_get(ids, i)),
                         json_integer_value(json_array_get(same, i)));
    const json_t *logprobs = json_object_get(result, "logprobs");
    assert_int_equal(json_array_size(logprobs), json_array_size(ids) - 1);
    for (size_t i = 0; i < json_array_size(logprobs); i++)
        assert_close(fixture_number_at(result, "logprobs", i),
                     fixture_number_at(expected, "logprobs", i), TOLERANCE);
    json_decref(result);
}

static void scores_equal_transformers_with_and_without_bos(void **state) {
    for (size_t i = 0; i < N_TINY; i++) {
        char path[128], json_path[160];
        json_t *expected = NULL;
        snprintf(path, sizeof path, "tests/fixtures/models/%s", tiny[i]);
        snprintf(json_path, sizeof json_path, "%s.expected.json", path);
        must(sp_json_load_file(&expected, json_path));
        const char *text = json_string_value(json_object_get(expected, "text"));
        check_score(path, json_object_get(expected, "bos_never"), text, SP_BOS_NEVER);
        const json_t *brief = json_object_get(expected, "short");
        check_score(path, brief, json_string_value(json_object_get(brief, "text")), SP_BOS_NEVER);
        const json_t *with_bos = json_object_get(expected, "bos_always");
        if (json_is_object(with_bos)) {
            check_score(path, with_bos, text, SP_BOS_ALWAYS);
        } else {
            json_t *result = NULL;
            assert_int_equal(
                sp_score(&result, path, text, strlen(text), SP_BOS_ALWAYS, SP_PRECISION_F32),
                SP_USAGE);
        }
        json_decref(expected);
    }
}

static void greedy_continuation_equals_transformers(void **state) {
    for (size_t i = 0; i < N_TINY; i++) {
        char path[128], json_path[160];
        json_t *expected = NULL;
        subject s;
        snprintf(path, sizeof path, "tests/fixtures/models/%s", tiny[i]);
        snprintf(json_path, sizeof json_path, "%s.expected.json", path);
        must(sp_json_load_file(&expected, json_path));
        open_subject(&s, path, SP_PRECISION_F32);
        const json_t *greedy = json_object_get(expected, "greedy");
        int32_t prompt[64], wanted[64], seq = 0;
        const size_t n_prompt = read_ids(prompt, json_object_get(greedy, "prompt_ids"));
        const size_t n_wanted = read_ids(wanted, json_object_get(greedy, "new_ids"));
        sp_batch batch = {0};
        sp_decoded decoded = {0};
        must(sp_batch_add_seq(&batch, SP_DECODER, SP_NO_PARENT, 0, &seq));
        for (size_t k = 0; k < n_prompt; k++) must(sp_batch_add_row(&batch, SP_DECODER, prompt[k]));
        const sp_decoding_limits limits = {.max_new_tokens = n_wanted, .eos = SP_NO_TOKEN};
        must(sp_decode_greedily(&decoded, s.model.transformer, &batch.rows[SP_DECODER], NULL,
                                &limits));
        assert_int_equal(decoded.lens[0], n_wanted);
        for (size_t k = 0; k < n_wanted; k++)
            if (decoded.ids[0][k] != wanted[k])
                fail_msg("%s: new id %zu is %d, not %d", tiny[i], k, decoded.ids[0][k], wanted[k]);
        sp_decoded_free(&decoded);
        sp_batch_free(&batch);
        close_subject(&s);
        json_decref(expected);
    }
}

static void decode(sp_decoded *decoded, subject *s, const json_t *const *prompts,
                   size_t n_prompts) {
    sp_batch batch = {0};
    for (size_t i = 0; i < n_prompts; i++) {
        int32_t ids[256], seq = 0;
        const size_t n = read_ids(ids, prompts[i]);
        must(sp_batch_add_seq(&batch, SP_DECODER, SP_NO_PARENT, 0, &seq));
        for (size_t k = 0; k < n; k++) must(sp_batch_add_row(&batch, SP_DECODER, ids[k]));
    }
    const sp_decoding_limits limits = {.max_new_tokens = 8, .eos = SP_NO_TOKEN};
    must(sp_decode_greedily(decoded, s->model.transformer, &batch.rows[SP_DECODER], NULL, &limits));
    sp_batch_free(&batch);
}

/* A window that some have filled, and longrope's factors, which differ from one to the other. */
static void sequences_that_go_on_together_are_as_alone(void **state) {
    for (size_t i = 0; i < N_TINY; i++) {
        fixture expected;
        subject s;
        open_expected(&expected, &s, tiny[i], SP_PRECISION_F32);
        const json_t *brief = json_object_get(expected.json, "short");
        const json_t *prompts[] = {json_object_get(brief, "ids"),
                                   json_object_get(expected.json, "ids")};
        sp_decoded together = {0};
        decode(&together, &s, prompts, 2);
        for (size_t k = 0; k < 2; k++) {
            sp_decoded alone = {0};
            decode(&alone, &s, &prompts[k], 1);
            assert_int_equal(together.lens[k], 8);
            assert_memory_equal(together.ids[k], alone.ids[0], 8 * sizeof(int32_t));
            sp_decoded_free(&alone);
        }
        sp_decoded_free(&together);
        close_subject(&s);
        fixture_close(&expected);
    }
}

static const char *smollm2_path(void) {
    static char path[256];
    const char *build = getenv("BUILD");
    snprintf(path, sizeof path, "%s/models/SmolLM2-135M-Instruct.Q4_1.gguf",
             build != NULL ? build : "build");
    if (access(path, R_OK) == 0) return path;
    print_message("skipped: needs %s\n", path);
    return NULL;
}

static void quantised_smollm2_equals_transformers(void **state) {
    const char *path = smollm2_path();
    if (path == NULL) skip();
    json_t *expected = NULL;
    subject s;
    must(sp_json_load_file(&expected, "tests/fixtures/models/smollm2.json"));
    check_score(path, expected, json_string_value(json_object_get(expected, "text")), SP_BOS_AUTO);

    open_subject(&s, path, SP_PRECISION_F32);
    int32_t ids[256];
    const size_t n = read_ids(ids, json_object_get(expected, "ids"));
    const size_t vocab_size = s.weights.config.vocab_size;
    float *logits = logits_of(&s, ids, n, n);
    for (size_t r = 0; r < n; r++) {
        const json_t *top_ids = json_array_get(json_object_get(expected, "top_ids"), r);
        const json_t *top_logits = json_array_get(json_object_get(expected, "top_logits"), r);
        for (size_t k = 0; k < json_array_size(top_ids); k++) {
            const size_t id = (size_t)json_integer_value(json_array_get(top_ids, k));
            assert_close(logits[r * vocab_size + id],
                         json_number_value(json_array_get(top_logits, k)), TOLERANCE);
        }
    }
    free(logits);
    close_subject(&s);
    json_decref(expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_equal_transformers_whole_and_in_pieces),
        cmocka_unit_test(a_short_text_in_pieces_scores_as_in_transformers),
        cmocka_unit_test(logits_in_bf16_are_near),
        cmocka_unit_test(logits_in_int8_are_near),
        cmocka_unit_test(hidden_states_loss_and_input_gradient_equal_transformers),
        cmocka_unit_test(the_same_in_bf16_is_near),
        cmocka_unit_test(the_same_in_int8_is_near),
        cmocka_unit_test(scores_equal_transformers_with_and_without_bos),
        cmocka_unit_test(greedy_continuation_equals_transformers),
        cmocka_unit_test(sequences_that_go_on_together_are_as_alone),
        cmocka_unit_test(quantised_smollm2_equals_transformers),
    };
    return cmocka_run_group_tests_name("models", tests, NULL, NULL);
}
