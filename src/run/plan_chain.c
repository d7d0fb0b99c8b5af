#include "run/plan_chain.h"

#include "base/memory.h"
#include "base/size.h"
#include "run/encoder_states.h"
#include "run/models.h"
#include "run/plan_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- weights ---- */

/* What the tensors of one side are asked with. */
typedef struct side_tensors {
    const sp_model_config *config;
    const sp_tensor_table *tensors;
    sp_dtype dtype; /* where the weight files are not there */
    sp_precision precision;
    bool is_trained; /* as a whole */
} side_tensors;

/* What config.json says of the type; most are published in bf16. */
static sp_status read_dtype(sp_dtype *dtype, const sp_model_source *source) {
    const char *name = "bfloat16";
    SP_TRY(sp_json_get_string(&name, source->config, "torch_dtype", source->path));
    SP_TRY(sp_json_get_string(&name, source->config, "dtype", source->path));
    *dtype = strcmp(name, "float32") == 0   ? SP_F32
             : strcmp(name, "float16") == 0 ? SP_F16
                                            : SP_BF16;
    return SP_OK;
}

/* The tensor of that name, or what it would be; n_rows is 0 for a vector. */
static sp_tensor tensor_of(const side_tensors *from, const char *name, size_t n_rows,
                           size_t n_cols) {
    const sp_tensor *found = sp_tensor_table_find(from->tensors, name);
    if (found != NULL) return *found;
    return (sp_tensor){.dtype = from->dtype,
                       .n_dims = n_rows > 0 ? 2 : 1,
                       .shape = {n_rows > 0 ? n_rows : n_cols, n_rows > 0 ? n_cols : 0}};
}

static uint64_t bytes_in_file(const sp_tensor *tensor) {
    return sp_dtype_bytes(tensor->dtype, sp_tensor_n_values(tensor));
}

static void add_vector(sp_plan_weights *sum, const side_tensors *from, const char *name, size_t n) {
    const sp_tensor tensor = tensor_of(from, name, 0, n);
    sum->n_values += n;
    sum->file += bytes_in_file(&tensor);
    if (!from->is_trained) sum->copied += n * sizeof(float);
}

/* A matrix that a linear layer multiplies by. */
static void add_matrix(sp_plan_weights *sum, const side_tensors *from, const char *name,
                       size_t n_out, size_t n_in) {
    const sp_tensor tensor = tensor_of(from, name, n_out, n_in);
    const uint64_t n_copied = sp_linear_copied_bytes(&tensor, from->precision);
    sum->n_values += n_out * n_in;
    if (from->is_trained || n_copied > 0)
        sum->file += bytes_in_file(&tensor);
    else
        sum->mapped += bytes_in_file(&tensor);
    if (!from->is_trained) sum->copied += n_copied;
}

/* A table whose rows are looked up where they lie. */
static void add_table(sp_plan_weights *sum, const side_tensors *from, const char *module,
                      size_t n_rows, size_t d) {
    char name[128];
    snprintf(name, sizeof name, "%s.weight", module);
    const sp_tensor tensor = tensor_of(from, name, n_rows, d);
    sum->n_values += n_rows * d;
    if (from->is_trained)
        sum->file += bytes_in_file(&tensor);
    else
        sum->mapped += bytes_in_file(&tensor);
}

static void add_norm(sp_plan_weights *sum, const side_tensors *from, const char *module) {
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    add_vector(sum, from, name, from->config->d_model);
    if (!from->config->family->has_layernorm) return;
    snprintf(name, sizeof name, "%s.bias", module);
    add_vector(sum, from, name, from->config->d_model);
}

static sp_plan_weights weights_of_embedding(const side_tensors *from) {
    const sp_model_config *c = from->config;
    sp_plan_weights sum = {0};
    add_table(&sum, from, c->family->embedding, c->vocab_size, c->d_model);
    if (c->family->has_learned_positions)
        add_table(&sum, from, c->family->positions, c->max_positions, c->d_model);
    return sum;
}

static sp_plan_weights weights_of_layer(const side_tensors *from, size_t l) {
    const sp_model_config *c = from->config;
    const sp_family *family = c->family;
    sp_plan_weights sum = {0};
    char name[128];
    for (sp_role role = 0; role < SP_N_ROLES; role++) {
        const size_t n_out = sp_matrix_n_out(c, role);
        if (n_out == 0) continue;
        snprintf(name, sizeof name, "%s.%zu.%s.weight", family->layers, l, family->modules[role]);
        add_matrix(&sum, from, name, n_out, sp_matrix_n_in(c, role));
        if (!c->has_bias[role]) continue;
        snprintf(name, sizeof name, "%s.%zu.%s.bias", family->layers, l, family->modules[role]);
        add_vector(&sum, from, name, n_out);
    }
    snprintf(name, sizeof name, "%s.%zu.%s", family->layers, l, family->attention_norm);
    add_norm(&sum, from, name);
    snprintf(name, sizeof name, "%s.%zu.%s", family->layers, l, family->ffn_norm);
    add_norm(&sum, from, name);
    return sum;
}

/* Does the head multiply by the embedding's matrix? */
static bool is_tied(const side_tensors *from) {
    const sp_model_config *c = from->config;
    if (c->tie_word_embeddings) return true;
    return c->may_tie_word_embeddings && from->tensors->n_entries > 0 &&
           sp_tensor_table_find(from->tensors, "lm_head.weight") == NULL;
}

/* Of the head of a tied model, which are no parameters of their own: bytes alone. *is_table: they are
   the table's own bytes. */
static sp_plan_weights weights_of_head(bool *is_table, const side_tensors *from) {
    const sp_model_config *c = from->config;
    sp_plan_weights sum = {0};
    char name[128] = "lm_head.weight";
    const bool tied = is_tied(from);
    if (tied) snprintf(name, sizeof name, "%s.weight", c->family->embedding);
    add_matrix(&sum, from, name, c->vocab_size, c->d_model);
    *is_table = tied && sum.mapped > 0;
    if (tied) sum.n_values = 0;
    return sum;
}

static void add_weights(sp_plan_weights *sum, const sp_plan_weights *more) {
    sum->mapped += more->mapped;
    sum->copied += more->copied;
    sum->file += more->file;
    sum->n_values += more->n_values;
}

static const sp_model_config *config_of(const sp_plan_chain *chain, sp_side side) {
    return &(side == SP_ENCODER ? &chain->outline.encoder : &chain->outline.decoder)->config;
}

static sp_status weigh_side(sp_plan_chain *chain, sp_side side) {
    const sp_model_config *c = config_of(chain, side);
    side_tensors from = {.config = c,
                         .tensors = &chain->sources[side].tensors,
                         .precision = chain->precisions[side],
                         .is_trained =
                             side == SP_ENCODER && chain->config->encoder.train == SP_ENCODER_FULL};
    SP_TRY(read_dtype(&from.dtype, &chain->sources[side]));
    sp_plan_weights *weights = chain->weights;
    if (side == SP_DECODER) weights += chain->outline.compressor->encoder_end + 1;
    weights[0] = weights_of_embedding(&from);
    for (size_t l = 0; l < c->n_layers; l++) weights[1 + l] = weights_of_layer(&from, l);
    add_norm(&weights[1 + c->n_layers], &from, c->family->final_norm);
    if (side == SP_ENCODER) return SP_OK;
    from.precision = sp_head_precision(from.precision);
    const sp_plan_weights head = weights_of_head(&chain->head_is_table, &from);
    add_weights(&weights[1 + c->n_layers], &head);
    return SP_OK;
}

sp_plan_weights sp_plan_weights_of(const sp_plan_chain *chain, const bool *has_block) {
    const size_t n_blocks = sp_plan_blocks(chain)->n_blocks;
    const size_t decoder = chain->outline.compressor->encoder_end + 1;
    sp_plan_weights sum = {0};
    for (size_t b = 0; b < n_blocks; b++) {
        if (!has_block[b]) continue;
        /* of shared models, the embedding and the layers; what follows them differs */
        const bool is_twin = chain->outline.shares_weights && b >= decoder && b + 1 < n_blocks;
        if (is_twin && has_block[b - decoder]) continue;
        sp_plan_weights own = chain->weights[b];
        const bool is_head = b + 1 == n_blocks;
        if (is_head && chain->head_is_table &&
            (has_block[decoder] || (chain->outline.shares_weights && has_block[0])))
            own.mapped = 0;
        add_weights(&sum, &own);
    }
    return sum;
}

/* ---- data ---- */

static void count_steps(sp_plan_data *data, const sp_run_config *config) {
    const double batch_tokens = data->encoder_tokens * (double)config->train.global_batch;
    if (config->train.steps != SP_COUNT_AUTO)
        data->n_steps = config->train.steps;
    else if (config->data.budget_tokens != SP_COUNT_AUTO)
        data->n_steps = (uint64_t)ceil((double)config->data.budget_tokens / batch_tokens);
    else
        data->n_steps =
            sp_divide_up(data->n_segments * config->data.epochs, config->train.global_batch);
}

/* Arrays of 8 bytes: a segment's document, its end in each stream; of 4: which are trained on. Of the
   HDF5 library's chunk caches, 32 MiB a stream, what the file fills. */
static uint64_t index_bytes(uint64_t n_segments, size_t n_streams, uint64_t n_ids) {
    enum { CACHE_BYTES = 32 << 20 };
    const uint64_t n_cached = n_ids * sizeof(uint32_t);
    return n_segments * (8 + 8 * n_streams + 2 * 4) +
           2 * (n_cached < CACHE_BYTES ? n_cached : (uint64_t)CACHE_BYTES);
}

/* Without a token file: full segments, as many as the budget or the steps ask for. */
static void assume_data(sp_plan_data *data, const sp_run_config *config) {
    *data = (sp_plan_data){.encoder_tokens = (double)config->segment.tokens,
                           .decoder_tokens = (double)config->segment.tokens,
                           .most_encoder_tokens = config->segment.tokens,
                           .most_decoder_tokens = config->segment.tokens,
                           .completes = 1};
    if (config->data.budget_tokens != SP_COUNT_AUTO)
        data->n_segments = sp_divide_up(config->data.budget_tokens, config->segment.tokens);
    else if (config->train.steps != SP_COUNT_AUTO)
        data->n_segments = (uint64_t)config->train.steps * config->train.global_batch;
    count_steps(data, config);
    const bool is_one_stream =
        strcmp(config->data.encoder_stream, config->data.decoder_stream) == 0;
    data->n_bytes = index_bytes(data->n_segments, is_one_stream ? 1 : 2,
                                data->n_segments * config->segment.tokens);
}

/* Rows are held in memory whole. */
static void measure_tasks(sp_plan_data *data, const sp_samples *samples,
                          const sp_run_config *config) {
    const sp_task_set *set = samples->tasks;
    const double n = (double)samples->n_trained;
    double n_encoder = 0, n_segments = 0, n_prompt = 0, n_answer = 0;
    *data = (sp_plan_data){.is_read = true, .n_segments = samples->n_trained};
    for (size_t i = 0; i < samples->n_trained; i++) {
        const sp_question question = sp_task_question(set, samples->trained[i]);
        n_encoder += (double)sp_task_context_tokens(set, set->tasks[samples->trained[i]].context);
        n_segments += (double)question.n_segments;
        n_prompt += (double)(question.n_before + question.n_prompt);
        n_answer += (double)question.n_answer;
    }
    data->encoder_tokens = n_encoder / n;
    data->decoder_tokens = (n_prompt + n_answer) / n;
    data->segments = n_segments / n;
    data->prompt_tokens = n_prompt / n;
    data->answer_tokens = n_answer / n;
    count_steps(data, config);
    data->n_bytes = set->n_ids * sizeof *set->ids + set->n_segments * sizeof *set->segment_lens +
                    set->n_contexts * sizeof *set->contexts + set->n_tasks * sizeof *set->tasks +
                    set->n_tasks * 2 * sizeof(uint32_t);
}

static void measure_data(sp_plan_data *data, const sp_samples *samples,
                         const sp_run_config *config) {
    const sp_tokens *tokens = samples->tokens;
    const size_t n = samples->n_trained;
    uint64_t n_encoder = 0, n_decoder = 0, n_followed = 0;
    *data = (sp_plan_data){.is_read = true, .n_segments = n};
    for (size_t i = 0; i < n; i++) {
        const size_t s = samples->trained[i];
        const size_t encoder = sp_tokens_length(tokens, samples->encoder_stream, s);
        const size_t decoder = sp_tokens_length(tokens, samples->decoder_stream, s);
        n_encoder += encoder;
        n_decoder += decoder;
        n_followed += s + 1 < sp_tokens_n_segments(tokens) &&
                      sp_tokens_document(tokens, s + 1) == sp_tokens_document(tokens, s);
        if (encoder > data->most_encoder_tokens) data->most_encoder_tokens = encoder;
        if (decoder > data->most_decoder_tokens) data->most_decoder_tokens = decoder;
    }
    data->encoder_tokens = (double)n_encoder / (double)n;
    data->decoder_tokens = (double)n_decoder / (double)n;
    data->completes = (double)n_followed / (double)n;
    count_steps(data, config);
    data->n_bytes = index_bytes(sp_tokens_n_segments(tokens), sp_tokens_n_streams(tokens),
                                n_encoder > n_decoder ? n_encoder : n_decoder);
}

static sp_status use_rows(sp_plan_chain *chain, const sp_samples *rows) {
    void *heaviest = NULL;
    SP_TRY(sp_alloc_array(&heaviest, SP_MOST_HEAVIEST, sizeof *chain->heaviest, "a plan"));
    chain->heaviest = heaviest;
    chain->rows = rows;
    measure_tasks(&chain->data, rows, chain->config);
    return SP_OK;
}

static sp_status read_rows(sp_plan_chain *chain) {
    const sp_run_config *config = chain->config;
    SP_TRY(sp_task_set_read(&chain->read_tasks, config, SP_ON_ERROR_STOP));
    SP_TRY(sp_samples_open_tasks(&chain->read_rows, &chain->read_tasks, config));
    if (chain->read_rows.n_trained == 0)
        return sp_fail(SP_BAD_DATA, "'%s': no row to train on", config->data.rows);
    return use_rows(chain, &chain->read_rows);
}

static sp_status read_data(sp_plan_data *data, const sp_run_config *config) {
    sp_tokens *tokens = NULL;
    sp_samples samples = {0};
    if (access(config->data.tokens, F_OK) != 0) {
        assume_data(data, config);
        return SP_OK;
    }
    sp_status status = sp_tokens_open(&tokens, config->data.tokens);
    if (status == SP_OK) status = sp_samples_open(&samples, tokens, config);
    if (status == SP_OK && samples.n_trained == 0)
        status = sp_fail(SP_BAD_DATA, "'%s': no segment to train on", config->data.tokens);
    if (status == SP_OK) measure_data(data, &samples, config);
    sp_samples_close(&samples);
    sp_tokens_close(tokens);
    return status;
}

/* ---- opening ---- */

static sp_status open_chain(sp_plan_chain *chain, const sp_samples *samples) {
    const sp_run_config *config = chain->config;
    sp_models_precisions(config, &chain->precisions[SP_ENCODER], &chain->precisions[SP_DECODER]);
    SP_TRY(sp_outline_create(&chain->outline, config));
    SP_TRY(sp_model_source_open_outline(&chain->sources[SP_ENCODER], config->encoder.model));
    SP_TRY(sp_model_source_open_outline(&chain->sources[SP_DECODER], config->decoder.model));
    void *weights = NULL;
    SP_TRY(sp_alloc_array(&weights, sp_plan_blocks(chain)->n_blocks, sizeof *chain->weights,
                          "a plan"));
    chain->weights = weights;
    SP_TRY(weigh_side(chain, SP_ENCODER));
    SP_TRY(weigh_side(chain, SP_DECODER));
    const sp_model_config *decoder = config_of(chain, SP_DECODER);
    chain->layout = sp_run_config_layout(config, decoder);
    if (samples != NULL && samples->tasks != NULL) return use_rows(chain, samples);
    if (samples != NULL) {
        measure_data(&chain->data, samples, config);
        return SP_OK;
    }
    return sp_run_config_is_of_tasks(config) ? read_rows(chain) : read_data(&chain->data, config);
}

sp_status sp_plan_chain_open(sp_plan_chain *chain, const sp_run_config *config,
                             const sp_samples *samples) {
    *chain = (sp_plan_chain){.config = config};
    const sp_status status = open_chain(chain, samples);
    if (status != SP_OK) sp_plan_chain_close(chain);
    return status;
}

void sp_plan_chain_close(sp_plan_chain *chain) {
    free(chain->heaviest);
    sp_samples_close(&chain->read_rows);
    sp_task_set_free(&chain->read_tasks);
    free(chain->weights);
    for (int side = 0; side < SP_N_SIDES; side++) sp_model_source_close(&chain->sources[side]);
    sp_outline_release(&chain->outline);
    *chain = (sp_plan_chain){0};
}

/* ---- blocks ---- */

size_t sp_plan_first_run(const sp_plan_chain *chain) {
    return sp_encoder_states_are_used(chain->config) ? chain->outline.compressor->encoder_end : 0;
}

sp_side sp_plan_block_side(const sp_plan_chain *chain, size_t block) {
    return block <= chain->outline.compressor->encoder_end ? SP_ENCODER : SP_DECODER;
}

void sp_plan_block_name(char *text, size_t size, const sp_plan_chain *chain, size_t block) {
    const size_t converter = chain->outline.compressor->encoder_end;
    const sp_block_kind *kind = sp_plan_blocks(chain)->blocks[block]->kind;
    const char *side = block < converter ? "encoder" : "decoder";
    const size_t first = block < converter ? 0 : converter + 1;
    if (block == converter)
        snprintf(text, size, "converter");
    else if (strcmp(kind->name, "layer") == 0)
        snprintf(text, size, "%s layer %zu", side, block - first - 1);
    else
        snprintf(text, size, "%s %s", side, kind->name);
}

size_t sp_plan_wire_bytes(const sp_run_config *config) {
    const bool is_bf16 =
        config->parallel.wire == SP_ASKED_BF16 ||
        (config->parallel.wire == SP_ASKED_AUTO && config->train.precision == SP_ASKED_BF16);
    return is_bf16 ? 2 : 4;
}

size_t sp_plan_block_trained(const sp_plan_chain *chain, size_t block) {
    const sp_params *params = &chain->outline.compressor->params;
    return sp_params_group_end(params, block) - params->group_begin[block];
}

size_t sp_plan_block_frozen(const sp_plan_chain *chain, size_t block) {
    const sp_params *frozen = &chain->outline.compressor->frozen;
    return block < frozen->n_groups
               ? sp_params_group_end(frozen, block) - frozen->group_begin[block]
               : 0;
}

/* ---- batches and costs ---- */

/* Samples of one kind, and the share of all that are of it. */
typedef struct sample_kind {
    double share;
    bool reconstructs, completes;
} sample_kind;

enum { N_KINDS = 2 };

/* As src/run/samples.c draws them. */
static void choose_kinds(sample_kind kinds[N_KINDS], const sp_plan_chain *chain) {
    const double reconstruction = chain->config->objective.reconstruction;
    const double completion = chain->config->objective.completion;
    const bool reconstructs = reconstruction > 0, completes = completion > 0;
    const double followed = completes ? chain->data.completes : 0;
    if (reconstructs && completes && chain->config->objective.draw == SP_DRAW_ONE) {
        const double drawn = followed * completion / (reconstruction + completion);
        kinds[0] = (sample_kind){drawn, false, true};
        kinds[1] = (sample_kind){1 - drawn, true, false};
    } else {
        kinds[0] = (sample_kind){followed, reconstructs, completes};
        kinds[1] = (sample_kind){1 - followed, reconstructs, false};
    }
}

static sp_status fill(sp_batch *batch, const sp_plan_chain *chain, size_t n_samples,
                      const sample_kind *kind, size_t n_encoder, size_t n_decoder) {
    const size_t most = n_encoder > n_decoder ? n_encoder : n_decoder;
    int32_t *ids = calloc(most > 0 ? most : 1, sizeof *ids);
    if (ids == NULL) return sp_fail(SP_FAILURE, "no memory for %zu ids", most);
    const sp_sample sample = {.encoder_ids = ids,
                              .n_encoder_ids = n_encoder,
                              .decoder_ids = ids,
                              .n_decoder_ids = n_decoder,
                              .next_ids = ids,
                              .n_next_ids = n_decoder,
                              .reconstructs = kind->reconstructs,
                              .completes = kind->completes};
    sp_batch_clear(batch);
    batch->is_training = true;
    sp_status status = SP_OK;
    for (size_t i = 0; i < n_samples && status == SP_OK; i++)
        status = sp_layout_add_sample(&chain->layout, batch, &sample);
    free(ids);
    return status;
}

/* Products with what is trained beside or in place of frozen weights: 2 FLOP a row and value forward,
   twice that backward, in f32. */
static void add_cost(sp_plan_cost *sum, const sp_plan_chain *chain, size_t block,
                     const sp_batch *batch, double share) {
    const sp_block *b = sp_plan_blocks(chain)->blocks[block];
    sp_cost cost = b->kind->cost(b, batch);
    if (block < chain->outline.compressor->first_trained) {
        cost.flop_backward = 0;
        cost.bytes_kept = 0;
    }
    const double rows = (double)b->kind->n_in_rows(b, batch);
    const double n_trained = (double)sp_plan_block_trained(chain, block);
    const bool is_all = chain->precisions[sp_plan_block_side(chain, block)] == SP_PRECISION_F32;
    const double adapted = is_all ? cost.flop_forward : 2 * rows * n_trained;
    const double adapted_back = is_all ? cost.flop_backward : 4 * rows * n_trained;
    sum->flop_forward += share * cost.flop_forward;
    sum->flop_backward += share * cost.flop_backward;
    sum->adapted_forward += share * fmin(adapted, cost.flop_forward);
    sum->adapted_backward += share * fmin(adapted_back, cost.flop_backward);
    sum->output_bytes += share * (double)(b->kind->n_out_rows(b, batch) * b->n_out) * sizeof(float);
    sum->kept_bytes += share * (double)cost.bytes_kept;
    sum->rows += share * rows;
}

/* The mean of some rows: costs are not linear in a row's length. */
static sp_status row_costs(sp_plan_cost *costs, const sp_plan_chain *chain, size_t n_samples) {
    sp_batch batch = {0};
    size_t n = 0;
    const sp_status status = sp_plan_typical_rows(&batch, &n, chain);
    for (size_t b = 0; b < sp_plan_blocks(chain)->n_blocks && status == SP_OK; b++)
        add_cost(&costs[b], chain, b, &batch, (double)n_samples / (double)n);
    sp_batch_free(&batch);
    return status;
}

sp_status sp_plan_costs(sp_plan_cost *costs, const sp_plan_chain *chain, size_t n_samples) {
    const size_t n_blocks = sp_plan_blocks(chain)->n_blocks;
    sample_kind kinds[N_KINDS];
    sp_batch batch = {0};
    sp_status status = SP_OK;
    choose_kinds(kinds, chain);
    memset(costs, 0, n_blocks * sizeof *costs);
    if (chain->rows != NULL) return row_costs(costs, chain, n_samples);
    for (size_t k = 0; k < N_KINDS && status == SP_OK; k++) {
        if (kinds[k].share == 0) continue;
        status =
            fill(&batch, chain, n_samples, &kinds[k], (size_t)lround(chain->data.encoder_tokens),
                 (size_t)lround(chain->data.decoder_tokens));
        for (size_t b = 0; b < n_blocks && status == SP_OK; b++)
            add_cost(&costs[b], chain, b, &batch, kinds[k].share);
    }
    sp_batch_free(&batch);
    return status;
}

sp_status sp_plan_largest_batch(sp_batch *batch, const sp_plan_chain *chain, size_t n_samples) {
    if (chain->rows != NULL) return sp_plan_largest_rows(batch, chain, n_samples);
    const bool reconstructs = chain->config->objective.reconstruction > 0;
    const bool completes = chain->config->objective.completion > 0 && chain->data.completes > 0;
    const bool draws_one = reconstructs && chain->config->objective.draw == SP_DRAW_ONE;
    const sample_kind kind = {1, reconstructs, completes && !draws_one};
    return fill(batch, chain, n_samples, &kind, chain->data.most_encoder_tokens,
                chain->data.most_decoder_tokens);
}
