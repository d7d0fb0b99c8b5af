#include "tests/check.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/progress.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What goes to stderr between these two calls is read back as text. */
typedef struct capture {
    int saved, reader;
} capture;

static capture capture_begin(int writer, int reader) {
    fflush(stderr);
    const capture begun = {dup(STDERR_FILENO), reader};
    assert_true(begun.saved >= 0 && writer >= 0 && dup2(writer, STDERR_FILENO) >= 0);
    close(writer);
    return begun;
}

static void capture_end(capture *begun, char *text, size_t n_bytes) {
    fflush(stderr);
    dup2(begun->saved, STDERR_FILENO);
    close(begun->saved);
    size_t used = 0;
    for (;;) {
        const ssize_t n_read = read(begun->reader, text + used, n_bytes - 1 - used);
        if (n_read <= 0) break;
        used += (size_t)n_read;
    }
    text[used] = '\0';
    close(begun->reader);
}

static capture capture_file(void) {
    char path[] = "/tmp/test_progress.XXXXXX";
    const int writer = mkstemp(path);
    const int reader = open(path, O_RDONLY);
    unlink(path);
    return capture_begin(writer, reader);
}

static capture capture_terminal(unsigned short n_columns) {
    const struct winsize size = {.ws_row = 24, .ws_col = n_columns};
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        print_message("skipped: needs pseudo-terminals (/dev/pts)\n");
        skip();
    }
    const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_int_equal(ioctl(terminal, TIOCSWINSZ, &size), 0);
    return capture_begin(terminal, master);
}

/* As if the last line had been shown long ago. */
static void make_due(sp_progress *progress) { progress->shown_s -= 60; }

static sp_progress half_way(void) {
    return (sp_progress){.what = "tokenize",
                         .unit = "tokens",
                         .total = 2700000,
                         .done = 1350000,
                         .extra = "loss 3.21"};
}

static void plain_line_has_percent_counts_rate_and_time_left(void **state) {
    char text[256];
    const sp_progress progress = half_way();
    sp_progress_format(text, sizeof text, &progress, 90, 0);
    assert_string_equal(text,
                        "tokenize: 50 %, 1.35M/2.70M tokens, 15.0k tokens/s, loss 3.21, ETA 1:30");
}

static void bar_fills_the_columns_that_the_text_leaves(void **state) {
    char text[256];
    const sp_progress progress = half_way();
    sp_progress_format(text, sizeof text, &progress, 90, 120);
    assert_string_equal(text, "tokenize [===============>              ]  50 %  "
                              "1.35M/2.70M tokens  15.0k tokens/s  loss 3.21  ETA 1:30");
    for (size_t n_columns = 20; n_columns < 120; n_columns++) {
        sp_progress_format(text, sizeof text, &progress, 90, n_columns);
        assert_true(strlen(text) <= n_columns);
    }
}

static void work_of_an_earlier_run_is_no_part_of_the_rate(void **state) {
    char text[256];
    sp_progress progress = {
        .what = "pretrain", .unit = "steps", .total = 300, .done_before = 100, .done = 200};
    sp_progress_format(text, sizeof text, &progress, 50, 0);
    assert_string_equal(text, "pretrain: 66 %, 200/300 steps, 2.00 steps/s, ETA 0:50");
}

static void unknown_total_shows_neither_percent_nor_time_left(void **state) {
    char text[256];
    const sp_progress progress = {.what = "read", .unit = "documents", .done = 950};
    sp_progress_format(text, sizeof text, &progress, 10, 0);
    assert_string_equal(text, "read: 950 documents, 95 documents/s");
    sp_progress_format(text, sizeof text, &progress, 10, 79);
    assert_string_equal(text, "read  950 documents  95 documents/s");
}

static void finished_line_has_the_time_taken(void **state) {
    char text[256];
    const sp_progress progress = {.what = "w", .unit = "u", .total = 10, .done = 10};
    sp_progress_format(text, sizeof text, &progress, 3725, 0);
    assert_string_equal(text, "w: 100 %, 10/10 u, 0.00 u/s, in 1:02:05");
}

static void absurd_numbers_stay_within_their_line(void **state) {
    static const sp_progress absurd[] = {
        {.what = "w", .unit = "u", .total = UINT64_MAX, .done = UINT64_MAX},
        {.what = "w", .unit = "u", .total = UINT64_MAX, .done = 1},
        {.what = "w", .unit = "u", .total = 1, .done = UINT64_MAX}, /* more than there was */
        {.what = "w", .unit = "u", .total = 1, .done = 0, .done_before = 1},
    };
    static const double seconds[] = {0, 1e-9, 1e12};
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++)
        for (size_t j = 0; j < sizeof seconds / sizeof seconds[0]; j++) {
            char text[200];
            sp_progress_format(text, sizeof text, &absurd[i], seconds[j], 79);
            assert_true(strlen(text) <= 79);
            sp_progress_format(text, 10, &absurd[i], seconds[j], 0);
            assert_true(strlen(text) <= 9);
        }
}

static void without_a_terminal_a_line_comes_when_it_is_due_and_at_the_end(void **state) {
    char text[1024];
    sp_progress progress;
    capture begun = capture_file();
    sp_progress_begin(&progress, "train", 4, "steps");
    sp_progress_update(&progress, 1, NULL); /* too early to be shown */
    make_due(&progress);
    sp_progress_update(&progress, 2, "loss 2.00");
    sp_progress_update(&progress, 4, "loss 1.00");
    sp_progress_end(&progress);
    sp_progress_end(&progress); /* has nothing new to say */
    capture_end(&begun, text, sizeof text);
    const char *second = strchr(text, '\n');
    assert_non_null(second);
    assert_non_null(strstr(text, "train: 50 %, 2/4 steps"));
    assert_non_null(strstr(second, "train: 100 %, 4/4 steps"));
    assert_non_null(strstr(second, "loss 1.00"));
    assert_ptr_equal(strchr(second + 1, '\n'), text + strlen(text) - 1); /* two lines */
    assert_null(strchr(text, '\x1b'));
}

static void on_a_terminal_one_line_is_rewritten_and_messages_pass_above(void **state) {
    char text[4096];
    sp_progress progress;
    capture begun = capture_terminal(100);
    sp_progress_begin(&progress, "train", 4, "steps");
    make_due(&progress);
    sp_progress_update(&progress, 1, NULL);
    sp_log(SP_LOG_INFO, "saved");
    make_due(&progress);
    sp_progress_update(&progress, 2, NULL);
    sp_progress_end(&progress);
    capture_end(&begun, text, sizeof text);
    static const char *const expected[] = {
        " 25 %", "\r\x1b[Ksaved\r\n", " 50 %", "\r\x1b[Ktrain", " 50 %", "\r\n"};
    const char *at = text;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        at = strstr(at, expected[i]);
        assert_non_null(at);
        at += strlen(expected[i]);
    }
    assert_string_equal(at, "");
}

static void below_info_there_is_no_progress(void **state) {
    char text[256];
    sp_progress progress;
    capture begun = capture_terminal(80);
    sp_log_set_level(SP_LOG_WARNING);
    sp_progress_begin(&progress, "train", 4, "steps");
    make_due(&progress);
    sp_progress_update(&progress, 4, NULL);
    sp_progress_end(&progress);
    sp_log_set_level(SP_LOG_INFO);
    capture_end(&begun, text, sizeof text);
    assert_string_equal(text, "");
}

static void level_decides_which_messages_are_printed(void **state) {
    char text[256];
    capture begun = capture_file();
    for (sp_log_level most = SP_LOG_QUIET; most <= SP_LOG_DEBUG; most++) {
        sp_log_set_level(most);
        sp_log(SP_LOG_WARNING, "w%d", (int)most);
        sp_log(SP_LOG_INFO, "i%d", (int)most);
        sp_log(SP_LOG_DEBUG, "d%d", (int)most);
    }
    sp_log_set_level(SP_LOG_INFO);
    capture_end(&begun, text, sizeof text);
    assert_string_equal(text, "warning: w1\nwarning: w2\ni2\nwarning: w3\ni3\nd3\n");
}

static void clock_never_runs_backwards(void **state) {
    double last = sp_clock_seconds();
    for (int i = 0; i < 1000; i++) {
        const double now = sp_clock_seconds();
        assert_true(now >= last);
        last = now;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_line_has_percent_counts_rate_and_time_left),
        cmocka_unit_test(bar_fills_the_columns_that_the_text_leaves),
        cmocka_unit_test(work_of_an_earlier_run_is_no_part_of_the_rate),
        cmocka_unit_test(unknown_total_shows_neither_percent_nor_time_left),
        cmocka_unit_test(finished_line_has_the_time_taken),
        cmocka_unit_test(absurd_numbers_stay_within_their_line),
        cmocka_unit_test(without_a_terminal_a_line_comes_when_it_is_due_and_at_the_end),
        cmocka_unit_test(on_a_terminal_one_line_is_rewritten_and_messages_pass_above),
        cmocka_unit_test(below_info_there_is_no_progress),
        cmocka_unit_test(level_decides_which_messages_are_printed),
        cmocka_unit_test(clock_never_runs_backwards)};
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
