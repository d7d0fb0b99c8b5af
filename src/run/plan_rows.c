#include "run/plan_rows.h"

static sp_status add_row(sp_batch *batch, const sp_plan_chain *chain, size_t task) {
    const sp_question question = sp_task_question(chain->rows->tasks, task);
    return sp_layout_add_question(&chain->layout, batch, &question);
}

static void begin(sp_batch *batch) {
    sp_batch_clear(batch);
    batch->is_training = true;
}

sp_status sp_plan_typical_rows(sp_batch *batch, size_t *n, const sp_plan_chain *chain) {
    enum { MOST_ROWS = 64 };
    const size_t n_trained = chain->rows->n_trained;
    *n = n_trained < MOST_ROWS ? n_trained : MOST_ROWS;
    begin(batch);
    for (size_t i = 0; i < *n; i++)
        SP_TRY(add_row(batch, chain, chain->rows->trained[i * n_trained / *n]));
    return SP_OK;
}

/* ---- the largest ---- */

/* By what a row makes a pass keep: rows of the encoder, if anything passes back through it, and of the
   decoder, in values. */
static double weigh_row(const sp_plan_chain *chain, size_t task) {
    const sp_question question = sp_task_question(chain->rows->tasks, task);
    const sp_model_config *encoder = &chain->outline.encoder.config;
    const sp_model_config *decoder = &chain->outline.decoder.config;
    size_t n_encoder = 0, n_slots = 0;
    for (size_t i = 0; i < question.n_segments; i++) {
        n_encoder += question.segment_lens[i];
        n_slots += sp_layout_n_slots(&chain->layout, question.segment_lens[i]);
    }
    const size_t n_layers = chain->outline.compressor->first_trained == 0 ? encoder->n_layers : 1;
    const size_t n_around = sp_layout_n_boundaries(&chain->layout) * question.n_segments;
    const size_t n_decoder =
        1 + n_slots + n_around + question.n_before + question.n_prompt + question.n_answer;
    return (double)((n_encoder + n_slots) * n_layers * encoder->d_model) +
           (double)(n_decoder * decoder->n_layers * decoder->d_model);
}

/* Rows in an order: the run's stream, or what is held out. */
typedef struct row_order {
    const sp_plan_chain *chain;
    bool is_held_out;
    uint64_t n;
} row_order;

static row_order order_of(const sp_plan_chain *chain, bool is_held_out) {
    const uint64_t most = 1 << 20, n = chain->data.n_steps * chain->config->train.global_batch;
    const bool validates = chain->config->train.validate_every > 0;
    row_order order = {chain, is_held_out, n < 1 ? 1 : n < most ? n : most};
    if (is_held_out) order.n = validates ? chain->rows->n_held_out : 0;
    return order;
}

static size_t row_at(const row_order *order, uint64_t position) {
    const sp_samples *rows = order->chain->rows;
    return order->is_held_out ? rows->held_out[position] : sp_samples_segment(rows, position);
}

/* Where the heaviest n_samples begin, and their weight. */
static double find_in(uint64_t *first, const row_order *order, size_t n_samples) {
    double sum = 0, most = 0;
    *first = 0;
    for (uint64_t i = 0; i < order->n; i++) {
        sum += weigh_row(order->chain, row_at(order, i));
        if (i >= n_samples) sum -= weigh_row(order->chain, row_at(order, i - n_samples));
        if (sum <= most) continue;
        most = sum;
        *first = i + 1 > n_samples ? i + 1 - n_samples : 0;
    }
    return most;
}

static sp_heaviest_rows find_heaviest(const sp_plan_chain *chain, size_t n_samples) {
    size_t n = 0;
    for (; n < SP_MOST_HEAVIEST && chain->heaviest[n].n_samples > 0; n++)
        if (chain->heaviest[n].n_samples == n_samples) return chain->heaviest[n];
    const row_order orders[] = {order_of(chain, false), order_of(chain, true)};
    uint64_t firsts[2];
    const double trained = find_in(&firsts[0], &orders[0], n_samples);
    const bool is_held_out = find_in(&firsts[1], &orders[1], n_samples) > trained;
    const sp_heaviest_rows found = {n_samples, firsts[is_held_out ? 1 : 0], is_held_out};
    if (n < SP_MOST_HEAVIEST) chain->heaviest[n] = found;
    return found;
}

sp_status sp_plan_largest_rows(sp_batch *batch, const sp_plan_chain *chain, size_t n_samples) {
    const sp_heaviest_rows found = find_heaviest(chain, n_samples);
    const row_order order = order_of(chain, found.is_held_out);
    begin(batch);
    for (uint64_t i = found.first; i < order.n && i < found.first + n_samples; i++)
        SP_TRY(add_row(batch, chain, row_at(&order, i)));
    return SP_OK;
}
