#include "tests/check.h"

#include "base/config.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef enum shade { LIGHT, DARK } shade;

typedef struct sample_config {
    size_t global_batch, budget, limit;
    double lr;
    bool is_loud;
    char *dir;
    shade shade;
    sp_string_list targets;
    sp_count_list ratios;
} sample_config;

static const char *const shades[] = {"light", "dark", NULL};
static const char *const roles[] = {"q", "k", "v", NULL};

/* clang-format off */
static const sp_config_key keys[] = {
    {"train.global_batch", SP_KEY_COUNT, offsetof(sample_config, global_batch), "256", 1, 1 << 20,
     NULL, "segments in one optimiser step"},
    {"train.lr", SP_KEY_REAL, offsetof(sample_config, lr), "1e-4", 0, 1, NULL, "after warm-up"},
    {"data.budget", SP_KEY_COUNT_OR_AUTO, offsetof(sample_config, budget), "auto", 0,
     SP_COUNT_LIMIT, NULL, "tokens"},
    {"data.limit", SP_KEY_COUNT_OR_AUTO, offsetof(sample_config, limit), "null", 1, SP_COUNT_LIMIT,
     NULL, "segments"},
    {"run.dir", SP_KEY_STRING, offsetof(sample_config, dir), "null", 0, 0, NULL, "folder"},
    {"run.loud", SP_KEY_BOOL, offsetof(sample_config, is_loud), "false", 0, 0, NULL, "or not"},
    {"run.shade", SP_KEY_CHOICE, offsetof(sample_config, shade), "light", 0, 0, shades, "of it"},
    {"encoder.lora.targets", SP_KEY_LIST, offsetof(sample_config, targets), "q,v", 1, 3, roles,
     "roles"},
    {"segment.ratio", SP_KEY_COUNTS, offsetof(sample_config, ratios), "4", 1, 1000, NULL, "ratios"},
};
/* clang-format on */
static const sp_config_table table = {keys, sizeof keys / sizeof keys[0]};

static sample_config make_default(void) {
    sample_config config = {0};
    assert_int_equal(sp_config_init(&config, &table), SP_OK);
    return config;
}

static void free_config(sample_config *config) { sp_config_free(config, &table); }

static void write_file(char path[64], const char *text, size_t n_bytes) {
    strcpy(path, "/tmp/slotpress-config-XXXXXX");
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n_bytes), n_bytes);
    close(fd);
}

static sp_status load_bytes(sample_config *config, const char *text, size_t n_bytes) {
    char path[64];
    write_file(path, text, n_bytes);
    const sp_status status = sp_config_load_file(config, &table, path);
    if (status != SP_OK) assert_non_null(strstr(sp_message(), path));
    unlink(path);
    return status;
}

static sp_status load(sample_config *config, const char *text) {
    return load_bytes(config, text, strlen(text));
}

static void assert_message_has(const char *part) {
    if (strstr(sp_message(), part) == NULL)
        fail_msg("'%s' is not in the message: %s", part, sp_message());
}

/* Loads `text` over the defaults, which must fail with a message that has both parts. */
static void assert_load_refused(const char *text, const char *part, const char *other_part) {
    sample_config config = make_default();
    assert_int_equal(load(&config, text), SP_USAGE);
    assert_message_has(part);
    assert_message_has(other_part);
    free_config(&config);
}

static void assert_same(const sample_config *a, const sample_config *b) {
    assert_int_equal(a->global_batch, b->global_batch);
    assert_int_equal(a->budget, b->budget);
    assert_int_equal(a->limit, b->limit);
    assert_true(a->lr == b->lr && a->is_loud == b->is_loud && a->shade == b->shade);
    assert_int_equal(a->dir == NULL, b->dir == NULL);
    if (a->dir != NULL) assert_string_equal(a->dir, b->dir);
    assert_int_equal(a->targets.n_items, b->targets.n_items);
    for (size_t i = 0; i < a->targets.n_items; i++)
        assert_string_equal(a->targets.items[i], b->targets.items[i]);
    assert_memory_equal(&a->ratios, &b->ratios, sizeof a->ratios);
}

static void defaults_come_from_the_table(void **state) {
    sample_config config = make_default();
    assert_true(config.global_batch == 256 && config.lr == 1e-4);
    assert_true(config.budget == SP_COUNT_AUTO && config.limit == SP_COUNT_AUTO);
    assert_true(config.dir == NULL && !config.is_loud && config.shade == LIGHT);
    assert_int_equal(config.targets.n_items, 2);
    assert_string_equal(config.targets.items[1], "v");
    free_config(&config);
    free_config(&config);
}

static void suffixes_are_decimal_and_exact(void **state) {
    static const struct {
        const char *text;
        size_t value;
    } sizes[] = {{"0", 0},
                 {"7", 7},
                 {"12K", 12000},
                 {"1.5M", 1500000},
                 {"5G", 5000000000},
                 {"5B", 5000000000},
                 {"5e9", 5000000000},
                 {"1.1G", 1100000000},
                 {"3T", 3000000000000},
                 {"0.001K", 1},
                 {"9007199254740992", (size_t)1 << 53}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        sample_config config = make_default();
        assert_int_equal(sp_config_set(&config, &table, "data.budget", sizes[i].text), SP_OK);
        assert_int_equal(config.budget, sizes[i].value);
        free_config(&config);
    }
}

static void bad_value_is_refused_by_name_and_changes_nothing(void **state) {
    static const char *const bad[][2] = {{"train.global_batch", "0"},
                                         {"train.global_batch", "8.5"},
                                         {"train.global_batch", "8x"},
                                         {"train.global_batch", ""},
                                         {"train.global_batch", "-1"},
                                         {"train.global_batch", "2M"},
                                         {"train.global_batch", "K"},
                                         {"train.global_batch", "1KK"},
                                         {"train.global_batch", "1e3K"},
                                         {"train.global_batch", "0x10"},
                                         {"train.global_batch", " 8"},
                                         {"train.global_batch", "auto"},
                                         {"train.global_batch", "null"},
                                         {"train.global_batch", "99999999999999999999999"},
                                         {"train.lr", "nan"},
                                         {"train.lr", "1.01"},
                                         {"train.lr", "inf"},
                                         {"train.lr", "1K"},
                                         {"train.lr", "1e999"},
                                         {"train.lr", "0.1.1"},
                                         {"data.budget", "9007199254740994"},
                                         {"data.budget", "automatic"},
                                         {"data.limit", "0"},
                                         {"run.loud", "2"},
                                         {"run.shade", "grey"},
                                         {"run.shade", "0"},
                                         {"run.shade", ""},
                                         {"encoder.lora.targets", "q,x"},
                                         {"encoder.lora.targets", "q,q"},
                                         {"encoder.lora.targets", "[]"},
                                         {"encoder.lora.targets", "q,,v"},
                                         {"encoder.lora.targets", "null"},
                                         {"segment.ratio", "0"},
                                         {"segment.ratio", "4,0"},
                                         {"segment.ratio", "1001"},
                                         {"segment.ratio", "4,4"},
                                         {"segment.ratio", "16,4,16"},
                                         {"segment.ratio", "4,x"},
                                         {"segment.ratio", "4 16"},
                                         {"segment.ratio", "[]"},
                                         {"segment.ratio", "auto"},
                                         {"segment.ratio", "null"},
                                         {"segment.ratio", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,"
                                                           "16,17"},
                                         {"train.lrr", "0.1"},
                                         {"train", "1"},
                                         {"", "1"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sample_config config = make_default(), untouched = make_default();
        if (sp_config_set(&config, &table, bad[i][0], bad[i][1]) != SP_USAGE)
            fail_msg("%s = '%s' passed", bad[i][0], bad[i][1]);
        assert_message_has(bad[i][0]);
        assert_same(&config, &untouched);
        free_config(&config);
        free_config(&untouched);
    }
}

static void counts_are_one_or_a_list_and_rise(void **state) {
    static const struct {
        const char *text, *in_file, *dumped, *shown;
    } lists[] = {
        {"4", "segment: {ratio: 4}\n", "4", "4"},
        {"[16]", "segment: {ratio: [16]}\n", "16", "16"},
        {"64,4, 16", "segment:\n  ratio: [64, 4, 16]\n", "[4,16,64]", "4, 16, 64"},
        {"[ 1K , 1 ]", "segment:\n  ratio:\n    - 1000\n    - 1\n", "[1,1000]", "1, 1000"},
        {"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16",
         "segment: {ratio: [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]}",
         "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]",
         "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16"},
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        sample_config config = make_default(), loaded = make_default();
        char shown[128], little[4];
        json_t *dump = NULL;
        assert_int_equal(sp_config_set(&config, &table, "segment.ratio", lists[i].text), SP_OK);
        assert_int_equal(load(&loaded, lists[i].in_file), SP_OK);
        assert_same(&loaded, &config);
        assert_int_equal(sp_config_dump(&dump, &config, &table), SP_OK);
        const json_t *value = json_object_get(json_object_get(dump, "segment"), "ratio");
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        assert_string_equal(text, lists[i].dumped);
        sample_config again = make_default();
        assert_int_equal(sp_config_load_json(&again, &table, dump, "dump"), SP_OK);
        assert_same(&again, &config);
        sp_config_counts_text(shown, sizeof shown, &config.ratios);
        assert_string_equal(shown, lists[i].shown);
        sp_config_counts_text(little, sizeof little, &config.ratios);
        assert_int_equal(strncmp(little, lists[i].shown, 3), 0);
        free(text);
        json_decref(dump);
        free_config(&again);
        free_config(&loaded);
        free_config(&config);
    }
    sp_count_list list = {{7}, 1};
    assert_int_equal(sp_config_parse_counts(&list, "--ratio", "4,0"), SP_USAGE);
    assert_message_has("--ratio: '0'");
    assert_true(list.n_items == 1 && list.items[0] == 7);
    assert_int_equal(sp_config_parse_counts(&list, "--ratio", "8,4"), SP_OK);
    assert_true(list.n_items == 2 && list.items[0] == 4 && list.items[1] == 8);
}

static void the_line_that_sets_a_key_is_found(void **state) {
    char path[64];
    const char text[] = "train: {lr: 0.1}\n\nrun:\n  dir: a\n  loud: true\n";
    write_file(path, text, sizeof text - 1);
    assert_int_equal(sp_config_find_line(path, "run.loud"), 5);
    assert_int_equal(sp_config_find_line(path, "train.lr"), 1);
    assert_int_equal(sp_config_find_line(path, "train.global_batch"), 0);
    unlink(path);
    assert_int_equal(sp_config_find_line(path, "run.loud"), 0);
}

static void message_says_what_is_allowed(void **state) {
    sample_config config = make_default();
    assert_int_equal(sp_config_set(&config, &table, "train.lr", "2"), SP_USAGE);
    assert_message_has("from 0 to 1");
    assert_int_equal(sp_config_set(&config, &table, "run.shade", "grey"), SP_USAGE);
    assert_message_has("light, dark");
    assert_int_equal(sp_config_set(&config, &table, "encoder.lora.targets", "q,up"), SP_USAGE);
    assert_message_has("'up' is not one of q, k, v");
    free_config(&config);
}

static void assignments_apply_in_order_and_keep_what_follows_the_first_equals_sign(void **state) {
    sample_config config = make_default();
    assert_int_equal(sp_config_assign(&config, &table, "run.dir=a"), SP_OK);
    assert_int_equal(sp_config_assign(&config, &table, "run.dir=b=c # d: e"), SP_OK);
    assert_string_equal(config.dir, "b=c # d: e");
    assert_int_equal(sp_config_assign(&config, &table, "run.dir=null"), SP_OK);
    assert_null(config.dir);
    assert_int_equal(sp_config_assign(&config, &table, "encoder.lora.targets=[ v , k ]"), SP_OK);
    assert_string_equal(config.targets.items[0], "v");
    assert_string_equal(config.targets.items[1], "k");
    assert_int_equal(sp_config_assign(&config, &table, "run.shade=dark"), SP_OK);
    assert_int_equal(config.shade, DARK);
    assert_int_equal(sp_config_assign(&config, &table, "run.dir"), SP_USAGE);
    assert_message_has("KEY=VALUE");
    assert_int_equal(sp_config_assign(&config, &table, "train.lrr=1"), SP_USAGE);
    assert_message_has("did you mean 'train.lr'?");
    free_config(&config);
}

static void block_and_flow_style_read_the_same(void **state) {
    static const char block[] = "# a comment\n"
                                "train:\n"
                                "  global_batch: 8   # a comment\n"
                                "  lr: 3e-4\n"
                                "data:\n"
                                "  budget: 5G\n"
                                "  limit: ~\n"
                                "run:\n"
                                "  dir: \"runs/a b\"\n"
                                "  loud: true\n"
                                "  shade: dark\n"
                                "encoder:\n"
                                "  lora:\n"
                                "    targets:\n"
                                "      - k\n"
                                "      - 'q'\n";
    static const char flow[] = "train: {global_batch: 8, lr: 3e-4}\n"
                               "data: {budget: 5G, limit: null}\n"
                               "run: {dir: runs/a b, loud: true, shade: dark}\n"
                               "encoder: {lora: {targets: [k, q]}}\n";
    sample_config a = make_default(), b = make_default();
    assert_int_equal(load(&a, block), SP_OK);
    assert_int_equal(load(&b, flow), SP_OK);
    assert_true(a.global_batch == 8 && a.lr == 3e-4 && a.budget == 5000000000 && a.is_loud);
    assert_string_equal(a.dir, "runs/a b");
    assert_string_equal(a.targets.items[0], "k");
    assert_same(&a, &b);
    free_config(&a);
    free_config(&b);
}

static void what_a_file_leaves_out_stays_as_it_was(void **state) {
    static const char *const texts[] = {
        "", "# nothing\n", "---\n", "train:\n", "{}\n", "train: {}\n", "encoder: {lora: null}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        sample_config config = make_default(), defaults = make_default();
        assert_int_equal(load(&config, texts[i]), SP_OK);
        assert_same(&config, &defaults);
        free_config(&config);
        free_config(&defaults);
    }
}

static void quoted_null_is_a_word_and_a_plain_one_is_none(void **state) {
    sample_config config = make_default();
    assert_int_equal(load(&config, "run: {dir: 'null'}\n"), SP_OK);
    assert_string_equal(config.dir, "null");
    assert_int_equal(load(&config, "run: {dir: null}\n"), SP_OK);
    assert_null(config.dir);
    free_config(&config);
}

static void unknown_key_is_named_with_line_and_nearest_key(void **state) {
    assert_load_refused("# one\ntrain:\n  lrr: 1\n", "line 3: unknown key 'train.lrr'",
                        "did you mean 'train.lr'?");
    assert_load_refused("encoder: {lora: {target: [q]}}\n", "line 1: unknown key",
                        "'encoder.lora.targets'");
    assert_load_refused("trian: {lr: 1}\n", "line 1: unknown key 'trian'", "'train'");
    assert_load_refused("run:\n  dir: x\nlr: 1\n", "line 3: unknown key 'lr'", "did you mean");
    assert_load_refused("train: {lr: {lr: 1}}\n", "train.lr", "not a section");
    assert_load_refused("train: 5\n", "line 1", "'train' is a section");
    assert_load_refused("train: [1]\n", "line 1", "'train' is a section");
}

static void bad_values_in_a_file_are_named_with_their_line(void **state) {
    assert_load_refused("train:\n  global_batch: 8\n  lr: fast\n", "line 3: train.lr", "'fast'");
    assert_load_refused("train:\n  lr: [0.1]\n", "line 2: train.lr", "no list");
    assert_load_refused("train:\n  lr:\n", "line 2: train.lr", "needs a value");
    assert_load_refused("run: {shade: grey}\n", "run.shade: 'grey'", "light, dark");
    assert_load_refused("encoder: {lora: {targets: [q, z]}}\n", "'z'", "q, k, v");
}

static void key_given_twice_is_refused(void **state) {
    assert_load_refused("train:\n  lr: 0.1\n  lr: 0.2\n", "line 3: 'train.lr'", "line 2, too");
    assert_load_refused("train: {lr: 0.1}\ntrain: {global_batch: 2}\n", "line 2: 'train'",
                        "line 1, too");
    assert_load_refused("train.lr: 0.1\ntrain: {lr: 0.2}\n", "line 2: 'train.lr'", "line 1, too");
}

static void yaml_beyond_what_a_configuration_needs_is_refused(void **state) {
    assert_load_refused("a: &x [q]\n", "line 1", "anchors");
    assert_load_refused("train: &x {lr: 0.1}\n", "line 1", "anchors");
    assert_load_refused("train: *x\n", "line 1", "anchors");
    assert_load_refused("run: {dir: !!str 5}\n", "line 1", "tags");
    assert_load_refused("train: {lr: 0.1}\n---\nrun: {dir: x}\n", "line 2", "second document");
    assert_load_refused("- 1\n- 2\n", "line 1", "key: value");
    assert_load_refused("just words\n", "line 1", "key: value");
    assert_load_refused("encoder: {lora: {targets: [q, [k]]}}\n", "line 1", "plain values");
    assert_load_refused("encoder: {lora: {targets: [q, null]}}\n", "line 1", "plain values");
    assert_load_refused("? [a, b]\n: 1\n", "line 1", "a key is a word");
    assert_load_refused("run: {dir: \"a\\0b\"}\n", "line 1", "NUL");
}

static void text_that_is_not_yaml_is_refused_with_its_place(void **state) {
    assert_load_refused("train:\n\tlr: 1\n", "line 2", "not YAML");
    assert_load_refused("train: {lr: 1\n", "line 2", "not YAML");
    assert_load_refused("run: {dir: \"abc\n", "not YAML", "line");
    sample_config config = make_default();
    assert_int_equal(load_bytes(&config, "run: {dir: \xff\xfe}\n", 16), SP_USAGE);
    assert_message_has("offset");
    assert_int_equal(load_bytes(&config, "\0\0\0\0", 4), SP_USAGE);
    free_config(&config);
}

/* A file repeated from `part` up to n_bytes, which must be refused, quickly. */
static void assert_flood_refused(const char *part, size_t n_bytes) {
    char *text = malloc(n_bytes);
    assert_non_null(text);
    for (size_t i = 0; i < n_bytes; i++) text[i] = part[i % strlen(part)];
    sample_config config = make_default();
    assert_int_equal(load_bytes(&config, text, n_bytes), SP_USAGE);
    free_config(&config);
    free(text);
}

static void floods_are_refused(void **state) {
    assert_flood_refused("[", 1 << 20);
    assert_flood_refused("{", 1 << 20);
    assert_flood_refused("{a: ", 1 << 20);
    assert_flood_refused("a", 1 << 20);
    assert_flood_refused("- ", 1 << 16);
    assert_flood_refused("# long\n", (1 << 20) + 1);
}

static void file_cut_anywhere_is_read_or_refused(void **state) {
    static const char text[] = "train: {global_batch: 8, lr: 3e-4}\nrun:\n  dir: \"a\\u00e9b\"\n"
                               "encoder: {lora: {targets: [k, q]}} # end\n";
    for (size_t n_bytes = 0; n_bytes < sizeof text; n_bytes++) {
        sample_config config = make_default();
        const sp_status status = load_bytes(&config, text, n_bytes);
        assert_true(status == SP_OK || status == SP_USAGE);
        free_config(&config);
    }
}

static void missing_file_and_folder_are_io_errors(void **state) {
    sample_config config = make_default();
    assert_int_equal(sp_config_load_file(&config, &table, "/nonexistent/a.yaml"), SP_IO);
    assert_message_has("/nonexistent/a.yaml");
    assert_int_equal(sp_config_load_file(&config, &table, "/tmp"), SP_IO);
    assert_message_has("/tmp");
    free_config(&config);
}

static void dump_loads_back_to_the_same_values(void **state) {
    sample_config config = make_default(), copy = make_default();
    static const char *const assignments[] = {"train.lr=0.1234567890123456",
                                              "train.global_batch=3",
                                              "data.budget=5G",
                                              "run.dir=a \"b\" \\ c: [d], #\x01 \xc3\xa9",
                                              "run.loud=true",
                                              "run.shade=dark",
                                              "encoder.lora.targets=v,q"};
    for (size_t i = 0; i < sizeof assignments / sizeof assignments[0]; i++)
        assert_int_equal(sp_config_assign(&config, &table, assignments[i]), SP_OK);
    json_t *dump = NULL;
    assert_int_equal(sp_config_dump(&dump, &config, &table), SP_OK);
    assert_int_equal(sp_config_load_json(&copy, &table, dump, "the dump"), SP_OK);
    assert_same(&copy, &config);

    const json_t *data = json_object_get(dump, "data");
    assert_int_equal(json_integer_value(json_object_get(data, "budget")), 5000000000);
    assert_true(json_is_null(json_object_get(data, "limit")));
    const json_t *lora = json_object_get(json_object_get(dump, "encoder"), "lora");
    assert_int_equal(json_array_size(json_object_get(lora, "targets")), 2);
    json_decref(dump);
    free_config(&copy);
    free_config(&config);
}

static void words_for_no_value_are_dumped_as_their_defaults_spell_them(void **state) {
    sample_config config = make_default();
    json_t *dump = NULL;
    assert_int_equal(sp_config_dump(&dump, &config, &table), SP_OK);
    const json_t *data = json_object_get(dump, "data");
    assert_string_equal(json_string_value(json_object_get(data, "budget")), "auto");
    assert_true(json_is_null(json_object_get(data, "limit")));
    json_decref(dump);
    free_config(&config);
}

static void help_names_every_key_with_default_and_words(void **state) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    sp_config_print_help(out, &table);
    fclose(out);
    for (size_t i = 0; i < table.n_keys; i++) {
        assert_non_null(strstr(text, keys[i].name));
        assert_non_null(strstr(text, keys[i].help));
        assert_non_null(strstr(text, keys[i].initial));
    }
    assert_non_null(strstr(text, "light | dark"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(suffixes_are_decimal_and_exact),
        cmocka_unit_test(bad_value_is_refused_by_name_and_changes_nothing),
        cmocka_unit_test(counts_are_one_or_a_list_and_rise),
        cmocka_unit_test(the_line_that_sets_a_key_is_found),
        cmocka_unit_test(message_says_what_is_allowed),
        cmocka_unit_test(assignments_apply_in_order_and_keep_what_follows_the_first_equals_sign),
        cmocka_unit_test(block_and_flow_style_read_the_same),
        cmocka_unit_test(what_a_file_leaves_out_stays_as_it_was),
        cmocka_unit_test(quoted_null_is_a_word_and_a_plain_one_is_none),
        cmocka_unit_test(unknown_key_is_named_with_line_and_nearest_key),
        cmocka_unit_test(bad_values_in_a_file_are_named_with_their_line),
        cmocka_unit_test(key_given_twice_is_refused),
        cmocka_unit_test(yaml_beyond_what_a_configuration_needs_is_refused),
        cmocka_unit_test(text_that_is_not_yaml_is_refused_with_its_place),
        cmocka_unit_test(floods_are_refused),
        cmocka_unit_test(file_cut_anywhere_is_read_or_refused),
        cmocka_unit_test(missing_file_and_folder_are_io_errors),
        cmocka_unit_test(dump_loads_back_to_the_same_values),
        cmocka_unit_test(words_for_no_value_are_dumped_as_their_defaults_spell_them),
        cmocka_unit_test(help_names_every_key_with_default_and_words),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
