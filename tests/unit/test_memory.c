#include "tests/check.h"

#include "base/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_aligned(const void *block) { return (uintptr_t)block % 64 == 0; }

static void block_of_any_size_is_aligned_and_zero(void **state) {
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4097, (2 << 20) - 1, 2 << 20, (4 << 20) + 5};
    enum { N_SIZES = sizeof sizes / sizeof sizes[0] };
    for (size_t i = 0; i < 2 * N_SIZES; i++) { /* the second time from memory that was used */
        const size_t n_bytes = sizes[i % N_SIZES];
        void *block = NULL;
        assert_int_equal(sp_alloc(&block, n_bytes, "a test"), SP_OK);
        assert_true(block != NULL && is_aligned(block));
        for (size_t j = 0; j < n_bytes; j++)
            if (((char *)block)[j] != 0) fail_msg("byte %zu of %zu is not 0", j, n_bytes);
        memset(block, 1, n_bytes);
        free(block);
    }
}

/* Pages of 2 MiB that a block of the process lies in, as far as the kernel tells. */
static size_t huge_bytes_at(const void *block) {
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[256];
    unsigned long begin = 0, end = 0, kib = 0;
    size_t n_bytes = 0;
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) begin = from, end = to;
        if ((uintptr_t)block < begin || (uintptr_t)block >= end) continue;
        if (sscanf(line, "AnonHugePages: %lu kB", &kib) == 1) n_bytes = (size_t)kib * 1024;
    }
    fclose(maps);
    return n_bytes;
}

static bool system_gives_huge_pages(void) {
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    char line[128] = "[never]";
    if (file == NULL) return false;
    if (fgets(line, sizeof line, file) == NULL) line[0] = '\0';
    fclose(file);
    return strstr(line, "[always]") != NULL || strstr(line, "[madvise]") != NULL;
}

static void large_blocks_and_arenas_lie_in_huge_pages(void **state) {
    enum { N_BYTES = 64 << 20 };
    void *block = NULL;
    sp_arena arena = {0};
    if (!system_gives_huge_pages()) {
        print_message("skipped: needs transparent huge pages\n");
        skip();
    }
    assert_int_equal(sp_alloc(&block, N_BYTES, "a test"), SP_OK);
    assert_int_equal(sp_arena_reserve(&arena, N_BYTES, "a test"), SP_OK);
    memset(block, 1, N_BYTES);
    memset(arena.base, 1, N_BYTES);
    /* some, since a system whose memory is in pieces has few */
    assert_true(huge_bytes_at(block) > 0);
    assert_true(huge_bytes_at(arena.base) > 0);
    sp_arena_release(&arena);
    free(block);
}

/* Bytes of the process that are in memory. */
static size_t resident_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    size_t n_pages = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %zu", &n_pages), 1);
    fclose(file);
    return n_pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* A sanitizer keeps what is freed. */
static void assert_resident_below(size_t most) {
#ifndef __SANITIZE_ADDRESS__
    assert_true(resident_bytes() < most);
#else
    (void)most;
#endif
}

/* An allocator that learns from the first free would keep the second block for later. */
static void large_block_goes_back_to_the_system_though_a_larger_one_did_before(void **state) {
    enum { N_BYTES = 8 << 20 };
    void *larger = NULL, *block = NULL, *after = NULL;
    assert_int_equal(sp_alloc(&larger, 2 * N_BYTES, "a test"), SP_OK);
    free(larger);
    assert_int_equal(sp_alloc(&block, N_BYTES, "a test"), SP_OK);
    assert_int_equal(sp_alloc(&after, 1, "a test"), SP_OK);
    memset(block, 1, N_BYTES);
    const size_t held = resident_bytes();
    free(block);
    assert_resident_below(held - N_BYTES / 2);
    free(after);
}

static void array_has_room_for_its_items(void **state) {
    void *block = NULL;
    assert_int_equal(sp_alloc_array(&block, 1000, sizeof(double), "doubles"), SP_OK);
    memset(block, 1, 1000 * sizeof(double)); /* the sanitizers' run would object */
    free(block);
}

static void what_cannot_be_had_is_refused_by_name_and_leaves_the_pointer(void **state) {
    void *block = &block;
    assert_int_equal(sp_alloc(&block, SIZE_MAX, "everything"), SP_FAILURE);
    assert_non_null(strstr(sp_message(), "everything"));
    /* A product that wraps to 16 bytes, which could be had. */
    assert_int_equal(sp_alloc_array(&block, ((size_t)1 << 60) + 1, 16, "wrapped"), SP_FAILURE);
    assert_non_null(strstr(sp_message(), "wrapped"));
    assert_ptr_equal(block, &block);
}

static void arena_hands_out_its_capacity_in_aligned_blocks_that_do_not_overlap(void **state) {
    static const size_t sizes[] = {1, 64, 100, 0, 7};
    enum { N_BLOCKS = sizeof sizes / sizeof sizes[0] };
    size_t capacity = 0;
    for (size_t i = 0; i < N_BLOCKS; i++) capacity += sp_arena_bytes(sizes[i]);
    sp_arena arena = {0};
    assert_int_equal(sp_arena_reserve(&arena, capacity, "a test"), SP_OK);
    char *blocks[N_BLOCKS];
    for (size_t i = 0; i < N_BLOCKS; i++) {
        blocks[i] = sp_arena_push(&arena, sizes[i]);
        assert_true(is_aligned(blocks[i]));
        memset(blocks[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < N_BLOCKS; i++)
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(blocks[i][j], i + 1);
    assert_int_equal(arena.used, capacity);
    sp_arena_release(&arena);
}

static void arena_grows_only_when_it_must(void **state) {
    sp_arena arena = {0};
    assert_int_equal(sp_arena_reserve(&arena, 1000, "a test"), SP_OK);
    const char *base = arena.base;
    assert_int_equal(sp_arena_reserve(&arena, 10, "a test"), SP_OK);
    assert_ptr_equal(arena.base, base);
    assert_int_equal(sp_arena_reserve(&arena, 2000, "a test"), SP_OK);
    assert_true(arena.capacity >= 2000);
    sp_arena_release(&arena);
    sp_arena_release(&arena); /* an empty one may be released again */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_of_any_size_is_aligned_and_zero),
        cmocka_unit_test(large_blocks_and_arenas_lie_in_huge_pages),
        cmocka_unit_test(large_block_goes_back_to_the_system_though_a_larger_one_did_before),
        cmocka_unit_test(array_has_room_for_its_items),
        cmocka_unit_test(what_cannot_be_had_is_refused_by_name_and_leaves_the_pointer),
        cmocka_unit_test(arena_hands_out_its_capacity_in_aligned_blocks_that_do_not_overlap),
        cmocka_unit_test(arena_grows_only_when_it_must)};
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
