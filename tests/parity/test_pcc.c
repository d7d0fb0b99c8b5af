/* The whole compressor against transformers and PEFT: memory, slots, losses, every gradient, ten
   updates of AdamW with clipping, and a greedy reconstruction; questions of fine-tuning, from their
   text on; and gradients with each family of models as encoder and as decoder, in each precision of
   the frozen weights. */
#include "tests/check.h"
#include "tests/parity/fixture.h"
#include "tests/temp_folder.h"

#include "io/model_source.h"
#include "pcc/compressor.h"
#include "run/decoding.h"
#include "run/optimizer.h"
#include "run/task_set.h"
#include "tensor/cpu.h"
#include "tensor/linear_kernel.h"
#include "tensor/vector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double HIDDEN_TOLERANCE = 1e-4, GRADIENT_TOLERANCE = 1e-3; /* architecture.md §5 */
static const double LOSS_TOLERANCE = 1e-5; /* f32 sums in another order */

/* What a frozen model is made of: weights of a precision, or the f32 values that these stand for. */
typedef struct setting {
    sp_training training;
    bool encoder_is_frozen, is_expanded;
    sp_precision precision;
} setting;

enum { MOST_EXPANDED = 128 };

typedef struct subject {
    fixture pcc, batch_file;
    sp_model_source encoder_source, decoder_source;
    sp_weights encoder, decoder;
    sp_compressor *compressor;
    sp_layout layout;
    sp_batch batch;
    sp_pass pass;
    sp_workspace workspace;
    float *expanded[MOST_EXPANDED]; /* owned: what expanded layers lie in */
    size_t n_expanded;
} subject;

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

/* Puts an f32 layer of the same values in its place. */
static void expand(subject *s, sp_linear **linear) {
    const sp_linear *old = *linear;
    if (old == NULL) return;
    const size_t n_out = old->n_out, n_in = old->n_in;
    float *values = malloc((n_out * n_in + n_out) * sizeof *values), *bias = values + n_out * n_in;
    assert_non_null(values);
    assert_true(s->n_expanded < MOST_EXPANDED);
    s->expanded[s->n_expanded++] = values;
    for (size_t r = 0; r < n_out; r++) sp_linear_read_row(old, values + r * n_in, r);
    if (old->bias != NULL) memcpy(bias, old->bias, n_out * sizeof *bias);
    sp_linear *made = NULL;
    must(sp_linear_wrap(&made, values, old->bias != NULL ? bias : NULL, n_out, n_in));
    sp_linear_destroy(*linear);
    *linear = made;
}

static void expand_weights(subject *s, sp_weights *weights) {
    for (size_t l = 0; weights->layers != NULL && l < weights->config.n_layers; l++)
        for (sp_role role = 0; role < SP_N_ROLES; role++)
            expand(s, &weights->layers[l].linears[role]);
    expand(s, &weights->head);
}

static void open_model(sp_model_source *source, sp_weights *weights, const json_t *names,
                       const char *side, sp_weights_part part, sp_precision precision) {
    char path[256];
    snprintf(path, sizeof path, "tests/fixtures/models/%s",
             json_string_value(json_object_get(names, side)));
    must(sp_model_source_open(source, path));
    must(sp_weights_load(weights, &source->tensors, source->config, precision, part, path));
}

/* Without the side, a parameter's name is the fixture's. */
static const char *fixture_name(const sp_param *param) {
    const char *side = "encoder.";
    return strncmp(param->name, side, strlen(side)) == 0 ? param->name + strlen(side) : param->name;
}

static void load_initial_of(subject *s, const sp_params *params) {
    for (size_t i = 0; i < params->n_entries; i++) {
        const sp_param *param = params->entries[i];
        char name[256];
        snprintf(name, sizeof name, "init/%s", fixture_name(param));
        if (sp_tensor_table_find(&s->pcc.tensors, name) == NULL)
            continue; /* a model's own tensor */
        size_t n = 0;
        float *values = fixture_tensor(&s->pcc, name, &n);
        assert_int_equal(n, param->n_values);
        memcpy(param->value, values, n * sizeof *values);
        free(values);
    }
}

static void load_initial(subject *s) {
    load_initial_of(s, &s->compressor->params);
    load_initial_of(s, &s->compressor->frozen);
}

static size_t read_ids(int32_t *ids, const json_t *array) {
    for (size_t i = 0; i < json_array_size(array); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return json_array_size(array);
}

static void fill_batch(subject *s) {
    const json_t *segments = json_object_get(s->batch_file.json, "segments");
    sp_batch_clear(&s->batch);
    s->batch.is_training = true;
    for (size_t i = 0; i < json_array_size(segments); i++) {
        const json_t *segment = json_array_get(segments, i);
        const json_t *next = json_object_get(segment, "next");
        int32_t encoder[64], decoder[64], following[64];
        const size_t n_encoder = read_ids(encoder, json_object_get(segment, "encoder"));
        const size_t n_decoder = read_ids(decoder, json_object_get(segment, "decoder"));
        const json_t *after =
            json_is_null(next)
                ? NULL
                : json_object_get(json_array_get(segments, (size_t)json_integer_value(next)),
                                  "decoder");
        must(sp_layout_add_sample(&s->layout, &s->batch,
                                  &(sp_sample){.encoder_ids = encoder,
                                               .n_encoder_ids = n_encoder,
                                               .decoder_ids = decoder,
                                               .n_decoder_ids = n_decoder,
                                               .next_ids = following,
                                               .n_next_ids = read_ids(following, after),
                                               .reconstructs = true,
                                               .completes = true}));
    }
    const json_t *n_targets = json_object_get(s->pcc.json, "n_targets");
    for (size_t loss = 0; loss < SP_N_LOSSES; loss++)
        s->batch.loss_scale[loss] =
            0.5F / (float)json_integer_value(json_array_get(n_targets, loss));
}

static void set_targets(sp_lora_options *options, const json_t *targets) {
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *target = json_string_value(json_array_get(targets, i));
        for (int role = 0; role < SP_N_ROLES; role++)
            if (strcmp(target, sp_role_names[role]) == 0) options->targets[role] = true;
        if (strcmp(target, "embed") == 0) options->targets_embedding = true;
    }
}

/* A compressor of pcc/NAME.*, over the segments of pcc/BATCH.json; without segments its batch is the
   caller's to fill. */
static void open_compressor(subject *s, const char *name, const char *batch, setting how) {
    char json_name[64], tensors_name[64], batch_name[64];
    snprintf(json_name, sizeof json_name, "pcc/%s.json", name);
    snprintf(tensors_name, sizeof tensors_name, "pcc/%s.safetensors", name);
    snprintf(batch_name, sizeof batch_name, "pcc/%s.json", batch);
    *s = (subject){0};
    fixture_open(&s->pcc, json_name, tensors_name);
    fixture_open(&s->batch_file, batch_name, tensors_name);
    const json_t *names = s->batch_file.json;
    open_model(&s->encoder_source, &s->encoder, names, "encoder",
               how.training == SP_TRAIN_FULL ? SP_WEIGHTS_FRAME : SP_WEIGHTS_BODY, how.precision);
    open_model(&s->decoder_source, &s->decoder, names, "decoder", SP_WEIGHTS_ALL, how.precision);
    if (how.is_expanded) {
        expand_weights(s, &s->encoder);
        expand_weights(s, &s->decoder);
    }
    const json_t *lora = json_object_get(names, "lora");
    sp_compressor_options options = {
        .encoder = &s->encoder,
        .decoder = &s->decoder,
        .d_encoder = s->encoder.config.d_model,
        .d_decoder = s->decoder.config.d_model,
        .encoder_tensors = &s->encoder_source.tensors,
        .training = how.training,
        .lora = {.rank = (size_t)fixture_number(lora, "rank"),
                 .alpha = fixture_number(lora, "alpha")},
        .memory_tokens = (size_t)fixture_number(names, "memory_tokens"),
        .encoder_is_frozen = how.encoder_is_frozen,
    };
    set_targets(&options.lora, json_object_get(lora, "targets"));
    must(sp_compressor_create(&s->compressor, &options));
    const json_t *bos = json_object_get(names, "bos");
    s->layout =
        (sp_layout){.segment_tokens = (size_t)fixture_number(names, "segment_tokens"),
                    .ratio = (size_t)fixture_number(names, "ratio"),
                    .bos = json_is_null(bos) ? SP_NO_TOKEN : (int32_t)fixture_number(names, "bos"),
                    .eos = (int32_t)fixture_number(names, "eos"),
                    .longrope_switch = sp_longrope_switch(&s->decoder.config)};
    load_initial(s);
}

static void open_subject(subject *s, const char *name, const char *batch, sp_training training) {
    open_compressor(s, name, batch, (setting){.training = training});
    fill_batch(s);
}

static void close_subject(subject *s) {
    sp_pass_release(&s->pass);
    sp_workspace_release(&s->workspace);
    sp_batch_free(&s->batch);
    sp_compressor_destroy(s->compressor);
    sp_weights_free(&s->decoder);
    sp_weights_free(&s->encoder);
    for (size_t i = 0; i < s->n_expanded; i++) free(s->expanded[i]);
    sp_model_source_close(&s->decoder_source);
    sp_model_source_close(&s->encoder_source);
    fixture_close(&s->batch_file);
    fixture_close(&s->pcc);
}

static void run_step(subject *s) {
    sp_compressor *c = s->compressor;
    memset(c->params.grads, 0, c->params.n_values * sizeof *c->params.grads);
    memset(s->batch.loss_sum, 0, sizeof s->batch.loss_sum);
    memset(s->batch.n_targets, 0, sizeof s->batch.n_targets);
    const size_t n = c->chain.n_blocks;
    must(sp_compressor_reserve(c, &s->batch, 0, n, &s->pass, &s->workspace));
    (void)sp_pass_forward(&s->pass, &c->chain, 0, n, &s->batch, NULL, &s->workspace);
    (void)sp_pass_backward(&s->pass, &c->chain, c->first_trained, n, &s->batch, NULL,
                           &s->workspace);
}

static double gradient_norm(const sp_params *params) {
    return sqrt(sp_vector_sum_squares(params->grads, params->n_values));
}

static double mean_loss(const subject *s, sp_loss loss) {
    return s->batch.loss_sum[loss] / (double)s->batch.n_targets[loss];
}

static void check_tensor(const subject *s, const char *name, const float *values, double tolerance,
                         double floor) {
    size_t n = 0;
    float *expected = fixture_tensor(&s->pcc, name, &n);
    const double difference = relative_difference(values, expected, n, floor);
    if (!(difference <= tolerance)) fail_msg("%s differs by %g", name, difference);
    free(expected);
}

static void check_memory_and_slots(subject *s) {
    sp_compressor *c = s->compressor;
    const size_t n = s->batch.n_taken;
    float *memory = malloc(n * c->converter.in.n_in * sizeof *memory);
    float *slots = malloc(n * c->converter.out.n_out * sizeof *slots);
    s->batch.is_training = false;
    must(sp_compressor_encode(c, &s->batch, memory, &s->workspace));
    must(sp_compressor_convert(c, slots, memory, n, &s->workspace));
    s->batch.is_training = true;
    check_tensor(s, "memory", memory, HIDDEN_TOLERANCE, 0);
    check_tensor(s, "slots", slots, HIDDEN_TOLERANCE, 0);
    free(memory);
    free(slots);
}

static void check_losses_and_gradients(subject *s) {
    const sp_params *params = &s->compressor->params;
    run_step(s);
    assert_close(mean_loss(s, SP_RECONSTRUCTION),
                 fixture_number(s->pcc.json, "loss_reconstruction"), LOSS_TOLERANCE);
    assert_close(mean_loss(s, SP_COMPLETION), fixture_number(s->pcc.json, "loss_completion"),
                 LOSS_TOLERANCE);
    assert_close(gradient_norm(params), fixture_number(s->pcc.json, "grad_norm"),
                 GRADIENT_TOLERANCE);
    const double floor = 1e-6 * gradient_norm(params);
    for (size_t i = 0; i < params->n_entries; i++) {
        char name[256];
        snprintf(name, sizeof name, "grad/%s", fixture_name(params->entries[i]));
        check_tensor(s, name, params->entries[i]->grad, GRADIENT_TOLERANCE, floor);
    }
    size_t n_trained = 0;
    for (size_t i = 0; i < s->pcc.tensors.n_entries; i++)
        n_trained += strncmp(s->pcc.tensors.entries[i].name, "grad/", strlen("grad/")) == 0;
    assert_int_equal(params->n_entries, n_trained);
}

/* Ten updates with the learning rates of `schedule`. The fixture says what rounding alone does to
   the weights' change; ten times that is allowed. */
static void check_updates(subject *s, const char *schedule) {
    const json_t *expected = json_object_get(s->pcc.json, schedule);
    sp_params *params = &s->compressor->params;
    sp_run_config config = {.train = {.grad_clip = 0.5}};
    sp_optimizer optimizer = {0};
    must(sp_optimizer_create(&optimizer, params, 0, 1));
    load_initial(s);
    for (size_t step = 1; step <= 10; step++) {
        run_step(s);
        const double grad_norm = gradient_norm(params);
        assert_close(mean_loss(s, SP_RECONSTRUCTION),
                     fixture_number_at(expected, "loss_reconstruction", step - 1), 1e-4);
        assert_close(mean_loss(s, SP_COMPLETION),
                     fixture_number_at(expected, "loss_completion", step - 1), 1e-4);
        assert_close(grad_norm, fixture_number_at(expected, "grad_norm", step - 1),
                     GRADIENT_TOLERANCE);
        sp_optimizer_step(&optimizer, params, params->grads, &config, step,
                          fixture_number_at(expected, "lr", step - 1), grad_norm);
    }
    for (size_t i = 0; i < params->n_entries; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s/%s", schedule, fixture_name(params->entries[i]));
        check_tensor(s, name, params->entries[i]->value, 1e-4, 0);
    }
    sp_optimizer_release(&optimizer);
}

static void lora_compressor_equals_the_reference(void **state) {
    subject s;
    open_subject(&s, "lora", "batch", SP_TRAIN_LORA);
    check_memory_and_slots(&s);
    check_losses_and_gradients(&s);
    close_subject(&s);
}

static void lora_updates_equal_torch(void **state) {
    subject s;
    open_subject(&s, "lora", "batch", SP_TRAIN_LORA);
    check_updates(&s, "constant");
    check_updates(&s, "cosine");
    close_subject(&s);
}

static void full_compressor_equals_the_reference(void **state) {
    subject s;
    open_subject(&s, "full", "batch", SP_TRAIN_FULL);
    check_memory_and_slots(&s);
    check_losses_and_gradients(&s);
    check_updates(&s, "constant");
    close_subject(&s);
}

static void greedy_reconstruction_equals_the_reference(void **state) {
    subject s;
    open_subject(&s, "lora", "batch", SP_TRAIN_LORA);
    const json_t *expected = json_object_get(s.pcc.json, "generate");
    const json_t *new_ids = json_object_get(expected, "new_ids");
    const size_t n_new = json_array_size(new_ids), d = s.decoder.config.d_model;
    size_t n_slots_values = 0, slot = 0;
    float *slots = fixture_tensor(&s.pcc, "slots", &n_slots_values);
    const json_t *segments = json_object_get(s.batch_file.json, "segments");
    const size_t wanted = (size_t)fixture_number(expected, "segment");
    for (size_t i = 0; i < wanted; i++)
        slot += (size_t)fixture_number(json_array_get(segments, i), "n_slots");
    const float *its_slots = slots + slot * d;

    sp_batch prompts = {0};
    sp_decoded decoded = {0};
    slot = 0;
    must(sp_layout_add_reconstruction_prompt(
        &s.layout, &prompts, (size_t)fixture_number(json_array_get(segments, wanted), "n_slots"),
        &slot));
    assert_int_equal(prompts.rows[SP_DECODER].n_rows, fixture_number(expected, "prompt_rows"));
    const sp_decoding_limits limits = {.max_new_tokens = n_new, .eos = SP_NO_TOKEN};
    must(sp_decode_greedily(&decoded, s.compressor->decoder, &prompts.rows[SP_DECODER], its_slots,
                            &limits));
    assert_int_equal(decoded.lens[0], n_new);
    for (size_t i = 0; i < n_new; i++)
        assert_int_equal(decoded.ids[0][i], json_integer_value(json_array_get(new_ids, i)));
    sp_decoded_free(&decoded);
    sp_batch_free(&prompts);
    free(slots);
    close_subject(&s);
}

/* ---- questions ---- */

/* As a user would have them, in a file. */
static void write_rows(const char *path, const json_t *questions) {
    FILE *file = fopen(path, "w");
    for (size_t i = 0; i < json_array_size(questions); i++) {
        const json_t *question = json_array_get(questions, i);
        json_t *row = json_pack("{s:O, s:O, s:O}", "context", json_object_get(question, "context"),
                                "prompt", json_object_get(question, "prompt"), "answer",
                                json_object_get(question, "answer"));
        assert_int_equal(json_dumpf(row, file, 0), 0);
        fputc('\n', file);
        json_decref(row);
    }
    assert_int_equal(fclose(file), 0);
}

static void read_rows(sp_task_set *set, const subject *s, const char *path) {
    char encoder[256], decoder[256], rows[TEMP_PATH_SIZE + 16], tokens[64], ratio[64];
    const json_t *names = s->batch_file.json;
    snprintf(encoder, sizeof encoder, "encoder.model=tests/fixtures/models/%s",
             json_string_value(json_object_get(names, "encoder")));
    snprintf(decoder, sizeof decoder, "decoder.model=tests/fixtures/models/%s",
             json_string_value(json_object_get(names, "decoder")));
    snprintf(rows, sizeof rows, "data.rows=%s", path);
    snprintf(tokens, sizeof tokens, "segment.tokens=%zu", s->layout.segment_tokens);
    snprintf(ratio, sizeof ratio, "segment.ratio=%zu", s->layout.ratio);
    const char *const keys[] = {encoder, decoder, rows, tokens, ratio, "data.validation=0"};
    sp_run_config config = {0};
    must(sp_config_init(&config, &sp_run_config_table));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        must(sp_config_assign(&config, &sp_run_config_table, keys[i]));
    must(sp_task_set_read(set, &config, SP_ON_ERROR_STOP));
    sp_run_config_free(&config);
}

static void check_ids(const int32_t *ids, size_t n, const json_t *expected) {
    assert_int_equal(n, json_array_size(expected));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids[i], json_integer_value(json_array_get(expected, i)));
}

static void check_question(const sp_question *question, const json_t *expected) {
    const json_t *segments = json_object_get(expected, "segments");
    const int32_t *ids = question->encoder_ids;
    assert_int_equal(question->n_segments, json_array_size(segments));
    for (size_t k = 0; k < question->n_segments; k++) {
        check_ids(ids, question->segment_lens[k],
                  json_object_get(json_array_get(segments, k), "encoder"));
        ids += question->segment_lens[k];
    }
    check_ids(question->prompt, question->n_prompt, json_object_get(expected, "prompt_ids"));
    check_ids(question->answer, question->n_answer, json_object_get(expected, "answer_ids"));
}

static void questions_equal(bool encoder_is_frozen) {
    subject s;
    temp_file file;
    fixture expected;
    sp_task_set set = {0};
    open_compressor(&s, "lora", "batch",
                    (setting){.training = SP_TRAIN_LORA, .encoder_is_frozen = encoder_is_frozen});
    fixture_open(&expected, "pcc/questions.json", "pcc/questions.safetensors");
    const json_t *questions = json_object_get(expected.json, "questions");
    temp_folder_create(file.dir);
    write_rows(temp_path(file.path, file.dir, "rows.jsonl"), questions);
    read_rows(&set, &s, file.path);
    temp_folder_remove(file.dir);
    assert_int_equal(set.n_tasks, json_array_size(questions));
    assert_int_equal(set.n_contexts, set.n_tasks - 1); /* one is asked about twice */
    sp_batch_clear(&s.batch);
    s.batch.is_training = true;
    for (size_t i = 0; i < set.n_tasks; i++) {
        const sp_question question = sp_task_question(&set, i);
        check_question(&question, json_array_get(questions, i));
        must(sp_layout_add_question(&s.layout, &s.batch, &question));
    }
    s.batch.loss_scale[SP_ANSWER] = 1 / (float)fixture_number(expected.json, "n_targets");
    run_step(&s);
    assert_int_equal(s.batch.n_targets[SP_ANSWER], fixture_number(expected.json, "n_targets"));
    assert_close(mean_loss(&s, SP_ANSWER), fixture_number(expected.json, "loss_answer"),
                 LOSS_TOLERANCE);
    const sp_params *params = &s.compressor->params;
    const double norm = fixture_number(expected.json, "grad_norm");
    if (!encoder_is_frozen) assert_close(gradient_norm(params), norm, GRADIENT_TOLERANCE);
    for (size_t i = 0; i < params->n_entries; i++) {
        char name[256];
        size_t n = 0;
        snprintf(name, sizeof name, "grad/%s", fixture_name(params->entries[i]));
        float *grad = fixture_tensor(&expected, name, &n);
        const double difference =
            relative_difference(params->entries[i]->grad, grad, n, 1e-6 * norm);
        if (!(difference <= GRADIENT_TOLERANCE)) fail_msg("%s differs by %g", name, difference);
        free(grad);
    }
    /* The converter's five and the markers are what is left to train. */
    if (encoder_is_frozen) assert_int_equal(params->n_entries, 6);
    sp_task_set_free(&set);
    fixture_close(&expected);
    close_subject(&s);
}

static void questions_equal_the_reference(void **state) { questions_equal(false); }

static void questions_to_the_converter_alone_equal_the_reference(void **state) {
    questions_equal(true);
}

/* *state is the pair's fixture. */
static sp_training training_of_pair(const char *name) {
    return strstr(name, "-full-") != NULL ? SP_TRAIN_FULL : SP_TRAIN_LORA;
}

static void pair_equals_the_reference(void **state) {
    const char *name = *state;
    subject s;
    open_subject(&s, name, name, training_of_pair(name));
    check_memory_and_slots(&s);
    check_losses_and_gradients(&s);
    close_subject(&s);
}

/* ---- other precisions ---- */

/* How far losses are from others, all gradients as one vector, and the furthest tensor of these. */
typedef struct distance {
    double loss, gradient, tensor;
} distance;

static void run_in_precision(subject *s, const char *name, setting how) {
    open_compressor(s, name, name, how);
    fill_batch(s);
    run_step(s);
}

static double greater(double a, double b) { return a > b ? a : b; }

static distance distance_between(const subject *a, const subject *b) {
    const sp_params *params = &a->compressor->params, *same = &b->compressor->params;
    const double floor = 1e-6 * gradient_norm(same);
    distance most = {.gradient =
                         relative_difference(params->grads, same->grads, params->n_values, floor)};
    for (sp_loss loss = SP_RECONSTRUCTION; loss <= SP_COMPLETION; loss++)
        most.loss = greater(most.loss, fabs(mean_loss(a, loss) / mean_loss(b, loss) - 1));
    for (size_t i = 0; i < params->n_entries; i++)
        most.tensor = greater(most.tensor,
                              relative_difference(params->entries[i]->grad, same->entries[i]->grad,
                                                  params->entries[i]->n_values, floor));
    return most;
}

static void check_distance(const char *name, const char *from, distance found, distance limit) {
    if (!(found.loss <= limit.loss && found.gradient <= limit.gradient &&
          found.tensor <= limit.tensor))
        fail_msg("%s from %s: losses differ by %g, gradients by %g, one tensor's by %g", name, from,
                 found.loss, found.gradient, found.tensor);
}

/* From f32 layers of the same values, which the tests above hold to the reference: where activations
   stay f32, rounding alone; in 16 bits with one scale a row, 3e-5 of a row's greatest value; else they
   are rounded as the weights are. Then from the f32 weights, behind layers of 16 to 40 values, whose
   errors hardly cancel. */
static void precision_keeps_near(sp_precision precision, const char *name) {
    const bool is_int8 = precision == SP_PRECISION_INT8;
    const bool rounds = sp_cpu_may_use(is_int8 ? SP_ISA_AVX512_VNNI : SP_ISA_AVX512_BF16);
    const distance f32_activations = {LOSS_TOLERANCE, 1e-4, GRADIENT_TOLERANCE};
    const distance s16_activations = {2e-5, 1e-3, 3e-3};
    const distance of_8_bits = {3e-3, 0.2, 0.35}, of_bf16 = {1e-3, 5e-2, 0.1};
    const distance coarse = is_int8 ? of_8_bits : of_bf16;
    const distance fine = is_int8 ? s16_activations : f32_activations;
    subject f32, expanded, s;
    setting how = {.training = training_of_pair(name)};
    run_in_precision(&f32, name, how);
    how.precision = precision;
    run_in_precision(&s, name, how);
    how.is_expanded = true;
    run_in_precision(&expanded, name, how);
    check_distance(name, "the same values in f32", distance_between(&s, &expanded),
                   rounds ? coarse : fine);
    check_distance(name, "weights in f32", distance_between(&s, &f32), coarse);
    close_subject(&expanded);
    close_subject(&s);
    close_subject(&f32);
}

static void pair_in_bf16_keeps_near(void **state) {
    precision_keeps_near(SP_PRECISION_BF16, *state);
}

static void pair_in_int8_keeps_near(void **state) {
    precision_keeps_near(SP_PRECISION_INT8, *state);
}

// clang-format off
#define PAIR(name)                                                             \
    {name, pair_equals_the_reference, NULL, NULL, "pairs/" name},              \
    {name " in bf16", pair_in_bf16_keeps_near, NULL, NULL, "pairs/" name},     \
    {name " in int8", pair_in_int8_keeps_near, NULL, NULL, "pairs/" name}
// clang-format on

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lora_compressor_equals_the_reference),
        cmocka_unit_test(lora_updates_equal_torch),
        cmocka_unit_test(full_compressor_equals_the_reference),
        cmocka_unit_test(greedy_reconstruction_equals_the_reference),
        cmocka_unit_test(questions_equal_the_reference),
        cmocka_unit_test(questions_to_the_converter_alone_equal_the_reference),
        PAIR("gpt2-full-phi3"),
        PAIR("gpt2-lora-mistral"),
        PAIR("llama-full-mistral"),
        PAIR("llama-lora-qwen2"),
        PAIR("mistral-full-gpt2"),
        PAIR("mistral-lora-llama"),
        PAIR("phi3-full-llama"),
        PAIR("phi3-lora-qwen2"),
        PAIR("qwen2-full-phi3"),
        PAIR("qwen2-lora-gpt2"),
    };
    return cmocka_run_group_tests_name("pcc", tests, NULL, NULL);
}
