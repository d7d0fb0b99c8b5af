/* Times layers of Llama-3-8B's shape with its output head as a frozen decoder: forward, and backward
   to the input. Random weights; every row has a target. One JSON line:

       bench_blocks f32|bf16|int8 ROWS RUNS [LAYERS]

   rows/s, FLOP/s beside this machine's rate of matrix products, and what the head takes beyond its
   weights: by the chain's own account, and as the process grew in its first pass. The embedding is
   the head's table. ROWS and LAYERS (2) of 4,096 values; 14,336 in between; 128,256 tokens. */
#include "base/memory.h"
#include "chain/pass.h"
#include "model/language_model.h"
#include "tests/bench/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char config_text[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 4096, \"intermediate_size\": 14336,"
    " \"num_hidden_layers\": 2, \"num_attention_heads\": 32, \"num_key_value_heads\": 8,"
    " \"vocab_size\": 128256, \"max_position_embeddings\": 8192, \"rope_theta\": 500000.0,"
    " \"rms_norm_eps\": 1e-5, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true}";

enum { D = 4096, D_KV = 1024, D_FFN = 14336, VOCAB = 128256, NAME_SIZE = 96 };

typedef struct model {
    sp_tensor_table tensors;
    void *blocks[SP_MAX_BLOCKS]; /* [n_blocks] the tensors' values, owned */
    size_t n_blocks;
    sp_weights weights;
    sp_language_model lm;
} model;

/* Values around 0 of an even spread, in the type whose bytes are used in place; n_cols 0: a norm. */
static void add_tensor(model *m, sp_dtype dtype, const char *name, size_t n_rows, size_t n_cols) {
    const size_t n = n_rows * (n_cols > 0 ? n_cols : 1);
    const float spread = n_cols > 0 ? 0.04F : 0;
    void *values = NULL;
    bench_must(sp_alloc_array(&values, n, dtype == SP_F32 ? sizeof(float) : sizeof(uint16_t),
                              "random weights"));
    m->blocks[m->n_blocks++] = values;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++) {
        const size_t width = n_cols > 0 ? n_cols : 1;
        uint32_t state = (uint32_t)r * 2654435761U + (uint32_t)n;
        for (size_t i = 0; i < width; i++) {
            const float unit = (float)(bench_random(&state) >> 8) / (float)(1U << 24) - 0.5F;
            const float value = n_cols > 0 ? spread * unit : 1;
            if (dtype == SP_F32)
                ((float *)values)[r * width + i] = value;
            else
                sp_f32_to_bf16((uint16_t *)values + r * width + i, &value, 1);
        }
    }
    const sp_tensor tensor = {
        .dtype = dtype, .n_dims = n_cols > 0 ? 2 : 1, .shape = {n_rows, n_cols}, .data = values};
    bench_must(sp_tensor_table_add(&m->tensors, name, &tensor));
}

static void add_layer(model *m, sp_dtype dtype, size_t l) {
    static const struct {
        const char *name;
        size_t n_rows, n_cols;
    } parts[] = {
        {"input_layernorm", D, 0},     {"post_attention_layernorm", D, 0},
        {"self_attn.q_proj", D, D},    {"self_attn.k_proj", D_KV, D},
        {"self_attn.v_proj", D_KV, D}, {"self_attn.o_proj", D, D},
        {"mlp.gate_proj", D_FFN, D},   {"mlp.up_proj", D_FFN, D},
        {"mlp.down_proj", D, D_FFN},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "model.layers.%zu.%s.weight", l, parts[i].name);
        add_tensor(m, parts[i].n_cols > 0 ? dtype : SP_F32, name, parts[i].n_rows, parts[i].n_cols);
    }
}

static void make_model(model *m, sp_precision precision, size_t n_layers) {
    const sp_dtype dtype = precision == SP_PRECISION_F32 ? SP_F32 : SP_BF16;
    json_error_t error;
    json_t *config = json_loads(config_text, 0, &error);
    if (config == NULL ||
        json_object_set_new(config, "num_hidden_layers", json_integer((json_int_t)n_layers)) != 0)
        bench_must(sp_fail(SP_FAILURE, "no configuration"));
    add_tensor(m, dtype, "model.embed_tokens.weight", VOCAB, D);
    add_tensor(m, SP_F32, "model.norm.weight", D, 0);
    for (size_t l = 0; l < n_layers; l++) add_layer(m, dtype, l);
    bench_must(sp_tensor_table_sort(&m->tensors));
    bench_must(sp_weights_load(&m->weights, &m->tensors, config, precision, SP_WEIGHTS_ALL,
                               "random weights"));
    bench_must(sp_language_model_create(&m->lm, &m->weights));
    json_decref(config);
}

static void free_model(model *m) {
    sp_language_model_destroy(&m->lm);
    sp_weights_free(&m->weights);
    sp_tensor_table_free(&m->tensors);
    for (size_t i = 0; i < m->n_blocks; i++) free(m->blocks[i]);
}

static void fill_batch(sp_batch *batch, size_t n_rows) {
    uint32_t state = 1;
    int32_t seq = 0;
    bench_must(sp_batch_add_seq(batch, SP_DECODER, SP_NO_PARENT, 0, &seq));
    for (size_t i = 0; i < n_rows; i++)
        bench_must(
            sp_batch_add_row(batch, SP_DECODER, (int32_t)((bench_random(&state) >> 8) % VOCAB)));
    for (size_t i = 0; i < n_rows; i++) {
        batch->rows[SP_DECODER].targets[i] = (int32_t)((bench_random(&state) >> 8) % VOCAB);
        batch->rows[SP_DECODER].target_loss[i] = SP_COMPLETION;
    }
    batch->loss_scale[SP_COMPLETION] = 1 / (float)n_rows;
    batch->is_training = true;
}

/* Bytes that the process grows by in a pass of the head alone, over those of its input and of the
   gradient to it. */
static uint64_t head_grows(model *m, sp_batch *batch) {
    const size_t head = m->lm.chain.n_blocks - 1, n_rows = batch->rows[SP_DECODER].n_rows;
    sp_pass pass = {0};
    sp_workspace workspace = {0};
    void *x = NULL;
    bench_must(sp_alloc_array(&x, n_rows * D, sizeof(float), "the head's input"));
    for (size_t i = 0; i < n_rows * D; i++) ((float *)x)[i] = (float)(i % 251) / 251 - 0.5F;
    bench_forget_peak();
    const uint64_t before = bench_rss_bytes();
    bench_must(sp_pass_reserve(&pass, &m->lm.chain, head, head + 1, batch));
    bench_must(sp_workspace_reserve(&workspace, &m->lm.chain, head, head + 1, batch, true));
    (void)sp_pass_forward(&pass, &m->lm.chain, head, head + 1, batch, x, &workspace);
    (void)sp_pass_backward(&pass, &m->lm.chain, head, head + 1, batch, NULL, &workspace);
    const uint64_t grown = bench_peak_rss_bytes() - before;
    sp_workspace_release(&workspace);
    sp_pass_release(&pass);
    free(x);
    return grown;
}

static double run_once(model *m, sp_batch *batch, sp_pass *pass, sp_workspace *workspace) {
    const sp_chain *chain = &m->lm.chain;
    const size_t n = chain->n_blocks;
    bench_must(sp_transformer_prepare(m->lm.transformer, &batch->rows[SP_DECODER]));
    bench_must(sp_pass_reserve(pass, chain, 0, n, batch));
    bench_must(sp_workspace_reserve(workspace, chain, 0, n, batch, true));
    (void)sp_pass_forward(pass, chain, 0, n, batch, NULL, workspace);
    /* Block 0 is the embedding: what block 1 returns is the gradient of the input. */
    (void)sp_pass_backward(pass, chain, 1, n, batch, NULL, workspace);
    return sp_chain_training_flop(chain, batch);
}

int main(int argc, char **argv) {
    sp_precision precision = SP_PRECISION_F32;
    const size_t n_rows = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    const size_t n_runs = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    const size_t n_layers = argc > 4 ? strtoul(argv[4], NULL, 10) : 2;
    if (argc < 4 || n_rows == 0 || n_runs == 0 || n_layers == 0 || n_layers > 32 ||
        !bench_read_precision(&precision, argv[1])) {
        fprintf(stderr, "usage: bench_blocks f32|bf16|int8 ROWS RUNS [LAYERS]\n");
        return SP_USAGE;
    }
    model m = {0};
    sp_batch batch = {0};
    sp_pass pass = {0};
    sp_workspace workspace = {0};
    bench_runs runs = {0};
    double flop = 0;
    make_model(&m, precision, n_layers);
    fill_batch(&batch, n_rows);
    const sp_block *head = m.lm.chain.blocks[m.lm.chain.n_blocks - 1];
    const sp_cost cost = head->kind->cost(head, &batch);
    const uint64_t grown = head_grows(&m, &batch);
    for (size_t run = 0; run <= n_runs; run++) { /* the first warms up */
        const bench_moment begin = bench_now();
        flop = run_once(&m, &batch, &pass, &workspace);
        if (run > 0) bench_add_run(&runs, bench_since(begin));
    }
    printf("{\"precision\":\"%s\",\"rows\":%zu,\"layers\":%zu,\"head_bytes\":%zu,"
           "\"head_grown_bytes\":%ju,\"peak_rss_bytes\":%ju,",
           argv[1], n_rows, n_layers, cost.bytes_kept + cost.bytes_scratch, (uintmax_t)grown,
           (uintmax_t)bench_peak_rss_bytes());
    bench_print_rates(&runs, "rows", (double)n_rows);
    printf(",");
    bench_print_flops(&runs, flop, precision);
    printf("}\n");
    sp_workspace_release(&workspace);
    sp_pass_release(&pass);
    sp_batch_free(&batch);
    free_model(&m);
    return 0;
}
