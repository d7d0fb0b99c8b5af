/* The chain that a run is planned by, held to what is known of the method's models. */
#include "tests/check.h"

#include "run/plan_chain.h"
#include "tests/paper_models.h"

#include <stdlib.h>

typedef struct paper {
    paper_models models;
    sp_plan_chain chain;
} paper;

#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void open_paper(paper *p, const char *encoder, const char *const *sets) {
    paper_models_create(&p->models, encoder, sets);
    if (sp_plan_chain_open(&p->chain, &p->models.config, NULL) != SP_OK)
        fail_msg("%s", sp_message());
}

static void open_lite(paper *p, const char *set) {
    open_paper(p, "gpt2", SETS("encoder.train=full", set));
}

static void open_large(paper *p, const char *set, const char *other) {
    open_paper(p, "llama3", SETS("encoder.train=lora", set, other));
}

static void close_paper(paper *p) {
    sp_plan_chain_close(&p->chain);
    paper_models_release(&p->models);
}

/* FLOP of a segment in blocks [begin, end), forward and backward. */
static double flop_of(const paper *p, size_t begin, size_t end) {
    const size_t n_blocks = sp_plan_blocks(&p->chain)->n_blocks;
    sp_plan_cost *costs = calloc(n_blocks, sizeof *costs);
    assert_non_null(costs);
    assert_int_equal(sp_plan_costs(costs, &p->chain, 1), SP_OK);
    double flop = 0;
    for (size_t b = begin; b < end; b++) flop += costs[b].flop_forward + costs[b].flop_backward;
    free(costs);
    return flop;
}

static double encoder_flop(const paper *p) {
    return flop_of(p, 0, p->chain.outline.compressor->encoder_end);
}

static double decoder_flop(const paper *p) {
    return flop_of(p, p->chain.outline.compressor->encoder_end + 1,
                   sp_plan_blocks(&p->chain)->n_blocks);
}

static double run_flop(const paper *p) {
    return flop_of(p, 0, sp_plan_blocks(&p->chain)->n_blocks) * 5e9 / 256;
}

/* The figures of pcc.md, section 7, leave attention's products out of the encoder: some 2 %. */
static const double rounding = 0.03;

static void assert_about(double value, double expected) {
    if (!(fabs(value / expected - 1) <= rounding))
        fail_msg("%.4g is not within %g of %.4g", value, rounding, expected);
}

static void flop_of_lite_is_the_methods(void **state) {
    paper p;
    open_lite(&p, "objective.draw=both");
    assert_about(encoder_flop(&p), 1.36e12);
    assert_about(decoder_flop(&p), 17.3e12);
    assert_about(run_flop(&p), 3.6e20);
    close_paper(&p);
}

static void flop_of_lite_with_one_objective_is_the_methods(void **state) {
    paper p;
    open_lite(&p, "objective.draw=one");
    assert_about(decoder_flop(&p), 9.7e12);
    assert_about(run_flop(&p), 2.17e20);
    close_paper(&p);
}

static void flop_of_large_is_the_methods(void **state) {
    paper p;
    open_large(&p, "objective.draw=one", "decoder.precision=f32");
    assert_about(run_flop(&p), 3.65e20);
    close_paper(&p);
}

/* 774M and 8.03B, as their makers count them. */
static void parameters_are_the_makers(void **state) {
    paper p;
    open_lite(&p, "objective.draw=both");
    const size_t n_blocks = sp_plan_blocks(&p.chain)->n_blocks;
    const size_t converter = p.chain.outline.compressor->encoder_end;
    uint64_t encoder = 0, decoder = 0, trained = 0;
    for (size_t b = 0; b < n_blocks; b++) {
        *(b < converter ? &encoder : &decoder) += p.chain.weights[b].n_values;
        trained += sp_plan_block_trained(&p.chain, b);
    }
    assert_int_equal(encoder, 774030080);
    assert_int_equal(decoder, 8030261248);
    /* all of the encoder, 64 memory rows, the converter, three markers */
    assert_int_equal(trained, 774030080 + 64 * 1280 +
                                  (1280 + 1280 * 4096 + 4096 + 4096 * 4096 + 4096) + 3 * 4096);
    close_paper(&p);
}

/* bf16 files are used in place in bf16 but for vectors, and copied in f32 but for the look-up. */
static void weights_are_mapped_or_copied_as_their_precision_says(void **state) {
    static const uint64_t in_layers_and_norms = 8030261248 - 128256 * 4096LL; /* and the head */
    static const uint64_t vectors = 65 * 4096LL, table = 128256 * 4096LL;
    for (int is_f32 = 0; is_f32 < 2; is_f32++) {
        paper p;
        open_large(&p, is_f32 ? "decoder.precision=f32" : "decoder.precision=bf16",
                   is_f32 ? "train.precision=f32" : "train.precision=bf16");
        const size_t n_blocks = sp_plan_blocks(&p.chain)->n_blocks;
        bool *all = calloc(n_blocks, sizeof *all);
        assert_non_null(all);
        for (size_t b = 0; b < n_blocks; b++) all[b] = true;
        const sp_plan_weights sum = sp_plan_weights_of(&p.chain, all);
        const uint64_t matrices = in_layers_and_norms - vectors;
        /* the model is shared, but each side's final norm is a copy of its own */
        const uint64_t copied = 4 * (vectors + 4096);
        assert_true(p.chain.outline.shares_weights);
        assert_int_equal(sum.mapped, 2 * table + (is_f32 ? 0 : 2 * matrices));
        assert_int_equal(sum.copied, copied + (is_f32 ? 4 * matrices : 0));
        free(all);
        close_paper(&p);
    }
}

static void a_largest_batch_has_full_segments(void **state) {
    paper p;
    open_lite(&p, "objective.draw=both");
    sp_batch batch = {0};
    assert_int_equal(sp_plan_largest_batch(&batch, &p.chain, 3), SP_OK);
    assert_int_equal(batch.rows[SP_ENCODER].n_rows, 3 * (256 + 64));
    assert_int_equal(batch.rows[SP_DECODER].n_rows, 3 * (1 + 66 + 257 + 256));
    sp_batch_free(&batch);
    close_paper(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flop_of_lite_is_the_methods),
        cmocka_unit_test(flop_of_lite_with_one_objective_is_the_methods),
        cmocka_unit_test(flop_of_large_is_the_methods),
        cmocka_unit_test(parameters_are_the_makers),
        cmocka_unit_test(weights_are_mapped_or_copied_as_their_precision_says),
        cmocka_unit_test(a_largest_batch_has_full_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
