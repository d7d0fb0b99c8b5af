#include "tests/check.h"

#include "text/segmenter.h"

/* Tokens that end at the given bytes of the text. */
static size_t end_of(const char *text, size_t *ends, size_t n, size_t begin, size_t most) {
    const sp_encoding encoding = {.ends = ends, .n = n};
    return sp_segment_end(&encoding, text, strlen(text), begin, most);
}

static void segments_are_full_where_every_token_is_whole(void **state) {
    size_t ends[] = {1, 2, 4, 5, 6, 8, 9};
    assert_int_equal(end_of("abcdefghi", ends, 7, 0, 3), 3);
    assert_int_equal(end_of("abcdefghi", ends, 7, 3, 3), 6);
    assert_int_equal(end_of("abcdefghi", ends, 7, 6, 3), 7); /* a tail */
    assert_int_equal(end_of("abcdefghi", ends, 7, 4, 1), 5);
    assert_int_equal(end_of("abcdefghi", ends, 7, 0, 7), 7);
    assert_int_equal(end_of("abcdefghi", ends, 7, 2, SIZE_MAX), 7);
}

/* "a", then the four bytes of U+1F600 as a token each, then "b": only the boundaries after tokens 1,
   5 and 6 are a character's. */
static void a_character_is_not_split(void **state) {
    static const char text[] = "a\xF0\x9F\x98\x80"
                               "b";
    size_t ends[] = {1, 2, 3, 4, 5, 6};
    for (size_t most = 1; most <= 4; most++) assert_int_equal(end_of(text, ends, 6, 0, most), 1);
    assert_int_equal(end_of(text, ends, 6, 0, 5), 5);
    assert_int_equal(end_of(text, ends, 6, 0, 6), 6);
    assert_int_equal(end_of(text, ends, 6, 1, 4), 5);
    assert_int_equal(end_of(text, ends, 6, 1, 5), 6);
}

/* Tokens 2 to 4 together stand for what the tokenizer changed. */
static void tokens_with_one_end_stay_together(void **state) {
    size_t ends[] = {1, 4, 4, 4, 5};
    assert_int_equal(end_of("abcde", ends, 5, 0, 2), 1);
    assert_int_equal(end_of("abcde", ends, 5, 0, 3), 1);
    assert_int_equal(end_of("abcde", ends, 5, 0, 4), 4);
    assert_int_equal(end_of("abcde", ends, 5, 1, 2), 3); /* where all are inside, the last one */
    assert_int_equal(end_of("abcd", ends, 4, 0, 4), 4);
}

static void a_character_longer_than_a_segment_is_cut(void **state) {
    static const char text[] = "\xF0\x9F\x98\x80";
    size_t ends[] = {1, 2, 3, 4};
    assert_int_equal(end_of(text, ends, 4, 0, 2), 2);
    assert_int_equal(end_of(text, ends, 4, 2, 2), 4);
    assert_int_equal(end_of(text, ends, 4, 0, 1), 1);
}

/* Several tokens may end at one byte, and the last one at the text's end. */
static void tokens_without_bytes_of_their_own_are_kept(void **state) {
    size_t ends[] = {2, 2, 2, 3};
    assert_int_equal(end_of("abc", ends, 4, 0, 2), 2);
    assert_int_equal(end_of("abc", ends, 4, 2, 2), 4);
}

/* Bytes that only look like the rest of a character stand at no boundary either; segments go on. */
static void text_of_any_bytes_is_cut_to_its_end(void **state) {
    enum { N = 64 };
    char text[N + 1] = {0};
    size_t ends[N];
    uint32_t random = 1;
    for (int round = 0; round < 500; round++) {
        for (size_t i = 0; i < N; i++) {
            random = random * 1664525U + 1013904223U;
            text[i] = (char)((random >> 24) | 1); /* no NUL */
            ends[i] = i + 1;
        }
        const size_t most = 1 + (size_t)round % 9;
        for (size_t begin = 0, end = 0; begin < N; begin = end) {
            end = end_of(text, ends, N, begin, most);
            assert_true(end > begin && end <= begin + most && end <= N);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_are_full_where_every_token_is_whole),
        cmocka_unit_test(a_character_is_not_split),
        cmocka_unit_test(tokens_with_one_end_stay_together),
        cmocka_unit_test(a_character_longer_than_a_segment_is_cut),
        cmocka_unit_test(tokens_without_bytes_of_their_own_are_kept),
        cmocka_unit_test(text_of_any_bytes_is_cut_to_its_end),
    };
    return cmocka_run_group_tests_name("segmenter", tests, NULL, NULL);
}
