/* Ids of the real tokenizer files as Hugging Face's tokenizers gives them, over texts made by the
   recipes in tests/fixtures/text/real_files.json; tools/make_text_fixtures.py says what each means.
   The files are downloads of tools/bootstrap. */
#include "tests/check.h"

#include "text/tokenizer.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <unistd.h>

static json_t *fixture;

static json_t *load(const char *path) {
    json_t *value = NULL;
    if (sp_json_load_file(&value, path) != SP_OK) fail_msg("%s", sp_message());
    return value;
}

static int load_fixture(void **state) {
    fixture = load("tests/fixtures/text/real_files.json");
    return 0;
}

static int release_fixture(void **state) {
    json_decref(fixture);
    return 0;
}

/* A text in the making. */
typedef struct text {
    char *bytes; /* owned */
    size_t n, capacity;
} text;

static void put(text *made, const char *bytes, size_t n) {
    if (made->capacity - made->n < n) {
        made->capacity = 2 * (made->n + n) + 1024;
        made->bytes = realloc(made->bytes, made->capacity);
        assert_non_null(made->bytes);
    }
    if (n > 0) memcpy(made->bytes + made->n, bytes, n);
    made->n += n;
}

static void put_hex(text *made, const char *hex) {
    for (; hex[0] != '\0'; hex += 2) {
        const char digits[] = {hex[0], hex[1], '\0'};
        const char byte = (char)strtol(digits, NULL, 16);
        put(made, &byte, 1);
    }
}

static size_t number(const json_t *list, size_t i) {
    return (size_t)json_integer_value(json_array_get(list, i));
}

static void put_file(text *made, const char *path) {
    char buffer[4096];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;) put(made, buffer, n);
    fclose(file);
}

static void put_blocks(text *made, const json_t *range) {
    for (size_t c = number(range, 0); c < number(range, 1); c += number(range, 2)) {
        if (c == 0 || (c >= 0xD800 && c < 0xE000)) continue;
        char character[SP_UTF8_MAX], line[64];
        const int len = (int)sp_utf8_encode(character, (uint32_t)c);
        const int n = snprintf(line, sizeof line, "x%.*sy 1%.*s%.*s %.*s\n", len, character, len,
                               character, len, character, len, character);
        put(made, line, (size_t)n);
    }
}

static void put_random(text *made, const json_t *seed_and_count) {
    const json_t *pieces = json_object_get(fixture, "pieces");
    uint32_t seed = (uint32_t)number(seed_and_count, 0);
    for (size_t i = 0; i < number(seed_and_count, 1); i++) {
        seed = seed * 1664525u + 1013904223u;
        put_hex(made,
                json_string_value(json_array_get(pieces, (seed >> 8) % json_array_size(pieces))));
    }
}

static text make_text(const json_t *recipe) {
    text made = {0};
    const json_t *repeat = json_object_get(recipe, "repeat");
    if (json_object_get(recipe, "text") != NULL) {
        const char *literal = json_string_value(json_object_get(recipe, "text"));
        put(&made, literal, strlen(literal));
    } else if (json_object_get(recipe, "file") != NULL) {
        put_file(&made, json_string_value(json_object_get(recipe, "file")));
    } else if (json_object_get(recipe, "blocks") != NULL) {
        put_blocks(&made, json_object_get(recipe, "blocks"));
    } else if (json_object_get(recipe, "random") != NULL) {
        put_random(&made, json_object_get(recipe, "random"));
    } else {
        for (size_t i = 0; i < number(repeat, 1); i++)
            put_hex(&made, json_string_value(json_array_get(repeat, 0)));
    }
    return made;
}

static uint64_t fnv1a(uint64_t hash, unsigned char byte) { return (hash ^ byte) * 0x100000001B3u; }
static const uint64_t fnv_start = 0xCBF29CE484222325u;

static uint64_t hash_ids(const sp_encoding *encoding) {
    uint64_t hash = fnv_start;
    for (size_t i = 0; i < encoding->n; i++)
        for (int shift = 0; shift < 32; shift += 8)
            hash = fnv1a(hash, (unsigned char)((uint32_t)encoding->ids[i] >> shift));
    return hash;
}

static void check_decoded(const sp_tokenizer *tokenizer, const sp_encoding *encoding,
                          const char *expected, const char *name, size_t index) {
    char *decoded = NULL, hash[17];
    size_t n_bytes = 0;
    if (expected == NULL) return;
    assert_int_equal(sp_tokenizer_decode(tokenizer, &decoded, &n_bytes, encoding->ids, encoding->n,
                                         (sp_decode_options){0}),
                     SP_OK);
    uint64_t value = fnv_start;
    for (size_t i = 0; i < n_bytes; i++) value = fnv1a(value, (unsigned char)decoded[i]);
    snprintf(hash, sizeof hash, "%016jx", (uintmax_t)value);
    if (strcmp(hash, expected) != 0) fail_msg("%s, recipe %zu: decodes otherwise", name, index);
    free(decoded);
}

static void check_recipe(const sp_tokenizer *tokenizer, sp_encoding *encoding, const json_t *recipe,
                         const json_t *expected, const char *name, size_t index) {
    text made = make_text(recipe);
    char hash[17];
    const bool parses = json_is_true(json_object_get(recipe, "parse_special"));
    if (sp_tokenizer_encode(tokenizer, encoding, made.bytes, made.n,
                            (sp_encode_options){.specials_are_plain = !parses}) != SP_OK)
        fail_msg("%s", sp_message());
    snprintf(hash, sizeof hash, "%016jx", (uintmax_t)hash_ids(encoding));
    if (encoding->n != number(expected, 0) ||
        strcmp(hash, json_string_value(json_array_get(expected, 1))) != 0)
        fail_msg("%s, recipe %zu: %zu ids of hash %s are not the reference's %zu", name, index,
                 encoding->n, hash, number(expected, 0));
    check_decoded(tokenizer, encoding, json_string_value(json_array_get(expected, 2)), name, index);
    free(made.bytes);
}

/* The text of a random recipe with bytes that are no UTF-8 strewn in, and without the character that
   a kind writes spaces as, which it cannot tell from one. */
static text make_broken_text(uint32_t seed) {
    static const char space[] = "\xE2\x96\x81";
    text made = {0}, broken = {0};
    json_t *recipe = json_pack("[I, i]", (json_int_t)seed, 12);
    put_random(&made, recipe);
    json_decref(recipe);
    for (size_t i = 0; i < made.n; i++) {
        seed = seed * 1664525u + 1013904223u;
        const char byte = (char)(seed >> 24);
        if (seed >> 8 & 1 || (unsigned char)byte < 0x80)
            put(&broken, &made.bytes[i], 1);
        else
            put(&broken, &byte, 1);
    }
    for (char *at = broken.bytes;
         (at = memmem(at, broken.n - (size_t)(at - broken.bytes), space, 3)) != NULL;)
        memset(at, 'x', 3);
    free(made.bytes);
    return broken;
}

/* Nothing is lost: not of bytes that are no UTF-8, not at the start, and not where a text is cut at
   the ends of tokens and its parts are decoded apart. */
static void check_bytes_come_back(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                                  uint32_t seed, bool is_continuation) {
    text made = make_broken_text(seed);
    assert_int_equal(sp_tokenizer_encode(tokenizer, encoding, made.bytes, made.n,
                                         (sp_encode_options){.specials_are_plain = true,
                                                             .is_continuation = is_continuation}),
                     SP_OK);
    size_t first = 0, begin = 0;
    for (size_t i = 0; i < encoding->n; i++) {
        if (i + 1 < encoding->n && encoding->ends[i + 1] == encoding->ends[i]) continue;
        if (i + 1 < encoding->n && encoding->ends[i] == 0) continue; /* the prefix alone */
        char *decoded = NULL;
        size_t n_bytes = 0;
        assert_int_equal(sp_tokenizer_decode(
                             tokenizer, &decoded, &n_bytes, encoding->ids + first, i + 1 - first,
                             (sp_decode_options){.is_continuation = is_continuation || begin > 0}),
                         SP_OK);
        assert_int_equal(n_bytes, encoding->ends[i] - begin);
        assert_memory_equal(decoded, made.bytes + begin, n_bytes);
        free(decoded);
        first = i + 1;
        begin = encoding->ends[i];
    }
    assert_int_equal(begin, made.n);
    free(made.bytes);
}

static void check_file(const char *name, bool keeps_bytes) {
    char path[4096];
    const char *build = getenv("BUILD");
    snprintf(path, sizeof path, "%s/tokenizers/%s/tokenizer.json", build != NULL ? build : "build",
             name);
    if (access(path, R_OK) != 0) {
        printf("skipped: needs %s (tools/bootstrap downloads)\n", path);
        skip();
    }
    json_t *json = load(path);
    sp_tokenizer *tokenizer = NULL;
    if (sp_tokenizer_create(&tokenizer, json, path) != SP_OK) fail_msg("%s", sp_message());
    json_decref(json);
    const json_t *expected = json_object_get(json_object_get(fixture, "expected"), name), *recipe;
    sp_encoding encoding = {0};
    size_t i;
    json_array_foreach(json_object_get(fixture, "recipes"), i, recipe)
        check_recipe(tokenizer, &encoding, recipe, json_array_get(expected, i), name, i);
    assert_true(i > 100);
    for (uint32_t seed = 1; keeps_bytes && seed <= 200; seed++) {
        check_bytes_come_back(tokenizer, &encoding, seed, false);
        check_bytes_come_back(tokenizer, &encoding, seed, true);
    }
    sp_encoding_free(&encoding);
    sp_tokenizer_destroy(tokenizer);
}

static void gpt_2(void **state) { check_file("gpt2", true); }
static void llama_2_and_mistral(void **state) { check_file("llama2", true); }
static void llama_3(void **state) { check_file("llama3", true); }
static void mistral_nemo(void **state) { check_file("mistral_nemo", true); }
static void qwen2_5_whose_nfc_changes_bytes(void **state) { check_file("qwen2_5", false); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt_2), cmocka_unit_test(llama_2_and_mistral), cmocka_unit_test(llama_3),
        cmocka_unit_test(mistral_nemo), cmocka_unit_test(qwen2_5_whose_nfc_changes_bytes)};
    return cmocka_run_group_tests_name("tokenizer_files", tests, load_fixture, release_fixture);
}
