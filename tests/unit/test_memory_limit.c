#include "tests/check.h"
#include "tests/temp_folder.h"

#include "base/memory_limit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const uint64_t GiB = (uint64_t)1 << 30;
static char root[TEMP_PATH_SIZE];

static int create_root(void **state) {
    temp_folder_create(root);
    return 0;
}

static int remove_root(void **state) {
    temp_folder_remove(root);
    return 0;
}

/* Writes a file below the root, and the folders on its way. */
static void put(const char *name, const char *text) {
    char path[2 * TEMP_PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(path, 0777); /* it may be there */
        *at = '/';
    }
    temp_write(path, text, strlen(text));
}

static void put_machine(void) {
    put("proc/meminfo",
        "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");
}

static sp_memory_limit read_limit(void) {
    sp_memory_limit limit = {0};
    if (sp_memory_limit_read(&limit, root) != SP_OK) fail_msg("%s", sp_message());
    return limit;
}

static void assert_limit(uint64_t n_bytes, const char *source_end) {
    const sp_memory_limit limit = read_limit();
    assert_int_equal(limit.n_bytes, n_bytes);
    const size_t len = strlen(limit.source), end_len = strlen(source_end);
    if (len < end_len || strcmp(limit.source + len - end_len, source_end) != 0)
        fail_msg("'%s' does not end in '%s'", limit.source, source_end);
}

static void machine_alone_is_the_limit(void **state) {
    put_machine();
    assert_limit(16 * GiB, "/proc/meminfo");
    put("proc/self/cgroup", "0::/user.slice\n");
    assert_limit(16 * GiB, "/proc/meminfo");
    assert_int_equal(read_limit().machine_bytes, 16 * GiB);
    assert_int_equal(read_limit().available_bytes, 8 * GiB);
}

static void smallest_group_on_the_way_up_is_the_limit(void **state) {
    put_machine();
    put("proc/self/cgroup", "0::/slurm/job_7/step_0/task_1\n");
    put("sys/fs/cgroup/slurm/job_7/step_0/task_1/memory.max", "max\n");
    put("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "6442450944\n");
    put("sys/fs/cgroup/slurm/job_7/memory.max", "4294967296\n");
    put("sys/fs/cgroup/slurm/memory.max", "max\n");
    assert_limit(4 * GiB, "/sys/fs/cgroup/slurm/job_7/memory.max");
    put("sys/fs/cgroup/slurm/job_7/step_0/task_1/memory.max", "1073741824\n");
    assert_limit(GiB, "/task_1/memory.max");
}

/* In a container: its own group is the top of what is mounted. */
static void group_of_a_container_is_found_at_the_top(void **state) {
    put_machine();
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/memory.max", "2147483648\n");
    assert_limit(2 * GiB, "/sys/fs/cgroup/memory.max");
    put("proc/self/cgroup", "0::/docker/0123456789abcdef\n");
    assert_limit(2 * GiB, "/sys/fs/cgroup/memory.max");
}

static void first_version_of_control_groups_is_read_too(void **state) {
    put_machine();
    put("proc/self/cgroup", "12:memoryless:/a\n11:cpu,cpuacct:/b\n9:hugetlb,memory:/slurm/job_7\n"
                            "1:name=systemd:/init.scope\n0::/init.scope\n");
    put("sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1\n");
    put("sys/fs/cgroup/memory/b/memory.limit_in_bytes", "1\n");
    assert_limit(16 * GiB, "/proc/meminfo");
    put("sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", "3221225472\n");
    assert_limit(3 * GiB, "/sys/fs/cgroup/memory/slurm/memory.limit_in_bytes");
}

static void group_beyond_the_machine_is_no_limit(void **state) {
    put_machine();
    put("proc/self/cgroup", "0::/big\n");
    put("sys/fs/cgroup/big/memory.max", "1099511627776\n");
    assert_limit(16 * GiB, "/proc/meminfo");
}

/* A line or number that is none is passed over, whatever its length. */
static void nonsense_is_passed_over(void **state) {
    put_machine();
    char *text = malloc(20001);
    memset(text, 'a', 20000);
    memcpy(text, "0::/", 4);
    text[20000] = '\0';
    put("proc/self/cgroup", text);
    free(text);
    assert_limit(16 * GiB, "/proc/meminfo");
    put("proc/self/cgroup", "\n:\n0:\n::::\n0::relative\n0::/g\n");
    put("sys/fs/cgroup/g/memory.max", "many\n");
    put("sys/fs/cgroup/memory.max", "");
    assert_limit(16 * GiB, "/proc/meminfo");
}

static void long_path_is_named_by_its_end(void **state) {
    put_machine();
    char name[150], group[512], file[640], line[560];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(group, sizeof group, "%s/%s/last", name, name);
    snprintf(line, sizeof line, "0::/%s\n", group);
    snprintf(file, sizeof file, "sys/fs/cgroup/%s/memory.max", group);
    put("proc/self/cgroup", line);
    put(file, "1073741824\n");
    assert_limit(GiB, "/last/memory.max");
    assert_int_equal(strlen(read_limit().source), SP_MEMORY_SOURCE_SIZE - 1);
}

static void nothing_known_is_a_failure(void **state) {
    sp_memory_limit limit = {.n_bytes = 7};
    assert_int_equal(sp_memory_limit_read(&limit, root), SP_FAILURE);
    assert_non_null(strstr(sp_message(), "/proc/meminfo"));
    assert_int_equal(limit.n_bytes, 7);
}

static void this_machine_has_a_limit(void **state) {
    sp_memory_limit limit = {0};
    assert_int_equal(sp_memory_limit_read(&limit, ""), SP_OK);
    assert_true(limit.n_bytes > 0 && limit.n_bytes <= limit.machine_bytes);
    assert_true(limit.available_bytes <= limit.machine_bytes);
    assert_true(strlen(limit.source) > 0 && limit.source[0] == '/');
}

#define WITH_ROOT(test) cmocka_unit_test_setup_teardown(test, create_root, remove_root)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_ROOT(machine_alone_is_the_limit),
        WITH_ROOT(smallest_group_on_the_way_up_is_the_limit),
        WITH_ROOT(group_of_a_container_is_found_at_the_top),
        WITH_ROOT(first_version_of_control_groups_is_read_too),
        WITH_ROOT(group_beyond_the_machine_is_no_limit),
        WITH_ROOT(nonsense_is_passed_over),
        WITH_ROOT(long_path_is_named_by_its_end),
        WITH_ROOT(nothing_known_is_a_failure),
        cmocka_unit_test(this_machine_has_a_limit),
    };
    return cmocka_run_group_tests_name("memory_limit", tests, NULL, NULL);
}
