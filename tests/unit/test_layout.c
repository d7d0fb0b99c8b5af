/* Rows and targets of pcc.md §2, spelled out. */
#include "tests/check.h"

#include "pcc/layout.h"

enum { BOS = 101, EOS = 102, MEM = -1, END_MEM = -2, AE = -3, SLOT0 = -4, NONE = SP_NO_TARGET };
enum { R = SP_RECONSTRUCTION, C = SP_COMPLETION };

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static const int32_t x[] = {11, 12, 13, 14, 15}, y[] = {21, 22, 23},
                     encoded[] = {31, 32, 33, 34, 35};

typedef struct row {
    int32_t id;
    uint32_t position;
    int32_t target, loss; /* the latter only where there is a target */
} row;

static void check_rows(const sp_rows *rows, const row *expected, size_t n) {
    assert_int_equal(rows->n_rows, n);
    for (size_t r = 0; r < n; r++) {
        if (rows->ids[r] != expected[r].id || rows->positions[r] != expected[r].position ||
            rows->targets[r] != expected[r].target)
            fail_msg("row %zu is {%d, %u, %d}, not {%d, %u, %d}", r, rows->ids[r],
                     rows->positions[r], rows->targets[r], expected[r].id, expected[r].position,
                     expected[r].target);
        if (expected[r].target != NONE) assert_int_equal(rows->target_loss[r], expected[r].loss);
    }
}

static void check_seqs(const sp_rows *rows, const sp_attention_seq *expected, size_t n) {
    assert_int_equal(rows->n_seqs, n);
    for (size_t s = 0; s < n; s++) {
        assert_int_equal(rows->seqs[s].begin, expected[s].begin);
        assert_int_equal(rows->seqs[s].len, expected[s].len);
        assert_int_equal(rows->seqs[s].parent, expected[s].parent);
    }
}

static const sp_layout layout = {.segment_tokens = 8, .ratio = 2, .bos = BOS, .eos = EOS};

static sp_sample sample_of(bool reconstructs, bool completes) {
    return (sp_sample){.encoder_ids = encoded,
                       .n_encoder_ids = 5,
                       .decoder_ids = x,
                       .n_decoder_ids = 4,
                       .next_ids = y,
                       .n_next_ids = 3,
                       .key = 9,
                       .reconstructs = reconstructs,
                       .completes = completes};
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void both_branches_share_one_prefix(void **state) {
    static const row encoder[] = {{31, 0, NONE, 0}, {32, 1, NONE, 0}, {33, 2, NONE, 0},
                                  {34, 3, NONE, 0}, {35, 4, NONE, 0}, {-1, 5, NONE, 0},
                                  {-2, 6, NONE, 0}, {-3, 7, NONE, 0}};
    static const row decoder[] = {
        {BOS, 0, NONE, 0},       {MEM, 1, NONE, 0},   {SLOT0, 2, NONE, 0}, {SLOT0 - 1, 3, NONE, 0},
        {SLOT0 - 2, 4, NONE, 0}, {END_MEM, 5, 21, C}, /* y_0 belongs to </mem> */
        {AE, 6, 11, R},          {11, 7, 12, R},      {12, 8, 13, R},      {13, 9, 14, R},
        {14, 10, EOS, R},        {21, 6, 22, C},      {22, 7, 23, C},      {23, 8, EOS, C}};
    static const sp_attention_seq seqs[] = {{0, 6, -1}, {6, 5, 0}, {11, 3, 0}};
    sp_batch batch = {0};
    const sp_sample sample = sample_of(true, true);
    must(sp_layout_add_sample(&layout, &batch, &sample));
    check_rows(&batch.rows[SP_ENCODER], encoder, COUNT(encoder));
    check_rows(&batch.rows[SP_DECODER], decoder, COUNT(decoder));
    check_seqs(&batch.rows[SP_DECODER], seqs, COUNT(seqs));
    check_seqs(&batch.rows[SP_ENCODER], &(sp_attention_seq){0, 8, -1}, 1);
    assert_int_equal(batch.n_taken, 3);
    for (size_t k = 0; k < 3; k++) assert_int_equal(batch.taken[k], 5 + k);
    for (size_t s = 0; s < 3; s++) assert_int_equal(batch.rows[SP_DECODER].samples[s], 9);
    sp_batch_free(&batch);
}

static void pooled_slots_cover_the_text(void **state) {
    static const row encoder[] = {
        {31, 0, NONE, 0}, {32, 1, NONE, 0}, {33, 2, NONE, 0}, {34, 3, NONE, 0}, {35, 4, NONE, 0}};
    static const size_t lens[] = {2, 2, 1};
    sp_layout pooled = layout;
    sp_batch batch = {0};
    const sp_sample sample = sample_of(true, true);
    pooled.is_of_chunks = true;
    for (size_t s = 0; s < 2; s++) {
        must(sp_layout_add_sample(&pooled, &batch, &sample));
        assert_int_equal(batch.n_taken, 3 * (s + 1));
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(batch.taken[3 * s + k], 5 * s + 2 * k);
            assert_int_equal(batch.taken_rows[3 * s + k], lens[k]);
        }
        if (s == 0) check_rows(&batch.rows[SP_ENCODER], encoder, COUNT(encoder));
    }
    assert_int_equal(batch.rows[SP_DECODER].n_rows, 2 * 14); /* as with memory tokens */
    sp_batch_free(&batch);
}

static void slots_are_numbered_through_the_batch(void **state) {
    sp_batch batch = {0};
    const sp_sample sample = sample_of(true, false);
    must(sp_layout_add_sample(&layout, &batch, &sample));
    must(sp_layout_add_sample(&layout, &batch, &sample));
    const sp_rows *rows = &batch.rows[SP_DECODER];
    const size_t second = 11; /* rows of the first: 6 and 5 */
    assert_int_equal(rows->ids[second], BOS);
    for (int32_t k = 0; k < 3; k++) {
        assert_int_equal(rows->ids[second + 2 + (size_t)k], SLOT0 - 3 - k);
        assert_int_equal(batch.taken[3 + k], 8 + 5 + k);
    }
    assert_int_equal(rows->seqs[3].parent, 2);
    sp_batch_free(&batch);
}

static void without_completion_the_prefix_holds_no_target(void **state) {
    const struct {
        bool completes;
        size_t n_next;
    } cases[] = {{false, 3}, {true, 0}}; /* not asked for; a document's last segment */
    for (size_t i = 0; i < 2; i++) {
        sp_batch batch = {0};
        sp_sample sample = sample_of(true, cases[i].completes);
        sample.n_next_ids = cases[i].n_next;
        must(sp_layout_add_sample(&layout, &batch, &sample));
        const sp_rows *rows = &batch.rows[SP_DECODER];
        assert_int_equal(rows->n_seqs, 2);
        assert_int_equal(rows->n_rows, 11);
        for (size_t r = 0; r < 6; r++) assert_int_equal(rows->targets[r], NONE);
        sp_batch_free(&batch);
    }
}

static void completion_alone_has_no_ae(void **state) {
    static const row decoder[] = {
        {BOS, 0, NONE, 0},       {MEM, 1, NONE, 0},       {SLOT0, 2, NONE, 0},
        {SLOT0 - 1, 3, NONE, 0}, {SLOT0 - 2, 4, NONE, 0}, {END_MEM, 5, 21, C},
        {21, 6, 22, C},          {22, 7, 23, C},          {23, 8, EOS, C}};
    sp_batch batch = {0};
    const sp_sample sample = sample_of(false, true);
    must(sp_layout_add_sample(&layout, &batch, &sample));
    check_rows(&batch.rows[SP_DECODER], decoder, COUNT(decoder));
    sp_batch_free(&batch);
}

/* y_0 is then the last slot's to tell, and <ae> stays. */
static void without_boundaries_slots_stand_alone(void **state) {
    static const row decoder[] = {
        {BOS, 0, NONE, 0}, {SLOT0, 1, NONE, 0}, {SLOT0 - 1, 2, NONE, 0}, {SLOT0 - 2, 3, 21, C},
        {AE, 4, 11, R},    {11, 5, 12, R},      {12, 6, 13, R},          {13, 7, 14, R},
        {14, 8, EOS, R},   {21, 4, 22, C},      {22, 5, 23, C},          {23, 6, EOS, C}};
    static const row prompt[] = {{BOS, 0, NONE, 0}, {SLOT0, 1, NONE, 0}, {AE, 2, NONE, 0}};
    static const row memory[] = {
        {BOS, 0, NONE, 0}, {SLOT0, 1, NONE, 0}, {SLOT0 - 1, 2, NONE, 0}, {SLOT0 - 2, 3, NONE, 0}};
    sp_layout bare = layout;
    bare.omits_boundaries = true;
    assert_int_equal(sp_layout_n_boundaries(&bare), 0);
    assert_int_equal(sp_layout_n_boundaries(&layout), 2);
    sp_batch batch = {0};
    const sp_sample sample = sample_of(true, true);
    must(sp_layout_add_sample(&bare, &batch, &sample));
    check_rows(&batch.rows[SP_DECODER], decoder, COUNT(decoder));
    sp_batch_clear(&batch);
    size_t slot = 0;
    must(sp_layout_add_reconstruction_prompt(&bare, &batch, 1, &slot));
    check_rows(&batch.rows[SP_DECODER], prompt, COUNT(prompt));
    sp_batch_clear(&batch);
    int32_t prefix = 0;
    slot = 0;
    must(sp_layout_add_prefix(&bare, &batch, (const size_t[]){1, 2}, 2, &slot, 9, &prefix));
    check_rows(&batch.rows[SP_DECODER], memory, COUNT(memory));
    /* With one row less than the switch two branches share, with boundaries they would not. */
    bare.longrope_switch = 1 + 3 + 5;
    sp_batch_clear(&batch);
    must(sp_layout_add_sample(&bare, &batch, &sample));
    assert_int_equal(batch.rows[SP_DECODER].n_seqs, 3);
    bare.omits_boundaries = false;
    sp_batch_clear(&batch);
    must(sp_layout_add_sample(&bare, &batch, &sample));
    assert_int_equal(batch.rows[SP_DECODER].n_seqs, 4);
    sp_batch_free(&batch);
}

static void a_model_without_bos_or_eos_has_neither_row_nor_target(void **state) {
    static const row decoder[] = {
        {MEM, 0, NONE, 0},   {SLOT0, 1, NONE, 0}, {SLOT0 - 1, 2, NONE, 0}, {SLOT0 - 2, 3, NONE, 0},
        {END_MEM, 4, 21, C}, {AE, 5, 11, R},      {11, 6, 12, R},          {12, 7, 13, R},
        {13, 8, 14, R},      {14, 9, NONE, 0},    {21, 5, 22, C},          {22, 6, 23, C},
        {23, 7, NONE, 0}};
    const sp_layout bare = {
        .segment_tokens = 8, .ratio = 2, .bos = SP_NO_TOKEN, .eos = SP_NO_TOKEN};
    sp_batch batch = {0};
    const sp_sample sample = sample_of(true, true);
    must(sp_layout_add_sample(&bare, &batch, &sample));
    check_rows(&batch.rows[SP_DECODER], decoder, COUNT(decoder));
    assert_int_equal(sp_layout_n_targets(&bare, 4), 4);
    assert_int_equal(sp_layout_n_targets(&layout, 4), 5);
    sp_batch_free(&batch);
}

static void slots_follow_the_rule_where_the_ratio_does_not_divide(void **state) {
    static const struct {
        size_t segment, ratio, n, proportional, fixed;
    } cases[] = {{128, 4, 128, 32, 32}, {128, 4, 127, 32, 32}, {128, 4, 125, 32, 32},
                 {128, 4, 124, 31, 32}, {128, 4, 1, 1, 32},    {10, 4, 10, 3, 3},
                 {10, 4, 5, 2, 3},      {256, 256, 256, 1, 1}, {256, 300, 9, 1, 1},
                 {7, 1, 5, 5, 7}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        sp_layout l = {.segment_tokens = cases[i].segment, .ratio = cases[i].ratio};
        assert_int_equal(sp_layout_n_slots(&l, cases[i].n), cases[i].proportional);
        l.slots_are_fixed = true;
        assert_int_equal(sp_layout_n_slots(&l, cases[i].n), cases[i].fixed);
    }
}

static void a_fixed_number_of_slots_reaches_both_sides(void **state) {
    sp_layout fixed = layout;
    fixed.slots_are_fixed = true;
    sp_batch batch = {0};
    const sp_sample sample = sample_of(true, false);
    must(sp_layout_add_sample(&fixed, &batch, &sample));
    assert_int_equal(batch.n_taken, 4);
    assert_int_equal(batch.rows[SP_ENCODER].n_rows, 5 + 4);
    assert_int_equal(batch.rows[SP_DECODER].seqs[0].len, 3 + 4);
    sp_batch_free(&batch);
}

static void a_prefix_of_several_segments_has_markers_for_each(void **state) {
    static const row expected[] = {
        {BOS, 0, NONE, 0},     {MEM, 1, NONE, 0}, {SLOT0, 2, NONE, 0},     {SLOT0 - 1, 3, NONE, 0},
        {END_MEM, 4, NONE, 0}, {MEM, 5, NONE, 0}, {SLOT0 - 2, 6, NONE, 0}, {END_MEM, 7, NONE, 0}};
    sp_batch batch = {0};
    size_t slot = 0;
    int32_t prefix = -1;
    must(sp_layout_add_prefix(&layout, &batch, (size_t[]){2, 1}, 2, &slot, 5, &prefix));
    check_rows(&batch.rows[SP_DECODER], expected, COUNT(expected));
    assert_int_equal(slot, 3);
    assert_int_equal(prefix, 0);
    sp_batch_free(&batch);
}

static void a_reconstruction_prompt_ends_in_ae(void **state) {
    static const row expected[] = {{BOS, 0, NONE, 0},       {MEM, 1, NONE, 0},
                                   {SLOT0 - 4, 2, NONE, 0}, {SLOT0 - 5, 3, NONE, 0},
                                   {END_MEM, 4, NONE, 0},   {AE, 5, NONE, 0}};
    sp_batch batch = {0};
    size_t slot = 4;
    must(sp_layout_add_reconstruction_prompt(&layout, &batch, 2, &slot));
    check_rows(&batch.rows[SP_DECODER], expected, COUNT(expected));
    check_seqs(&batch.rows[SP_DECODER], &(sp_attention_seq){0, 6, -1}, 1);
    assert_int_equal(slot, 6);
    sp_batch_free(&batch);
}

static void a_question_reads_all_its_segments_and_learns_the_answer_alone(void **state) {
    static const uint32_t lens[] = {3, 2};
    static const int32_t before[] = {51}, prompt[] = {41, 42}, answer[] = {21, 22};
    static const row encoder[] = {{31, 0, NONE, 0}, {32, 1, NONE, 0}, {33, 2, NONE, 0},
                                  {-1, 3, NONE, 0}, {-2, 4, NONE, 0}, {34, 0, NONE, 0},
                                  {35, 1, NONE, 0}, {-1, 2, NONE, 0}};
    static const row decoder[] = {
        {BOS, 0, NONE, 0},      {51, 1, NONE, 0},        {MEM, 2, NONE, 0},
        {SLOT0, 3, NONE, 0},    {SLOT0 - 1, 4, NONE, 0}, {END_MEM, 5, NONE, 0},
        {MEM, 6, NONE, 0},      {SLOT0 - 2, 7, NONE, 0}, {END_MEM, 8, NONE, 0},
        {41, 9, NONE, 0},       {42, 10, 21, SP_ANSWER}, {21, 11, 22, SP_ANSWER},
        {22, 12, 77, SP_ANSWER}};
    static const sp_attention_seq seqs[] = {{0, 5, -1}, {5, 3, -1}};
    sp_batch batch = {0};
    sp_question question = {.encoder_ids = encoded,
                            .segment_lens = lens,
                            .n_segments = 2,
                            .before = before,
                            .n_before = 1,
                            .prompt = prompt,
                            .n_prompt = 2,
                            .answer = answer,
                            .n_answer = 2,
                            .end = 77,
                            .key = 9};
    must(sp_layout_add_question(&layout, &batch, &question));
    check_rows(&batch.rows[SP_ENCODER], encoder, COUNT(encoder));
    check_rows(&batch.rows[SP_DECODER], decoder, COUNT(decoder));
    check_seqs(&batch.rows[SP_ENCODER], seqs, COUNT(seqs));
    check_seqs(&batch.rows[SP_DECODER], &(sp_attention_seq){0, COUNT(decoder), -1}, 1);
    assert_int_equal(batch.rows[SP_DECODER].samples[0], 9);
    assert_int_equal(batch.rows[SP_ENCODER].samples[0], 9);
    assert_true(batch.rows[SP_ENCODER].samples[1] != 9); /* drops other values */
    /* A second one goes on with its slots; without prompt, </mem> is to be followed by the answer. */
    question.omits_bos = true;
    question.n_before = question.n_prompt = 0;
    question.end = SP_NO_TOKEN;
    must(sp_layout_add_question(&layout, &batch, &question));
    const sp_rows *rows = &batch.rows[SP_DECODER];
    assert_int_equal(rows->n_rows, COUNT(decoder) + 9);
    assert_int_equal(rows->ids[COUNT(decoder)], MEM);
    assert_int_equal(rows->ids[COUNT(decoder) + 1], SLOT0 - 3);
    assert_int_equal(rows->targets[COUNT(decoder) + 6], 21);
    assert_int_equal(rows->targets[COUNT(decoder) + 7], 22);
    assert_int_equal(rows->targets[COUNT(decoder) + 8], NONE);
    sp_batch_free(&batch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_branches_share_one_prefix),
        cmocka_unit_test(pooled_slots_cover_the_text),
        cmocka_unit_test(slots_are_numbered_through_the_batch),
        cmocka_unit_test(without_completion_the_prefix_holds_no_target),
        cmocka_unit_test(completion_alone_has_no_ae),
        cmocka_unit_test(without_boundaries_slots_stand_alone),
        cmocka_unit_test(a_model_without_bos_or_eos_has_neither_row_nor_target),
        cmocka_unit_test(slots_follow_the_rule_where_the_ratio_does_not_divide),
        cmocka_unit_test(a_fixed_number_of_slots_reaches_both_sides),
        cmocka_unit_test(a_prefix_of_several_segments_has_markers_for_each),
        cmocka_unit_test(a_reconstruction_prompt_ends_in_ae),
        cmocka_unit_test(a_question_reads_all_its_segments_and_learns_the_answer_alone),
    };
    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
