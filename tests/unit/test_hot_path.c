/* What a step asks of the system from the second one on: nothing. A training step, a group of a
   compression and a step of decoding allocate, free and map no memory and make no system call. What
   oneDNN, OpenBLAS and the runtime of OpenMP do inside is theirs, and printed. */
#include "tests/check.h"

#include "io/slots_dtype.h"
#include "model/language_model.h"
#include "pcc/compressor.h"
#include "run/decoding.h"
#include "run/optimizer.h"
#include "tensor/vector.h"
#include "tests/tiny_model.h"
#include "tests/unit/counted_calls.h"

#include <omp.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- that it counts ---- */

static void needs_counting(void) {
    if (STANDS_IN_FRONT) return;
    print_message("skipped: needs an allocator without a sanitizer\n");
    skip();
}

static void an_allocation_is_counted(void **state) {
    needs_counting();
    begin_counting();
    void *volatile block = malloc(100);
    free(block);
    assert_int_equal(end_counting("an allocation"), 2);
}

/* As a library maps memory for code that it writes: the system call behind it is the same call. */
static void a_mapping_is_counted_once(void **state) {
    needs_counting();
    begin_counting();
    void *page = mmap(NULL, 1 << 12, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_int_equal(munmap(page, 1 << 12), 0);
    assert_int_equal(end_counting("a mapping"), 2);
}

static void an_allocation_on_another_thread_is_counted(void **state) {
    needs_counting();
    begin_counting();
#pragma omp parallel num_threads(2)
    {
        void *volatile block = omp_get_thread_num() == 1 ? aligned_alloc(64, 1 << 20) : NULL;
        free(block);
    }
    assert_int_equal(end_counting("an allocation elsewhere"), 2);
}

static void a_system_call_on_any_thread_is_counted(void **state) {
    if (!sees_system_calls) {
        print_message("skipped: needs seccomp on x86-64\n");
        skip();
    }
    pid_t parents[2];
    begin_counting();
#pragma omp parallel num_threads(2)
    parents[omp_get_thread_num()] = getppid();
    assert_int_equal(end_counting("a system call"), 2);
    assert_int_equal(parents[1], parents[0]);
    assert_int_equal(getppid(), parents[0]);
}

/* ---- the subjects ---- */

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static uint32_t next_random(uint32_t *state) { return *state = *state * 1664525U + 1013904223U; }

enum { SEGMENT = 96, RATIO = 4, VOCABULARY = 300, N_SAMPLES = 4, N_STEPS = 5 };

static const tiny_shape llama_shape = {.d_model = 64,
                                       .n_layers = 2,
                                       .n_heads = 4,
                                       .n_kv_heads = 2,
                                       .head_dim = 16,
                                       .d_ffn = 160,
                                       .vocab_size = VOCABULARY};
static const tiny_shape gpt2_shape = {.d_model = 64,
                                      .n_layers = 2,
                                      .n_heads = 4,
                                      .n_kv_heads = 4,
                                      .head_dim = 16,
                                      .d_ffn = 160,
                                      .vocab_size = VOCABULARY,
                                      .is_tied = true,
                                      .family = "gpt2",
                                      .options = "{\"n_positions\": 512}"};

typedef struct setting {
    const char *name;
    const tiny_shape *shape;
    sp_precision precision;
    sp_training training;
    bool recomputes;
} setting;

static const setting settings[] = {
    {"LoRA, f32", &llama_shape, SP_PRECISION_F32, SP_TRAIN_LORA, false},
    {"LoRA, bf16", &llama_shape, SP_PRECISION_BF16, SP_TRAIN_LORA, false},
    {"LoRA, int8", &llama_shape, SP_PRECISION_INT8, SP_TRAIN_LORA, true},
    {"full, f32", &llama_shape, SP_PRECISION_F32, SP_TRAIN_FULL, true},
    {"LoRA, f32, GPT-2", &gpt2_shape, SP_PRECISION_F32, SP_TRAIN_LORA, false},
};
enum { N_SETTINGS = sizeof settings / sizeof settings[0] };

typedef struct subject {
    tiny_model model;
    sp_weights weights; /* in the setting's precision */
    sp_compressor *compressor;
    sp_layout layout;
    int32_t ids[2 * SEGMENT];
} subject;

static void open_subject(subject *s, const setting *how) {
    *s = (subject){.layout = {.segment_tokens = SEGMENT, .ratio = RATIO, .bos = 1, .eos = 2}};
    tiny_model_create(&s->model, how->shape, 3, SP_WEIGHTS_FRAME);
    must(sp_weights_load(&s->weights, &s->model.tensors, s->model.config, how->precision,
                         SP_WEIGHTS_ALL, "tiny"));
    sp_compressor_options options = {.encoder = &s->weights,
                                     .decoder = &s->weights,
                                     .d_encoder = how->shape->d_model,
                                     .d_decoder = how->shape->d_model,
                                     .encoder_tensors = &s->model.tensors,
                                     .training = how->training,
                                     .lora = {.rank = 8, .alpha = 8, .dropout = 0.1},
                                     .memory_tokens = SEGMENT / RATIO};
    for (int role = 0; role < SP_N_ROLES; role++) options.lora.targets[role] = true;
    must(sp_compressor_create(&s->compressor, &options));
    sp_chain *chain = &s->compressor->chain;
    for (size_t i = 0; how->recomputes && i < chain->n_blocks; i++)
        chain->recomputes[i] = chain->blocks[i]->kind->can_recompute;
    uint32_t random = 1;
    for (size_t i = 0; i < 2 * SEGMENT; i++)
        s->ids[i] = (int32_t)((next_random(&random) >> 8) % VOCABULARY);
}

static void close_subject(subject *s) {
    sp_compressor_destroy(s->compressor);
    sp_weights_free(&s->weights);
    tiny_model_release(&s->model);
}

/* The first batch is the largest. */
static size_t segment_of(size_t step) { return SEGMENT - 7 * step; }

/* ---- training ---- */

static void fill_batch(const subject *s, sp_batch *batch, size_t step) {
    sp_batch_clear(batch);
    batch->is_training = true;
    batch->loss_scale[SP_RECONSTRUCTION] = batch->loss_scale[SP_COMPLETION] = 0.001F;
    for (size_t i = 0; i < N_SAMPLES; i++)
        must(sp_layout_add_sample(&s->layout, batch,
                                  &(sp_sample){.encoder_ids = s->ids,
                                               .n_encoder_ids = segment_of(step),
                                               .decoder_ids = s->ids,
                                               .n_decoder_ids = segment_of(step),
                                               .next_ids = s->ids + SEGMENT,
                                               .n_next_ids = segment_of(step),
                                               .key = step * N_SAMPLES + i,
                                               .reconstructs = true,
                                               .completes = true}));
}

static void a_training_step_asks_nothing_of_the_system(void **state) {
    needs_counting();
    for (size_t i = 0; i < N_SETTINGS; i++) {
        subject s;
        sp_optimizer optimizer = {0};
        sp_batch batch = {0};
        sp_pass pass = {0};
        sp_workspace workspace = {0};
        const sp_run_config config = {.train = {.grad_clip = 0.5}};
        open_subject(&s, &settings[i]);
        sp_params *params = &s.compressor->params;
        const sp_chain *chain = &s.compressor->chain;
        must(sp_optimizer_create(&optimizer, params, 0, 1));
        for (size_t step = 0; step < N_STEPS; step++) {
            if (step == 1) begin_counting();
            fill_batch(&s, &batch, step);
            must(
                sp_compressor_reserve(s.compressor, &batch, 0, chain->n_blocks, &pass, &workspace));
            memset(params->grads, 0, params->n_values * sizeof *params->grads);
            (void)sp_pass_forward(&pass, chain, 0, chain->n_blocks, &batch, NULL, &workspace);
            (void)sp_pass_backward(&pass, chain, 0, chain->n_blocks, &batch, NULL, &workspace);
            const double squares = sp_vector_sum_squares(params->grads, params->n_values);
            sp_optimizer_step(&optimizer, params, params->grads, &config, step + 1, 1e-4,
                              sqrt(squares));
        }
        assert_int_equal(end_counting(settings[i].name), 0);
        assert_true(batch.loss_sum[SP_RECONSTRUCTION] > 0);
        sp_workspace_release(&workspace);
        sp_pass_release(&pass);
        sp_batch_free(&batch);
        sp_optimizer_release(&optimizer);
        close_subject(&s);
    }
}

/* ---- compression ---- */

/* What one thread needs for one group at a time, as the command has it. */
typedef struct group {
    sp_batch batch;
    sp_workspace workspace;
    float memory[N_SAMPLES * (SEGMENT / RATIO) * 64], slots[N_SAMPLES * (SEGMENT / RATIO) * 64];
    uint16_t packed[N_SAMPLES * (SEGMENT / RATIO) * 64];
    float scales[N_SAMPLES * (SEGMENT / RATIO)];
} group;

static sp_status compress(const subject *s, group *g, size_t step) {
    sp_batch_clear(&g->batch);
    for (size_t i = 0; i < N_SAMPLES; i++)
        SP_TRY(sp_layout_add_encoder(&s->layout, &g->batch, s->ids, segment_of(step), 0));
    SP_TRY(sp_compressor_encode(s->compressor, &g->batch, g->memory, &g->workspace));
    SP_TRY(
        sp_compressor_convert(s->compressor, g->slots, g->memory, g->batch.n_taken, &g->workspace));
    return sp_slots_pack(SP_SLOTS_F16, g->packed, g->scales, g->slots, g->batch.n_taken, 64);
}

static void a_group_of_a_compression_asks_nothing_of_the_system(void **state) {
    needs_counting();
    for (size_t i = 0; i < N_SETTINGS; i++) {
        subject s;
        static group groups[2];
        sp_status statuses[2] = {SP_OK, SP_OK};
        open_subject(&s, &settings[i]);
        must(sp_transformer_reserve(s.compressor->encoder, SEGMENT + SEGMENT / RATIO));
        for (size_t step = 0; step < N_STEPS; step++) {
            if (step == 1) begin_counting();
#pragma omp parallel for schedule(static) num_threads(2)
            for (size_t g = 0; g < 2; g++) {
                const sp_status status = compress(&s, &groups[g], step);
                if (status != SP_OK) statuses[g] = status;
            }
        }
        assert_int_equal(end_counting(settings[i].name), 0);
        for (size_t g = 0; g < 2; g++) {
            assert_int_equal(statuses[g], SP_OK);
            assert_true(groups[g].batch.n_taken > 0);
            sp_workspace_release(&groups[g].workspace);
            sp_batch_free(&groups[g].batch);
            groups[g] = (group){0};
        }
        close_subject(&s);
    }
}

/* ---- decoding ---- */

static void add_prompts(sp_batch *batch, const subject *s) {
    int32_t prefix = 0, seq = 0;
    must(sp_batch_add_seq(batch, SP_DECODER, SP_NO_PARENT, 0, &prefix));
    for (size_t i = 0; i < 10; i++) must(sp_batch_add_row(batch, SP_DECODER, s->ids[i]));
    for (size_t child = 0; child < 3; child++) {
        must(sp_batch_add_seq(batch, SP_DECODER, prefix, 0, &seq));
        for (size_t i = 0; i < 5 + child; i++)
            must(sp_batch_add_row(batch, SP_DECODER, s->ids[20 * child + i]));
    }
}

/* So many tokens stay within a page of the cache: a page is taken when the one before is full. */
static void a_step_of_decoding_asks_nothing_of_the_system(void **state) {
    needs_counting();
    for (size_t i = 0; i < N_SETTINGS; i++) {
        subject s;
        sp_language_model model;
        sp_decoding *decoding = NULL;
        sp_batch prompts = {0};
        const sp_decoding_limits limits = {.max_new_tokens = 60, .eos = SP_NO_TOKEN};
        open_subject(&s, &settings[i]);
        must(sp_language_model_create(&model, &s.weights));
        must(sp_decoding_create(&decoding, model.transformer, 8));
        add_prompts(&prompts, &s);
        must(sp_decoding_add(decoding, &prompts.rows[SP_DECODER], NULL, &limits));
        must(sp_decoding_step(decoding)); /* reads the prompts */
        begin_counting();
        for (size_t step = 0; step < 40; step++) must(sp_decoding_step(decoding));
        assert_int_equal(end_counting(settings[i].name), 0);
        assert_int_equal(sp_decoding_n_going(decoding), 3);
        sp_decoding_destroy(decoding);
        sp_batch_free(&prompts);
        sp_language_model_destroy(&model);
        close_subject(&s);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    if (getenv("OMP_WAIT_POLICY") ==
        NULL) { /* read before main(): threads that wait are not to spin */
        setenv("OMP_WAIT_POLICY", "passive", 1);
        execv("/proc/self/exe", argv);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allocation_is_counted),
        cmocka_unit_test(a_mapping_is_counted_once),
        cmocka_unit_test(an_allocation_on_another_thread_is_counted),
        cmocka_unit_test(a_system_call_on_any_thread_is_counted),
        cmocka_unit_test(a_training_step_asks_nothing_of_the_system),
        cmocka_unit_test(a_group_of_a_compression_asks_nothing_of_the_system),
        cmocka_unit_test(a_step_of_decoding_asks_nothing_of_the_system),
    };
    start_counting_calls();
    omp_set_num_threads(2);
#pragma omp parallel /* begins the threads */
    atomic_store(&is_counting, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
