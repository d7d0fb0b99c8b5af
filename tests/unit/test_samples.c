#include "tests/check.h"
#include "tests/temp_folder.h"

#include "run/samples.h"

#include <stdio.h>
#include <stdlib.h>

/* Documents of 1 to 5 segments of at most 8 tokens; each segment's ids name it, so that rows of a
   batch tell where they come from. */
enum { N_DOCUMENTS = 40, MOST = 5 * N_DOCUMENTS, SEGMENT = 8, VOCABULARY = 60000 };

static char dir[TEMP_PATH_SIZE], path[TEMP_PATH_SIZE];
static size_t n_segments, document_of[MOST], n_encoder[MOST], n_decoder[MOST];

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

static bool has_next(size_t segment) {
    return segment + 1 < n_segments && document_of[segment + 1] == document_of[segment];
}

static uint64_t hash_of(size_t document) { return (document + 1) * 0x9E3779B97F4A7C15U; }

static void write_segment(sp_tokens_writer *writer, size_t document, bool is_last) {
    int32_t encoder[SEGMENT], decoder[SEGMENT];
    const size_t s = n_segments++;
    document_of[s] = document;
    n_encoder[s] = is_last ? 1 + s % SEGMENT : SEGMENT;
    n_decoder[s] = 1 + (s * 3) % SEGMENT;
    for (size_t i = 0; i < SEGMENT; i++) {
        encoder[i] = (int32_t)(s * 10 + i);
        decoder[i] = (int32_t)(10000 + s * 10 + i);
    }
    must(sp_tokens_writer_segment(writer, 0, 1, (const int32_t *const[]){encoder, decoder},
                                  (const size_t[]){n_encoder[s], n_decoder[s]}));
}

static int write_tokens(void **state) {
    static const sp_tokens_stream streams[] = {{"e", "e's digest", VOCABULARY},
                                               {"d", "d's digest", VOCABULARY}};
    sp_tokens_writer *writer = NULL;
    temp_folder_create(dir);
    temp_path(path, dir, "tokens.h5");
    must(sp_tokens_writer_open(&writer, path, SEGMENT, streams, 2));
    must(sp_tokens_writer_source(writer, "a.txt", 1, N_DOCUMENTS));
    for (size_t d = 0; d < N_DOCUMENTS; d++) {
        must(sp_tokens_writer_document(writer, "a document", hash_of(d)));
        for (size_t k = 0; k <= d % 5; k++) write_segment(writer, d, k == d % 5);
    }
    must(sp_tokens_writer_commit(writer));
    return 0;
}

static int remove_tokens(void **state) {
    temp_folder_remove(dir);
    return 0;
}

typedef struct fixture {
    sp_run_config config;
    sp_tokens *tokens;
    sp_samples samples;
    sp_batch batch;
} fixture;

/* Opens with `assignments` [n] over a small configuration; returns what opening says. */
static sp_status open_fixture(fixture *f, const char *const *assignments, size_t n) {
    char tokens[TEMP_PATH_SIZE + 16];
    snprintf(tokens, sizeof tokens, "data.tokens=%s", path);
    const char *all[32] = {"run.dir=r",
                           "encoder.model=m",
                           "decoder.model=m",
                           tokens,
                           "data.encoder_stream=e",
                           "data.decoder_stream=d",
                           "segment.tokens=8",
                           "data.validation=0.2",
                           "train.global_batch=7"};
    size_t n_all = 9;
    for (size_t i = 0; i < n; i++) all[n_all++] = assignments[i];
    *f = (fixture){0};
    must(sp_run_config_load(&f->config, NULL, all, n_all));
    must(sp_tokens_open(&f->tokens, path));
    const sp_status status = sp_samples_open(&f->samples, f->tokens, &f->config);
    f->samples.layout.bos = 1;
    f->samples.layout.eos = 2;
    return status;
}

static void close_fixture(fixture *f) {
    sp_batch_free(&f->batch);
    sp_samples_close(&f->samples);
    sp_tokens_close(f->tokens);
    sp_run_config_free(&f->config);
}

#define OPEN(f, ...)                                                         \
    must(open_fixture((f), (const char *const[]){"run.seed=3", __VA_ARGS__}, \
                      sizeof((const char *const[]){"run.seed=3", __VA_ARGS__}) / sizeof(char *)))

/* The segment that encoder sequence `seq` of the batch is. */
static size_t segment_at(const sp_batch *batch, size_t seq) {
    const sp_rows *rows = &batch->rows[SP_ENCODER];
    return (size_t)rows->ids[rows->seqs[seq].begin] / 10;
}

/* The segment at a position of the stream. */
static size_t segment_of(fixture *f, uint64_t position) {
    must(sp_samples_fill(&f->samples, &f->batch, position, position + 1));
    assert_int_equal(f->batch.rows[SP_ENCODER].n_seqs, 1);
    return segment_at(&f->batch, 0);
}

static void documents_are_held_out_whole_by_their_hash(void **state) {
    fixture f;
    OPEN(&f, "data.validation=0.3");
    assert_int_equal(f.samples.n_trained + f.samples.n_held_out, n_segments);
    assert_true(f.samples.n_held_out > 0);
    for (size_t i = 0; i < f.samples.n_held_out; i++)
        assert_true((double)hash_of(document_of[f.samples.held_out[i]]) < 0.3 * 0x1p64);
    for (size_t i = 0; i < f.samples.n_trained; i++)
        assert_true((double)hash_of(document_of[f.samples.trained[i]]) >= 0.3 * 0x1p64);
    close_fixture(&f);
    OPEN(&f, "data.validation=0");
    assert_int_equal(f.samples.n_trained, n_segments);
    close_fixture(&f);
}

static void every_epoch_is_a_permutation_of_its_own(void **state) {
    fixture f;
    OPEN(&f, "train.steps=1");
    const size_t n = f.samples.n_trained;
    size_t orders[3][MOST], n_same = 0;
    for (size_t epoch = 0; epoch < 3; epoch++) {
        bool is_seen[MOST] = {false};
        for (size_t i = 0; i < n; i++) {
            const size_t segment = segment_of(&f, epoch * n + i);
            assert_false(is_seen[segment]);
            is_seen[segment] = true;
            orders[epoch][i] = segment;
        }
        for (size_t i = 0; i < f.samples.n_held_out; i++)
            assert_false(is_seen[f.samples.held_out[i]]);
    }
    for (size_t i = 0; i < n; i++)
        n_same += orders[0][i] == orders[1][i] || orders[1][i] == orders[2][i] ||
                  orders[0][i] == f.samples.trained[i];
    assert_true(n_same < n / 4); /* some 3 are expected */
    close_fixture(&f);
}

static void the_stream_follows_the_seed_alone(void **state) {
    fixture a, b, c;
    OPEN(&a, "train.global_batch=5");
    OPEN(&b, "train.micro_batch=1");
    OPEN(&c, "run.seed=4");
    size_t n_same = 0;
    for (uint64_t i = 0; i < 60; i++) {
        const size_t segment = segment_of(&a, i);
        assert_int_equal(segment_of(&b, i), segment);
        n_same += segment_of(&c, i) == segment;
    }
    assert_true(n_same < 15);
    close_fixture(&c);
    close_fixture(&b);
    close_fixture(&a);
}

/* Any cut of the stream gives the same rows, targets and keys one after the other. */
static void a_batch_is_its_samples_one_after_the_other(void **state) {
    fixture f, one;
    OPEN(&f, "objective.draw=both");
    OPEN(&one, "objective.draw=both");
    must(sp_samples_fill(&f.samples, &f.batch, 5, 18));
    assert_true(f.batch.is_training);
    size_t row[SP_N_SIDES] = {0}, seq[SP_N_SIDES] = {0}, n_taken = 0;
    for (uint64_t position = 5; position < 18; position++) {
        must(sp_samples_fill(&one.samples, &one.batch, position, position + 1));
        for (int side = 0; side < SP_N_SIDES; side++) {
            const sp_rows *part = &one.batch.rows[side], *whole = &f.batch.rows[side];
            for (size_t r = 0; r < part->n_rows; r++) {
                const size_t k = row[side] + r;
                const bool is_slot = side == SP_DECODER && part->ids[r] < -SP_N_MARKERS;
                assert_int_equal(whole->ids[k], part->ids[r] - (is_slot ? (int32_t)n_taken : 0));
                assert_int_equal(whole->positions[k], part->positions[r]);
                assert_int_equal(whole->targets[k], part->targets[r]);
            }
            for (size_t s = 0; s < part->n_seqs; s++)
                assert_true(whole->samples[seq[side] + s] == part->samples[s]);
            row[side] += part->n_rows;
            seq[side] += part->n_seqs;
        }
        n_taken += one.batch.n_taken;
    }
    assert_int_equal(row[SP_DECODER], f.batch.rows[SP_DECODER].n_rows);
    assert_int_equal(n_taken, f.batch.n_taken);
    close_fixture(&one);
    close_fixture(&f);
}

/* Rounds in which each ratio comes once; a sample has the slots of its step's ratio, wherever the stream
   is cut. */
static void each_step_draws_a_ratio_for_its_samples(void **state) {
    fixture f, other;
    OPEN(&f, "segment.ratio=8,2,4", "train.steps=300");
    OPEN(&other, "segment.ratio=4,8,2", "run.seed=4");
    size_t n_first[9] = {0}, n_same = 0;
    for (uint64_t step = 1; step <= 300; step++) {
        const size_t ratio = sp_samples_ratio_of_step(&f.samples, step);
        if (step % 3 == 1) {
            const size_t second = sp_samples_ratio_of_step(&f.samples, step + 1);
            const size_t third = sp_samples_ratio_of_step(&f.samples, step + 2);
            assert_int_equal(ratio + second + third, 14);
            assert_int_equal(ratio * second * third, 64);
            n_first[ratio]++;
        }
        n_same += ratio == sp_samples_ratio_of_step(&other.samples, step);
    }
    for (size_t ratio = 2; ratio <= 8; ratio *= 2)
        assert_true(n_first[ratio] > 15 && n_first[ratio] < 60);
    assert_true(n_same > 50 && n_same < 160);
    for (uint64_t begin = 0; begin < 60; begin += 9) {
        must(sp_samples_fill(&f.samples, &f.batch, begin, begin + 9));
        const sp_rows *rows = &f.batch.rows[SP_ENCODER];
        assert_int_equal(rows->n_seqs, 9);
        for (uint64_t i = 0; i < 9; i++) {
            const size_t ratio = sp_samples_ratio_of_step(&f.samples, (begin + i) / 7 + 1);
            const size_t row = rows->seqs[i].begin, end = row + rows->seqs[i].len;
            size_t n_slots = 0;
            for (size_t r = row; r < end; r++) n_slots += rows->ids[r] < 0;
            assert_int_equal(n_slots, (end - row - n_slots + ratio - 1) / ratio);
        }
    }
    close_fixture(&other);
    close_fixture(&f);
}

static void dropouts_key_differs_by_sample_epoch_and_seed(void **state) {
    fixture f, other;
    OPEN(&f, "train.steps=1");
    OPEN(&other, "run.seed=4");
    const size_t n = f.samples.n_trained;
    uint64_t keys[2 * MOST], of_segment[2][MOST] = {{0}};
    for (size_t i = 0; i < 2 * n; i++) {
        const size_t segment = segment_of(&f, i);
        keys[i] = f.batch.rows[SP_ENCODER].samples[0];
        of_segment[i / n][segment] = keys[i];
        for (size_t j = 0; j < i; j++) assert_true(keys[i] != keys[j]);
    }
    for (size_t i = 0; i < n; i++) {
        const size_t segment = segment_of(&other, i);
        assert_true(other.batch.rows[SP_ENCODER].samples[0] != of_segment[0][segment]);
    }
    close_fixture(&other);
    close_fixture(&f);
}

static void check_counts(fixture *f) {
    for (uint64_t begin = 0; begin < 3 * f->samples.n_trained; begin += 11) {
        const sp_sample_counts counts = sp_samples_count(&f->samples, begin, begin + 9);
        must(sp_samples_fill(&f->samples, &f->batch, begin, begin + 9));
        const sp_rows *encoder = &f->batch.rows[SP_ENCODER], *decoder = &f->batch.rows[SP_DECODER];
        uint64_t n_targets[SP_N_LOSSES] = {0};
        for (size_t r = 0; r < decoder->n_rows; r++)
            if (decoder->targets[r] != SP_NO_TARGET) n_targets[decoder->target_loss[r]]++;
        assert_int_equal(counts.tokens, encoder->n_rows - f->batch.n_taken);
        for (int loss = 0; loss < SP_N_LOSSES; loss++)
            assert_int_equal(counts.targets[loss], n_targets[loss]);
    }
}

static void counts_are_those_of_the_filled_batches(void **state) {
    fixture f;
    OPEN(&f, "objective.draw=both");
    check_counts(&f);
    close_fixture(&f);
    OPEN(&f, "objective.draw=one");
    check_counts(&f);
    f.samples.layout.bos = f.samples.layout.eos = SP_NO_TOKEN;
    check_counts(&f);
    close_fixture(&f);
    OPEN(&f, "objective.completion=0");
    check_counts(&f);
    assert_int_equal(sp_samples_count(&f.samples, 0, 50).targets[SP_COMPLETION], 0);
    close_fixture(&f);
}

static void completion_is_of_the_next_segment_of_the_document(void **state) {
    fixture f;
    OPEN(&f, "objective.reconstruction=0");
    for (size_t i = 0; i < f.samples.n_trained; i++) {
        const size_t segment = segment_of(&f, i);
        const bool is_followed = has_next(segment);
        const sp_rows *rows = &f.batch.rows[SP_DECODER];
        assert_int_equal(rows->n_seqs, is_followed ? 2 : 1);
        if (!is_followed) continue;
        assert_int_equal(rows->seqs[1].len, n_decoder[segment + 1]);
        assert_int_equal(rows->ids[rows->seqs[1].begin], 10000 + (segment + 1) * 10);
    }
    close_fixture(&f);
}

/* One branch each, by (seed, epoch, segment); what has no completion reconstructs. */
static void draw_one_gives_each_sample_one_objective(void **state) {
    fixture f;
    OPEN(&f, "objective.draw=one", "objective.reconstruction=1", "objective.completion=3");
    const size_t n = f.samples.n_trained;
    size_t n_completed = 0, n_could = 0, n_changed = 0;
    bool completed_before[MOST] = {false};
    for (size_t i = 0; i < 20 * n; i++) {
        const size_t segment = segment_of(&f, i);
        const sp_rows *rows = &f.batch.rows[SP_DECODER];
        const bool can = has_next(segment);
        assert_int_equal(rows->n_seqs, 2);
        const bool completes = rows->ids[rows->seqs[1].begin] >= 0; /* else <ae> */
        assert_true(can || !completes);
        n_could += can;
        n_completed += completes;
        n_changed += i >= n && completes != completed_before[segment];
        completed_before[segment] = completes;
    }
    const double share = (double)n_completed / (double)n_could;
    assert_true(fabs(share - 0.75) < 5 * sqrt(0.75 * 0.25 / (double)n_could));
    assert_true(n_changed > n_could / 8); /* every epoch draws anew: 3 of 8 change */
    close_fixture(&f);
}

static void limit_takes_the_first_segments(void **state) {
    fixture f;
    OPEN(&f, "data.limit=8");
    assert_int_equal(f.samples.n_trained, 8);
    for (size_t i = 1; i < 8; i++) assert_true(f.samples.trained[i] > f.samples.trained[i - 1]);
    bool is_seen[MOST] = {false};
    for (size_t i = 0; i < 8; i++) is_seen[segment_of(&f, 80 + i)] = true;
    for (size_t i = 0; i < 8; i++) assert_true(is_seen[f.samples.trained[i]]);
    const size_t held_out = f.samples.n_held_out;
    close_fixture(&f);
    OPEN(&f, "data.limit=100000");
    assert_int_equal(f.samples.n_trained + f.samples.n_held_out, n_segments);
    assert_int_equal(f.samples.n_held_out, held_out); /* a limit is of training */
    close_fixture(&f);
}

static size_t n_steps_of(fixture *f) {
    size_t n_steps = 0;
    must(sp_samples_settle_steps(&f->samples, &n_steps, &f->config));
    return n_steps;
}

/* The steps take [0, n) of the stream, seven at a time and the last what is left. */
static void assert_takes(fixture *f, uint64_t n) {
    const size_t n_steps = n_steps_of(f);
    assert_int_equal(n_steps, (n + 6) / 7);
    for (uint64_t step = 1; step <= n_steps; step++) {
        const sp_sample_range range = sp_samples_of_step(&f->samples, &f->config, step);
        assert_int_equal(range.begin, 7 * (step - 1));
        assert_int_equal(range.end, step < n_steps ? 7 * step : n);
    }
}

static void steps_follow_from_the_budget(void **state) {
    fixture f;
    OPEN(&f, "train.steps=12345");
    assert_int_equal(n_steps_of(&f), 12345);
    const sp_sample_range last = sp_samples_of_step(&f.samples, &f.config, 12345);
    assert_int_equal(last.end - last.begin, 7);
    close_fixture(&f);
    OPEN(&f, "train.steps=auto");
    const size_t n = f.samples.n_trained;
    assert_takes(&f, n);
    const uint64_t corpus = sp_samples_count(&f.samples, 0, n).tokens;
    close_fixture(&f);
    OPEN(&f, "data.epochs=3");
    assert_takes(&f, 3 * n);
    close_fixture(&f);

    /* The fewest samples that reach the budget, whatever it is. */
    for (uint64_t budget = 1; budget <= corpus; budget += corpus / 23) {
        char setting[64];
        snprintf(setting, sizeof setting, "data.budget_tokens=%ju", (uintmax_t)budget);
        OPEN(&f, setting);
        uint64_t n_taken = 0;
        while (sp_samples_count(&f.samples, 0, n_taken).tokens < budget) n_taken++;
        assert_takes(&f, n_taken);
        close_fixture(&f);
    }
    OPEN(&f, "data.limit=3");
    assert_takes(&f, 3); /* a corpus below one batch makes one step */
    close_fixture(&f);
}

static void a_budget_beyond_the_corpus_is_refused(void **state) {
    fixture f;
    size_t n_steps = 99;
    OPEN(&f, "data.budget_tokens=1M");
    assert_int_equal(sp_samples_settle_steps(&f.samples, &n_steps, &f.config), SP_USAGE);
    assert_non_null(strstr(sp_message(), "data.budget_tokens"));
    assert_non_null(strstr(sp_message(), "data.epochs"));
    assert_int_equal(n_steps, 99);
    close_fixture(&f);
    OPEN(&f, "data.budget_tokens=1M", "train.steps=5"); /* explicit steps ignore the budget */
    assert_int_equal(n_steps_of(&f), 5);
    close_fixture(&f);
    OPEN(&f, "data.budget_tokens=1K", "data.epochs=1000");
    assert_true(n_steps_of(&f) >= 1);
    close_fixture(&f);
}

static void held_out_segments_come_without_dropout_and_with_both_objectives(void **state) {
    fixture f;
    OPEN(&f, "objective.draw=one");
    const size_t n = f.samples.n_held_out < 5 ? f.samples.n_held_out : 5;
    must(sp_samples_fill_segments(&f.samples, &f.batch, f.samples.held_out, n));
    assert_false(f.batch.is_training);
    assert_int_equal(f.batch.rows[SP_ENCODER].n_seqs, n);
    size_t n_seqs = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t segment = f.samples.held_out[i];
        assert_int_equal(segment_at(&f.batch, i), segment);
        n_seqs += 2 + (has_next(segment));
    }
    assert_int_equal(f.batch.rows[SP_DECODER].n_seqs, n_seqs);
    close_fixture(&f);
}

static void what_does_not_fit_the_file_is_refused(void **state) {
    static const struct {
        const char *assignment, *words;
        sp_status status;
    } cases[] = {
        {"data.encoder_stream=x", "'x'", SP_USAGE},
        {"data.decoder_stream=y", "'y'", SP_USAGE},
        {"segment.tokens=9", "segment.tokens", SP_USAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture f;
        assert_int_equal(open_fixture(&f, &cases[i].assignment, 1), cases[i].status);
        assert_non_null(strstr(sp_message(), cases[i].words));
        close_fixture(&f);
    }
}

/* All may be held out where nothing is trained: an evaluation. */
static void training_needs_a_segment(void **state) {
    static const char *const all_held_out = "data.validation=0.999999";
    fixture f;
    size_t n_steps = 99;
    must(open_fixture(&f, &all_held_out, 1));
    assert_int_equal(sp_samples_settle_steps(&f.samples, &n_steps, &f.config), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "no segment to train on"));
    close_fixture(&f);
}

/* Rows of memory tokens that are not there must never be asked for. */
static void segments_longer_than_the_cut_need_memory_tokens(void **state) {
    static const sp_tokens_stream streams[] = {{"d", "d's digest", 100}, {"e", "e's digest", 100}};
    static const int32_t ids[20] = {0};
    char other[TEMP_PATH_SIZE];
    sp_tokens_writer *writer = NULL;
    temp_path(other, dir, "other.h5");
    must(sp_tokens_writer_open(&writer, other, SEGMENT, streams, 2));
    must(sp_tokens_writer_source(writer, "a.txt", 1, 1));
    must(sp_tokens_writer_document(writer, "a", UINT64_MAX));
    must(sp_tokens_writer_segment(writer, 0, 1, (const int32_t *const[]){ids, ids},
                                  (const size_t[]){8, 20}));
    must(sp_tokens_writer_commit(writer));
    char saved[TEMP_PATH_SIZE];
    memcpy(saved, path, sizeof saved);
    memcpy(path, other, sizeof path);
    static const struct {
        const char *assignments[2];
        sp_status status;
    } cases[] = {{{"encoder.memory_tokens=4", "segment.ratio=4"}, SP_USAGE},
                 {{"encoder.memory_tokens=5", "segment.ratio=4"}, SP_OK},
                 {{"encoder.memory_tokens=2", "segment.slots=fixed"}, SP_OK}};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        assert_int_equal(open_fixture(&f, cases[i].assignments, 2), cases[i].status);
        if (cases[i].status == SP_USAGE)
            assert_non_null(strstr(sp_message(), "encoder.memory_tokens"));
        close_fixture(&f);
    }
    memcpy(path, saved, sizeof path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_held_out_whole_by_their_hash),
        cmocka_unit_test(every_epoch_is_a_permutation_of_its_own),
        cmocka_unit_test(the_stream_follows_the_seed_alone),
        cmocka_unit_test(a_batch_is_its_samples_one_after_the_other),
        cmocka_unit_test(each_step_draws_a_ratio_for_its_samples),
        cmocka_unit_test(dropouts_key_differs_by_sample_epoch_and_seed),
        cmocka_unit_test(counts_are_those_of_the_filled_batches),
        cmocka_unit_test(completion_is_of_the_next_segment_of_the_document),
        cmocka_unit_test(draw_one_gives_each_sample_one_objective),
        cmocka_unit_test(limit_takes_the_first_segments),
        cmocka_unit_test(steps_follow_from_the_budget),
        cmocka_unit_test(a_budget_beyond_the_corpus_is_refused),
        cmocka_unit_test(held_out_segments_come_without_dropout_and_with_both_objectives),
        cmocka_unit_test(what_does_not_fit_the_file_is_refused),
        cmocka_unit_test(training_needs_a_segment),
        cmocka_unit_test(segments_longer_than_the_cut_need_memory_tokens),
    };
    return cmocka_run_group_tests_name("samples", tests, write_tokens, remove_tokens);
}
