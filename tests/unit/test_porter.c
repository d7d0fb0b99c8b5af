/* Stems as NLTK's PorterStemmer gives them; the fixture is made by tools/make_text_fixtures.py. */
#include "tests/check.h"

#include "base/json.h"
#include "text/porter.h"

#include <stdlib.h>

static void stems_are_those_of_the_reference(void **state) {
    json_t *fixture = NULL;
    assert_int_equal(sp_json_load_file(&fixture, "tests/fixtures/text/metrics.json"), SP_OK);
    json_t *stems = json_object_get(fixture, "stems");
    assert_true(json_object_size(stems) > 300);
    const char *word;
    json_t *stem;
    json_object_foreach(stems, word, stem) {
        const size_t len = strlen(word);
        char *letters = malloc(len); /* without a byte to spare */
        assert_non_null(letters);
        memcpy(letters, word, len);
        const size_t stem_len = sp_porter_stem(letters, len);
        if (stem_len != json_string_length(stem) ||
            memcmp(letters, json_string_value(stem), stem_len) != 0)
            fail_msg("%s: %.*s is not %s", word, (int)stem_len, letters, json_string_value(stem));
        free(letters);
    }
    json_decref(fixture);
}

static void a_long_run_of_y_takes_linear_time(void **state) {
    enum { N = 1 << 20 };
    char *letters = malloc(N);
    assert_non_null(letters);
    memset(letters, 'y', N);
    memcpy(letters + N - 3, "ing", 3);
    assert_true(sp_porter_stem(letters, N) <= N);
    free(letters);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(stems_are_those_of_the_reference),
                                       cmocka_unit_test(a_long_run_of_y_takes_linear_time)};
    return cmocka_run_group_tests_name("porter", tests, NULL, NULL);
}
