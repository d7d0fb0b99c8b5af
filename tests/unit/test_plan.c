/* Estimates of a plan: their memory, their time, and which of them is called the best. */
#include "tests/check.h"

#include "run/plan_node.h"
#include "run/plan_scale.h"
#include "run/plan_time.h"
#include "tests/paper_models.h"

#include <stdlib.h>

#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define GIB ((uint64_t)1 << 30)

typedef struct fixture {
    paper_models models;
    sp_plan plan;
} fixture;

/* Large in bf16 on nodes of Zen 4 with 8 ranks each, joined by 24 GB/s. */
static void open_plan(fixture *f, size_t n_nodes, uint64_t node_bytes, const char *set) {
    sp_machine machine = {.n_nodes = n_nodes, .ranks_per_node = 8, .node_bytes = node_bytes};
    paper_models_create(&f->models, "llama3",
                        SETS("encoder.train=lora", "decoder.precision=bf16", "train.precision=bf16",
                             "train.micro_batch=4", set));
    assert_int_equal(sp_cpu_find(&machine.cpu, "zen4"), SP_OK);
    assert_int_equal(sp_network_find(&machine.network, "2/24"), SP_OK);
    if (sp_plan_open(&f->plan, &f->models.config, &machine) != SP_OK) fail_msg("%s", sp_message());
}

static void close_plan(fixture *f) {
    sp_plan_close(&f->plan);
    paper_models_release(&f->models);
}

static sp_plan_estimate estimate(fixture *f, sp_plan_choice choice) {
    sp_plan_estimate e;
    choice.zero = 1;
    if (sp_plan_estimate_choice(&e, &f->plan, &choice) != SP_OK) fail_msg("%s", sp_message());
    return e;
}

static sp_plan_choice grid(size_t pipeline, size_t data, size_t micro_batch) {
    return (sp_plan_choice){.pipeline = pipeline, .data = data, .micro_batch = micro_batch};
}

/* ---- memory ---- */

static void a_node_maps_weights_once_and_holds_the_rest_for_each_rank(void **state) {
    fixture f;
    open_plan(&f, 1, 4096 * GIB, "run.seed=1");
    const sp_plan_estimate e = estimate(&f, grid(1, 8, 4));
    assert_int_equal(e.node_bytes,
                     8 * sp_memory_private(&e.memory) + e.memory.items[SP_MEMORY_MAPPED]);
    assert_int_equal(e.memory.items[SP_MEMORY_VALUES],
                     4 * f.plan.chain.outline.compressor->params.n_values);
    close_plan(&f);
}

static void longer_pipelines_need_less_weight_and_more_data_less_moments(void **state) {
    fixture f;
    open_plan(&f, 2, 4096 * GIB, "run.seed=1");
    const sp_plan_estimate one = estimate(&f, grid(1, 16, 4)), four = estimate(&f, grid(4, 4, 4));
    assert_true(10 * four.memory.items[SP_MEMORY_MAPPED] < 9 * one.memory.items[SP_MEMORY_MAPPED]);
    assert_true(2 * one.memory.items[SP_MEMORY_MOMENTS] < four.memory.items[SP_MEMORY_MOMENTS]);
    close_plan(&f);
}

/* Rank k of a folded cut has layers k of both models, which are one. */
static void a_folded_cut_holds_shared_weights_once(void **state) {
    fixture f;
    open_plan(&f, 1, 4096 * GIB, "run.seed=1");
    sp_plan_choice choice = grid(8, 1, 4);
    const sp_plan_estimate contiguous = estimate(&f, choice);
    choice.is_folded = true;
    const sp_plan_estimate folded = estimate(&f, choice);
    assert_int_equal(folded.n_stages, 16);
    assert_true(folded.memory.items[SP_MEMORY_MAPPED] <
                contiguous.memory.items[SP_MEMORY_MAPPED] * 7 / 10);
    close_plan(&f);
}

/* Layers are recomputed only as far as it takes, and one less would not do. */
static void as_few_layers_are_recomputed_as_memory_needs(void **state) {
    fixture f;
    open_plan(&f, 1, 4096 * GIB, "run.seed=1");
    const uint64_t all = estimate(&f, grid(1, 8, 4)).node_bytes;
    size_t before = 0;
    for (uint64_t missing = 0; missing < 24 * GIB; missing += 6 * GIB) {
        f.plan.machine.node_bytes = all - missing;
        const sp_plan_estimate e = estimate(&f, grid(1, 8, 4));
        assert_true(e.fits);
        assert_true(e.node_bytes <= f.plan.machine.node_bytes);
        if (missing > 0) assert_true(e.n_recomputed > before);
        before = e.n_recomputed;
    }
    sp_chain *chain = &f.plan.chain.outline.compressor->chain;
    sp_batch batch = {0};
    assert_int_equal(sp_plan_largest_batch(&batch, &f.plan.chain, 4), SP_OK);
    const sp_rank_share share = {.chain = chain,
                                 .stages = {{0, chain->n_blocks}},
                                 .in_flight = {1},
                                 .n_stages = 1,
                                 .batch = &batch,
                                 .data = 1,
                                 .zero = 1};
    assert_int_equal(sp_memory_choose_recompute(chain, &share, UINT64_MAX), 0);
    const sp_memory whole = sp_memory_of(&share);
    const uint64_t limit = sp_memory_total(&whole) - GIB;
    const size_t n = sp_memory_choose_recompute(chain, &share, limit);
    const sp_memory fitting = sp_memory_of(&share);
    assert_true(n > 0 && sp_memory_total(&fitting) <= limit);
    size_t least = SIZE_MAX; /* kept by one that is recomputed: no other keeps more */
    for (size_t b = 0; b < chain->n_blocks; b++) {
        const size_t n_kept = chain->blocks[b]->kind->cost(chain->blocks[b], &batch).bytes_kept;
        if (chain->recomputes[b] && n_kept < least) least = n_kept;
    }
    for (size_t b = 0; b < chain->n_blocks; b++) {
        const size_t n_kept = chain->blocks[b]->kind->cost(chain->blocks[b], &batch).bytes_kept;
        const bool can = chain->blocks[b]->kind->can_recompute;
        if (can && !chain->recomputes[b]) assert_true(n_kept <= least);
    }
    for (size_t b = 0; b < chain->n_blocks; b++) {
        if (!chain->recomputes[b]) continue;
        chain->recomputes[b] = false;
        const sp_memory one_less = sp_memory_of(&share);
        assert_true(sp_memory_total(&one_less) > limit);
        chain->recomputes[b] = true;
    }
    sp_batch_free(&batch);
    close_plan(&f);
}

static void recomputation_follows_the_configuration(void **state) {
    fixture f;
    open_plan(&f, 1, 4096 * GIB, "train.recompute=all");
    assert_int_equal(estimate(&f, grid(1, 8, 4)).n_recomputed, 64);
    close_plan(&f);
    open_plan(&f, 1, 16 * GIB, "train.recompute=none");
    assert_int_equal(estimate(&f, grid(1, 8, 4)).n_recomputed, 0);
    close_plan(&f);
}

static void what_does_not_fit_is_refused_by_its_largest_item(void **state) {
    fixture f;
    open_plan(&f, 1, 12 * GIB, "run.seed=1");
    const sp_plan_estimate e = estimate(&f, grid(1, 8, 4));
    assert_false(e.fits);
    assert_int_equal(sp_plan_refuse(&f.plan, &e, NULL), SP_USAGE);
    if (strstr(sp_message(), "for frozen weights, mapped: raise parallel.pipeline") == NULL ||
        strstr(sp_message(), "12.0 GiB") == NULL)
        fail_msg("%s", sp_message());
    close_plan(&f);
    open_plan(&f, 1, 512 * GIB, "train.recompute=none");
    const sp_plan_estimate wide = estimate(&f, grid(1, 8, 32));
    sp_plan_estimate fitting = estimate(&f, grid(1, 8, 2));
    assert_true(fitting.fits);
    f.plan.machine.node_bytes = fitting.node_bytes;
    assert_int_equal(sp_plan_refuse(&f.plan, &(sp_plan_estimate){.fits = true}, NULL), SP_OK);
    sp_plan_estimate too_wide = wide;
    too_wide.fits = false;
    assert_int_equal(sp_plan_refuse(&f.plan, &too_wide, &fitting), SP_USAGE);
    if (strstr(sp_message(), "for activations kept: lower train.micro_batch") == NULL ||
        strstr(sp_message(), "train.micro_batch 2") == NULL)
        fail_msg("%s", sp_message());
    close_plan(&f);
}

/* ---- time ---- */

/* 8 replicas on a node, then 2 nodes: inside, each rank takes 7 of 8 parts from the others, through
   memory; between them, half of its eighth crosses a link that all ranks of the node share. */
static void exchange_is_two_levels_of_latency_and_bandwidth(void **state) {
    fixture f;
    open_plan(&f, 2, 4096 * GIB, "run.seed=1");
    const double bytes = 4e9, memory = f.plan.machine.cpu.memory_bandwidth / 8;
    const sp_plan_choice choice = grid(1, 16, 4);
    const sp_plan_exchange e = sp_plan_exchange_of(&f.plan, &choice, 1000000000, 10);
    const double inside = 3 * bytes * 7 / 8 / memory;
    const double between = bytes / 8 / 2 * 8 / 24e9 + 10 * 2e-6;
    assert_close(e.seconds / (inside + between), 1, 1e-9);
    assert_close((double)e.n_bytes / (bytes * 7 / 8 + bytes / 16), 1, 1e-9);
    const sp_plan_choice alone = grid(16, 1, 4);
    assert_true(sp_plan_exchange_of(&f.plan, &alone, 1000000000, 10).seconds == 0);
    close_plan(&f);
}

/* 1F1B of P equal stages and m micro-batches: (P - 1) / (m + P - 1). */
static void bubble_is_near_that_of_equal_stages(void **state) {
    fixture f;
    open_plan(&f, 1, 4096 * GIB, "train.global_batch=64");
    const sp_plan_estimate e = estimate(&f, grid(8, 1, 1));
    const double equal = 7.0 / (64 + 7);
    assert_true(e.bubble > equal && e.bubble < equal + 0.1);
    assert_true(e.balance > 0.9 && e.balance <= 1);
    close_plan(&f);
}

/* Above some micro-batches the simulation goes on by a straight line: as it would have gone itself. */
static void long_steps_take_as_much_longer_as_they_have_more_micro_batches(void **state) {
    fixture f;
    double step_s[4];
    for (size_t i = 0; i < 4; i++) {
        char set[48];
        snprintf(set, sizeof set, "train.global_batch=%zu", (size_t)64 << i);
        open_plan(&f, 1, 4096 * GIB, set);
        step_s[i] = estimate(&f, grid(8, 1, 2)).pipeline_s;
        close_plan(&f);
    }
    for (size_t i = 2; i < 4; i++)
        assert_close((step_s[i] - step_s[i - 1]) / (step_s[i - 1] - step_s[i - 2]), 2, 0.02);
}

static void zero_2_reduces_after_every_micro_batch(void **state) {
    fixture f;
    open_plan(&f, 1, 4096 * GIB, "run.seed=1");
    sp_plan_choice choice = grid(1, 8, 4);
    const sp_plan_estimate once = estimate(&f, choice);
    sp_plan_estimate each;
    choice.zero = 2;
    assert_int_equal(sp_plan_estimate_choice(&each, &f.plan, &choice), SP_OK);
    assert_true(each.reduce_bytes >= 8 * once.reduce_bytes - 8 &&
                each.reduce_bytes <= 8 * once.reduce_bytes + 8);
    assert_true(each.memory.items[SP_MEMORY_GRADIENTS] < once.memory.items[SP_MEMORY_GRADIENTS]);
    close_plan(&f);
}

/* ---- the best ---- */

static void a_micro_batch_needs_the_memory_of_a_full_pass(void **state) {
    fixture f;
    open_plan(&f, 1, 4096 * GIB, "run.seed=1");
    sp_plan_choice choice = grid(1, 8, 32);
    const sp_plan_estimate wide = estimate(&f, choice);
    const size_t n = wide.pass_samples;
    assert_in_range(n, 2, 8);
    assert_int_equal(wide.choice.micro_batch, 32);
    const sp_plan_estimate full = estimate(&f, grid(1, 8, n)),
                           half = estimate(&f, grid(1, 8, n / 2));
    assert_int_equal(full.pass_samples, n);
    assert_int_equal(half.pass_samples, n / 2);
    assert_int_equal(wide.node_bytes, full.node_bytes);
    assert_true(half.node_bytes < full.node_bytes);
    /* a replica's share is all there is, and with zero 2 each pass would be reduced */
    assert_int_equal(estimate(&f, grid(1, 256, 32)).pass_samples, 1);
    sp_plan_estimate e;
    choice.zero = 2;
    assert_int_equal(sp_plan_estimate_choice(&e, &f.plan, &choice), SP_OK);
    assert_int_equal(e.pass_samples, 32);
    choice = grid(8, 1, 32);
    choice.zero = 2;
    assert_int_equal(sp_plan_estimate_choice(&e, &f.plan, &choice), SP_OK);
    assert_int_equal(e.pass_samples, n);
    close_plan(&f);
}

static void the_best_fit_and_come_fastest_first(void **state) {
    fixture f;
    sp_plan_estimate *all = NULL;
    size_t n = 0;
    open_plan(&f, 2, 96 * GIB, "run.seed=1");
    assert_int_equal(sp_plan_search(&all, &n, &f.plan), SP_OK);
    assert_true(n > 4);
    for (size_t i = 0; i < n; i++) {
        assert_true(all[i].fits && all[i].node_bytes <= 96 * GIB);
        assert_int_equal(all[i].choice.pipeline * all[i].choice.data, 16);
        if (i > 0) assert_true(all[i].step_s >= all[i - 1].step_s);
        const sp_plan_estimate again = estimate(&f, all[i].choice);
        assert_true(again.step_s == all[i].step_s);
    }
    free(all);
    close_plan(&f);
}

static void where_nothing_fits_the_least_is_shown(void **state) {
    fixture f;
    sp_plan_estimate *all = NULL;
    size_t n = 0;
    open_plan(&f, 1, GIB, "run.seed=1");
    assert_int_equal(sp_plan_search(&all, &n, &f.plan), SP_OK);
    assert_int_equal(n, 1);
    assert_false(all[0].fits);
    assert_int_equal(sp_plan_refuse(&f.plan, &all[0], &all[0]), SP_USAGE);
    assert_non_null(strstr(sp_message(), "no grid of these ranks fits"));
    free(all);
    close_plan(&f);
}

static void a_pipeline_that_does_not_divide_the_ranks_is_refused(void **state) {
    fixture f;
    sp_plan_choice choice;
    open_plan(&f, 1, 512 * GIB, "parallel.pipeline=3");
    assert_int_equal(sp_plan_choice_of(&choice, &f.plan), SP_USAGE);
    assert_non_null(strstr(sp_message(), "parallel.pipeline: 3 does not divide 8 ranks"));
    close_plan(&f);
}

static void scaling_never_gains_from_nothing(void **state) {
    fixture f;
    sp_scale *scale = calloc(1, sizeof *scale);
    assert_non_null(scale);
    open_plan(&f, 1, 512 * GIB, "train.global_batch=32");
    for (int is_weak = 0; is_weak < 2; is_weak++) {
        assert_int_equal(sp_plan_scale(scale, &f.plan, 8, is_weak), SP_OK);
        assert_int_equal(scale->n_points, 4);
        for (size_t i = 0; i < scale->n_points; i++) {
            const sp_scale_point *p = &scale->points[i];
            assert_int_equal(p->n_nodes, (size_t)1 << i);
            assert_int_equal(p->global_batch, is_weak ? (size_t)32 << i : 32);
            /* a little more than 1 comes from gradients that overlap better */
            assert_true(p->efficiency > 0 && p->efficiency < 1.02);
        }
    }
    /* 32 segments on 64 ranks: half of the speed at best */
    assert_int_equal(sp_plan_scale(scale, &f.plan, 8, false), SP_OK);
    assert_true(scale->points[3].efficiency < 0.55);
    assert_int_equal(f.plan.machine.n_nodes, 1);
    assert_int_equal(f.plan.global_batch, 32);
    free(scale);
    close_plan(&f);
}

/* ---- a run at its start ---- */

static void a_run_is_told_what_to_recompute_or_refused(void **state) {
    fixture f;
    open_plan(&f, 1, 4096 * GIB, "run.seed=1");
    const size_t n_blocks = sp_plan_blocks(&f.plan.chain)->n_blocks;
    const sp_plan_estimate whole = estimate(&f, grid(2, 4, 4));
    bool *recomputes = calloc(n_blocks, sizeof *recomputes);
    assert_non_null(recomputes);
    static const size_t ranks[] = {0, 1, 2, 3, 4, 5, 6, 7};
    sp_plan_run run = {.config = &f.models.config,
                       .grid = {.stages = whole.stages,
                                .n_stages = 2,
                                .pipeline = 2,
                                .data = 4,
                                .global_batch = 256,
                                .micro_batch = 4,
                                .zero = 1},
                       .rank = 5,
                       .ranks = ranks,
                       .n_ranks = 8,
                       .node_bytes = whole.node_bytes,
                       .source = "a limit"};
    sp_memory memory;
    size_t pass_samples = 0;
    assert_int_equal(sp_plan_check(&memory, recomputes, &pass_samples, &run), SP_OK);
    assert_int_equal(pass_samples, whole.pass_samples);
    for (size_t b = 0; b < n_blocks; b++) assert_false(recomputes[b]);
    run.node_bytes -= 2 * GIB;
    run.rank = 4;
    assert_int_equal(sp_plan_check(&memory, recomputes, &pass_samples, &run), SP_OK);
    size_t n_own = 0;
    for (size_t b = 0; b < n_blocks; b++) {
        const bool is_own = b < whole.stages[0].end;
        if (recomputes[b] && !is_own) fail_msg("block %zu is another rank's", b);
        n_own += recomputes[b];
    }
    assert_true(n_own > 0);
    /* ranks dealt out over two nodes in turn: all of this one hold the same stage, and there is room */
    static const size_t dealt_out[] = {0, 2, 4, 6};
    run.ranks = dealt_out;
    run.n_ranks = 4;
    assert_int_equal(sp_plan_check(&memory, recomputes, &pass_samples, &run), SP_OK);
    for (size_t b = 0; b < n_blocks; b++) assert_false(recomputes[b]);
    run.node_bytes = 4 * GIB;
    assert_int_equal(sp_plan_check(&memory, recomputes, &pass_samples, &run), SP_USAGE);
    assert_non_null(strstr(sp_message(), "(a limit)"));
    free(recomputes);
    close_plan(&f);
}

static void names_that_are_not_known_are_refused_with_those_that_are(void **state) {
    sp_cpu cpu;
    sp_network network;
    assert_int_equal(sp_cpu_find(&cpu, "z80"), SP_USAGE);
    assert_non_null(strstr(sp_message(), "'z80' is not one of native, zen2"));
    assert_int_equal(sp_network_find(&network, "carrier-pigeon"), SP_USAGE);
    assert_non_null(strstr(sp_message(), "hdr"));
    assert_int_equal(sp_network_find(&network, "1.5/0"), SP_USAGE);
    assert_int_equal(sp_network_find(&network, "1.5/24x"), SP_USAGE);
    assert_int_equal(sp_network_find(&network, "1.5/24"), SP_OK);
    assert_close(network.latency * 1e6, 1.5, 1e-9);
    assert_close(network.bandwidth * 1e-9, 24, 1e-9);
}

static void this_machine_is_measured(void **state) {
    sp_cpu cpu = {0};
    assert_int_equal(sp_cpu_find(&cpu, "native"), SP_OK);
    assert_true(cpu.cores >= 1 && cpu.memory_bytes > GIB / 4);
    /* what any machine of the last twenty years, however busy, lies between */
    assert_true(cpu.f32 > 1e7 && cpu.f32 < 1e12);
    assert_true(cpu.memory_bandwidth > 1e7 && cpu.memory_bandwidth < 1e13);
    assert_true((cpu.bf16 > 0) == sp_linear_computes_bf16());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_maps_weights_once_and_holds_the_rest_for_each_rank),
        cmocka_unit_test(longer_pipelines_need_less_weight_and_more_data_less_moments),
        cmocka_unit_test(a_folded_cut_holds_shared_weights_once),
        cmocka_unit_test(as_few_layers_are_recomputed_as_memory_needs),
        cmocka_unit_test(recomputation_follows_the_configuration),
        cmocka_unit_test(what_does_not_fit_is_refused_by_its_largest_item),
        cmocka_unit_test(exchange_is_two_levels_of_latency_and_bandwidth),
        cmocka_unit_test(bubble_is_near_that_of_equal_stages),
        cmocka_unit_test(long_steps_take_as_much_longer_as_they_have_more_micro_batches),
        cmocka_unit_test(zero_2_reduces_after_every_micro_batch),
        cmocka_unit_test(a_micro_batch_needs_the_memory_of_a_full_pass),
        cmocka_unit_test(the_best_fit_and_come_fastest_first),
        cmocka_unit_test(where_nothing_fits_the_least_is_shown),
        cmocka_unit_test(a_pipeline_that_does_not_divide_the_ranks_is_refused),
        cmocka_unit_test(scaling_never_gains_from_nothing),
        cmocka_unit_test(a_run_is_told_what_to_recompute_or_refused),
        cmocka_unit_test(this_machine_is_measured),
        cmocka_unit_test(names_that_are_not_known_are_refused_with_those_that_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
