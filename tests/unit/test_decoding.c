/* Many prompts at once, against the training path: a continuation is right if every token of it is the
   likeliest one in a pass over the whole text that knows no cache. */
#include "tests/check.h"

#include "chain/pass.h"
#include "model/language_model.h"
#include "run/decoding.h"
#include "tests/tiny_model.h"

#include <stdio.h>
#include <stdlib.h>

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static const tiny_shape shapes[] = {
    {.d_model = 12,
     .n_layers = 2,
     .n_heads = 6,
     .n_kv_heads = 2,
     .head_dim = 4,
     .d_ffn = 17,
     .vocab_size = 61},
    {.d_model = 12,
     .n_layers = 2,
     .n_heads = 2,
     .n_kv_heads = 1,
     .head_dim = 6,
     .d_ffn = 17,
     .vocab_size = 61,
     .family = "mistral",
     .options = "{\"sliding_window\": 150}"},
    {.d_model = 12,
     .n_layers = 2,
     .n_heads = 3,
     .n_kv_heads = 3,
     .head_dim = 4,
     .d_ffn = 17,
     .vocab_size = 61,
     .is_tied = true,
     .family = "gpt2",
     .options = "{\"n_positions\": 1400}"},
    /* the children of one prefix are longer than the original length, or not */
    {.d_model = 12,
     .n_layers = 2,
     .n_heads = 2,
     .n_kv_heads = 1,
     .head_dim = 6,
     .d_ffn = 17,
     .vocab_size = 61,
     .family = "phi3",
     .options = "{\"partial_rotary_factor\": 0.7, \"max_position_embeddings\": 4096,"
                " \"original_max_position_embeddings\": 56, \"rope_scaling\": {\"type\":"
                " \"longrope\", \"short_factor\": [1.0, 1.2], \"long_factor\": [1.5, 3.0]}}"},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

typedef struct subject {
    tiny_model model;
    sp_language_model language_model;
    sp_transformer *transformer;
} subject;

static void open_subject(subject *s, const tiny_shape *shape) {
    *s = (subject){0};
    tiny_model_create(&s->model, shape, 5, SP_WEIGHTS_ALL);
    must(sp_language_model_create(&s->language_model, &s->model.weights));
    s->transformer = s->language_model.transformer;
}

static void close_subject(subject *s) {
    sp_language_model_destroy(&s->language_model);
    tiny_model_release(&s->model);
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

static void add_ids(sp_batch *batch, size_t n, uint32_t *state) {
    for (size_t i = 0; i < n; i++)
        must(sp_batch_add_row(batch, SP_DECODER, (int32_t)(next_random(state) % 61)));
}

static int32_t add_seq(sp_batch *batch, int32_t parent) {
    int32_t seq = 0;
    must(sp_batch_add_seq(batch, SP_DECODER, parent, 0, &seq));
    return seq;
}

/* Appends the rows of a sequence of `from` to the last one of `batch`. */
static void copy_rows(sp_batch *batch, const sp_rows *from, const sp_attention_seq *seq) {
    for (size_t r = seq->begin; r < seq->begin + seq->len; r++)
        must(sp_batch_add_row(batch, SP_DECODER, from->ids[r]));
}

/* The prompt of sequence s, its parent's rows in front, and what it goes on with as targets. */
static void add_whole(sp_batch *batch, const sp_rows *prompts, size_t s, const int32_t *ids,
                      size_t n) {
    const int32_t seq = add_seq(batch, SP_NO_PARENT);
    if (prompts->seqs[s].parent >= 0)
        copy_rows(batch, prompts, &prompts->seqs[prompts->seqs[s].parent]);
    copy_rows(batch, prompts, &prompts->seqs[s]);
    for (size_t i = 0; i < n; i++) {
        sp_batch_set_target(batch, SP_DECODER, seq, ids[i], SP_RECONSTRUCTION);
        must(sp_batch_add_row(batch, SP_DECODER, ids[i]));
    }
}

static void check_likeliest(subject *s, const sp_rows *prompts, size_t seq, const int32_t *ids,
                            size_t n) {
    sp_batch whole = {0};
    sp_workspace workspace = {0};
    const sp_chain *chain = &s->language_model.chain;
    add_whole(&whole, prompts, seq, ids, n);
    must(sp_transformer_prepare(s->transformer, &whole.rows[SP_DECODER]));
    must(sp_workspace_reserve(&workspace, chain, 0, chain->n_blocks, &whole, false));
    (void)sp_chain_run(chain, 0, chain->n_blocks, &whole, NULL, &workspace);
    if (whole.n_correct[SP_RECONSTRUCTION] != n)
        fail_msg("sequence %zu: %zu of %zu tokens are the likeliest", seq,
                 whole.n_correct[SP_RECONSTRUCTION], n);
    sp_workspace_release(&workspace);
    sp_batch_free(&whole);
}

static bool has_children(const sp_rows *prompts, size_t s) {
    return s + 1 < prompts->n_seqs && prompts->seqs[s + 1].parent >= 0 &&
           prompts->seqs[s].parent < 0;
}

/* Prompts of 1 to 40 rows, more than go on at once; a few longer than a page, one longer than a pass
   reads; families, one with a child that has no row, one with more children than go on at once. */
static void make_prompts(sp_batch *batch) {
    uint32_t state = 3;
    for (size_t i = 0; i < 40; i++) {
        add_seq(batch, SP_NO_PARENT);
        add_ids(batch, i == 7 ? 1200 : i % 9 == 8 ? 130 + i : 1 + next_random(&state) % 40, &state);
    }
    for (size_t f = 0; f < 4; f++) {
        const int32_t parent = add_seq(batch, SP_NO_PARENT);
        add_ids(batch, f == 0 ? 300 : f == 1 ? 700 : 20, &state);
        for (size_t i = 0; i < (f == 2 ? 7U : 2U); i++) {
            add_seq(batch, parent);
            add_ids(batch, f == 3 && i == 0 ? 0 : 1 + next_random(&state) % 20, &state);
        }
    }
}

static void every_token_is_the_likeliest(void **state) {
    for (size_t i = 0; i < N_SHAPES; i++) {
        subject s;
        sp_batch batch = {0};
        sp_decoded decoded = {0};
        open_subject(&s, &shapes[i]);
        make_prompts(&batch);
        const sp_rows *prompts = &batch.rows[SP_DECODER];
        const sp_decoding_limits limits = {.max_new_tokens = 24, .eos = SP_NO_TOKEN};
        must(sp_decode_greedily(&decoded, s.transformer, prompts, NULL, &limits));
        assert_int_equal(decoded.n_seqs, prompts->n_seqs);
        for (size_t k = 0; k < prompts->n_seqs; k++) {
            assert_int_equal(decoded.lens[k], has_children(prompts, k) ? 0 : 24);
            if (decoded.lens[k] > 0)
                check_likeliest(&s, prompts, k, decoded.ids[k], decoded.lens[k]);
        }
        sp_decoded_free(&decoded);
        sp_batch_free(&batch);
        close_subject(&s);
    }
}

/* Prompts are added while others go on; each is held against the whole text. */
static void places_are_filled_as_soon_as_they_are_free(void **state) {
    enum { AT_ONCE = 3, N = 20 };
    subject s;
    sp_batch batches[N] = {0};
    sp_decoding *d = NULL;
    uint32_t random = 9;
    size_t n_added = 0, n_taken = 0, n_steps = 0, n_tokens = 0;
    open_subject(&s, &shapes[0]);
    must(sp_decoding_create(&d, s.transformer, AT_ONCE));
    while (n_taken < N) {
        while (n_added < N && sp_decoding_n_waiting(d) == 0) {
            const sp_decoding_limits limits = {.max_new_tokens = 1 + n_added * 7 % 19,
                                               .eos = SP_NO_TOKEN};
            add_seq(&batches[n_added], SP_NO_PARENT);
            add_ids(&batches[n_added], 5 + n_added % 6, &random);
            must(sp_decoding_add(d, &batches[n_added].rows[SP_DECODER], NULL, &limits));
            n_tokens += limits.max_new_tokens;
            n_added++;
        }
        must(sp_decoding_step(d));
        n_steps++;
        sp_continuation c;
        while (sp_decoding_take(d, &c)) {
            assert_int_equal(c.n, 1 + c.number * 7 % 19);
            check_likeliest(&s, &batches[c.number].rows[SP_DECODER], 0, c.ids, c.n);
            free(c.ids);
            n_taken++;
        }
    }
    assert_int_equal(sp_decoding_n_going(d), 0);
    /* Each step brings a token of each place, but in the end, when some are empty. */
    assert_true(n_steps <= (n_tokens + AT_ONCE - 1) / AT_ONCE + 19);
    sp_decoding_destroy(d);
    for (size_t i = 0; i < N; i++) sp_batch_free(&batches[i]);
    close_subject(&s);
}

static void a_sequence_ends_before_a_stop_and_where_positions_do(void **state) {
    subject s;
    sp_batch batch = {0};
    sp_decoded decoded = {0}, stopped = {0};
    uint32_t random = 1;
    open_subject(&s, &shapes[2]);
    add_seq(&batch, SP_NO_PARENT);
    add_ids(&batch, 1390, &random);
    const sp_rows *prompts = &batch.rows[SP_DECODER];
    sp_decoding_limits limits = {.max_new_tokens = 50, .eos = SP_NO_TOKEN};
    must(sp_decode_greedily(&decoded, s.transformer, prompts, NULL, &limits));
    assert_int_equal(decoded.lens[0], 11); /* the last one has no position, and is not read */
    limits.eos = decoded.ids[0][3];
    must(sp_decode_greedily(&stopped, s.transformer, prompts, NULL, &limits));
    assert_in_range(stopped.lens[0], 0, 3);
    assert_memory_equal(stopped.ids[0], decoded.ids[0], stopped.lens[0] * sizeof(int32_t));
    sp_decoded_free(&decoded);
    sp_decoded_free(&stopped);
    add_ids(&batch, 11, &random);
    assert_int_equal(sp_decode_greedily(&decoded, s.transformer, prompts, NULL, &limits),
                     SP_BAD_DATA);
    sp_batch_free(&batch);
    add_seq(&batch, SP_NO_PARENT);
    assert_int_equal(sp_decode_greedily(&decoded, s.transformer, prompts, NULL, &limits),
                     SP_BAD_DATA);
    sp_batch_free(&batch);
    close_subject(&s);
}

static void nothing_to_decode_is_nothing(void **state) {
    subject s;
    sp_batch batch = {0};
    sp_decoded decoded = {0};
    uint32_t random = 1;
    open_subject(&s, &shapes[0]);
    sp_decoding_limits limits = {.max_new_tokens = 5, .eos = SP_NO_TOKEN};
    must(sp_decode_greedily(&decoded, s.transformer, &batch.rows[SP_DECODER], NULL, &limits));
    assert_int_equal(decoded.n_seqs, 0);
    sp_decoded_free(&decoded);
    const int32_t parent = add_seq(&batch, SP_NO_PARENT);
    add_ids(&batch, 3, &random);
    add_seq(&batch, parent);
    add_ids(&batch, 3, &random);
    limits.max_new_tokens = 0;
    must(sp_decode_greedily(&decoded, s.transformer, &batch.rows[SP_DECODER], NULL, &limits));
    assert_int_equal(decoded.lens[1], 0);
    sp_decoded_free(&decoded);
    sp_batch_free(&batch);
    close_subject(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_token_is_the_likeliest),
        cmocka_unit_test(places_are_filled_as_soon_as_they_are_free),
        cmocka_unit_test(a_sequence_ends_before_a_stop_and_where_positions_do),
        cmocka_unit_test(nothing_to_decode_is_nothing),
    };
    return cmocka_run_group_tests_name("decoding", tests, NULL, NULL);
}
