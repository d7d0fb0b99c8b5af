#include "run/train.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/progress.h"
#include "mpi/agree.h"
#include "run/metrics_summary.h"
#include "run/run_folder.h"
#include "run/stop_signal.h"
#include "run/train_run.h"
#include "tensor/vector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct training {
    sp_train_run run;
    sp_progress progress;
    uint64_t begun_step;       /* of the checkpoint begun last */
    bool is_saving_best;       /* that one is to be kept as the best */
    bool is_saving_damage;     /* that one may hold damaged weights */
    double seconds_checkpoint; /* since the last metrics line */
} training;

/* What one step asks the ranks to do next; the same on all of them. */
typedef struct step_wishes {
    bool stops, saves; /* signals and files */
    bool is_written;   /* the checkpoint that is being written, on every rank */
} step_wishes;

/* Between steps. */
static void at(const training *t, sp_phase phase) {
    sp_watchdog_at(t->run.watchdog, phase, t->run.step, SP_NOWHERE, SP_NOWHERE);
}

/* Inside the step that makes the next update. */
static void at_next(const training *t, sp_phase phase) {
    sp_watchdog_at(t->run.watchdog, phase, t->run.step + 1, SP_NOWHERE, SP_NOWHERE);
}

/* ---- a step ---- */

/* Adds to squares [n_blocks] those of the shard's gradients, block by block. */
static void add_squares(const training *t, double *squares) {
    const sp_shard *shard = &t->run.optimizer.shard;
    const sp_params *params = &t->run.models.compressor->params;
    const float *grads = sp_reducer_gradients(t->run.reducer);
    for (size_t i = 0, block = 0; i < shard->n_pieces; i++) {
        const sp_shard_piece *piece = &shard->pieces[i];
        while (piece->offset >= sp_params_group_end(params, block)) block++;
        squares[block] += sp_vector_sum_squares(grads + piece->local, piece->n_values);
    }
}

/* Adds up what the ranks found, in f64. The gradient's norm comes with it, summed block by block so
   that it is the same to the last bit wherever the chain is cut. */
static void reduce(training *t, sp_step_metrics *m, const sp_stage_sums *sums,
                   step_wishes *wishes) {
    enum { TARGETS = SP_N_LOSSES, FLOP = 2 * SP_N_LOSSES, STOPS, SAVES, WRITTEN, SQUARES };
    const size_t n_blocks = t->run.stages.n_blocks;
    double all[SQUARES + SP_MAX_BLOCKS] = {
        [FLOP] = sums->flop, [STOPS] = wishes->stops, [SAVES] = wishes->saves};
    add_squares(t, all + SQUARES);
    all[WRITTEN] = sp_checkpointer_is_written(t->run.checkpointer);
    for (int loss = 0; loss < SP_N_LOSSES; loss++) {
        all[loss] = sums->loss_sum[loss];
        all[TARGETS + loss] = (double)sums->n_targets[loss];
    }
    at_next(t, SP_PHASE_AGREE);
    if (sp_world_size(t->run.world) > 1) sp_world_sum_double(t->run.world, all, SQUARES + n_blocks);
    for (int loss = 0; loss < SP_N_LOSSES; loss++) {
        m->loss_sum[loss] = all[loss];
        m->n_targets[loss] = (uint64_t)all[TARGETS + loss];
    }
    m->flop = all[FLOP];
    double squares = 0;
    for (size_t i = 0; i < n_blocks; i++) squares += all[SQUARES + i];
    m->grad_norm = sqrt(squares);
    wishes->stops = all[STOPS] > 0;
    wishes->saves = all[SAVES] > 0;
    wishes->is_written = all[WRITTEN] == (double)sp_world_size(t->run.world);
}

/* A run has the losses of its samples. */
static void get_weights(double *weights, const sp_run_config *config) {
    weights[SP_RECONSTRUCTION] = config->objective.reconstruction;
    weights[SP_COMPLETION] = config->objective.completion;
    weights[SP_ANSWER] = 1;
}

/* What one loss counts for a target, over the whole batch. */
static void set_loss_scales(const training *t, float *scales, const sp_sample_counts *counts) {
    double weights[SP_N_LOSSES];
    get_weights(weights, t->run.config);
    for (int loss = 0; loss < SP_N_LOSSES; loss++)
        scales[loss] =
            counts->targets[loss] > 0 ? (float)(weights[loss] / (double)counts->targets[loss]) : 0;
}

static double total_loss(const training *t, const double *loss_sum, const uint64_t *n_targets) {
    double weights[SP_N_LOSSES];
    get_weights(weights, t->run.config);
    double sum = 0;
    for (int loss = 0; loss < SP_N_LOSSES; loss++)
        if (n_targets[loss] > 0) sum += weights[loss] * loss_sum[loss] / (double)n_targets[loss];
    return sum;
}

static void show_step(training *t, const sp_step_metrics *m) {
    char text[96], losses[SP_N_LOSSES][24] = {"-", "-", "-"};
    const bool is_of_answers = t->run.samples.tasks != NULL;
    for (int loss = 0; loss < SP_N_LOSSES; loss++)
        if (m->n_targets[loss] > 0)
            snprintf(losses[loss], sizeof losses[loss], "%.4f",
                     m->loss_sum[loss] / (double)m->n_targets[loss]);
    snprintf(text, sizeof text, "loss %s%s%s, %.0f tokens/s, MFU %.1f %%",
             losses[is_of_answers ? SP_ANSWER : SP_RECONSTRUCTION], is_of_answers ? "" : " / ",
             is_of_answers ? "" : losses[SP_COMPLETION], (double)m->n_tokens / m->seconds,
             100 * sp_step_mfu(m));
    sp_progress_update(&t->progress, m->step, text);
}

/* Runs the micro-batches; a rank that fails here ends all, since others wait for it. */
static sp_status compute(training *t, const sp_step_metrics *m, sp_stage_sums *sums,
                         const sp_sample_range *samples, const sp_sample_counts *counts) {
    float scales[SP_N_LOSSES];
    set_loss_scales(t, scales, counts);
    sp_reducer_begin_step(t->run.reducer);
    const sp_status status =
        sp_stage_runner_train(t->run.runner, sums, m->step, samples->begin, samples->end, scales);
    SP_TRY(sp_world_fail_alone(t->run.world, status));
    at_next(t, SP_PHASE_REDUCE);
    sp_reducer_wait_gradients(t->run.reducer);
    return SP_OK;
}

static bool is_due(uint64_t step, size_t every) { return every > 0 && step % every == 0; }

/* Before a step whose weights are verified: from here on up to the update nobody writes to them. */
static void note_weights(training *t) {
    if (!is_due(t->run.step + 1, t->run.config->parallel.verify_every)) return;
    at(t, SP_PHASE_GATHER);
    sp_reducer_wait_all_values(t->run.reducer);
    at(t, SP_PHASE_COMPARE);
    sp_replicas_note(&t->run.replicas);
}

/* A checkpoint begun since the note may hold what is found here, and is given up. */
static sp_status verify_weights(training *t) {
    if (!is_due(t->run.step + 1, t->run.config->parallel.verify_every)) return SP_OK;
    at_next(t, SP_PHASE_COMPARE);
    const sp_status status = sp_replicas_verify(&t->run.replicas);
    t->is_saving_damage = status != SP_OK && t->begun_step == t->run.step;
    return status;
}

/* Makes update t->run.step + 1, or skips it. */
static sp_status train_step(training *t, step_wishes *wishes) {
    const sp_run_config *config = t->run.config;
    const double begin_s = sp_clock_seconds();
    const sp_sample_range samples = sp_samples_of_step(&t->run.samples, config, t->run.step + 1);
    const sp_sample_counts counts = sp_samples_count(&t->run.samples, samples.begin, samples.end);
    sp_stage_sums sums = {0};
    sp_step_metrics m = {.step = t->run.step + 1,
                         .n_tokens = counts.tokens,
                         .lr = sp_learning_rate(config, t->run.step + 1, t->run.n_steps),
                         .ratio = config->segment.ratios.n_items > 1
                                      ? sp_samples_ratio_of_step(&t->run.samples, t->run.step + 1)
                                      : 0,
                         .peak = t->run.peak,
                         .seconds_checkpoint = t->seconds_checkpoint};
    SP_TRY(compute(t, &m, &sums, &samples, &counts));
    SP_TRY(verify_weights(t));
    wishes->stops = sp_stop_signal_seen() ||
                    (sp_train_run_is_first(&t->run) && sp_run_folder_take(config->run.dir, "STOP"));
    wishes->saves = sp_train_run_is_first(&t->run) && sp_run_folder_take(config->run.dir, "SAVE");
    reduce(t, &m, &sums, wishes);

    const sp_step_facts facts = {.step = m.step,
                                 .loss = total_loss(t, m.loss_sum, m.n_targets),
                                 .grad_norm = m.grad_norm,
                                 .begin = samples.begin,
                                 .end = samples.end};
    SP_TRY(sp_agree(t->run.world, sp_step_guard_judge(&t->run.guard, &m.is_skipped, config,
                                                      &t->run.samples, &facts)));
    const double update_s = sp_clock_seconds();
    at_next(t, SP_PHASE_UPDATE);
    if (!m.is_skipped) {
        sp_optimizer_step(&t->run.optimizer, &t->run.models.compressor->params,
                          sp_reducer_gradients(t->run.reducer), config, m.step, m.lr, m.grad_norm);
        sp_reducer_gather(t->run.reducer);
    }
    t->run.step = m.step;
    t->seconds_checkpoint = 0;
    const double now_s = sp_clock_seconds();
    m.seconds = now_s - begin_s;
    m.seconds_data = sums.seconds_data;
    const double busy_s = sums.seconds_busy + sums.seconds_data + now_s - update_s;
    m.seconds_communication = fmax(0, m.seconds - busy_s);
    at(t, SP_PHASE_AGREE);
    m.timing = sp_step_timing_reduce(t->run.world, busy_s, m.seconds);
    show_step(t, &m);
    return sp_agree(t->run.world, sp_train_run_is_first(&t->run)
                                      ? sp_metrics_write_step(&t->run.metrics, &m)
                                      : SP_OK);
}

/* ---- between steps ---- */

/* Adds what one ratio is worth to what all are. */
static sp_status validate_at(training *t, sp_validation_sums *made, sp_validation_sums *all,
                             size_t n_segments, size_t ratio) {
    sp_stage_sums sums = {0};
    const sp_status status =
        sp_stage_runner_validate(t->run.runner, &sums, t->run.step, n_segments, ratio);
    SP_TRY(sp_world_fail_alone(t->run.world, status));
    memcpy(made->loss_sum, sums.loss_sum, sizeof made->loss_sum);
    memcpy(made->n_targets, sums.n_targets, sizeof made->n_targets);
    memcpy(made->n_correct, sums.n_correct, sizeof made->n_correct);
    at(t, SP_PHASE_AGREE);
    sp_world_sum_double(t->run.world, made->loss_sum, SP_N_LOSSES);
    sp_world_sum_u64(t->run.world, made->n_targets, SP_N_LOSSES);
    sp_world_sum_u64(t->run.world, made->n_correct, SP_N_LOSSES);
    for (int loss = 0; loss < SP_N_LOSSES; loss++) {
        all->loss_sum[loss] += made->loss_sum[loss];
        all->n_targets[loss] += made->n_targets[loss];
        all->n_correct[loss] += made->n_correct[loss];
    }
    return SP_OK;
}

/* *is_best: it is the best so far, in a run that keeps it. */
static sp_status validate(training *t, bool *is_best) {
    const double begin_s = sp_clock_seconds();
    const size_t most = t->run.config->train.validate_segments,
                 held_out = t->run.samples.n_held_out;
    const sp_count_list *ratios = &t->run.config->segment.ratios;
    sp_validation_metrics m = {
        .step = t->run.step, .n_segments = held_out < most ? held_out : most, .ratios = ratios};
    for (size_t i = 0; i < ratios->n_items; i++)
        SP_TRY(validate_at(t, &m.by_ratio[i], &m.all, (size_t)m.n_segments, ratios->items[i]));
    m.seconds = sp_clock_seconds() - begin_s;
    if (sp_best_is_kept(t->run.config))
        *is_best =
            sp_best_note(&t->run.best, m.step, total_loss(t, m.all.loss_sum, m.all.n_targets));
    return sp_agree(t->run.world, sp_train_run_is_first(&t->run)
                                      ? sp_metrics_write_validation(&t->run.metrics, &m)
                                      : SP_OK);
}

/* A file that takes long is no hang: each look at it counts as a move. */
static void wait_until_written(training *t) {
    const double begin_s = sp_clock_seconds();
    const struct timespec pause = {0, 20000000};
    while (!sp_checkpointer_is_written(t->run.checkpointer)) {
        at(t, SP_PHASE_SAVE);
        nanosleep(&pause, NULL);
    }
    t->seconds_checkpoint += sp_clock_seconds() - begin_s;
}

static sp_status publish(training *t) {
    wait_until_written(t);
    at(t, SP_PHASE_SAVE);
    const sp_status status = sp_checkpointer_publish(t->run.checkpointer);
    t->seconds_checkpoint += sp_checkpointer_take_seconds(t->run.checkpointer);
    if (status != SP_OK || !t->is_saving_best) return status;
    return sp_agree(t->run.world,
                    sp_train_run_is_first(&t->run)
                        ? sp_run_folder_explain(sp_best_keep(t->run.config->run.dir, t->begun_step))
                        : SP_OK);
}

/* What a run goes on from beside its tensors, owned. */
static sp_status make_state(json_t **state, const training *t) {
    json_t *guard = NULL, *best = NULL;
    SP_TRY(sp_step_guard_to_json(&guard, &t->run.guard));
    sp_status status = SP_OK;
    if (sp_best_is_kept(t->run.config)) status = sp_best_to_json(&best, &t->run.best);
    *state = json_pack("{s:o, s:o*}", "guard", guard, "best", best);
    if (status == SP_OK && *state == NULL)
        status = sp_fail(SP_FAILURE, "no memory for the state of a run");
    return status;
}

/* Begins the checkpoint of the present step, when the one before it is whole. */
static sp_status begin_save(training *t) {
    json_t *state = NULL;
    if (sp_checkpointer_is_busy(t->run.checkpointer)) SP_TRY(publish(t));
    at(t, SP_PHASE_SAVE);
    SP_TRY(sp_agree(t->run.world, make_state(&state, t)));
    const sp_train_state about = {.config = t->run.config,
                                  .step = t->run.step,
                                  .tokens_digest = sp_train_run_digest(&t->run),
                                  .grid = t->run.grid_json,
                                  .state = state};
    const sp_status status =
        sp_checkpointer_begin(t->run.checkpointer, &about, t->run.optimizer.m, t->run.optimizer.v);
    t->seconds_checkpoint += sp_checkpointer_take_seconds(t->run.checkpointer);
    t->begun_step = t->run.step;
    t->is_saving_best = t->run.best.has && t->run.best.step == t->run.step;
    json_decref(state);
    return status;
}

static sp_status train(training *t) {
    const size_t stop_at = t->run.config->train.stop_at_step;
    const uint64_t last =
        stop_at != SP_COUNT_AUTO && stop_at < t->run.n_steps ? stop_at : t->run.n_steps;
    step_wishes wishes = {0};
    bool is_saved = t->run.checkpoint != NULL; /* else step 0 of a run that is to make no step */
    note_weights(t);
    bool is_best = false, ends = false;
    while (t->run.step < last && !wishes.stops && !ends) {
        SP_TRY(train_step(t, &wishes));
        is_best = false;
        note_weights(t);
        if (t->run.samples.n_held_out > 0 && t->run.config->train.validate_every > 0 &&
            (t->run.step == t->run.n_steps ||
             is_due(t->run.step, t->run.config->train.validate_every)))
            SP_TRY(validate(t, &is_best));
        ends = sp_best_ends(&t->run.best, t->run.config);
        if (wishes.is_written && sp_checkpointer_is_busy(t->run.checkpointer)) SP_TRY(publish(t));
        is_saved = t->run.step == last || wishes.stops || wishes.saves || is_best || ends ||
                   is_due(t->run.step, t->run.config->checkpoint.every_steps);
        if (is_saved) SP_TRY(begin_save(t));
    }
    if (!is_saved) SP_TRY(begin_save(t));
    if (sp_checkpointer_is_busy(t->run.checkpointer)) SP_TRY(publish(t));
    sp_reducer_wait_all_values(t->run.reducer);
    if (ends)
        sp_log(SP_LOG_INFO, "stopped early: none of %ju validations was better than step %ju's",
               (uintmax_t)t->run.best.n_since, (uintmax_t)t->run.best.step);
    if (!wishes.stops || sp_train_run_is_finished(&t->run)) return SP_OK;
    return sp_agree(t->run.world, sp_fail(SP_STOPPED,
                                          "stopped at step %ju of %ju, saved; the same "
                                          "command goes on",
                                          (uintmax_t)t->run.step, (uintmax_t)t->run.n_steps));
}

/* What a run that was killed right after its last checkpoint has left. */
static sp_status prune(const training *t) {
    const sp_run_config *config = t->run.config;
    sp_status status = SP_OK;
    if (sp_train_run_is_first(&t->run))
        status = sp_checkpoint_prune(config->run.dir, config->checkpoint.keep,
                                     config->checkpoint.major_every);
    return sp_agree(t->run.world, status);
}

static sp_status open_and_train(training *t, const sp_train_options *options) {
    SP_TRY(sp_train_run_open(&t->run, options->resume, options->on_error));
    if (t->run.checkpoint != NULL && sp_train_run_is_finished(&t->run)) return prune(t);
    sp_progress_begin(&t->progress, t->run.samples.tasks != NULL ? "finetune" : "pretrain",
                      t->run.n_steps, "steps");
    t->progress.done_before = t->run.step;
    sp_stop_signal_watch();
    const sp_status status = train(t);
    sp_progress_end(&t->progress);
    /* What was begun before an agreed failure is good, and kept. */
    if (status != SP_OK && !t->is_saving_damage && sp_checkpointer_is_busy(t->run.checkpointer))
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

/* Of a run that keeps its best checkpoint. */
static sp_status add_best(json_t *result, const training *t) {
    const sp_best *best = &t->run.best;
    json_t *object = json_pack(
        "{s:b, s:o*}", "stopped_early", sp_best_ends(best, t->run.config), "best",
        best->has ? json_pack("{s:f, s:I}", "loss", best->loss, "step", (json_int_t)best->step)
                  : NULL);
    const bool is_added = object != NULL && json_object_update(result, object) == 0;
    json_decref(object);
    return is_added ? SP_OK : sp_fail(SP_FAILURE, "no memory for a result");
}

static sp_status make_result(json_t **result, const training *t) {
    if (!sp_train_run_is_first(&t->run)) return SP_OK;
    json_t *made = json_pack("{s:s, s:I, s:I, s:b}", "run", t->run.config->run.dir, "step",
                             (json_int_t)t->run.step, "steps", (json_int_t)t->run.n_steps,
                             "finished", sp_train_run_is_finished(&t->run));
    if (made == NULL) return sp_fail(SP_FAILURE, "no memory for a result");
    sp_status status = add_last_lines(made, t->run.config->run.dir);
    if (status == SP_OK && sp_best_is_kept(t->run.config)) status = add_best(made, t);
    if (status == SP_OK)
        *result = made;
    else
        json_decref(made);
    return status;
}

sp_status sp_train(sp_world *world, json_t **result, const sp_run_config *config,
                   const sp_train_options *options) {
    training t = {.run = {.world = world, .config = config}};
    sp_status status = open_and_train(&t, options);
    if (status == SP_OK) status = sp_agree(world, make_result(result, &t));
    sp_train_run_close(&t.run, status);
    return status;
}
