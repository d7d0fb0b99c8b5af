/* A bit of a trained weight flips in the memory of a rank that trains: the run ends with that rank and
   that tensor by name. The learning rate is 0, so that a tensor's bytes are known from the checkpoint
   of step 0, and a thread finds them in this process's memory. */
/* ranks: 1 2 4 */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "base/json.h"
#include "base/log.h"
#include "io/checkpoint.h"
#include "mpi/agree.h"
#include "run/tokenize.h"
#include "run/train.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const char model[] = "tests/fixtures/models/llama-tiny";
static sp_world *world;
static char dir[TEMP_PATH_SIZE]; /* of all ranks */
static char tokens[TEMP_PATH_SIZE], start[TEMP_PATH_SIZE];

static bool is_first(void) { return sp_world_rank(world) == 0; }

static void must(sp_status status) {
    if (status != SP_OK) fail_msg("%s", sp_message());
}

/* ---- tensors as bytes to look for ---- */

/* Kept inverted: what is looked for is then not found here. */
typedef struct tensor {
    char name[128];
    uint32_t *inverted; /* [n_values], owned */
    size_t n_values;
} tensor;

enum { MOST_TENSORS = 64, FEWEST_VALUES = 32 };
static tensor tensors[MOST_TENSORS];
static size_t n_tensors;

static bool is_telling(const uint32_t *inverted, size_t n_values) {
    size_t n_others = 0;
    for (size_t i = 0; i < n_values; i++) n_others += inverted[i] != inverted[0];
    return n_others > n_values / 2;
}

/* Of step 0: what is large enough, and not all zeros or ones. */
static void read_tensors(void) {
    sp_checkpoint *checkpoint = NULL;
    must(sp_checkpoint_open(&checkpoint, start));
    for (size_t i = 0; i < sp_checkpoint_n_tensors(checkpoint) && n_tensors < MOST_TENSORS; i++) {
        const sp_checkpoint_tensor info = sp_checkpoint_tensor_at(checkpoint, i);
        tensor *t = &tensors[n_tensors];
        t->n_values = 1;
        for (size_t d = 0; d < info.n_dims; d++) t->n_values *= info.shape[d];
        if (strncmp(info.name, "adamw", 5) == 0 || t->n_values < FEWEST_VALUES) continue;
        snprintf(t->name, sizeof t->name, "%s", info.name);
        t->inverted = malloc(t->n_values * sizeof *t->inverted);
        must(sp_checkpoint_read_tensor(checkpoint, info.name, info.n_dims, info.shape,
                                       (float *)(void *)t->inverted));
        for (size_t v = 0; v < t->n_values; v++) t->inverted[v] = ~t->inverted[v];
        if (is_telling(t->inverted, t->n_values))
            n_tensors++;
        else
            free(t->inverted);
    }
    sp_checkpoint_close(checkpoint);
    assert_true(n_tensors > 0);
}

static void free_tensors(void) {
    for (size_t i = 0; i < n_tensors; i++) free(tensors[i].inverted);
    n_tensors = 0;
}

/* ---- the thread that does the harm ---- */

typedef struct harm {
    pthread_t thread;
    atomic_bool is_over;
    bool has_flipped[MOST_TENSORS]; /* a bit of it */
    int memory;                     /* /proc/self/mem: reading what is no more is no fault there */
} harm;

/* The value whose bit flips, once or several times, is not compared. */
static bool is_tensor(const uint32_t *at, const tensor *t) {
    for (size_t i = 0; i < t->n_values; i++)
        if (at[i] != ~t->inverted[i] && i != t->n_values / 2) return false;
    return true;
}

static bool flip_at(const harm *h, const tensor *t, uint64_t address) {
    uint32_t value = 0;
    const off_t at = (off_t)(address + t->n_values / 2 * sizeof value);
    if (pread(h->memory, &value, sizeof value, at) != sizeof value) return false;
    value ^= 1U << 3; /* far from what would change a loss */
    return pwrite(h->memory, &value, sizeof value, at) == sizeof value;
}

/* Flips it wherever the tensor is found between the addresses: copies that nobody reads any more do
   no harm. What is searched is a copy, unmapped before the next search can find it. */
static bool flip_between(const harm *h, const tensor *t, uint64_t begin, uint64_t end) {
    const size_t n_bytes = (size_t)(end - begin), n_words = n_bytes / sizeof(uint32_t);
    uint32_t *copy =
        mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) return false;
    bool is_found = false;
    if (pread(h->memory, copy, n_bytes, (off_t)begin) == (ssize_t)n_bytes)
        for (size_t i = 0; i + t->n_values <= n_words; i++)
            if (copy[i] == ~t->inverted[0] && is_tensor(copy + i, t))
                is_found |= flip_at(h, t, begin + i * sizeof(uint32_t));
    munmap(copy, n_bytes);
    return is_found;
}

static bool flip_everywhere(const harm *h, const tensor *t) {
    enum { LARGEST = 256 << 20, MOST_REGIONS = 4096 };
    static struct { uint64_t begin, end; } regions[MOST_REGIONS];
    size_t n_regions = 0;
    char line[512], rights[5];
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && n_regions < MOST_REGIONS && fgets(line, sizeof line, maps) != NULL) {
        uint64_t begin, end;
        if (sscanf(line, "%jx-%jx %4s", (uintmax_t *)&begin, (uintmax_t *)&end, rights) == 3 &&
            strcmp(rights, "rw-p") == 0 && end - begin <= LARGEST) {
            regions[n_regions].begin = begin;
            regions[n_regions++].end = end;
        }
    }
    if (maps != NULL) fclose(maps);
    bool is_found = false;
    for (size_t i = 0; i < n_regions; i++)
        is_found |= flip_between(h, t, regions[i].begin, regions[i].end);
    return is_found;
}

/* Again and again, one tensor after the other: some are another rank's, and what flips while an update
   is made is not found, only spread. */
static void *do_harm(void *data) {
    harm *h = data;
    for (size_t next = 0; !atomic_load(&h->is_over); next = (next + 1) % n_tensors) {
        h->has_flipped[next] |= flip_everywhere(h, &tensors[next]);
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    return NULL;
}

static void begin_harm(harm *h) {
    *h = (harm){.memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC)};
    assert_true(h->memory >= 0);
    assert_int_equal(pthread_create(&h->thread, NULL, do_harm, h), 0);
}

static void end_harm(harm *h) {
    atomic_store(&h->is_over, true);
    pthread_join(h->thread, NULL);
    close(h->memory);
}

/* ---- runs ---- */

static sp_status train(const char *run, const char *const *more, size_t n_more) {
    char run_dir[TEMP_PATH_SIZE + 32], tokens_key[TEMP_PATH_SIZE + 32];
    char encoder[TEMP_PATH_SIZE], decoder[TEMP_PATH_SIZE];
    snprintf(run_dir, sizeof run_dir, "run.dir=%s/%s", dir, run);
    snprintf(tokens_key, sizeof tokens_key, "data.tokens=%s", tokens);
    snprintf(encoder, sizeof encoder, "encoder.model=%s", model);
    snprintf(decoder, sizeof decoder, "decoder.model=%s", model);
    const char *keys[32] = {run_dir,
                            tokens_key,
                            encoder,
                            decoder,
                            "encoder.train=lora",
                            "encoder.memory_tokens=4",
                            "encoder.lora.rank=4",
                            "encoder.lora.targets=q,v,down",
                            "decoder.precision=f32",
                            "data.encoder_stream=e",
                            "data.decoder_stream=e",
                            "data.validation=0",
                            "data.epochs=1000000",
                            "segment.tokens=16",
                            "train.lr=0",
                            "train.warmup_steps=0",
                            "train.schedule=constant",
                            "train.global_batch=8",
                            "train.micro_batch=2",
                            "train.precision=f32",
                            "checkpoint.every_steps=0",
                            "parallel.verify_every=1"};
    size_t n_keys = 0;
    while (keys[n_keys] != NULL) n_keys++;
    for (size_t i = 0; i < n_more; i++) keys[n_keys++] = more[i];
    sp_run_config config = {0};
    json_t *result = NULL;
    must(sp_run_config_load(&config, NULL, keys, n_keys));
    const sp_status status =
        sp_train(world, &result, &config, &(sp_train_options){.resume = "auto"});
    json_decref(result);
    sp_run_config_free(&config);
    return status;
}

#define TRAIN(run, ...)                            \
    train(run, (const char *const[]){__VA_ARGS__}, \
          sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *))

static void make_tokens(void) {
    static const char *const words[] = {"river", "stone", "bridge", "old", "boats", "lay", "bread"};
    char text[TEMP_PATH_SIZE], tokenizer_path[TEMP_PATH_SIZE];
    temp_path(tokens, dir, "tokens.h5");
    temp_path(text, dir, "text.txt");
    if (is_first()) {
        FILE *file = fopen(text, "we");
        assert_non_null(file);
        for (size_t i = 0; i < 600; i++) fprintf(file, "%s ", words[i * i % 11 % 7]);
        fclose(file);
    }
    sp_world_barrier(world);
    json_t *json = NULL;
    sp_tokenizer *tokenizer = NULL;
    must(sp_json_load_file(&json, temp_path(tokenizer_path, model, "tokenizer.json")));
    must(sp_tokenizer_create(&tokenizer, json, tokenizer_path));
    const char *const paths[] = {text};
    const sp_tokenize_stream stream = {"e", tokenizer};
    const sp_tokenize_job job = {
        .corpus = {.names = paths, .n_names = 1},
        .segmenting = {.streams = &stream, .n_streams = 1, .segment_tokens = 16},
        .output = tokens};
    sp_tokenize_summary summary = {0};
    must(sp_tokenize(world, &job, &summary));
    sp_tokenize_summary_free(&summary);
    sp_tokenizer_destroy(tokenizer);
    json_decref(json);
}

static int set_up(void **state) {
    if (is_first()) temp_folder_create(dir);
    sp_world_broadcast(world, dir, sizeof dir, 0);
    make_tokens();
    must(TRAIN("start", "train.steps=0"));
    temp_path(start, dir, "start");
    read_tensors();
    return 0;
}

static int tear_down(void **state) {
    free_tensors();
    sp_world_barrier(world);
    if (is_first()) temp_folder_remove(dir);
    return 0;
}

/* ---- tests ---- */

static bool names_flipped_tensor(const char *message, const harm *h) {
    char quoted[160];
    for (size_t i = 0; i < n_tensors; i++) {
        snprintf(quoted, sizeof quoted, "'%.127s'", tensors[i].name);
        if (h->has_flipped[i] && strstr(message, quoted) != NULL) return true;
    }
    return false;
}

/* By the rank itself, or, of what flipped just before it took note, by comparing the replicas. */
static void assert_found(int bad, const char *pipeline, const char *zero) {
    char run[64], who[64], found[SP_MESSAGE_SIZE] = "";
    harm done = {.memory = -1};
    const bool is_bad = sp_world_rank(world) == bad;
    snprintf(run, sizeof run, "bad%d-%s-%s", bad, pipeline, zero);
    snprintf(who, sizeof who, "rank %d (", bad);
    if (is_bad) begin_harm(&done);
    const sp_status status = TRAIN(run, "train.steps=2000", pipeline, zero);
    strcpy(found, sp_message()); /* never longer */
    if (is_bad) end_harm(&done);
    if (status != SP_NUMERIC || strstr(found, who) == NULL)
        fail_msg("status %d: %s", (int)status, found);
    if (is_bad && !names_flipped_tensor(found, &done)) fail_msg("another tensor: %s", found);
}

static void flipped_bit_of_a_running_rank_is_found_and_named(void **state) {
    const int n_ranks = sp_world_size(world);
    assert_found(n_ranks - 1, "parallel.pipeline=1", "parallel.zero=1");
    if (n_ranks == 2) assert_found(0, "parallel.pipeline=1", "parallel.zero=2");
    if (n_ranks == 2) assert_found(0, "parallel.pipeline=2", "parallel.zero=1");
    if (n_ranks == 4) assert_found(2, "parallel.pipeline=2", "parallel.zero=2");
}

static void undamaged_run_is_left_alone(void **state) {
    must(TRAIN("good", "train.steps=20", "train.lr=1e-3"));
}

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    sp_log_set_level(SP_LOG_QUIET);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undamaged_run_is_left_alone),
        cmocka_unit_test(flipped_bit_of_a_running_rank_is_found_and_named),
    };
    const int n_failed = cmocka_run_group_tests_name("flipped bit", tests, set_up, tear_down);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
