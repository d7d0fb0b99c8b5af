#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/run_lock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

/* Starts a process that holds the folder until it is killed. */
static pid_t start_holder(void) {
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sp_run_lock lock = {0};
        const char held = sp_run_lock_acquire(&lock, dir) == SP_OK;
        if (write(ready[1], &held, 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    char held = 0;
    assert_int_equal(read(ready[0], &held, 1), 1);
    assert_true(held);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void folder_held_by_another_process_is_refused_until_it_dies(void **state) {
    const pid_t holder = start_holder();
    sp_run_lock lock = {0};
    char pid[32];
    snprintf(pid, sizeof pid, "(pid %ld on ", (long)holder);
    assert_int_equal(sp_run_lock_acquire(&lock, dir), SP_FAILURE);
    assert_non_null(strstr(sp_message(), dir));
    assert_non_null(strstr(sp_message(), pid));
    assert_false(lock.is_held);

    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    assert_int_equal(sp_run_lock_acquire(&lock, dir), SP_OK);
    sp_run_lock_release(&lock);
    sp_run_lock_release(&lock); /* one that is not held is fine */
}

static void released_folder_can_be_held_again(void **state) {
    sp_run_lock first = {0}, second = {0};
    assert_int_equal(sp_run_lock_acquire(&first, dir), SP_OK);
    assert_int_equal(sp_run_lock_acquire(&second, dir), SP_FAILURE);
    sp_run_lock_release(&first);
    assert_int_equal(sp_run_lock_acquire(&second, dir), SP_OK);
    sp_run_lock_release(&second);
}

static void missing_folder_is_an_io_error(void **state) {
    char missing[TEMP_PATH_SIZE];
    sp_run_lock lock = {0};
    assert_int_equal(sp_run_lock_acquire(&lock, temp_path(missing, dir, "none")), SP_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(folder_held_by_another_process_is_refused_until_it_dies,
                                        create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(released_folder_can_be_held_again, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(missing_folder_is_an_io_error, create_folder,
                                        remove_folder)};
    return cmocka_run_group_tests_name("run_lock", tests, NULL, NULL);
}
