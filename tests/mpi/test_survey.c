#include "tests/check.h"
#include "tests/temp_folder.h"

#include "base/log.h"
#include "run/duplicates.h"
#include "run/survey.h"
#include "run/unit_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

static sp_world *world;
static char dir[TEMP_PATH_SIZE]; /* the same on every rank; rank 0 makes and removes it */
static char work[TEMP_PATH_SIZE];

static bool is_first(void) { return sp_world_rank(world) == 0; }

static int create_folder(void **state) {
    if (is_first()) temp_folder_create(dir);
    sp_world_broadcast(world, dir, sizeof dir, 0);
    temp_path(work, dir, "work");
    return 0;
}

static int remove_folder(void **state) {
    sp_world_barrier(world);
    if (is_first()) temp_folder_remove(dir);
    return 0;
}

/* ---- a corpus: one file far larger than the others, of texts that come again and again ---- */

enum { N_FILES = 4, MOST_DOCUMENTS = 2000, N_TEXTS = 300 };
static const char *const file_names[N_FILES] = {"a.jsonl", "b.txt", "large.jsonl", "z.jsonl.gz"};
static const size_t file_lines[N_FILES] = {40, 0, 1200, 60};
static char paths[N_FILES][TEMP_PATH_SIZE];

typedef struct document {
    size_t file;
    int text; /* a number that stands for it; NO_TEXT: empty */
    bool is_wanted, is_lost;
} document;
static struct {
    char *bytes; /* owned */
    size_t n_bytes;
} file_texts[N_FILES]; /* before it is packed */
static document documents[MOST_DOCUMENTS];
static size_t n_documents;
enum { NO_TEXT = -1 };

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 16;
}

static void print_document(FILE *out, const document *d) {
    if (d->is_lost) {
        fputs("{\"text\": \"broken\n", out);
    } else if (d->text == NO_TEXT) {
        fprintf(out, "{\"text\": \"\", \"score\": %d}\n", d->is_wanted);
    } else {
        fprintf(out, "{\"text\": \"text %d of many\", \"score\": %d}\n", d->text, d->is_wanted);
    }
}

static void write_file(size_t file, const char *text, size_t n_bytes) {
    if (!is_first()) return;
    if (strstr(paths[file], ".gz") != NULL) {
        const gzFile packed = gzopen(paths[file], "wb");
        assert_int_equal(gzwrite(packed, text, (unsigned)n_bytes), n_bytes);
        gzclose(packed);
    } else {
        temp_write(paths[file], text, n_bytes);
    }
}

static void make_file(size_t file, bool has_damage, uint32_t *seed) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    for (size_t i = 0; i < file_lines[file]; i++) {
        document *d = &documents[n_documents++];
        const uint32_t random = next_random(seed);
        *d = (document){.file = file,
                        .text = random % 11 == 0 ? NO_TEXT : (int)(random % N_TEXTS),
                        .is_wanted = next_random(seed) % 4 != 0,
                        .is_lost = has_damage && i % 17 == 5};
        print_document(out, d);
        if (i % 7 == 0) fputs(" \n", out); /* a blank line is none */
    }
    fclose(out);
    free(file_texts[file].bytes);
    file_texts[file].bytes = text;
    file_texts[file].n_bytes = n_bytes;
    write_file(file, text, n_bytes);
}

static void write_file_again(size_t file) {
    sp_world_barrier(world);
    write_file(file, file_texts[file].bytes, file_texts[file].n_bytes);
    sp_world_barrier(world);
}

/* Every rank knows what is in it; the first one writes it. */
static void make_corpus(bool has_damage) {
    uint32_t seed = 11;
    n_documents = 0;
    for (size_t i = 0; i < N_FILES; i++) {
        temp_path(paths[i], dir, file_names[i]);
        if (file_lines[i] > 0) {
            make_file(i, has_damage, &seed);
        } else {
            documents[n_documents++] = (document){.file = i, .text = 7, .is_wanted = true};
            if (is_first()) temp_write(paths[i], "text 7 of many", 14);
        }
    }
    sp_world_barrier(world);
}

/* By the definition: is there an earlier one with this text that is wanted? */
static bool is_duplicate(size_t i, bool has_condition) {
    const document *d = &documents[i];
    if (d->is_lost || d->text == NO_TEXT || (has_condition && !d->is_wanted)) return false;
    for (size_t k = 0; k < i; k++)
        if (!documents[k].is_lost && (documents[k].is_wanted || !has_condition) &&
            documents[k].text == d->text)
            return true;
    return false;
}

/* ---- what is surveyed ---- */

typedef struct surveyed {
    sp_condition condition;
    sp_conditions where;
    sp_corpus_options options;
    sp_corpus *corpus;
    sp_blocks blocks;
    sp_survey *survey;
    const char *names[N_FILES];
} surveyed;

static sp_status open_survey(surveyed *s, uint64_t block_bytes, sp_on_error on_error,
                             bool has_condition, bool needs_hashes) {
    *s = (surveyed){0};
    for (size_t i = 0; i < N_FILES; i++) s->names[i] = paths[i];
    /* A .txt has no fields; it is left out of a corpus with conditions. */
    if (has_condition) s->names[1] = paths[2], s->names[2] = paths[3];
    assert_int_equal(sp_condition_parse(&s->condition, "score = 1"), SP_OK);
    s->where = (sp_conditions){&s->condition, 1};
    s->options = (sp_corpus_options){.names = s->names,
                                     .n_names = N_FILES - has_condition,
                                     .text = {.where = has_condition ? &s->where : NULL},
                                     .on_error = on_error};
    assert_int_equal(sp_corpus_open(&s->corpus, world, &s->options), SP_OK);
    assert_int_equal(sp_blocks_create(&s->blocks, world, s->corpus, block_bytes), SP_OK);
    return sp_survey_open(&s->survey, world, s->corpus, &s->blocks, work, needs_hashes);
}

static void close_survey(surveyed *s) {
    sp_survey_close(s->survey);
    sp_blocks_free(&s->blocks);
    sp_corpus_close(s->corpus);
    sp_condition_free(&s->condition);
    sp_world_barrier(world);
}

static void remove_survey(surveyed *s) {
    assert_int_equal(sp_survey_remove(s->survey), SP_OK);
    close_survey(s);
    if (is_first()) assert_int_not_equal(access(work, F_OK), 0);
}

/* The documents in the file of the surveyed corpus, from 0 on. */
static void leave_out_text_file(void) {
    size_t n_left = 0;
    for (size_t i = 0; i < n_documents; i++)
        if (documents[i].file != 1) documents[n_left++] = documents[i];
    n_documents = n_left;
}

/* Reads every unit again: each document stands where its number says. */
static void assert_numbers(const surveyed *s, bool has_condition) {
    size_t number = 0;
    for (size_t u = 0; u < s->blocks.n_units; u++) {
        sp_unit_reader *reader = NULL;
        assert_int_equal(sp_survey_first_document(s->survey, u), number);
        assert_int_equal(sp_unit_reader_open(&reader, s->corpus, &s->blocks.units[u],
                                             SP_ROWS_NEEDED, sp_survey_lines_before(s->survey, u)),
                         SP_OK);
        for (;; number++) {
            sp_input input;
            bool end = false;
            char expected[64] = "";
            if (sp_unit_reader_next(reader, &input, &end) != SP_OK) fail_msg("%s", sp_message());
            if (end) break;
            assert_true(number < n_documents);
            const document *d = &documents[number];
            const bool is_unwanted = has_condition && !d->is_wanted;
            assert_int_equal(input.state, d->is_lost    ? SP_INPUT_LOST
                                          : is_unwanted ? SP_INPUT_UNWANTED
                                                        : SP_INPUT_WANTED);
            if (!d->is_lost && !is_unwanted && d->text != NO_TEXT)
                snprintf(expected, sizeof expected, "text %d of many", d->text);
            assert_int_equal(input.document.n_bytes, strlen(expected));
            assert_memory_equal(input.document.text, expected, strlen(expected));
        }
        sp_unit_reader_close(reader);
    }
    assert_int_equal(number, n_documents);
    assert_int_equal(sp_survey_first_document(s->survey, s->blocks.n_units), n_documents);
}

static void assert_duplicates(const surveyed *s, size_t part_records, bool has_condition,
                              bool are_found) {
    sp_duplicates *duplicates = NULL;
    size_t n = 0;
    assert_int_equal(sp_duplicates_open(&duplicates, world, s->survey, part_records), SP_OK);
    for (size_t i = 0; i < n_documents; i++) {
        const bool is_expected = is_duplicate(i, has_condition);
        if (sp_duplicates_has(duplicates, i) != is_expected) fail_msg("document %zu", i);
        n += is_expected;
    }
    assert_true(n > 500);
    assert_int_equal(sp_duplicates_count(duplicates), n);
    assert_int_equal(sp_duplicates_were_found(duplicates), are_found);
    sp_duplicates_close(duplicates);
    sp_world_barrier(world);
}

/* ---- any blocks, any parts, any ranks ---- */

static void documents_are_numbered_and_the_first_of_a_text_stays(void **state) {
    static const uint64_t blocks[] = {400, 1000, 7000, 0};
    static const size_t parts[] = {0, 1, 50, 100000};
    for (int kind = 0; kind < 4; kind++) {
        const bool has_condition = kind % 2 == 1, has_damage = kind >= 2;
        make_corpus(has_damage);
        if (has_condition) leave_out_text_file();
        for (size_t i = 0; i < 4; i++) {
            surveyed s;
            if (open_survey(&s, blocks[i], SP_ON_ERROR_SKIP, has_condition, true) != SP_OK)
                fail_msg("%s", sp_message());
            assert_int_equal(sp_survey_n_found(s.survey), 0);
            assert_numbers(&s, has_condition);
            assert_duplicates(&s, parts[(i + (size_t)kind) % 4], has_condition, false);
            assert_duplicates(&s, 0, has_condition, true);
            remove_survey(&s);
        }
    }
}

static void documents_are_counted_without_hashes_too(void **state) {
    surveyed s;
    make_corpus(true);
    assert_int_equal(open_survey(&s, 300, SP_ON_ERROR_SKIP, false, false), SP_OK);
    assert_numbers(&s, false);
    close_survey(&s);
    /* Counts alone do not serve who needs hashes. */
    assert_int_equal(open_survey(&s, 300, SP_ON_ERROR_SKIP, false, true), SP_OK);
    assert_int_equal(sp_survey_n_found(s.survey), 0);
    assert_duplicates(&s, 0, false, false);
    remove_survey(&s);
}

/* ---- going on ---- */

/* Results of blocks in the folder. */
static size_t count_results(void) {
    uint64_t n = 0;
    sp_world_barrier(world);
    if (is_first() && access(work, F_OK) == 0) n = temp_count(work) - 1; /* the lock */
    sp_world_broadcast(world, &n, sizeof n, 0);
    return (size_t)n;
}

static void what_was_done_before_a_failure_is_kept(void **state) {
    surveyed s;
    make_corpus(false);
    write_file(3, "{\"text\": 7}\n", 12);
    sp_world_barrier(world);
    assert_int_equal(open_survey(&s, 1000, SP_ON_ERROR_STOP, false, true), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "z.jsonl.gz', line 1: "));
    close_survey(&s);
    const size_t n_done = count_results();
    assert_true(n_done > 10);

    write_file_again(3);
    if (open_survey(&s, 1000, SP_ON_ERROR_STOP, false, true) != SP_OK) fail_msg("%s", sp_message());
    assert_int_equal(sp_survey_n_found(s.survey), n_done);
    assert_true(n_done < s.blocks.n_blocks);
    assert_numbers(&s, false);
    assert_duplicates(&s, 20, false, false);
    remove_survey(&s);
}

static void nothing_done_leaves_no_folder(void **state) {
    surveyed s;
    make_corpus(true);
    assert_int_equal(open_survey(&s, UINT64_MAX / 2, SP_ON_ERROR_STOP, false, true), SP_BAD_DATA);
    close_survey(&s);
    assert_int_equal(count_results(), 0);
    if (is_first()) assert_int_not_equal(access(work, F_OK), 0);
}

/* How many of the blocks a survey finds done; it ends with right numbers. */
static size_t survey_again(sp_on_error on_error, size_t *n_blocks) {
    surveyed s;
    if (open_survey(&s, 1000, on_error, false, true) != SP_OK) fail_msg("%s", sp_message());
    const size_t n_found = sp_survey_n_found(s.survey);
    *n_blocks = s.blocks.n_blocks;
    assert_numbers(&s, false);
    close_survey(&s);
    return n_found;
}

static void files_that_were_changed_are_surveyed_anew(void **state) {
    size_t n_blocks = 0;
    make_corpus(false);
    assert_int_equal(survey_again(SP_ON_ERROR_STOP, &n_blocks), 0);
    assert_int_equal(survey_again(SP_ON_ERROR_STOP, &n_blocks), n_blocks);
    write_file_again(0);
    const size_t n_found = survey_again(SP_ON_ERROR_STOP, &n_blocks);
    assert_true(n_found > n_blocks / 2 && n_found < n_blocks);
    assert_int_equal(survey_again(SP_ON_ERROR_SKIP, &n_blocks), n_blocks);
}

static void skipped_damage_does_not_pass_where_it_is_to_stop(void **state) {
    surveyed s;
    size_t n_blocks = 0;
    make_corpus(true);
    assert_int_equal(survey_again(SP_ON_ERROR_SKIP, &n_blocks), 0);
    assert_int_equal(survey_again(SP_ON_ERROR_SKIP, &n_blocks), n_blocks);
    assert_int_equal(open_survey(&s, 1000, SP_ON_ERROR_STOP, false, true), SP_BAD_DATA);
    close_survey(&s);
}

/* Changes one byte of a file in the work folder, or cuts it there; rank 0 does it. */
static void damage(const char *name, size_t at, bool cuts) {
    char path[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    sp_world_barrier(world);
    if (is_first()) {
        char *bytes = temp_read(temp_path(path, work, name), &n_bytes);
        assert_true(at < n_bytes);
        bytes[at] = (char)(bytes[at] ^ 4);
        temp_write(path, bytes, cuts ? at : n_bytes);
        free(bytes);
    }
    sp_world_barrier(world);
}

static void damaged_results_are_made_anew(void **state) {
    surveyed s;
    size_t n_blocks = 0;
    make_corpus(false);
    assert_int_equal(survey_again(SP_ON_ERROR_STOP, &n_blocks), 0);
    for (size_t at = 0; at < 300; at += 13) {
        damage("block-000003", at, at % 2 == 1);
        assert_int_equal(survey_again(SP_ON_ERROR_STOP, &n_blocks), n_blocks - 1);
    }
    assert_int_equal(open_survey(&s, 1000, SP_ON_ERROR_STOP, false, true), SP_OK);
    assert_duplicates(&s, 0, false, false);
    for (size_t at = 0; at < 200; at += 7) {
        damage("duplicates", at, at % 2 == 1);
        assert_duplicates(&s, 0, false, false);
    }
    assert_duplicates(&s, 0, false, true);
    remove_survey(&s);
}

static void folder_serves_one_job_at_a_time(void **state) {
    surveyed s, other;
    make_corpus(false);
    assert_int_equal(open_survey(&s, 1000, SP_ON_ERROR_STOP, false, true), SP_OK);
    assert_int_equal(open_survey(&other, 1000, SP_ON_ERROR_STOP, false, true), SP_FAILURE);
    assert_non_null(strstr(sp_message(), "another run holds"));
    close_survey(&other);
    assert_duplicates(&s, 0, false, false);
    remove_survey(&s);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, create_folder, remove_folder)

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    sp_log_set_level(SP_LOG_QUIET);
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(documents_are_numbered_and_the_first_of_a_text_stays),
        WITH_FOLDER(documents_are_counted_without_hashes_too),
        WITH_FOLDER(what_was_done_before_a_failure_is_kept),
        WITH_FOLDER(nothing_done_leaves_no_folder),
        WITH_FOLDER(files_that_were_changed_are_surveyed_anew),
        WITH_FOLDER(skipped_damage_does_not_pass_where_it_is_to_stop),
        WITH_FOLDER(damaged_results_are_made_anew),
        WITH_FOLDER(folder_serves_one_job_at_a_time)};
    const int n_failed = cmocka_run_group_tests_name("survey", tests, NULL, NULL);
    for (size_t i = 0; i < N_FILES; i++) free(file_texts[i].bytes);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
