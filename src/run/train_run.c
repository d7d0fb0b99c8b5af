#include "run/train_run.h"

#include "base/log.h"
#include "io/atomic_file.h"
#include "mpi/agree.h"
#include "run/models.h"
#include "run/precision_choice.h"
#include "run/product_peak.h"
#include "run/resume_notes.h"
#include "run/run_folder.h"
#include "run/samples.h"
#include "run/shared_checkpoint.h"
#include "run/train_state.h"
#include "tensor/cpu.h"
#include "tensor/gemm.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static sp_status open_folder(sp_train_run *t, const char *resume) {
    if (!sp_train_run_is_first(t)) return SP_OK;
    SP_TRY(sp_make_folders(t->config->run.dir));
    SP_TRY(sp_run_lock_acquire(&t->lock, t->config->run.dir));
    return strcmp(resume, "none") == 0 ? sp_run_folder_set_aside(t->config->run.dir) : SP_OK;
}

/* Every rank reads all of its rows, which are few. */
static sp_status open_tasks(sp_train_run *t, sp_on_error on_error) {
    SP_TRY(sp_task_set_read(&t->tasks, t->config, on_error));
    if (t->tasks.n_skipped > 0 && sp_train_run_is_first(t))
        sp_log(SP_LOG_WARNING, "%zu bad rows are left out", t->tasks.n_skipped);
    return sp_samples_open_tasks(&t->samples, &t->tasks, t->config);
}

/* Without validations there is no best checkpoint, and no end before the last step. */
static sp_status check_held_out(const sp_train_run *t) {
    if (t->samples.n_held_out > 0) return SP_OK;
    if (t->config->train.early_stop > 0)
        return sp_fail(SP_USAGE,
                       "train.early_stop: nothing is held out to validate on; raise "
                       "data.validation%s",
                       t->tokens == NULL ? ", or name data.validation_rows" : "");
    if (sp_best_is_kept(t->config) && sp_train_run_is_first(t))
        sp_log(SP_LOG_WARNING, "no rows are held out, so no best checkpoint is kept; raise "
                               "data.validation, or name data.validation_rows");
    return SP_OK;
}

static sp_status open_data(sp_train_run *t, sp_on_error on_error) {
    if (sp_run_config_is_of_tasks(t->config)) {
        SP_TRY(open_tasks(t, on_error));
    } else {
        SP_TRY(sp_tokens_open(&t->tokens, t->config->data.tokens));
        SP_TRY(sp_samples_open(&t->samples, t->tokens, t->config));
    }
    SP_TRY(check_held_out(t));
    size_t n_steps = 0;
    SP_TRY(sp_samples_settle_steps(&t->samples, &n_steps, t->config));
    t->n_steps = n_steps;
    return SP_OK;
}

const char *sp_train_run_digest(const sp_train_run *t) {
    return t->tokens != NULL ? sp_tokens_digest(t->tokens) : t->tasks.digest;
}

/* Collective: which validation was the best, and its checkpoint, put in order by rank 0. */
static sp_status open_best(sp_train_run *t) {
    if (!sp_best_is_kept(t->config)) return SP_OK;
    sp_status status = SP_OK;
    if (t->checkpoint != NULL) {
        const json_t *state = json_object_get(sp_checkpoint_manifest(t->checkpoint), "state");
        status = sp_best_from_json(&t->best, json_object_get(state, "best"),
                                   sp_checkpoint_path(t->checkpoint));
    }
    SP_TRY(sp_agree(t->world, status));
    if (sp_train_run_is_first(t))
        status = sp_run_folder_explain(sp_best_resume(&t->best, t->config->run.dir, t->step));
    SP_TRY(sp_agree(t->world, status));
    sp_world_broadcast(t->world, &t->best, sizeof t->best, 0);
    return SP_OK;
}

/* Collective: what to go on from, or to begin with. */
static sp_status open_checkpoint(sp_train_run *t, const char *resume) {
    const bool is_auto = strcmp(resume, "auto") == 0;
    const char *dir = is_auto ? t->config->run.dir : resume, *init = t->config->train.init;
    bool is_there = strcmp(resume, "none") != 0;
    if (is_auto) SP_TRY(sp_shared_checkpoint_find(&is_there, t->world, dir));
    if (!is_there && init != NULL) return sp_shared_checkpoint_open(&t->init, t->world, init);
    if (!is_there) return SP_OK;
    SP_TRY(sp_shared_checkpoint_open(&t->checkpoint, t->world, dir));
    t->step = sp_checkpoint_step(t->checkpoint);
    return sp_agree(t->world,
                    sp_train_state_check(t->config, t->checkpoint, sp_train_run_digest(t)));
}

/* Collective: what `auto` comes to is measured by one rank for all, once for a run: one that goes on
   keeps its choice. */
static sp_status choose_precisions(sp_train_run *t) {
    sp_run_config saved = {0};
    t->effective = *t->config;
    t->config = &t->effective;
    if (!sp_precision_is_open(t->config)) return SP_OK;
    if (t->checkpoint == NULL) {
        SP_TRY(sp_agree(t->world,
                        sp_train_run_is_first(t) ? sp_precision_choose(&t->effective) : SP_OK));
        sp_world_broadcast(t->world, &t->effective.chosen, sizeof t->effective.chosen, 0);
        return SP_OK;
    }
    const sp_status status = sp_agree(t->world, sp_models_read_config(&saved, t->checkpoint));
    t->effective.chosen = saved.chosen;
    sp_run_config_free(&saved);
    return status;
}

/* A stream whose ids a model does not have was made for another model. */
static sp_status check_stream(const sp_train_run *t, size_t stream, const sp_weights *weights,
                              const char *key) {
    const size_t in_file = sp_tokens_vocab_size(t->tokens, stream);
    if (in_file <= weights->config.vocab_size) return SP_OK;
    return sp_fail(SP_USAGE, "%s: stream '%s' has a vocabulary of %zu, the model's is %zu", key,
                   sp_tokens_stream_name(t->tokens, stream), in_file, weights->config.vocab_size);
}

/* Rows were held against the models as they were read. */
static sp_status check_streams(const sp_train_run *t) {
    if (t->tokens == NULL) return SP_OK;
    SP_TRY(check_stream(t, t->samples.encoder_stream, t->models.encoder_weights,
                        "data.encoder_stream"));
    return check_stream(t, t->samples.decoder_stream, t->models.decoder_weights,
                        "data.decoder_stream");
}

/* Rank 0 measures what the machine does, for all; from then on every rank works out the same. */
static sp_status cut_chain(sp_train_run *t, const sp_outline *outline) {
    double rates[2] = {1, 1};
    if (sp_grid_pipeline_size(t->grid) > 1) {
        SP_TRY(sp_agree(t->world, sp_train_run_is_first(t)
                                      ? sp_stages_measure_rates(rates, t->config)
                                      : SP_OK));
        sp_world_broadcast(t->world, rates, sizeof rates, 0);
    }
    SP_TRY(sp_stages_cut(&t->stages, outline, t->config, sp_grid_pipeline_size(t->grid),
                         sp_grid_pipeline_rank(t->grid), rates));
    return sp_stages_to_json(&t->grid_json, &t->stages, sp_grid_data_size(t->grid));
}

/* Before a weight is loaded. What is recomputed changes no bit of what is trained. */
static sp_status check_memory(sp_train_run *t) {
    return sp_start_memory_check(&t->memory, t->config, t->world, t->grid, &t->stages, &t->samples);
}

static sp_status load_state(sp_train_run *t) {
    const json_t *manifest = sp_checkpoint_manifest(t->checkpoint);
    const json_t *state = json_object_get(manifest, "state");
    SP_TRY(sp_train_state_load_moments(t->optimizer.m, t->optimizer.v, &t->optimizer.shard,
                                       t->checkpoint));
    return sp_step_guard_from_json(&t->guard, json_object_get(state, "guard"),
                                   sp_checkpoint_path(t->checkpoint));
}

/* Converter and markers are of one decoder. */
static sp_status load_init(sp_train_run *t) {
    if (t->config->train.init_parts == SP_INIT_ENCODER)
        return sp_models_load_encoder(&t->models, t->init);
    const sp_status status = sp_models_load(&t->models, t->init);
    if (status != SP_BAD_DATA) return status;
    return sp_fail(status, "%s; for another decoder: train.init_parts=encoder", sp_message());
}

/* Local: what this rank holds of the models. */
static sp_status open_models(sp_train_run *t) {
    const size_t n_replicas = sp_grid_data_size(t->grid);
    const bool has_gradients = t->config->parallel.zero == 1 || n_replicas == 1;
    SP_TRY(sp_models_open_part(&t->models, t->config, t->stages.has_block, has_gradients,
                               t->checkpoint));
    SP_TRY(check_streams(t));
    t->samples.layout.bos = t->models.decoder_weights->config.bos_token_id;
    t->samples.layout.eos = t->models.decoder_weights->config.eos_token_id;
    t->samples.layout.longrope_switch = sp_longrope_switch(&t->models.decoder_weights->config);
    memcpy(t->models.compressor->chain.recomputes, t->memory.recomputes,
           sizeof t->memory.recomputes);
    SP_TRY(sp_optimizer_create(&t->optimizer, &t->models.compressor->params,
                               sp_grid_shard_index(t->grid), n_replicas));
    SP_TRY(sp_shard_create(&t->frozen, &t->models.compressor->frozen, sp_grid_shard_index(t->grid),
                           n_replicas));
    if (t->init != NULL) SP_TRY(load_init(t));
    if (t->checkpoint != NULL) SP_TRY(load_state(t));
    return sp_replicas_create(&t->replicas, t->grid, &t->models.compressor->params);
}

/* Collective: what the ranks do together. */
static sp_status open_engine(sp_train_run *t) {
    const sp_run_config *config = t->config;
    sp_params *params = &t->models.compressor->params;
    SP_TRY(sp_agree(t->world, sp_reducer_create(&t->reducer, t->grid, params, &t->optimizer.shard,
                                                (int)config->parallel.zero)));
    SP_TRY(sp_agree(
        t->world, sp_checkpointer_create(&t->checkpointer, t->world, params, &t->optimizer.shard)));
    sp_checkpointer_add_frozen(t->checkpointer, &t->frozen, t->models.compressor->frozen.values);
    const sp_stage_runner_parts parts = {
        .grid = t->grid,
        .stages = &t->stages,
        .compressor = t->models.compressor,
        .samples = &t->samples,
        .states = t->states,
        .reducer = t->reducer,
        .watchdog = t->watchdog,
        .pass_samples = t->memory.pass_samples,
        .wire_is_bf16 =
            config->parallel.wire == SP_ASKED_BF16 ||
            (config->parallel.wire == SP_ASKED_AUTO && config->train.precision == SP_ASKED_BF16),
    };
    SP_TRY(sp_agree(t->world, sp_stage_runner_create(&t->runner, &parts)));
    t->metrics.is_of_answers = t->samples.tasks != NULL;
    return sp_agree(t->world, sp_train_run_is_first(t)
                                  ? sp_metrics_open(&t->metrics, config->run.dir, t->step)
                                  : SP_OK);
}

/* LoRA targets that come to nothing. */
static void log_idle_targets(const sp_train_run *t) {
    const sp_family *family = t->models.encoder_weights->config.family;
    const sp_string_list *targets = &t->config->encoder.lora.targets;
    for (size_t i = 0; i < targets->n_items; i++) {
        if (strcmp(targets->items[i], "head") == 0)
            sp_log(SP_LOG_INFO,
                   "lora target 'head' gets no adapter: memory does not pass the head");
        for (sp_role role = 0; role < SP_N_ROLES; role++)
            if (strcmp(targets->items[i], sp_role_names[role]) == 0 &&
                family->matrix_of[role] == SP_N_ROLES)
                sp_log(SP_LOG_INFO, "lora target '%s' is ignored: %s has no such layer",
                       targets->items[i], family->name);
    }
}

/* Which blocks run where, for the reader. */
static void log_cut(const sp_train_run *t) {
    const sp_stages *stages = &t->stages;
    if (stages->n_ranks == 1) return;
    double most = 0, sum = 0;
    for (size_t k = 0; k < stages->n_ranks; k++) {
        double seconds = 0;
        for (size_t s = k; s < stages->n_stages; s += stages->n_ranks)
            seconds += stages->forward_s[s] + stages->backward_s[s];
        most = fmax(most, seconds);
        sum += seconds;
    }
    for (size_t s = 0; s < stages->n_stages; s++)
        sp_log(SP_LOG_INFO, "pipeline rank %zu: blocks %zu to %zu of %zu, %.0f %% of the work",
               s % stages->n_ranks, stages->stages[s].begin, stages->stages[s].end - 1,
               stages->n_blocks, 100 * (stages->forward_s[s] + stages->backward_s[s]) / sum);
    sp_log(SP_LOG_INFO, "%s cut, balance %.2f",
           stages->n_stages > stages->n_ranks ? "folded" : "contiguous",
           sum / most / (double)stages->n_ranks);
}

static void log_memory(const sp_train_run *t) {
    char needed[32], there[32];
    const sp_memory *memory = &t->memory.memory;
    size_t n_recomputed = 0;
    for (size_t i = 0; i < t->stages.n_blocks; i++) n_recomputed += t->memory.recomputes[i];
    sp_log(SP_LOG_INFO, "rank 0 needs %s, most for %s; the node's ranks may have %s",
           sp_memory_text(needed, sizeof needed, sp_memory_total(memory)),
           sp_memory_item_names[sp_memory_largest(memory)],
           sp_memory_text(there, sizeof there, t->memory.node_bytes));
    if (n_recomputed > 0)
        sp_log(SP_LOG_INFO, "activations of %zu of its layers are recomputed", n_recomputed);
    if (t->memory.pass_samples < t->config->train.micro_batch)
        sp_log(SP_LOG_INFO, "micro-batches of %zu go through in passes of %zu",
               t->config->train.micro_batch, t->memory.pass_samples);
}

static void log_start(const sp_train_run *t, const sp_outline *outline) {
    if (t->checkpoint != NULL)
        sp_log(SP_LOG_INFO, "resuming from '%s'", sp_checkpoint_path(t->checkpoint));
    if (t->config->encoder.train == SP_ENCODER_LORA) log_idle_targets(t);
    sp_log(SP_LOG_INFO, "%d rank(s) on %d node(s), %d thread(s) each, %s", sp_world_size(t->world),
           sp_world_node_count(t->world), omp_get_max_threads(), sp_cpu_isa());
    if (sp_world_size(t->world) > 1)
        sp_log(SP_LOG_INFO, "grid: data %zu x pipeline %zu, ZeRO-%zu%s", sp_grid_data_size(t->grid),
               sp_grid_pipeline_size(t->grid), t->config->parallel.zero,
               sp_world_has_threads(t->world)
                   ? ""
                   : "; MPI allows one thread, so nothing overlaps and nobody watches");
    log_cut(t);
    log_memory(t);
    sp_log(SP_LOG_INFO, "frozen weights by %s, trained ones by %s",
           sp_linear_kernel_name(outline->decoder.head), sp_gemm_chosen()->name);
    sp_log(SP_LOG_INFO, "%.2f M trained parameters%s; %zu training and %zu held-out %s",
           (double)outline->compressor->params.n_values / 1e6,
           outline->shares_weights ? ", encoder and decoder share their frozen weights" : "",
           t->samples.n_trained, t->samples.n_held_out,
           t->samples.tasks != NULL ? "rows" : "segments");
}

/* Cuts the chain and opens this rank's part of it. */
static sp_status open_part(sp_train_run *t) {
    sp_outline outline = {0};
    sp_status status = sp_agree(t->world, sp_outline_create(&outline, t->config));
    if (status == SP_OK) status = sp_agree(t->world, cut_chain(t, &outline));
    if (status == SP_OK) status = sp_agree(t->world, check_memory(t));
    if (status == SP_OK) status = sp_agree(t->world, open_models(t));
    if (status == SP_OK && sp_train_run_is_first(t)) log_start(t, &outline);
    sp_outline_release(&outline);
    return status;
}

/* Collective: all ranks at the same time, as they will compute; before there is memory to share. */
static sp_status measure_peak(sp_train_run *t) {
    SP_TRY(sp_agree(t->world, sp_product_peak_measure(&t->peak, t->config)));
    sp_world_sum_double(t->world, &t->peak, 1);
    return SP_OK;
}

sp_status sp_train_run_open(sp_train_run *t, const char *resume, sp_on_error on_error) {
    SP_TRY(sp_agree(t->world, open_folder(t, resume)));
    SP_TRY(sp_agree(t->world, open_data(t, on_error)));
    SP_TRY(open_checkpoint(t, resume));
    SP_TRY(open_best(t));
    if (t->checkpoint != NULL && sp_train_run_is_finished(t)) {
        sp_log(SP_LOG_INFO, "'%s' is finished at step %ju of %ju", t->config->run.dir,
               (uintmax_t)t->step, (uintmax_t)t->n_steps);
        return SP_OK;
    }
    SP_TRY(choose_precisions(t));
    SP_TRY(sp_agree(t->world, sp_grid_create(&t->grid, t->world, t->config->parallel.pipeline)));
    SP_TRY(measure_peak(t));
    if (sp_encoder_states_are_used(t->config))
        SP_TRY(sp_encoder_states_open(&t->states, t->world, t->config, &t->tasks,
                                      t->checkpoint != NULL ? t->checkpoint : t->init));
    SP_TRY(open_part(t));
    if (t->checkpoint != NULL)
        SP_TRY(sp_agree(t->world, sp_train_run_is_first(t)
                                      ? sp_resume_notes_log(t->config, t->checkpoint)
                                      : SP_OK));
    SP_TRY(sp_watchdog_begin(&t->watchdog, t->world, (double)t->config->run.watchdog_s));
    return open_engine(t);
}

/* Whatever the outcome, ranks that share something leave it together: a failure here was agreed, or
   has ended the job. */
void sp_train_run_close(sp_train_run *t, sp_status status) {
    sp_metrics_close(&t->metrics);
    sp_stage_runner_destroy(t->runner);
    sp_checkpointer_destroy(t->checkpointer);
    sp_reducer_destroy(t->reducer);
    sp_watchdog_end(t->watchdog, status);
    sp_encoder_states_close(t->states);
    sp_replicas_free(&t->replicas);
    sp_shard_free(&t->frozen);
    sp_optimizer_release(&t->optimizer);
    sp_models_close(&t->models);
    json_decref(t->grid_json);
    sp_stages_free(&t->stages);
    sp_grid_destroy(t->grid);
    sp_samples_close(&t->samples);
    sp_checkpoint_close(t->init);
    sp_checkpoint_close(t->checkpoint);
    sp_task_set_free(&t->tasks);
    sp_tokens_close(t->tokens);
    sp_run_lock_release(&t->lock);
}
