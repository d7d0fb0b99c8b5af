#include "tests/check.h"

#include "run/run_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const required[] = {
    "run.dir=runs/x",        "encoder.model=models/e",      "decoder.model=models/d",
    "data.tokens=tokens.h5", "data.encoder_stream=smollm2", "data.decoder_stream=smollm2"};
enum { N_REQUIRED = sizeof required / sizeof required[0], MAX_SETS = 16 };

/* Loads what is required and then the assignments in `sets`, up to a NULL. */
static sp_status load(sp_run_config *config, const char *const *sets) {
    const char *all[MAX_SETS];
    size_t n = 0;
    for (; n < N_REQUIRED; n++) all[n] = required[n];
    for (; *sets != NULL; sets++) {
        assert_true(n < MAX_SETS);
        all[n++] = *sets;
    }
    return sp_run_config_load(config, NULL, all, n);
}

static void assert_refused(const char *const *sets, const char *part, const char *other_part) {
    sp_run_config config = {0};
    assert_int_equal(load(&config, sets), SP_USAGE);
    if (strstr(sp_message(), part) == NULL || strstr(sp_message(), other_part) == NULL)
        fail_msg("'%s' and '%s' are not both in: %s", part, other_part, sp_message());
    sp_run_config_free(&config);
}

#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The values of the skeleton in architecture.md, section 7. */
static void defaults_are_the_methods_own(void **state) {
    sp_run_config config = {0};
    assert_int_equal(load(&config, SETS("run.seed=1")), SP_OK);
    assert_true(config.encoder.train == SP_ENCODER_FULL && config.encoder.memory_tokens == 64);
    assert_true(config.encoder.lora.rank == 64 && config.encoder.lora.alpha == 32);
    assert_true(config.encoder.lora.dropout == 0.1 && config.encoder.lora.targets.n_items == 8);
    assert_true(config.decoder.precision == SP_ASKED_AUTO);
    assert_true(config.decoder.markers == SP_MARKERS_AUTO);
    assert_true(config.data.validation == 0.01 && config.data.epochs == 1);
    assert_true(config.data.limit == SP_COUNT_AUTO && config.data.budget_tokens == SP_COUNT_AUTO);
    assert_true(config.segment.tokens == 256 && config.segment.ratios.n_items == 1 &&
                config.segment.ratios.items[0] == 4);
    assert_true(config.segment.slots == SP_SLOTS_PROPORTIONAL);
    assert_true(config.objective.reconstruction == 0.5 && config.objective.completion == 0.5);
    assert_true(config.objective.draw == SP_DRAW_BOTH);
    assert_true(config.train.init == NULL && config.train.steps == SP_COUNT_AUTO);
    assert_true(config.train.stop_at_step == SP_COUNT_AUTO);
    assert_true(config.train.global_batch == 256 && config.train.micro_batch == 8);
    assert_true(config.train.lr == 1e-4 && config.train.warmup_steps == 300);
    assert_true(config.train.schedule == SP_SCHEDULE_COSINE && config.train.grad_clip == 0.5);
    assert_true(config.train.weight_decay == 0 && config.train.validate_every == 500);
    assert_true(config.train.precision == SP_ASKED_AUTO);
    assert_true(config.checkpoint.every_steps == 500 && config.checkpoint.keep == 2);
    assert_true(config.checkpoint.major_every == 5000);
    assert_true(config.train.spike_factor == 10 && config.train.max_skipped == 10);
    assert_true(config.run.watchdog_s == 600 && config.parallel.verify_every == 100);
    assert_true(config.parallel.pipeline == 1 && config.parallel.wire == SP_ASKED_AUTO);
    sp_run_config_free(&config);
}

static void words_reach_their_enums(void **state) {
    sp_run_config config = {0};
    assert_int_equal(
        load(&config, SETS("encoder.train=lora", "decoder.precision=int8", "decoder.markers=frozen",
                           "segment.slots=fixed", "objective.draw=one", "train.schedule=constant",
                           "train.precision=bf16", "parallel.wire=f32", "train.steps=0")),
        SP_OK);
    assert_true(config.encoder.train == SP_ENCODER_LORA);
    assert_true(config.decoder.precision == SP_ASKED_INT8);
    assert_true(config.decoder.markers == SP_MARKERS_FROZEN);
    assert_true(config.segment.slots == SP_SLOTS_FIXED && config.objective.draw == SP_DRAW_ONE);
    assert_true(config.train.schedule == SP_SCHEDULE_CONSTANT && config.train.steps == 0);
    assert_true(config.train.precision == SP_ASKED_BF16);
    assert_true(config.parallel.wire == SP_ASKED_F32);
    sp_run_config_free(&config);
}

static void each_required_key_is_asked_for_by_name(void **state) {
    for (size_t i = 0; i < N_REQUIRED; i++) {
        char name[64], without[72];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(required[i], "="), required[i]);
        snprintf(without, sizeof without, "%s=null", name);
        assert_refused(SETS(without), name, "needs a value");
    }
}

static void slots_of_a_full_segment_must_have_their_rows(void **state) {
    sp_run_config config = {0};
    assert_int_equal(load(&config, SETS("segment.tokens=256", "segment.ratio=4")), SP_OK);
    sp_run_config_free(&config);
    assert_refused(SETS("segment.tokens=257"), "the 65 slots", "raise it to 65, or the ratio to 5");
    assert_refused(SETS("encoder.memory=pooled", "segment.slots=fixed"), "segment.slots", "pooled");
    assert_refused(SETS("encoder.memory_tokens=10"), "10 are too few for the 64 slots", "to 26");
}

/* The least of several ratios makes the most slots. The message names the line of the file, unless the
   command line has set the key. */
static void slots_of_the_least_ratio_must_have_their_rows(void **state) {
    char path[64];
    sp_run_config config = {0};
    snprintf(path, sizeof path, "/tmp/slotpress-%d-run-config.yaml", (int)getpid());
    assert_int_equal(load(&config, SETS("segment.ratio=64,4,16")), SP_OK);
    assert_int_equal(sp_run_config_least_ratio(&config), 4);
    sp_run_config_free(&config);
    assert_refused(SETS("segment.ratio=64,2"), "the 128 slots", "the least segment.ratio, 2");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("encoder:\n  model: m\n  memory_tokens: 8\nsegment:\n  ratio: [8, 64]\n", file);
    fclose(file);
    const char *sets[N_REQUIRED + 1];
    memcpy(sets, required, sizeof required);
    assert_int_equal(sp_run_config_load(&config, path, sets, N_REQUIRED), SP_USAGE);
    assert_non_null(strstr(sp_message(), "run-config.yaml', line 3: encoder.memory_tokens: 8 are"));
    sp_run_config_free(&config);
    sets[N_REQUIRED] = "encoder.memory_tokens=9";
    assert_int_equal(sp_run_config_load(&config, path, sets, N_REQUIRED + 1), SP_USAGE);
    assert_non_null(strstr(sp_message(), "run-config.yaml', line 5: encoder.memory_tokens: 9 are"));
    sp_run_config_free(&config);
    remove(path);
}

static void what_cannot_be_run_is_refused_by_key(void **state) {
    assert_refused(SETS("parallel.pipeline=0"), "parallel.pipeline", "at least 1");
    assert_refused(SETS("objective.reconstruction=0", "objective.completion=0"),
                   "objective.reconstruction", "objective.completion");
    assert_refused(SETS("train.spike_factor=0.5"), "train.spike_factor", "more than 1");
    assert_refused(SETS("run.watchdog_s=1"), "run.watchdog_s", "2 or more");
    assert_refused(SETS("train.only=converter"), "train.only", "train.init");
    assert_refused(SETS("train.only=converter", "train.init=r", "decoder.markers=train"),
                   "decoder.markers", "train.only");
    assert_refused(SETS("train.init_parts=encoder"), "train.init_parts", "train.init");
    assert_refused(SETS("train.init_parts=converter"), "train.init_parts", "all, encoder");
    assert_refused(SETS("data.rows=a.jsonl"), "data.rows", "finetune");
    assert_refused(SETS("segment.ratio=0"), "segment.ratio", "from 1");
    assert_refused(SETS("data.validation=1"), "data.validation", "from 0");
    assert_refused(SETS("encoder.lora.targets=q,query"), "'query'",
                   "q, k, v, o, gate, up, down, embed, head");
    assert_refused(SETS("train.precision=int8"), "train.precision", "encoder.train lora or none");
    assert_refused(SETS("train.precision=int4"), "train.precision", "f32, bf16, auto, int8");
    assert_refused(SETS("parallel.wire=int8"), "parallel.wire", "f32, bf16, auto");
    assert_refused(SETS("encoder.train=all"), "encoder.train", "full, lora, none");
}

/* Every recipe of the repository loads; tests run in its root. */
static void recipes_load_and_are_complete(void **state) {
    static const char *const recipes[] = {
        "configs/nano/stage1.yaml",       "configs/nano/stage2.yaml",
        "configs/pcc-lite/stage1.yaml",   "configs/pcc-lite/stage2.yaml",
        "configs/pcc-large/stage1.yaml",  "configs/pcc-large/stage2.yaml",
        "configs/generalize/stage1.yaml", "configs/generalize/stage2.yaml"};
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        sp_run_config config = {0};
        if (sp_run_config_load(&config, recipes[i], NULL, 0) != SP_OK) fail_msg("%s", sp_message());
        const int is_stage2 = strstr(recipes[i], "stage2") != NULL;
        const int is_demo = strcmp(recipes[i], "configs/nano/stage1.yaml") == 0;
        assert_int_equal(config.train.init != NULL, is_stage2);
        assert_int_equal(config.objective.completion > 0, is_stage2);
        assert_int_equal(config.segment.tokens, is_stage2 ? 256 : is_demo ? 64 : 128);
        sp_run_config_free(&config);
    }
}

/* The configuration of a variant of the ablation, as an object; owned. */
static json_t *load_variant(const char *name, int stage) {
    char path[96];
    sp_run_config config = {0};
    json_t *dump = NULL;
    snprintf(path, sizeof path, "configs/ablation/%s/stage%d.yaml", name, stage);
    if (sp_run_config_load(&config, path, NULL, 0) != SP_OK) fail_msg("%s", sp_message());
    assert_int_equal(sp_config_dump(&dump, &config, &sp_run_config_table), SP_OK);
    sp_run_config_free(&config);
    return dump;
}

/* Appends the keys whose values differ, "decoder.boundaries encoder.memory ", to text. */
static void append_changes(char *text, size_t size, const json_t *a, const json_t *b) {
    for (size_t i = 0; i < sp_run_config_table.n_keys; i++) {
        const json_t *in_a = a, *in_b = b;
        char key[96];
        snprintf(key, sizeof key, "%s", sp_run_config_table.keys[i].name);
        char *rest = key;
        for (const char *part; (part = strsep(&rest, ".")) != NULL;) {
            in_a = json_object_get(in_a, part);
            in_b = json_object_get(in_b, part);
        }
        const size_t used = strlen(text);
        if (!json_equal(in_a, in_b))
            snprintf(text + used, size - used, "%s ", sp_run_config_table.keys[i].name);
    }
}

/* Each variant of the ablation differs from the base in what it is named after, and in folders. */
static void ablations_change_one_thing(void **state) {
    static const struct {
        const char *name;
        int stage;
        const char *changes;
    } variants[] = {
        {"no-boundaries", 1, "run.dir decoder.boundaries "},
        {"no-boundaries", 2, "run.dir decoder.boundaries train.init "},
        {"no-pretraining", 2, "run.dir train.init "},
        {"pooled", 1, "run.dir encoder.memory "},
        {"pooled", 2, "run.dir encoder.memory train.init "},
        {"small-encoder", 1, "run.dir encoder.layers "},
        {"small-encoder", 2, "run.dir encoder.layers train.init "},
        {"reconstruction", 2, "run.dir objective.reconstruction objective.completion "},
        {"completion", 2, "run.dir objective.reconstruction objective.completion "},
    };
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        char changes[256] = "";
        json_t *base = load_variant("base", variants[i].stage);
        json_t *variant = load_variant(variants[i].name, variants[i].stage);
        append_changes(changes, sizeof changes, base, variant);
        assert_string_equal(changes, variants[i].changes);
        json_decref(variant);
        json_decref(base);
    }
}

/* One encoder for several decoders: what of stage 2 in Lite's recipe has to be the same. */
static void recipe_of_converters_loads(void **state) {
    sp_run_config config = {0};
    if (sp_run_config_load(&config, "configs/generalize-converter/stage1.yaml", NULL, 0) != SP_OK)
        fail_msg("%s", sp_message());
    assert_int_equal(config.train.only, SP_TRAIN_ONLY_CONVERTER);
    assert_int_equal(config.train.init_parts, SP_INIT_ENCODER);
    assert_string_equal(config.train.init, "runs/lite-stage2");
    assert_int_equal(config.segment.tokens, 256);
    sp_run_config_free(&config);
}

static void set_wins_over_the_file(void **state) {
    sp_run_config config = {0};
    assert_int_equal(sp_run_config_load(&config, "configs/nano/stage1.yaml",
                                        SETS("train.steps=7", "train.steps=9"), 2),
                     SP_OK);
    assert_int_equal(config.train.steps, 9);
    assert_int_equal(config.encoder.train, SP_ENCODER_LORA);
    sp_run_config_free(&config);
}

static void dump_loads_back_complete(void **state) {
    sp_run_config config = {0}, copy = {0};
    assert_int_equal(sp_run_config_load(&config, "configs/nano/stage2.yaml", NULL, 0), SP_OK);
    json_t *dump = NULL, *again = NULL;
    assert_int_equal(sp_config_dump(&dump, &config, &sp_run_config_table), SP_OK);
    assert_int_equal(sp_config_init(&copy, &sp_run_config_table), SP_OK);
    assert_int_equal(sp_config_load_json(&copy, &sp_run_config_table, dump, "dump"), SP_OK);
    assert_int_equal(sp_config_dump(&again, &copy, &sp_run_config_table), SP_OK);
    assert_true(json_equal(dump, again));
    assert_true(copy.train.lr == config.train.lr);
    json_decref(again);
    json_decref(dump);
    sp_run_config_free(&copy);
    sp_run_config_free(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_methods_own),
        cmocka_unit_test(words_reach_their_enums),
        cmocka_unit_test(each_required_key_is_asked_for_by_name),
        cmocka_unit_test(slots_of_a_full_segment_must_have_their_rows),
        cmocka_unit_test(slots_of_the_least_ratio_must_have_their_rows),
        cmocka_unit_test(what_cannot_be_run_is_refused_by_key),
        cmocka_unit_test(recipes_load_and_are_complete),
        cmocka_unit_test(ablations_change_one_thing),
        cmocka_unit_test(recipe_of_converters_loads),
        cmocka_unit_test(set_wins_over_the_file),
        cmocka_unit_test(dump_loads_back_complete),
    };
    return cmocka_run_group_tests_name("run_config", tests, NULL, NULL);
}
