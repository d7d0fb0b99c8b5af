#include "tests/check.h"

#include "text/aligned_text.h"

static void assert_result(const sp_aligned_text *aligned, const char *expected) {
    assert_int_equal(aligned->n_bytes, strlen(expected));
    assert_memory_equal(aligned->bytes, expected, aligned->n_bytes);
}

static void what_changes_nowhere_is_not_copied(void **state) {
    static const char text[] = "abc";
    sp_aligned_text aligned = {0};
    sp_aligned_begin(&aligned, text, 3);
    assert_int_equal(sp_aligned_end(&aligned), SP_OK);
    assert_ptr_equal(aligned.bytes, text);
    assert_int_equal(aligned.n_bytes, 3);
    for (size_t i = 0; i <= 3; i++) assert_int_equal(sp_aligned_source_offset(&aligned, i), i);
    sp_aligned_free(&aligned);
    sp_aligned_free(&aligned);
}

/* "abcdef" -> "__a" "XYZ" "d" "" "f": something put in front, a part that grows, one that goes. */
static void offsets_lead_back_to_the_source(void **state) {
    sp_aligned_text aligned = {0};
    for (int run = 0; run < 2; run++) { /* reused */
        sp_aligned_begin(&aligned, "abcdef", 6);
        assert_int_equal(sp_aligned_replace(&aligned, 0, 0, "__", 2), SP_OK);
        assert_int_equal(sp_aligned_replace(&aligned, 1, 3, "XYZ", 3), SP_OK);
        assert_int_equal(sp_aligned_replace(&aligned, 4, 5, "", 0), SP_OK);
        assert_int_equal(sp_aligned_end(&aligned), SP_OK);
        assert_result(&aligned, "__aXYZdf");
        const size_t expected[] = {0, 0, 0, 1, 3, 3, 3, 5, 6};
        for (size_t i = 0; i <= 8; i++)
            assert_int_equal(sp_aligned_source_offset(&aligned, i), expected[i]);
        for (size_t i = 9; i-- > 0;) /* slower, but right, when they fall */
            assert_int_equal(sp_aligned_source_offset(&aligned, i), expected[i]);
    }
    sp_aligned_free(&aligned);
}

static void a_text_can_be_replaced_as_a_whole(void **state) {
    sp_aligned_text aligned = {0};
    sp_aligned_begin(&aligned, "ab", 2);
    assert_int_equal(sp_aligned_replace(&aligned, 0, 1, "1", 1), SP_OK);
    assert_int_equal(sp_aligned_replace(&aligned, 1, 2, "2222", 4), SP_OK);
    assert_int_equal(sp_aligned_end(&aligned), SP_OK);
    assert_result(&aligned, "12222");
    assert_int_equal(sp_aligned_source_offset(&aligned, 1), 1);
    assert_int_equal(sp_aligned_source_offset(&aligned, 2), 2);
    sp_aligned_free(&aligned);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_changes_nowhere_is_not_copied),
                                       cmocka_unit_test(offsets_lead_back_to_the_source),
                                       cmocka_unit_test(a_text_can_be_replaced_as_a_whole)};
    return cmocka_run_group_tests_name("aligned_text", tests, NULL, NULL);
}
