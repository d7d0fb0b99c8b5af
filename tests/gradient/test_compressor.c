/* The chain from segments to losses: every parameter's gradient against differences, through
   encoder, converter, splice and decoder at once. */
#include "tests/check.h"

#include "pcc/compressor.h"
#include "tests/gradient/differences.h"
#include "tests/tiny_model.h"
#include "tests/values.h"

#include <stdlib.h>

static const tiny_shape encoder_shape = {.d_model = 9,
                                         .n_layers = 2,
                                         .n_heads = 3,
                                         .n_kv_heads = 1,
                                         .head_dim = 4,
                                         .d_ffn = 10,
                                         .vocab_size = 13};
static const tiny_shape decoder_shape = {.d_model = 7,
                                         .n_layers = 2,
                                         .n_heads = 2,
                                         .n_kv_heads = 2,
                                         .head_dim = 4,
                                         .d_ffn = 11,
                                         .vocab_size = 17};
static const tiny_shape gpt2_shape = {.family = "gpt2",
                                      .d_model = 9,
                                      .n_layers = 2,
                                      .n_heads = 3,
                                      .n_kv_heads = 3,
                                      .head_dim = 3,
                                      .d_ffn = 10,
                                      .vocab_size = 17,
                                      .is_tied = true,
                                      .options = "{\"n_positions\": 12}"};
/* One branch of the first sample below is longer than the original length, the other is not. */
static const tiny_shape phi3_shape = {
    .family = "phi3",
    .d_model = 8,
    .n_layers = 2,
    .n_heads = 2,
    .n_kv_heads = 1,
    .head_dim = 6,
    .d_ffn = 7,
    .vocab_size = 17,
    .options = "{\"sliding_window\": 6, \"partial_rotary_factor\": 0.7,"
               " \"max_position_embeddings\": 32, \"original_max_position_embeddings\": 8,"
               " \"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1.0, 1.2],"
               " \"long_factor\": [1.5, 3.0]}}"};

enum { SEGMENT = 6, N_SAMPLES = 3 };

typedef struct subject {
    tiny_model encoder, decoder;
    sp_compressor *compressor;
    sp_layout layout;
    sp_batch batch;
    sp_pass pass;
    sp_workspace workspace;
    int32_t encoder_ids[N_SAMPLES][SEGMENT], decoder_ids[N_SAMPLES][SEGMENT];
} subject;

typedef struct setting {
    sp_training training;
    double dropout;
    bool is_shared, markers_are_frozen, is_of_chunks;
    size_t merged_tokens;
    const tiny_shape *encoder, *decoder; /* NULL: those above */
} setting;

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

/* A full segment with a completion, a short one with a longer completion, and one without. */
static const struct {
    size_t n_encoder, n_decoder, n_next;
} samples[N_SAMPLES] = {{6, 5, 2}, {3, 4, 6}, {5, 6, 0}};

static void fill_batch(subject *s, size_t begin, size_t end) {
    sp_batch_clear(&s->batch);
    s->batch.is_training = true;
    s->batch.loss_scale[SP_RECONSTRUCTION] = 0.4F / 18; /* of all samples, whatever is in here */
    s->batch.loss_scale[SP_COMPLETION] = 0.6F / 10;
    for (size_t i = begin; i < end; i++)
        must(sp_layout_add_sample(&s->layout, &s->batch,
                                  &(sp_sample){.encoder_ids = s->encoder_ids[i],
                                               .n_encoder_ids = samples[i].n_encoder,
                                               .decoder_ids = s->decoder_ids[i],
                                               .n_decoder_ids = samples[i].n_decoder,
                                               .next_ids = s->decoder_ids[(i + 1) % N_SAMPLES],
                                               .n_next_ids = samples[i].n_next,
                                               .key = 0x123456789ULL * (i + 1),
                                               .reconstructs = true,
                                               .completes = true}));
}

static void set_up(subject *s, setting how) {
    const bool is_full = how.training == SP_TRAIN_FULL;
    *s = (subject){.layout = {.segment_tokens = SEGMENT,
                              .ratio = 4,
                              .is_of_chunks = how.is_of_chunks,
                              .bos = 1,
                              .eos = 2}};
    if (!how.is_shared)
        tiny_model_create(&s->encoder, how.encoder != NULL ? how.encoder : &encoder_shape, 1,
                          is_full ? SP_WEIGHTS_FRAME : SP_WEIGHTS_BODY);
    tiny_model_create(&s->decoder, how.decoder != NULL ? how.decoder : &decoder_shape, 2,
                      SP_WEIGHTS_ALL);
    s->layout.longrope_switch = sp_longrope_switch(&s->decoder.weights.config);
    const tiny_model *encoder = how.is_shared ? &s->decoder : &s->encoder;
    sp_compressor_options options = {
        .encoder = &encoder->weights,
        .decoder = &s->decoder.weights,
        .d_encoder = encoder->weights.config.d_model,
        .d_decoder = s->decoder.weights.config.d_model,
        .encoder_tensors = &encoder->tensors,
        .training = how.training,
        .lora = {.rank = 2, .alpha = 3, .dropout = how.dropout, .targets_embedding = true},
        .memory_tokens = how.is_of_chunks ? 0 : 2,
        .merged_tokens = how.merged_tokens,
        .markers_are_frozen = how.markers_are_frozen,
        .seed = 5};
    for (sp_role role = 0; role < SP_N_ROLES; role++) options.lora.targets[role] = true;
    must(sp_compressor_create(&s->compressor, &options));
    fill_params(&s->compressor->params, 31);
    for (size_t i = 0; i < N_SAMPLES; i++)
        for (size_t k = 0; k < SEGMENT; k++) {
            s->encoder_ids[i][k] = (int32_t)((5 * i + 3 * k) % encoder_shape.vocab_size);
            s->decoder_ids[i][k] = (int32_t)((7 * i + 5 * k) % decoder_shape.vocab_size);
        }
}

static void tear_down(subject *s) {
    sp_pass_release(&s->pass);
    sp_workspace_release(&s->workspace);
    sp_batch_free(&s->batch);
    sp_compressor_destroy(s->compressor);
    tiny_model_release(&s->decoder);
    tiny_model_release(&s->encoder);
}

static double loss_of(void *subject_) {
    subject *s = subject_;
    sp_compressor *c = s->compressor;
    memset(s->batch.loss_sum, 0, sizeof s->batch.loss_sum);
    memset(s->batch.n_targets, 0, sizeof s->batch.n_targets);
    const size_t n = c->chain.n_blocks;
    must(sp_compressor_reserve(c, &s->batch, 0, n, &s->pass, &s->workspace));
    (void)sp_pass_forward(&s->pass, &c->chain, 0, n, &s->batch, NULL, &s->workspace);
    double sum = 0;
    for (int loss = 0; loss < SP_N_LOSSES; loss++)
        sum += (double)s->batch.loss_scale[loss] * s->batch.loss_sum[loss];
    return sum;
}

static void add_gradients(subject *s) {
    const sp_chain *chain = &s->compressor->chain;
    (void)loss_of(s);
    (void)sp_pass_backward(&s->pass, chain, 0, chain->n_blocks, &s->batch, NULL, &s->workspace);
}

static void check(setting how) {
    subject s;
    set_up(&s, how);
    fill_batch(&s, 0, N_SAMPLES);
    add_gradients(&s);
    assert_int_equal(s.batch.n_targets[SP_RECONSTRUCTION], 5 + 4 + 6 + 3);
    assert_int_equal(s.batch.n_targets[SP_COMPLETION], 2 + 6 + 2);
    const sp_params *params = &s.compressor->params;
    for (size_t i = 0; i < params->n_entries; i++) {
        const sp_param *p = params->entries[i];
        if (p->is_frozen)
            for (size_t k = 0; k < p->n_values; k++) assert_true(p->grad[k] == 0);
        else
            check_slopes(p->name, p->value, p->grad, p->n_values, 1 + p->n_values / 13, loss_of,
                         &s);
    }
    tear_down(&s);
}

static void lora_with_dropout_and_both_objectives(void **state) {
    check((setting){.training = SP_TRAIN_LORA, .dropout = 0.25});
}

static void one_frozen_model_on_both_sides(void **state) {
    check((setting){.training = SP_TRAIN_LORA, .dropout = 0.25, .is_shared = true});
}

static void the_whole_encoder(void **state) { check((setting){.training = SP_TRAIN_FULL}); }

static void other_families_on_both_sides(void **state) {
    check((setting){.training = SP_TRAIN_LORA,
                    .dropout = 0.25,
                    .encoder = &gpt2_shape,
                    .decoder = &phi3_shape});
    check((setting){.training = SP_TRAIN_FULL, .encoder = &phi3_shape, .decoder = &gpt2_shape});
}

static void converter_and_memory_tokens_over_a_frozen_encoder(void **state) {
    check((setting){.training = SP_TRAIN_NONE, .markers_are_frozen = true});
}

static void pooled_states(void **state) {
    check((setting){
        .training = SP_TRAIN_LORA, .dropout = 0.25, .is_shared = true, .is_of_chunks = true});
    check((setting){.training = SP_TRAIN_FULL, .is_of_chunks = true});
}

static void merged_states(void **state) {
    check((setting){
        .training = SP_TRAIN_LORA, .dropout = 0.25, .is_of_chunks = true, .merged_tokens = 4});
    check((setting){.training = SP_TRAIN_FULL, .is_of_chunks = true, .merged_tokens = 5});
    check((setting){.training = SP_TRAIN_NONE, .is_of_chunks = true, .merged_tokens = 4});
}

/* Micro-batches are summed: whatever the cut, the same gradient, dropout included. */
static void gradients_of_a_batch_are_the_sum_of_its_samples(void **state) {
    static const size_t cuts[][2] = {{1, 2}, {2, 2}, {1, 1}, {0, 1}};
    subject s;
    set_up(&s, (setting){.training = SP_TRAIN_LORA, .dropout = 0.25});
    const sp_params *params = &s.compressor->params;
    float *whole = malloc(params->n_values * sizeof *whole);
    fill_batch(&s, 0, N_SAMPLES);
    add_gradients(&s);
    memcpy(whole, params->grads, params->n_values * sizeof *whole);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        const size_t bounds[] = {0, cuts[i][0], cuts[i][1], N_SAMPLES};
        memset(params->grads, 0, params->n_values * sizeof *params->grads);
        for (size_t part = 0; part < 3; part++) {
            if (bounds[part] == bounds[part + 1]) continue;
            fill_batch(&s, bounds[part], bounds[part + 1]);
            add_gradients(&s);
        }
        for (size_t k = 0; k < params->n_values; k++)
            assert_close(params->grads[k], whole[k], 1e-5); /* f32 sums in another order */
    }
    free(whole);
    tear_down(&s);
}

static void without_training_dropout_is_off_and_nothing_is_kept(void **state) {
    subject s;
    set_up(&s, (setting){.training = SP_TRAIN_LORA, .dropout = 0.25});
    sp_compressor *c = s.compressor;
    fill_batch(&s, 0, N_SAMPLES);
    const double with_dropout = loss_of(&s);
    s.batch.is_training = false;
    const double without = loss_of(&s);
    assert_true(fabs(with_dropout - without) > 1e-4);
    for (sp_role role = 0; role < SP_N_ROLES; role++)
        for (size_t l = 0; l < 2; l++) c->encoder->layers[l].linears[role].lora_dropout = 0;
    s.batch.is_training = true;
    assert_close(loss_of(&s), without, 1e-6);
    tear_down(&s);
}

static void a_pass_fits_its_arena_and_keeping_changes_no_loss(void **state) {
    for (int training = SP_TRAIN_NONE; training <= SP_TRAIN_FULL; training++) {
        subject s;
        set_up(&s, (setting){.training = (sp_training)training, .dropout = 0.25});
        sp_compressor *c = s.compressor;
        fill_batch(&s, 0, N_SAMPLES);
        const size_t n = c->chain.n_blocks;
        const double kept = loss_of(&s);
        (void)sp_pass_backward(&s.pass, &c->chain, 0, n, &s.batch, NULL, &s.workspace);
        const double sum = s.batch.loss_sum[SP_RECONSTRUCTION];
        const size_t most = s.pass.arena.capacity + s.workspace.arena.capacity;

        sp_workspace_release(&s.workspace); /* so that the next is no larger than it must be */
        must(sp_compressor_reserve(c, &s.batch, 0, n, NULL, &s.workspace));
        assert_true(s.workspace.arena.capacity < most);
        s.batch.loss_sum[SP_RECONSTRUCTION] = 0;
        (void)sp_chain_run(&c->chain, 0, n, &s.batch, NULL, &s.workspace);
        assert_true(s.batch.loss_sum[SP_RECONSTRUCTION] == sum);
        assert_true(kept > 0);
        tear_down(&s);
    }
}

static void memory_and_slots_alone_are_those_of_the_chain(void **state) {
    subject s;
    set_up(&s, (setting){.training = SP_TRAIN_LORA});
    sp_compressor *c = s.compressor;
    fill_batch(&s, 0, N_SAMPLES);
    assert_int_equal(s.batch.n_taken, 2 + 1 + 2);
    (void)loss_of(&s);
    const size_t n = s.batch.n_taken, d_encoder = c->converter.in.n_in;
    const size_t d_decoder = c->converter.out.n_out;
    float *memory = malloc(n * d_encoder * sizeof *memory);
    float *slots = malloc(n * d_decoder * sizeof *slots);
    float *expected = malloc(n * (d_encoder + d_decoder) * sizeof *expected);
    memcpy(expected, s.pass.inputs[c->encoder_end], n * d_encoder * sizeof *expected);
    memcpy(expected + n * d_encoder, s.pass.inputs[c->encoder_end + 1],
           n * d_decoder * sizeof *expected);
    must(sp_compressor_encode(c, &s.batch, memory, &s.workspace));
    must(sp_compressor_convert(c, slots, memory, n, &s.workspace));
    assert_memory_equal(memory, expected, n * d_encoder * sizeof *memory);
    assert_memory_equal(slots, expected + n * d_encoder, n * d_decoder * sizeof *slots);
    free(expected);
    free(slots);
    free(memory);
    tear_down(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lora_with_dropout_and_both_objectives),
        cmocka_unit_test(one_frozen_model_on_both_sides),
        cmocka_unit_test(the_whole_encoder),
        cmocka_unit_test(other_families_on_both_sides),
        cmocka_unit_test(converter_and_memory_tokens_over_a_frozen_encoder),
        cmocka_unit_test(pooled_states),
        cmocka_unit_test(merged_states),
        cmocka_unit_test(gradients_of_a_batch_are_the_sum_of_its_samples),
        cmocka_unit_test(without_training_dropout_is_off_and_nothing_is_kept),
        cmocka_unit_test(a_pass_fits_its_arena_and_keeping_changes_no_loss),
        cmocka_unit_test(memory_and_slots_alone_are_those_of_the_chain),
    };
    return cmocka_run_group_tests_name("compressor", tests, NULL, NULL);
}
