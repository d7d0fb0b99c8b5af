/* The journal of an evaluation: what was added is there for every rank, to the bit; what is torn, damaged,
   another evaluation's or no such unit is not. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "base/log.h"
#include "mpi/world.h"
#include "run/evaluate_journal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_METHODS = 2, N_ITEMS = 6, N_FIGURES = 2 };

static const sp_evaluate_extent extent = {N_METHODS, N_ITEMS, N_FIGURES};

static sp_world *world;
static char folder[TEMP_PATH_SIZE];

static bool is_first(void) { return sp_world_rank(world) == 0; }

/* All ranks work in rank 0's. */
static int set_up(void **state) {
    if (is_first()) temp_folder_create(folder);
    sp_world_broadcast(world, folder, sizeof folder, 0);
    return 0;
}

static int tear_down(void **state) {
    sp_world_barrier(world);
    if (is_first()) temp_folder_remove(folder);
    return 0;
}

static sp_status open_as(sp_evaluate_journal **journal, const char *name,
                         const sp_evaluate_extent *of) {
    json_t *identity = is_first() ? json_pack("{s:s}", "what", name) : NULL;
    *journal = NULL;
    const sp_status status = sp_evaluate_journal_open(journal, world, folder, "qa", identity, of);
    json_decref(identity);
    return status;
}

static sp_evaluate_journal *open_journal(const char *name) {
    sp_evaluate_journal *journal = NULL;
    assert_int_equal(open_as(&journal, name, &extent), SP_OK);
    return journal;
}

/* No two units have a figure in common, and none is a short decimal. */
static double figure_of(size_t method, size_t item, size_t k) {
    return exp2(-1.0 / (double)(2 + k + N_FIGURES * (item + N_ITEMS * method)));
}

static void add_unit(sp_evaluate_journal *journal, size_t method, size_t begin, size_t end) {
    json_t *figures = json_array(), *texts = json_array();
    for (size_t i = begin; i < end; i++) {
        for (size_t k = 0; k < N_FIGURES; k++)
            json_array_append_new(figures, json_real(figure_of(method, i, k)));
        json_array_append_new(texts, json_stringn("a\0\n\"\xc3\xa9", 6));
    }
    json_t *unit =
        json_pack("{s:I, s:I, s:I, s:o, s:o}", "method", (json_int_t)method, "begin",
                  (json_int_t)begin, "end", (json_int_t)end, "figures", figures, "texts", texts);
    assert_int_equal(sp_evaluate_journal_add(journal, unit), SP_OK);
    json_decref(unit);
}

/* Of one that is there, rank 0 has what was added. */
static void check_unit(const sp_evaluate_journal *journal, size_t method, size_t begin,
                       size_t end) {
    if (!is_first()) return;
    const json_t *unit = sp_evaluate_journal_unit(journal, method, begin);
    const json_t *figures = json_object_get(unit, "figures");
    const json_t *text = json_array_get(json_object_get(unit, "texts"), end - begin - 1);
    assert_non_null(unit);
    assert_int_equal(json_array_size(figures), (end - begin) * N_FIGURES);
    for (size_t i = 0; i < json_array_size(figures); i++)
        assert_true(json_real_value(json_array_get(figures, i)) ==
                    figure_of(method, begin + i / N_FIGURES, i % N_FIGURES));
    assert_int_equal(json_string_length(text), 6);
    assert_memory_equal(json_string_value(text), "a\0\n\"\xc3\xa9", 6);
}

/* The path of rank 0's first file of the evaluation `name`, which is the only one. */
static void find_file(char path[TEMP_PATH_SIZE]) {
    char command[TEMP_PATH_SIZE + 64];
    snprintf(command, sizeof command, "ls %s/qa-*/answers-0000-0.jsonl", folder);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_non_null(fgets(path, TEMP_PATH_SIZE, out));
    path[strcspn(path, "\n")] = '\0';
    pclose(out);
}

/* Units [0, 2), [2, 4), [4, 6) of method 1, by rank 0: the file's path and its bytes, owned. */
static char *make_file(char path[TEMP_PATH_SIZE], size_t *n_bytes) {
    sp_evaluate_journal *journal = open_journal("one");
    for (size_t begin = 0; is_first() && begin < N_ITEMS; begin += 2)
        add_unit(journal, 1, begin, begin + 2);
    sp_evaluate_journal_close(journal);
    if (!is_first()) return NULL;
    find_file(path);
    return temp_read(path, n_bytes);
}

/* Reading is rank 0's: alone it is tested with every byte, with others now and then. */
static size_t stride(void) { return sp_world_size(world) == 1 ? 1 : 23; }

static size_t n_there(const sp_evaluate_journal *journal) {
    size_t n = 0;
    for (size_t begin = 0; begin < N_ITEMS; begin += 2) {
        if (!sp_evaluate_journal_has(journal, 1, begin, begin + 2)) continue;
        check_unit(journal, 1, begin, begin + 2);
        n++;
    }
    return n;
}

static void every_ranks_units_are_there_for_all(void **state) {
    const size_t n_ranks = (size_t)sp_world_size(world), rank = (size_t)sp_world_rank(world);
    for (size_t run = 0; run < 2; run++) { /* a rank's second file does not replace its first */
        sp_evaluate_journal *journal = open_journal("one");
        for (size_t i = rank; i < N_ITEMS; i += n_ranks) add_unit(journal, run, i, i + 1);
        assert_false(sp_evaluate_journal_has(journal, run, rank, rank + 1)); /* of runs before */
        sp_world_barrier(world);
        sp_evaluate_journal_close(journal);
    }
    sp_evaluate_journal *journal = open_journal("one");
    for (size_t method = 0; method < N_METHODS; method++)
        for (size_t i = 0; i < N_ITEMS; i++) {
            assert_true(sp_evaluate_journal_has(journal, method, i, i + 1));
            check_unit(journal, method, i, i + 1);
        }
    assert_false(sp_evaluate_journal_has(journal, 0, 0, 2));
    sp_evaluate_journal_close(journal);
    journal = open_journal("another");
    assert_false(sp_evaluate_journal_has(journal, 0, 0, 1));
    sp_evaluate_journal_close(journal);
}

static void file_cut_anywhere_keeps_its_whole_lines(void **state) {
    char path[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    char *bytes = make_file(path, &n_bytes);
    sp_world_broadcast(world, &n_bytes, sizeof n_bytes, 0);
    for (size_t n = 0; n <= n_bytes; n += stride()) {
        size_t n_lines = 0;
        if (is_first()) {
            temp_write(path, bytes, n);
            for (size_t i = 0; i < n; i++) n_lines += bytes[i] == '\n';
        }
        sp_world_broadcast(world, &n_lines, sizeof n_lines, 0);
        sp_evaluate_journal *journal = open_journal("one");
        assert_int_equal(n_there(journal), n_lines);
        sp_evaluate_journal_close(journal);
    }
    free(bytes);
}

static void damaged_byte_takes_its_lines_along(void **state) {
    char path[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    char *bytes = make_file(path, &n_bytes);
    sp_world_broadcast(world, &n_bytes, sizeof n_bytes, 0);
    for (size_t i = 0; i < n_bytes; i += stride()) {
        bool is_end = false;
        if (is_first()) {
            is_end = bytes[i] == '\n';
            bytes[i] ^= 1;
            temp_write(path, bytes, n_bytes);
            bytes[i] ^= 1;
        }
        sp_world_broadcast(world, &is_end, sizeof is_end, 0);
        sp_evaluate_journal *journal = open_journal("one");
        const size_t n = n_there(journal);
        assert_true(is_end ? n == 1 || n == 2 : n == 2); /* lines become one; the last is torn */
        sp_evaluate_journal_close(journal);
    }
    free(bytes);
}

static void lines_of_another_evaluation_do_not_count(void **state) {
    char path[TEMP_PATH_SIZE], command[2 * TEMP_PATH_SIZE + 64];
    size_t n_bytes = 0;
    free(make_file(path, &n_bytes));
    sp_evaluate_journal *journal = open_journal("another");
    sp_evaluate_journal_close(journal);
    if (is_first()) {
        snprintf(command, sizeof command, "for to in %s/qa-*; do cp -n %s $to/answers-x; done",
                 folder, path);
        assert_int_equal(system(command), 0);
    }
    journal = open_journal("another");
    assert_int_equal(n_there(journal), 0);
    sp_evaluate_journal_close(journal);
    journal = open_journal("one");
    assert_int_equal(n_there(journal), 3);
    sp_evaluate_journal_close(journal);
}

static void what_is_no_unit_here_does_not_count(void **state) {
    static const sp_evaluate_extent others[] = {
        {1, N_ITEMS, N_FIGURES}, {N_METHODS, 1, N_FIGURES}, {N_METHODS, N_ITEMS, N_FIGURES + 1}};
    char path[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    free(make_file(path, &n_bytes));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        sp_evaluate_journal *journal = NULL;
        assert_int_equal(open_as(&journal, "one", &others[i]), SP_OK);
        for (size_t method = 0; method < others[i].n_methods; method++)
            for (size_t k = 0; k + 2 <= others[i].n_items; k += 2)
                assert_false(sp_evaluate_journal_has(journal, method, k, k + 2));
        sp_evaluate_journal_close(journal);
    }
}

static void one_command_at_a_time(void **state) {
    sp_evaluate_journal *journal = open_journal("one"), *second = NULL;
    assert_int_equal(open_as(&second, "one", &extent), SP_FAILURE);
    assert_null(second);
    assert_int_equal(open_as(&second, "another", &extent), SP_OK);
    sp_evaluate_journal_close(second);
    sp_evaluate_journal_close(journal);
    sp_world_barrier(world);
    journal = open_journal("one");
    sp_evaluate_journal_close(journal);
}

static void full_disk_keeps_what_was_added(void **state) {
    sp_evaluate_journal *journal = open_journal("one");
    json_t *unit = json_pack("{s:i, s:i, s:i, s:[f, f], s:[]}", "method", 1, "begin", 5, "end", 6,
                             "figures", 0.5, 0.25, "texts");
    if (is_first()) {
        char path[TEMP_PATH_SIZE];
        size_t n_bytes = 0;
        add_unit(journal, 1, 0, 2);
        find_file(path);
        free(temp_read(path, &n_bytes));
        temp_limit_files(n_bytes + 50); /* the next line is cut */
        assert_int_equal(sp_evaluate_journal_add(journal, unit), SP_IO);
        temp_limit_files(UINT64_MAX);
    }
    sp_evaluate_journal_close(journal);
    json_decref(unit);
    sp_world_barrier(world);
    journal = open_journal("one");
    assert_int_equal(n_there(journal), 1);
    assert_false(sp_evaluate_journal_has(journal, 1, 5, 6));
    sp_evaluate_journal_close(journal);
}

static void folder_that_cannot_be_made_is_named(void **state) {
    char path[TEMP_PATH_SIZE];
    sp_evaluate_journal *journal = NULL;
    json_t *identity = is_first() ? json_object() : NULL;
    temp_path(path, folder, "file");
    if (is_first()) temp_write(path, "x", 1);
    assert_int_equal(sp_evaluate_journal_open(&journal, world, path, "qa", identity, &extent),
                     SP_IO);
    assert_non_null(strstr(sp_message(), path));
    assert_null(journal);
    json_decref(identity);
}

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    sp_log_set_level(SP_LOG_QUIET);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_ranks_units_are_there_for_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(file_cut_anywhere_keeps_its_whole_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_byte_takes_its_lines_along, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_of_another_evaluation_do_not_count, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_unit_here_does_not_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_command_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_disk_keeps_what_was_added, set_up, tear_down),
        cmocka_unit_test_setup_teardown(folder_that_cannot_be_made_is_named, set_up, tear_down)};
    const int n_failed = cmocka_run_group_tests_name("evaluate journal", tests, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
