#include "run/pretrain.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/progress.h"
#include "io/atomic_file.h"
#include "io/run_lock.h"
#include "mpi/agree.h"
#include "run/metrics.h"
#include "run/metrics_summary.h"
#include "run/models.h"
#include "run/optimizer.h"
#include "run/resume_notes.h"
#include "run/run_folder.h"
#include "run/samples.h"
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
    sp_tokens *tokens;
    sp_samples samples;
    sp_checkpoint *checkpoint; /* to go on from; open until it is loaded */
    sp_models models;
    sp_optimizer optimizer;
    sp_metrics metrics; /* rank 0's */
    sp_progress progress;
    sp_batch batch;
    sp_pass pass;
    sp_workspace workspace;
    uint64_t step, n_steps;    /* updates made; train.steps */
    double seconds_checkpoint; /* since the last metrics line */
} training;

static bool is_first(const training *t) { return sp_world_rank(t->world) == 0; }

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

static sp_status open_checkpoint(training *t, const char *resume) {
    const bool is_auto = strcmp(resume, "auto") == 0;
    if (strcmp(resume, "none") == 0) return SP_OK;
    const char *dir = is_auto ? t->config->run.dir : resume;
    char *found = NULL;
    SP_TRY(sp_checkpoint_find(dir, &found));
    const bool is_there = found != NULL;
    free(found);
    if (!is_there && is_auto) return SP_OK;
    SP_TRY(sp_checkpoint_open(&t->checkpoint, dir));
    t->step = sp_checkpoint_step(t->checkpoint);
    return sp_train_state_check(t->config, t->checkpoint, sp_tokens_digest(t->tokens));
}

/* A stream whose ids a model does not have was made for another model. */
static sp_status check_stream(const training *t, size_t stream, const sp_weights *weights,
                              const char *key) {
    const size_t in_file = sp_tokens_vocab_size(t->tokens, stream);
    if (in_file <= weights->config.vocab_size) return SP_OK;
    return sp_fail(SP_USAGE, "%s: stream '%s' has a vocabulary of %zu, the model's is %zu", key,
                   sp_tokens_stream_name(t->tokens, stream), in_file, weights->config.vocab_size);
}

static sp_status load_init(training *t) {
    if (t->config->train.init == NULL || t->checkpoint != NULL) return SP_OK;
    sp_checkpoint *init = NULL;
    SP_TRY(sp_checkpoint_open(&init, t->config->train.init));
    const sp_status status = sp_models_load(&t->models, init);
    sp_checkpoint_close(init);
    return status;
}

static sp_status load_moments(training *t) {
    sp_shard all = {0};
    SP_TRY(sp_shard_create(&all, &t->models.compressor->params, 0, 1));
    const sp_status status =
        sp_train_state_load_moments(t->optimizer.m, t->optimizer.v, &all, t->checkpoint);
    sp_shard_free(&all);
    return status;
}

static sp_status open_models(training *t) {
    SP_TRY(sp_models_open(&t->models, t->config, SP_SIDES_BOTH, t->checkpoint, true));
    SP_TRY(check_stream(t, t->samples.encoder_stream, t->models.encoder_weights,
                        "data.encoder_stream"));
    SP_TRY(check_stream(t, t->samples.decoder_stream, t->models.decoder_weights,
                        "data.decoder_stream"));
    t->samples.layout.bos = t->models.decoder_weights->config.bos_token_id;
    t->samples.layout.eos = t->models.decoder_weights->config.eos_token_id;
    t->samples.layout.longrope_switch = sp_longrope_switch(&t->models.decoder_weights->config);
    const sp_params *params = &t->models.compressor->params;
    SP_TRY(sp_optimizer_create(&t->optimizer, params, 0, 1));
    SP_TRY(load_init(t));
    if (t->checkpoint != NULL) SP_TRY(load_moments(t));
    if (is_first(t)) SP_TRY(sp_metrics_open(&t->metrics, t->config->run.dir, t->step));
    return SP_OK;
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

static void log_start(const training *t) {
    const sp_params *params = &t->models.compressor->params;
    if (t->checkpoint != NULL)
        sp_log(SP_LOG_INFO, "resuming from '%s'", sp_checkpoint_path(t->checkpoint));
    if (t->config->encoder.train == SP_ENCODER_LORA) log_idle_targets(t);
    sp_log(SP_LOG_INFO, "%d rank(s) on %d node(s), %d thread(s) each, %s", sp_world_size(t->world),
           sp_world_node_count(t->world), omp_get_max_threads(), sp_cpu_isa());
    sp_log(SP_LOG_INFO, "frozen weights by %s, trained ones by %s",
           sp_linear_kernel_name(t->models.decoder_weights->head), sp_gemm_chosen()->name);
    sp_log(SP_LOG_INFO, "%.2f M trained parameters%s; %zu training and %zu held-out segments",
           (double)params->n_values / 1e6,
           t->models.decoder_weights == t->models.encoder_weights
               ? ", encoder and decoder share their frozen weights"
               : "",
           t->samples.n_trained, t->samples.n_held_out);
}

/* ---- a step ---- */

/* Runs the rank's share of the step's samples, a micro-batch at a time. Sums of losses, targets and
   FLOP go to *m, gradients to the parameters. */
static sp_status run_share(training *t, sp_step_metrics *m, uint64_t begin, uint64_t end) {
    sp_compressor *c = t->models.compressor;
    for (uint64_t first = begin; first < end; first += t->config->train.micro_batch) {
        const uint64_t left = end - first, size = t->config->train.micro_batch;
        const double before = sp_clock_seconds();
        SP_TRY(sp_samples_fill(&t->samples, &t->batch, first, first + (left < size ? left : size)));
        SP_TRY(sp_compressor_reserve(c, &t->batch, 0, c->chain.n_blocks, &t->pass, &t->workspace));
        m->seconds_data += sp_clock_seconds() - before;
        (void)sp_pass_forward(&t->pass, &c->chain, 0, c->chain.n_blocks, &t->batch, NULL,
                              &t->workspace);
        (void)sp_pass_backward(&t->pass, &c->chain, 0, c->chain.n_blocks, &t->batch, NULL,
                               &t->workspace);
        for (int loss = 0; loss < SP_N_LOSSES; loss++) {
            m->loss_sum[loss] += t->batch.loss_sum[loss];
            m->n_targets[loss] += t->batch.n_targets[loss];
        }
        m->flop += sp_chain_training_flop(&c->chain, &t->batch);
    }
    return SP_OK;
}

/* Adds up what the ranks found: gradients in f32, all else in f64. */
static void reduce(training *t, sp_step_metrics *m, bool *stops) {
    enum { TARGETS = SP_N_LOSSES, FLOP = 2 * SP_N_LOSSES, STOPS, N_SUMS };
    sp_params *params = &t->models.compressor->params;
    const double before = sp_clock_seconds();
    double sums[N_SUMS] = {[FLOP] = m->flop, [STOPS] = *stops ? 1 : 0};
    for (int loss = 0; loss < SP_N_LOSSES; loss++) {
        sums[loss] = m->loss_sum[loss];
        sums[TARGETS + loss] = (double)m->n_targets[loss];
    }
    if (sp_world_size(t->world) > 1) {
        sp_world_sum_double(t->world, sums, N_SUMS);
        sp_world_sum_float(t->world, params->grads, params->n_values);
    }
    for (int loss = 0; loss < SP_N_LOSSES; loss++) {
        m->loss_sum[loss] = sums[loss];
        m->n_targets[loss] = (uint64_t)sums[TARGETS + loss];
    }
    m->flop = sums[FLOP];
    *stops = sums[STOPS] > 0;
    m->seconds_communication += sp_clock_seconds() - before;
}

static void set_loss_scales(training *t, const sp_sample_counts *counts) {
    const double weights[SP_N_LOSSES] = {t->config->objective.reconstruction,
                                         t->config->objective.completion};
    for (int loss = 0; loss < SP_N_LOSSES; loss++)
        t->batch.loss_scale[loss] =
            counts->targets[loss] > 0 ? (float)(weights[loss] / (double)counts->targets[loss]) : 0;
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

/* Makes update t->step + 1. *stops: has any rank been asked to? */
static sp_status train_step(training *t, bool *stops) {
    const sp_run_config *config = t->config;
    sp_params *params = &t->models.compressor->params;
    const double begin_s = sp_clock_seconds();
    const uint64_t batch = config->train.global_batch, first = t->step * batch;
    const uint64_t rank = (uint64_t)sp_world_rank(t->world);
    const uint64_t n_ranks = (uint64_t)sp_world_size(t->world);
    const sp_sample_counts counts = sp_samples_count(&t->samples, first, first + batch);
    sp_step_metrics m = {.step = t->step + 1,
                         .n_tokens = counts.tokens,
                         .lr = sp_learning_rate(config, t->step + 1, t->n_steps),
                         .seconds_checkpoint = t->seconds_checkpoint};
    set_loss_scales(t, &counts);
    memset(params->grads, 0, params->n_values * sizeof *params->grads);
    SP_TRY(sp_agree(t->world, run_share(t, &m, first + batch * rank / n_ranks,
                                        first + batch * (rank + 1) / n_ranks)));
    const bool is_told = is_first(t) && sp_run_folder_take(config->run.dir, "STOP");
    *stops = is_told || sp_stop_signal_seen();
    reduce(t, &m, stops);

    m.grad_norm = sqrt(sp_vector_sum_squares(params->grads, params->n_values));
    if (!isfinite(m.grad_norm)) /* the same gradient on every rank, so all leave */
        return sp_agree(t->world,
                        sp_fail(SP_NUMERIC,
                                "step %ju: the gradient is not finite; lower train.lr or look at "
                                "samples %ju to %ju",
                                (uintmax_t)m.step, (uintmax_t)first, (uintmax_t)(first + batch)));
    sp_optimizer_step(&t->optimizer, params, params->grads, config, m.step, m.lr, m.grad_norm);
    t->step = m.step;
    t->seconds_checkpoint = 0;
    m.seconds = sp_clock_seconds() - begin_s;
    show_step(t, &m);
    return sp_agree(t->world, is_first(t) ? sp_metrics_write_step(&t->metrics, &m) : SP_OK);
}

/* ---- between steps ---- */

/* Groups of consecutive held-out segments, dealt to the ranks in turn. */
static sp_status validate_share(training *t, sp_validation_metrics *m) {
    sp_compressor *c = t->models.compressor;
    const size_t n = (size_t)m->n_segments, size = t->config->train.micro_batch;
    const size_t n_ranks = (size_t)sp_world_size(t->world);
    for (size_t i = (size_t)sp_world_rank(t->world) * size; i < n; i += n_ranks * size) {
        SP_TRY(sp_samples_fill_segments(&t->samples, &t->batch, t->samples.held_out + i,
                                        n - i < size ? n - i : size));
        SP_TRY(sp_compressor_reserve(c, &t->batch, 0, c->chain.n_blocks, NULL, &t->workspace));
        (void)sp_chain_run(&c->chain, 0, c->chain.n_blocks, &t->batch, NULL, &t->workspace);
        for (int loss = 0; loss < SP_N_LOSSES; loss++) {
            m->loss_sum[loss] += t->batch.loss_sum[loss];
            m->n_targets[loss] += t->batch.n_targets[loss];
            m->n_correct[loss] += t->batch.n_correct[loss];
        }
    }
    return SP_OK;
}

static sp_status validate(training *t) {
    const double begin_s = sp_clock_seconds();
    const size_t most = t->config->train.validate_segments, held_out = t->samples.n_held_out;
    sp_validation_metrics m = {.step = t->step, .n_segments = held_out < most ? held_out : most};
    SP_TRY(sp_agree(t->world, validate_share(t, &m)));
    sp_world_sum_double(t->world, m.loss_sum, SP_N_LOSSES);
    sp_world_sum_u64(t->world, m.n_targets, SP_N_LOSSES);
    sp_world_sum_u64(t->world, m.n_correct, SP_N_LOSSES);
    m.seconds = sp_clock_seconds() - begin_s;
    return sp_agree(t->world, is_first(t) ? sp_metrics_write_validation(&t->metrics, &m) : SP_OK);
}

static sp_status save(training *t) {
    const double begin_s = sp_clock_seconds();
    const sp_train_state about = {
        .config = t->config, .step = t->step, .tokens_digest = sp_tokens_digest(t->tokens)};
    sp_status status = SP_OK;
    if (is_first(t))
        status = sp_train_state_save(&about, &t->models.compressor->params, t->optimizer.m,
                                     t->optimizer.v);
    status = sp_agree(t->world, status);
    t->seconds_checkpoint = sp_clock_seconds() - begin_s;
    return status;
}

/* A file SAVE asks for one checkpoint; rank 0 sees it, takes it away and tells the others. */
static bool save_is_asked(training *t) {
    uint64_t is_asked = 0;
    if (is_first(t)) is_asked = sp_run_folder_take(t->config->run.dir, "SAVE");
    sp_world_broadcast(t->world, &is_asked, sizeof is_asked, 0);
    return is_asked != 0;
}

static bool is_due(uint64_t step, size_t every) { return every > 0 && step % every == 0; }

static sp_status train(training *t) {
    const size_t stop_at = t->config->train.stop_at_step;
    const uint64_t last = stop_at != SP_COUNT_AUTO && stop_at < t->n_steps ? stop_at : t->n_steps;
    bool stops = false, is_saved = t->checkpoint != NULL;
    while (t->step < last && !stops) {
        SP_TRY(train_step(t, &stops));
        if (t->samples.n_held_out > 0 && t->config->train.validate_every > 0 &&
            (t->step == t->n_steps || is_due(t->step, t->config->train.validate_every)))
            SP_TRY(validate(t));
        is_saved = t->step == last || stops || is_due(t->step, t->config->checkpoint.every_steps);
        if (save_is_asked(t) || is_saved) SP_TRY(save(t));
    }
    if (!is_saved) SP_TRY(save(t)); /* step 0 of a run that is to make no step */
    if (!stops || t->step == t->n_steps) return SP_OK;
    return sp_agree(t->world, sp_fail(SP_STOPPED,
                                      "stopped at step %ju of %ju, saved; the same "
                                      "command goes on",
                                      (uintmax_t)t->step, (uintmax_t)t->n_steps));
}

static sp_status open_and_train(training *t, const char *resume) {
    SP_TRY(sp_agree(t->world, open_folder(t, resume)));
    SP_TRY(sp_agree(t->world, open_tokens(t)));
    SP_TRY(sp_agree(t->world, open_checkpoint(t, resume)));
    if (t->checkpoint != NULL && t->step >= t->n_steps) {
        sp_log(SP_LOG_INFO, "'%s' is finished at step %ju of %ju", t->config->run.dir,
               (uintmax_t)t->step, (uintmax_t)t->n_steps);
        return SP_OK;
    }
    SP_TRY(sp_agree(t->world, open_models(t)));
    if (is_first(t)) log_start(t);
    if (t->checkpoint != NULL)
        SP_TRY(sp_agree(t->world,
                        is_first(t) ? sp_resume_notes_log(t->config, t->checkpoint) : SP_OK));
    sp_progress_begin(&t->progress, "pretrain", t->n_steps, "steps");
    t->progress.done_before = t->step;
    sp_stop_signal_watch();
    const sp_status status = train(t);
    sp_progress_end(&t->progress);
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

sp_status sp_pretrain(sp_world *world, json_t **result, const sp_run_config *config,
                      const char *resume) {
    training t = {.world = world, .config = config};
    sp_status status = open_and_train(&t, resume);
    if (status == SP_OK) status = sp_agree(world, make_result(result, &t));
    sp_metrics_close(&t.metrics);
    sp_optimizer_release(&t.optimizer);
    sp_models_close(&t.models);
    sp_samples_close(&t.samples);
    sp_checkpoint_close(t.checkpoint);
    sp_tokens_close(t.tokens);
    sp_batch_free(&t.batch);
    sp_workspace_release(&t.workspace);
    sp_pass_release(&t.pass);
    sp_run_lock_release(&t.lock);
    return status;
}
