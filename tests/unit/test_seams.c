#include "tests/check.h"

#include "text/bpe.h"

#include <stdlib.h>

/* Letters that words are drawn from; the last one has no token. */
static const char *const letters[] = {"a", "b", "c", "\xC3\xA9", "\xE2\x96\x81", "\xE4\xBD\xA0"};
enum { N_LETTERS = 6, N_KNOWN = 5, MOST_BYTES = 3 * 40 };

static unsigned draw(unsigned *seed, unsigned n) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

/* A model of merges at random: each joins two tokens that are there already. */
static json_t *draw_model(unsigned *seed, bool fuses) {
    char tokens[40][16];
    json_t *vocab = json_pack("{s:i}", "<u>", 0), *merges = json_array();
    size_t n = 0;
    for (; n < N_KNOWN; n++) strcpy(tokens[n], letters[n]);
    for (int attempt = 0; attempt < 30 && n < 20; attempt++) {
        const char *left = tokens[draw(seed, (unsigned)n)];
        const char *right = tokens[draw(seed, (unsigned)n)];
        char joined[32];
        snprintf(joined, sizeof joined, "%s%s", left, right);
        bool is_new = strlen(joined) < sizeof tokens[0];
        for (size_t i = 0; i < n; i++) is_new = is_new && strcmp(tokens[i], joined) != 0;
        if (!is_new) continue;
        json_array_append_new(merges, json_pack("[s, s]", left, right));
        strcpy(tokens[n++], joined);
    }
    for (size_t i = 0; i < n; i++)
        json_object_set_new(vocab, tokens[i], json_integer((json_int_t)i + 1));
    return json_pack("{s:o, s:o, s:s, s:b}", "vocab", vocab, "merges", merges, "unk_token", "<u>",
                     "fuse_unk", (int)fuses);
}

static size_t draw_word(char word[MOST_BYTES], unsigned *seed) {
    size_t n = 0;
    for (unsigned i = 1 + draw(seed, 40); i > 0; i--) {
        const char *letter = letters[draw(seed, N_LETTERS)];
        memcpy(word + n, letter, strlen(letter));
        n += strlen(letter);
    }
    return n;
}

static void a_word_cut_at_its_seams_has_the_same_tokens(void **state) {
    unsigned seed = 1;
    size_t n_cut = 0;
    sp_bpe_word whole = {0}, part = {0};
    for (int round = 0; round < 200; round++) {
        json_t *model = draw_model(&seed, round % 2 == 0);
        sp_vocabulary vocabulary = {0};
        sp_bpe *bpe = calloc(1, sizeof *bpe);
        assert_non_null(bpe);
        assert_int_equal(
            sp_vocabulary_read(&vocabulary, json_object_get(model, "vocab"), false, "t"), SP_OK);
        assert_int_equal(sp_bpe_read(bpe, model, &vocabulary, "t"), SP_OK);
        for (int i = 0; i < 50; i++) {
            char word[MOST_BYTES];
            const size_t n = draw_word(word, &seed);
            assert_int_equal(sp_bpe_encode(bpe, &vocabulary, &whole, word, n), SP_OK);
            size_t token = 0;
            for (size_t begin = 0, len; begin < n; begin += len) {
                len = sp_seams_first(&bpe->seams, &bpe->character_ids, word + begin, n - begin);
                n_cut += begin + len < n;
                assert_int_equal(sp_bpe_encode(bpe, &vocabulary, &part, word + begin, len), SP_OK);
                assert_true(token + part.n <= whole.n);
                assert_memory_equal(part.ids, whole.ids + token, part.n * sizeof *part.ids);
                token += part.n;
            }
            assert_int_equal(token, whole.n);
        }
        sp_bpe_free(bpe);
        free(bpe);
        sp_vocabulary_free(&vocabulary);
        json_decref(model);
    }
    assert_true(n_cut > 10000); /* else nothing was tested */
    sp_bpe_word_free(&part);
    sp_bpe_word_free(&whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_cut_at_its_seams_has_the_same_tokens)};
    return cmocka_run_group_tests_name("seams", tests, NULL, NULL);
}
