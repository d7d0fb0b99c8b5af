/* What two texts have in common, word by word: nothing is lost, and no more is marked than must be. */
#include "run/report_difference.h"
#include "tests/check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct compared {
    sp_text_pieces left, right;
} compared;

static compared compare(const char *left, const char *right) {
    compared c = {0};
    assert_int_equal(sp_text_compare(&c.left, left, strlen(left), &c.right, right, strlen(right)),
                     SP_OK);
    return c;
}

static void release(compared *c) {
    sp_text_pieces_free(&c->left);
    sp_text_pieces_free(&c->right);
}

/* The pieces in one, those that are not common in brackets. */
static const char *show(char *out, size_t size, const sp_text_pieces *pieces) {
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < pieces->n; i++) {
        const sp_text_piece *piece = &pieces->items[i];
        n += (size_t)snprintf(out + n, size - n, piece->is_common ? "%.*s" : "[%.*s]",
                              (int)piece->n_bytes, piece->text);
        assert_true(n < size);
    }
    return out;
}

static void only_changed_words_are_marked(void **state) {
    char text[256];
    compared c = compare("the river ran down to the sea", "the river ran up to the wide sea");
    assert_string_equal(show(text, sizeof text, &c.left), "the river ran [down] to the sea");
    assert_string_equal(show(text, sizeof text, &c.right),
                        "the river ran [up] to the [wide][ ]sea");
    release(&c);
}

static void equal_texts_have_no_mark(void **state) {
    char text[256];
    compared c = compare(" a  b\nc ", " a  b\nc ");
    assert_string_equal(show(text, sizeof text, &c.left), " a  b\nc ");
    assert_string_equal(show(text, sizeof text, &c.right), " a  b\nc ");
    release(&c);
}

static void an_empty_text_is_all_marked_on_the_other_side(void **state) {
    char text[64];
    compared c = compare("a b", "");
    assert_string_equal(show(text, sizeof text, &c.left), "[a][ ][b]");
    assert_int_equal(c.right.n, 0);
    release(&c);
}

/* By the definition: the longest common subsequence by trying all of left's. */
static size_t most_in_common(const char *left, const char *right) {
    const size_t n = strlen(left), m = strlen(right);
    size_t most = 0;
    for (uint32_t set = 0; set < (1u << n); set++) {
        size_t j = 0, found = 0, wanted = 0;
        for (size_t i = 0; i < n; i++) {
            if ((set >> i & 1) == 0) continue;
            wanted++;
            while (j < m && right[j] != left[i]) j++;
            if (j < m) found++, j++;
        }
        if (found == wanted && found > most) most = found;
    }
    return most;
}

/* Letters as words: "ab" is "a b", with one blank between. */
static void spread(char *out, const char *letters) {
    size_t n = 0;
    for (size_t i = 0; letters[i] != '\0'; i++) {
        if (i > 0) out[n++] = ' ';
        out[n++] = letters[i];
    }
    out[n] = '\0';
}

static void no_longer_common_sequence_exists(void **state) {
    uint32_t seed = 1;
    for (size_t trial = 0; trial < 200; trial++) {
        char letters[2][10] = {0}, texts[2][20];
        for (size_t side = 0; side < 2; side++) {
            seed = seed * 1664525u + 1013904223u;
            const size_t n = 1 + (seed >> 16) % 8;
            for (size_t i = 0; i < n; i++) {
                seed = seed * 1664525u + 1013904223u;
                letters[side][i] = (char)('a' + (seed >> 20) % 3);
            }
            spread(texts[side], letters[side]);
        }
        compared c = compare(texts[0], texts[1]);
        size_t n_left = 0, n_right = 0;
        for (size_t i = 0; i < c.left.n; i++) n_left += c.left.items[i].is_common;
        for (size_t i = 0; i < c.right.n; i++) n_right += c.right.items[i].is_common;
        assert_int_equal(n_left, n_right);
        assert_int_equal(n_left, most_in_common(texts[0], texts[1]));
        release(&c);
    }
}

static void texts_too_long_to_compare_are_whole_and_unmarked(void **state) {
    enum { N = 8000 };
    char *text = malloc(N + 1);
    assert_non_null(text);
    for (size_t i = 0; i < N; i++) text[i] = i % 2 == 0 ? 'a' : ' ';
    text[N] = '\0';
    compared c = compare(text, "b");
    assert_int_equal(c.left.n, 1);
    assert_int_equal(c.left.items[0].n_bytes, N);
    assert_true(c.left.items[0].is_common && c.right.items[0].is_common);
    release(&c);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_changed_words_are_marked),
        cmocka_unit_test(equal_texts_have_no_mark),
        cmocka_unit_test(an_empty_text_is_all_marked_on_the_other_side),
        cmocka_unit_test(no_longer_common_sequence_exists),
        cmocka_unit_test(texts_too_long_to_compare_are_whole_and_unmarked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
