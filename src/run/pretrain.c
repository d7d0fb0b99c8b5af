#include "run/pretrain.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/progress.h"
#include "io/atomic_file.h"
#include "io/run_lock.h"
#include "mpi/agree.h"
#include "mpi/replicas.h"
#include "mpi/step_timing.h"
#include "run/checkpointer.h"
#include "run/metrics.h"
#include "run/metrics_summary.h"
#include "run/models.h"
#include "run/optimizer.h"
#include "run/resume_notes.h"
#include "run/run_folder.h"
#include "run/samples.h"
#include "run/shared_checkpoint.h"
#include "run/stage_runner.h"
#include "run/start_memory.h"
#include "run/step_guard.h"
#include "run/stop_signal.h"
#include "run/train_state.h"
#include "tensor/cpu.h"
#include "tensor/gemm.h"
#include "tensor/vector.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct training {
    sp_world *world;
    const sp_run_config *config;
    sp_run_lock lock; /* rank 0's */
    sp_grid *grid;
    sp_watchdog *watchdog;
    sp_tokens *tokens;
    sp_samples samples;
    sp_checkpoint *checkpoint; /* to go on from; open until the end */
    sp_checkpoint *init;       /* else of train.init; likewise */
    sp_stages stages;
    sp_start_memory memory;
    sp_models models;
    sp_optimizer optimizer;
    sp_reducer *reducer;
    sp_stage_runner *runner;
    sp_replicas replicas;
    sp_checkpointer *checkpointer;
    sp_step_guard guard;
    json_t *grid_json;  /* for checkpoints */
    sp_metrics metrics; /* rank 0's */
    sp_progress progress;
    uint64_t step, n_steps;    /* updates made; train.steps */
    uint64_t begun_step;       /* of the checkpoint begun last */
    bool is_saving_damage;     /* that one may hold damaged weights */
    double seconds_checkpoint; /* since the last metrics line */
} training;

/* What one step asks the ranks to do next; the same on all of them. */
typedef struct step_wishes {
    bool stops, saves; /* signals and files */
    bool is_written;   /* the checkpoint that is being written, on every rank */
} step_wishes;

static bool is_first(const training *t) { return sp_world_rank(t->world) == 0; }

static void at(const training *t, sp_phase phase) {
    sp_watchdog_at(t->watchdog, phase, t->step, SP_NOWHERE, SP_NOWHERE);
}

/* ---- opening ---- */

static sp_status open_folder(training *t, const char *resume) {
    if (!is_first(t)) return SP_OK;
    SP_TRY(sp_make_folders(t->config->run.dir));
    SP_TRY(sp_run_lock_acquire(&t->lock, t->config->run.dir));
    return strcmp(resume, "none") == 0 ? sp_run_folder_set_aside(t->config->run.dir) : SP_OK;
}

static sp_status open_tokens(training *t) {
    SP_TRY(sp_tokens_open(&t->tokens, t->config->data.tokens));
    SP_TRY(sp_samples_open(&t->samples, t->tokens, t->config));
    size_t n_steps = 0;
    SP_TRY(sp_samples_n_steps(&n_steps, &t->samples, t->config));
    t->n_steps = n_steps;
    return SP_OK;
}

/* Collective: what to go on from, or to begin with. */
static sp_status open_checkpoint(training *t, const char *resume) {
    const bool is_auto = strcmp(resume, "auto") == 0;
    const char *dir = is_auto ? t->config->run.dir : resume, *init = t->config->train.init;
    bool is_there = strcmp(resume, "none") != 0;
    if (is_auto) SP_TRY(sp_shared_checkpoint_find(&is_there, t->world, dir));
    if (!is_there && init != NULL) return sp_shared_checkpoint_open(&t->init, t->world, init);
    if (!is_there) return SP_OK;
    SP_TRY(sp_shared_checkpoint_open(&t->checkpoint, t->world, dir));
    t->step = sp_checkpoint_step(t->checkpoint);
    return sp_agree(t->world,
                    sp_train_state_check(t->config, t->checkpoint, sp_tokens_digest(t->tokens)));
}

/* A stream whose ids a model does not have was made for another model. */
static sp_status check_stream(const training *t, size_t stream, const sp_weights *weights,
                              const char *key) {
    const size_t in_file = sp_tokens_vocab_size(t->tokens, stream);
    if (in_file <= weights->config.vocab_size) return SP_OK;
    return sp_fail(SP_USAGE, "%s: stream '%s' has a vocabulary of %zu, the model's is %zu", key,
                   sp_tokens_stream_name(t->tokens, stream), in_file, weights->config.vocab_size);
}

/* Rank 0 measures what the machine does, for all; from then on every rank works out the same. */
static sp_status cut_chain(training *t, const sp_outline *outline) {
    double rates[2] = {1, 1};
    if (sp_grid_pipeline_size(t->grid) > 1) {
        SP_TRY(sp_agree(t->world, is_first(t) ? sp_stages_measure_rates(rates, t->config) : SP_OK));
        sp_world_broadcast(t->world, rates, sizeof rates, 0);
    }
    const json_t *saved = t->checkpoint != NULL
                              ? json_object_get(sp_checkpoint_manifest(t->checkpoint), "grid")
                              : NULL;
    SP_TRY(sp_stages_cut(&t->stages, outline, t->config, sp_grid_pipeline_size(t->grid),
                         sp_grid_pipeline_rank(t->grid), rates, saved));
    return sp_stages_to_json(&t->grid_json, &t->stages, sp_grid_data_size(t->grid));
}

/* Before a weight is loaded. What is recomputed changes no bit of what is trained. */
static sp_status check_memory(training *t) {
    return sp_start_memory_check(&t->memory, t->config, t->world, t->grid, &t->stages, &t->samples);
}

static sp_status load_state(training *t) {
    const json_t *manifest = sp_checkpoint_manifest(t->checkpoint);
    const json_t *state = json_object_get(manifest, "state");
    SP_TRY(sp_train_state_load_moments(t->optimizer.m, t->optimizer.v, &t->optimizer.shard,
                                       t->checkpoint));
    return sp_step_guard_from_json(&t->guard, json_object_get(state, "guard"),
                                   sp_checkpoint_path(t->checkpoint));
}

/* Local: what this rank holds of the models. */
static sp_status open_models(training *t) {
    const size_t n_replicas = sp_grid_data_size(t->grid);
    const bool has_gradients = t->config->parallel.zero == 1 || n_replicas == 1;
    SP_TRY(sp_models_open_part(&t->models, t->config, t->stages.has_block, has_gradients,
                               t->checkpoint));
    SP_TRY(check_stream(t, t->samples.encoder_stream, t->models.encoder_weights,
                        "data.encoder_stream"));
    SP_TRY(check_stream(t, t->samples.decoder_stream, t->models.decoder_weights,
                        "data.decoder_stream"));
    t->samples.layout.bos = t->models.decoder_weights->config.bos_token_id;
    t->samples.layout.eos = t->models.decoder_weights->config.eos_token_id;
    t->samples.layout.longrope_switch = sp_longrope_switch(&t->models.decoder_weights->config);
    memcpy(t->models.compressor->chain.recomputes, t->memory.recomputes,
           sizeof t->memory.recomputes);
    SP_TRY(sp_optimizer_create(&t->optimizer, &t->models.compressor->params,
                               sp_grid_shard_index(t->grid), n_replicas));
    if (t->init != NULL) SP_TRY(sp_models_load(&t->models, t->init));
    if (t->checkpoint != NULL) SP_TRY(load_state(t));
    return sp_replicas_create(&t->replicas, t->grid, &t->models.compressor->params);
}

/* Collective: what the ranks do together. */
static sp_status open_engine(training *t) {
    const sp_run_config *config = t->config;
    sp_params *params = &t->models.compressor->params;
    SP_TRY(sp_agree(t->world, sp_reducer_create(&t->reducer, t->grid, params, &t->optimizer.shard,
                                                (int)config->parallel.zero)));
    SP_TRY(sp_agree(
        t->world, sp_checkpointer_create(&t->checkpointer, t->world, params, &t->optimizer.shard)));
    const sp_stage_runner_parts parts = {
        .grid = t->grid,
        .stages = &t->stages,
        .compressor = t->models.compressor,
        .samples = &t->samples,
        .reducer = t->reducer,
        .watchdog = t->watchdog,
        .micro_batch = config->train.micro_batch,
        .wire_is_bf16 =
            config->parallel.wire == SP_ASKED_BF16 ||
            (config->parallel.wire == SP_ASKED_AUTO && config->train.precision == SP_ASKED_BF16),
    };
    SP_TRY(sp_agree(t->world, sp_stage_runner_create(&t->runner, &parts)));
    return sp_agree(t->world,
                    is_first(t) ? sp_metrics_open(&t->metrics, config->run.dir, t->step) : SP_OK);
}

/* LoRA targets that come to nothing. */
static void log_idle_targets(const training *t) {
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
static void log_cut(const training *t) {
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

static void log_memory(const training *t) {
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
}

static void log_start(const training *t, const sp_outline *outline) {
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
    sp_log(SP_LOG_INFO, "%.2f M trained parameters%s; %zu training and %zu held-out segments",
           (double)outline->compressor->params.n_values / 1e6,
           outline->shares_weights ? ", encoder and decoder share their frozen weights" : "",
           t->samples.n_trained, t->samples.n_held_out);
}

/* ---- a step ---- */

/* Adds up what the ranks found, in f64; the gradient's norm comes with it. */
static void reduce(training *t, sp_step_metrics *m, const sp_stage_sums *sums,
                   step_wishes *wishes) {
    enum { TARGETS = SP_N_LOSSES, FLOP = 2 * SP_N_LOSSES, SQUARES, STOPS, SAVES, WRITTEN, N_SUMS };
    double all[N_SUMS] = {[FLOP] = sums->flop, [STOPS] = wishes->stops, [SAVES] = wishes->saves};
    all[SQUARES] =
        sp_vector_sum_squares(sp_reducer_gradients(t->reducer), t->optimizer.shard.n_values);
    all[WRITTEN] = sp_checkpointer_is_written(t->checkpointer);
    for (int loss = 0; loss < SP_N_LOSSES; loss++) {
        all[loss] = sums->loss_sum[loss];
        all[TARGETS + loss] = (double)sums->n_targets[loss];
    }
    at(t, SP_PHASE_AGREE);
    if (sp_world_size(t->world) > 1) sp_world_sum_double(t->world, all, N_SUMS);
    for (int loss = 0; loss < SP_N_LOSSES; loss++) {
        m->loss_sum[loss] = all[loss];
        m->n_targets[loss] = (uint64_t)all[TARGETS + loss];
    }
    m->flop = all[FLOP];
    m->grad_norm = sqrt(all[SQUARES]);
    wishes->stops = all[STOPS] > 0;
    wishes->saves = all[SAVES] > 0;
    wishes->is_written = all[WRITTEN] == (double)sp_world_size(t->world);
}

/* What one loss counts for a target, over the whole batch. */
static void set_loss_scales(const training *t, float *scales, const sp_sample_counts *counts) {
    const double weights[SP_N_LOSSES] = {t->config->objective.reconstruction,
                                         t->config->objective.completion};
    for (int loss = 0; loss < SP_N_LOSSES; loss++)
        scales[loss] =
            counts->targets[loss] > 0 ? (float)(weights[loss] / (double)counts->targets[loss]) : 0;
}

static double total_loss(const training *t, const sp_step_metrics *m) {
    const double weights[SP_N_LOSSES] = {t->config->objective.reconstruction,
                                         t->config->objective.completion};
    double sum = 0;
    for (int loss = 0; loss < SP_N_LOSSES; loss++)
        if (m->n_targets[loss] > 0)
            sum += weights[loss] * m->loss_sum[loss] / (double)m->n_targets[loss];
    return sum;
}

static void show_step(training *t, const sp_step_metrics *m) {
    char text[96], losses[2][24] = {"-", "-"};
    for (int loss = 0; loss < SP_N_LOSSES; loss++)
        if (m->n_targets[loss] > 0)
            snprintf(losses[loss], sizeof losses[loss], "%.4f",
                     m->loss_sum[loss] / (double)m->n_targets[loss]);
    snprintf(text, sizeof text, "loss %s / %s, %.0f tokens/s, %.1f GFLOP/s",
             losses[SP_RECONSTRUCTION], losses[SP_COMPLETION], (double)m->n_tokens / m->seconds,
             m->flop / m->seconds * 1e-9);
    sp_progress_update(&t->progress, m->step, text);
}

/* Runs the micro-batches; a rank that fails here ends all, since others wait for it. */
static sp_status compute(training *t, const sp_step_metrics *m, sp_stage_sums *sums, uint64_t first,
                         const sp_sample_counts *counts) {
    float scales[SP_N_LOSSES];
    set_loss_scales(t, scales, counts);
    sp_reducer_begin_step(t->reducer);
    const sp_status status = sp_stage_runner_train(t->runner, sums, m->step, first,
                                                   first + t->config->train.global_batch, scales);
    SP_TRY(sp_world_fail_alone(t->world, status));
    at(t, SP_PHASE_REDUCE);
    sp_reducer_wait_gradients(t->reducer);
    return SP_OK;
}

static bool is_due(uint64_t step, size_t every) { return every > 0 && step % every == 0; }

/* Before a step whose weights are verified: from here on up to the update nobody writes to them. */
static void note_weights(training *t) {
    if (!is_due(t->step + 1, t->config->parallel.verify_every)) return;
    at(t, SP_PHASE_GATHER);
    sp_reducer_wait_all_values(t->reducer);
    at(t, SP_PHASE_COMPARE);
    sp_replicas_note(&t->replicas);
}

/* A checkpoint begun since the note may hold what is found here, and is given up. */
static sp_status verify_weights(training *t) {
    if (!is_due(t->step + 1, t->config->parallel.verify_every)) return SP_OK;
    at(t, SP_PHASE_COMPARE);
    const sp_status status = sp_replicas_verify(&t->replicas);
    t->is_saving_damage = status != SP_OK && t->begun_step == t->step;
    return status;
}

/* Makes update t->step + 1, or skips it. */
static sp_status train_step(training *t, step_wishes *wishes) {
    const sp_run_config *config = t->config;
    const double begin_s = sp_clock_seconds();
    const uint64_t batch = config->train.global_batch, first = t->step * batch;
    const sp_sample_counts counts = sp_samples_count(&t->samples, first, first + batch);
    sp_stage_sums sums = {0};
    sp_step_metrics m = {.step = t->step + 1,
                         .n_tokens = counts.tokens,
                         .lr = sp_learning_rate(config, t->step + 1, t->n_steps),
                         .seconds_checkpoint = t->seconds_checkpoint};
    SP_TRY(compute(t, &m, &sums, first, &counts));
    SP_TRY(verify_weights(t));
    wishes->stops =
        sp_stop_signal_seen() || (is_first(t) && sp_run_folder_take(config->run.dir, "STOP"));
    wishes->saves = is_first(t) && sp_run_folder_take(config->run.dir, "SAVE");
    reduce(t, &m, &sums, wishes);

    const sp_step_facts facts = {.step = m.step,
                                 .loss = total_loss(t, &m),
                                 .grad_norm = m.grad_norm,
                                 .begin = first,
                                 .end = first + batch};
    SP_TRY(sp_agree(t->world,
                    sp_step_guard_judge(&t->guard, &m.is_skipped, config, &t->samples, &facts)));
    const double update_s = sp_clock_seconds();
    at(t, SP_PHASE_UPDATE);
    if (!m.is_skipped) {
        sp_optimizer_step(&t->optimizer, &t->models.compressor->params,
                          sp_reducer_gradients(t->reducer), config, m.step, m.lr, m.grad_norm);
        sp_reducer_gather(t->reducer);
    }
    t->step = m.step;
    t->seconds_checkpoint = 0;
    const double now_s = sp_clock_seconds();
    m.seconds = now_s - begin_s;
    m.seconds_data = sums.seconds_data;
    const double busy_s = sums.seconds_busy + sums.seconds_data + now_s - update_s;
    m.seconds_communication = fmax(0, m.seconds - busy_s);
    m.timing = sp_step_timing_reduce(t->world, busy_s, m.seconds);
    show_step(t, &m);
    return sp_agree(t->world, is_first(t) ? sp_metrics_write_step(&t->metrics, &m) : SP_OK);
}

/* ---- between steps ---- */

static sp_status validate(training *t) {
    const double begin_s = sp_clock_seconds();
    const size_t most = t->config->train.validate_segments, held_out = t->samples.n_held_out;
    sp_validation_metrics m = {.step = t->step, .n_segments = held_out < most ? held_out : most};
    sp_stage_sums sums = {0};
    const sp_status status =
        sp_stage_runner_validate(t->runner, &sums, t->step, (size_t)m.n_segments);
    SP_TRY(sp_world_fail_alone(t->world, status));
    memcpy(m.loss_sum, sums.loss_sum, sizeof m.loss_sum);
    memcpy(m.n_targets, sums.n_targets, sizeof m.n_targets);
    memcpy(m.n_correct, sums.n_correct, sizeof m.n_correct);
    at(t, SP_PHASE_AGREE);
    sp_world_sum_double(t->world, m.loss_sum, SP_N_LOSSES);
    sp_world_sum_u64(t->world, m.n_targets, SP_N_LOSSES);
    sp_world_sum_u64(t->world, m.n_correct, SP_N_LOSSES);
    m.seconds = sp_clock_seconds() - begin_s;
    return sp_agree(t->world, is_first(t) ? sp_metrics_write_validation(&t->metrics, &m) : SP_OK);
}

static sp_status publish(training *t) {
    at(t, SP_PHASE_SAVE);
    const sp_status status = sp_checkpointer_publish(t->checkpointer);
    t->seconds_checkpoint += sp_checkpointer_take_seconds(t->checkpointer);
    return status;
}

/* Begins the checkpoint of the present step, when the one before it is whole. */
static sp_status begin_save(training *t) {
    json_t *guard = NULL, *state = NULL;
    if (sp_checkpointer_is_busy(t->checkpointer)) SP_TRY(publish(t));
    at(t, SP_PHASE_SAVE);
    SP_TRY(sp_agree(t->world, sp_step_guard_to_json(&guard, &t->guard)));
    state = json_pack("{s:o}", "guard", guard);
    const sp_train_state about = {.config = t->config,
                                  .step = t->step,
                                  .tokens_digest = sp_tokens_digest(t->tokens),
                                  .grid = t->grid_json,
                                  .state = state};
    const sp_status status =
        sp_checkpointer_begin(t->checkpointer, &about, t->optimizer.m, t->optimizer.v);
    t->seconds_checkpoint += sp_checkpointer_take_seconds(t->checkpointer);
    t->begun_step = t->step;
    json_decref(state);
    return status;
}

static sp_status train(training *t) {
    const size_t stop_at = t->config->train.stop_at_step;
    const uint64_t last = stop_at != SP_COUNT_AUTO && stop_at < t->n_steps ? stop_at : t->n_steps;
    step_wishes wishes = {0};
    bool is_saved = t->checkpoint != NULL; /* else step 0 of a run that is to make no step */
    note_weights(t);
    while (t->step < last && !wishes.stops) {
        SP_TRY(train_step(t, &wishes));
        note_weights(t);
        if (t->samples.n_held_out > 0 && t->config->train.validate_every > 0 &&
            (t->step == t->n_steps || is_due(t->step, t->config->train.validate_every)))
            SP_TRY(validate(t));
        if (wishes.is_written && sp_checkpointer_is_busy(t->checkpointer)) SP_TRY(publish(t));
        is_saved = t->step == last || wishes.stops || wishes.saves ||
                   is_due(t->step, t->config->checkpoint.every_steps);
        if (is_saved) SP_TRY(begin_save(t));
    }
    if (!is_saved) SP_TRY(begin_save(t));
    if (sp_checkpointer_is_busy(t->checkpointer)) SP_TRY(publish(t));
    sp_reducer_wait_all_values(t->reducer);
    if (!wishes.stops || t->step == t->n_steps) return SP_OK;
    return sp_agree(t->world, sp_fail(SP_STOPPED,
                                      "stopped at step %ju of %ju, saved; the same "
                                      "command goes on",
                                      (uintmax_t)t->step, (uintmax_t)t->n_steps));
}

/* Cuts the chain and opens this rank's part of it. */
static sp_status open_part(training *t) {
    sp_outline outline = {0};
    sp_status status = sp_agree(t->world, sp_outline_create(&outline, t->config));
    if (status == SP_OK) status = sp_agree(t->world, cut_chain(t, &outline));
    if (status == SP_OK) status = sp_agree(t->world, check_memory(t));
    if (status == SP_OK) status = sp_agree(t->world, open_models(t));
    if (status == SP_OK && is_first(t)) log_start(t, &outline);
    sp_outline_release(&outline);
    return status;
}

static sp_status open_and_train(training *t, const char *resume) {
    SP_TRY(sp_agree(t->world, open_folder(t, resume)));
    SP_TRY(sp_agree(t->world, open_tokens(t)));
    SP_TRY(open_checkpoint(t, resume));
    if (t->checkpoint != NULL && t->step >= t->n_steps) {
        sp_log(SP_LOG_INFO, "'%s' is finished at step %ju of %ju", t->config->run.dir,
               (uintmax_t)t->step, (uintmax_t)t->n_steps);
        return SP_OK;
    }
    SP_TRY(sp_agree(t->world, sp_grid_create(&t->grid, t->world, t->config->parallel.pipeline)));
    SP_TRY(open_part(t));
    if (t->checkpoint != NULL)
        SP_TRY(sp_agree(t->world,
                        is_first(t) ? sp_resume_notes_log(t->config, t->checkpoint) : SP_OK));
    SP_TRY(sp_watchdog_begin(&t->watchdog, t->world, (double)t->config->run.watchdog_s));
    SP_TRY(open_engine(t));
    sp_progress_begin(&t->progress, "pretrain", t->n_steps, "steps");
    t->progress.done_before = t->step;
    sp_stop_signal_watch();
    const sp_status status = train(t);
    sp_progress_end(&t->progress);
    /* What was begun before an agreed failure is good, and kept. */
    if (status != SP_OK && !t->is_saving_damage && sp_checkpointer_is_busy(t->checkpointer))
        (void)publish(t);
    return status;
}

/* The last lines of metrics.jsonl as members of `result`; none before the first step. */
static sp_status add_last_lines(json_t *result, const char *run_dir) {
    static const char *const names[] = {"last", "last_validation"};
    char *path = NULL;
    json_t *summary = NULL;
    if (asprintf(&path, "%s/metrics.jsonl", run_dir) < 0)
        return sp_fail(SP_FAILURE, "no memory for a result");
    sp_status status = SP_OK;
    if (access(path, F_OK) == 0) status = sp_metrics_summarize(&summary, path);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *line = json_object_get(summary, names[i]);
        if (line != NULL && json_object_set(result, names[i], line) != 0)
            status = sp_fail(SP_FAILURE, "no memory for a result");
    }
    json_decref(summary);
    free(path);
    return status;
}

static sp_status make_result(json_t **result, const training *t) {
    if (!is_first(t)) return SP_OK;
    json_t *made =
        json_pack("{s:s, s:I, s:I, s:b}", "run", t->config->run.dir, "step", (json_int_t)t->step,
                  "steps", (json_int_t)t->n_steps, "finished", t->step >= t->n_steps);
    if (made == NULL) return sp_fail(SP_FAILURE, "no memory for a result");
    const sp_status status = add_last_lines(made, t->config->run.dir);
    if (status == SP_OK)
        *result = made;
    else
        json_decref(made);
    return status;
}

/* Whatever the outcome, ranks that share something leave it together: a failure here was agreed, or
   has ended the job. */
static void release(training *t, sp_status status) {
    sp_metrics_close(&t->metrics);
    sp_stage_runner_destroy(t->runner);
    sp_checkpointer_destroy(t->checkpointer);
    sp_reducer_destroy(t->reducer);
    sp_watchdog_end(t->watchdog, status);
    sp_replicas_free(&t->replicas);
    sp_optimizer_release(&t->optimizer);
    sp_models_close(&t->models);
    json_decref(t->grid_json);
    sp_stages_free(&t->stages);
    sp_grid_destroy(t->grid);
    sp_samples_close(&t->samples);
    sp_checkpoint_close(t->init);
    sp_checkpoint_close(t->checkpoint);
    sp_tokens_close(t->tokens);
    sp_run_lock_release(&t->lock);
}

sp_status sp_pretrain(sp_world *world, json_t **result, const sp_run_config *config,
                      const char *resume) {
    training t = {.world = world, .config = config};
    sp_status status = open_and_train(&t, resume);
    if (status == SP_OK) status = sp_agree(world, make_result(result, &t));
    release(&t, status);
    return status;
}
