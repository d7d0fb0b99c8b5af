#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/tokens_file.h"
#include "io/tokens_merge.h"
#include "io/tokens_part.h"
#include "io/tokens_verify.h"
#include "io/tokens_writer.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hdf5.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static char dir[TEMP_PATH_SIZE], plain[TEMP_PATH_SIZE], index_path[TEMP_PATH_SIZE];

/* ---- a corpus: what a document holds follows from its number ---- */

enum { SEGMENT_TOKENS = 5, N_STREAMS = 3 };
static const sp_tokens_stream streams[N_STREAMS] = {{"small", "digest of small", 65536},
                                                    {"zebra", "digest of zebra", 65537},
                                                    {"ant", "digest of ant", 300}};

static sp_tokens_job job_of(const char *work) {
    return (sp_tokens_job){
        .work = work, .segment_tokens = SEGMENT_TOKENS, .streams = streams, .n_streams = N_STREAMS};
}

#define TAG "8da2c20e" /* the first digits of that job's digest */

static int create_folder(void **state) {
    temp_folder_create(dir);
    temp_path(plain, dir, "plain.h5");
    temp_path(index_path, dir, "corpus.h5");
    char digest[SP_DIGEST_HEX_SIZE];
    const sp_tokens_job job = job_of("work");
    assert_int_equal(sp_tokens_job_digest(digest, &job), SP_OK);
    digest[sizeof TAG - 1] = '\0';
    assert_string_equal(digest, TAG);
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

static uint64_t mix(uint64_t value) { /* splitmix64 */
    value += 0x9E3779B97F4A7C15;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
}

static size_t segments_of(uint64_t document) { return mix(document) % 5; } /* 0: an empty one */
static uint64_t hash_of(uint64_t document) { return mix(document ^ 0xABCDEF); }

static const char *id_of(uint64_t document, char id[64]) {
    snprintf(id, 64, "%.*s%ju", (int)(mix(document) % 20), "a long name, of some length",
             (uintmax_t)document);
    return id;
}

/* Where documents and segments go. */
typedef struct sink {
    sp_tokens_writer *writer;
    sp_journal_writer *journal; /* NULL: the writer */
} sink;

static sp_status put_document(const sink *to, uint64_t document) {
    char id[64];
    id_of(document, id);
    const uint64_t hash = hash_of(document);
    SP_TRY(to->journal != NULL ? sp_journal_writer_document(to->journal, id, hash)
                               : sp_tokens_writer_document(to->writer, id, hash));
    for (size_t i = 0; i < segments_of(document); i++) {
        int32_t ids[N_STREAMS][16];
        size_t n[N_STREAMS];
        const int32_t *const of_stream[N_STREAMS] = {ids[0], ids[1], ids[2]};
        for (size_t s = 0; s < N_STREAMS; s++) {
            const uint64_t key = mix(document * 64 + i * 8 + s);
            n[s] = s == 0 ? 1 + key % SEGMENT_TOKENS : key % 16;
            for (size_t k = 0; k < n[s]; k++)
                ids[s][k] = (int32_t)(mix(key + k) % streams[s].vocab_size);
        }
        SP_TRY(to->journal != NULL
                   ? sp_journal_writer_segment(to->journal, 10 * i, 10, of_stream, n)
                   : sp_tokens_writer_segment(to->writer, 10 * i, 10, of_stream, n));
    }
    return SP_OK;
}

static void write_plain(const char *path, uint64_t n_documents) {
    sink to = {0};
    sp_tokens_origin origin;
    const sp_tokens_job job = job_of("work");
    assert_int_equal(sp_tokens_origin_make(&origin, &job, "{}"), SP_OK);
    assert_int_equal(sp_tokens_writer_open(&to.writer, path, SEGMENT_TOKENS, streams, N_STREAMS),
                     SP_OK);
    assert_int_equal(sp_tokens_writer_source(to.writer, "shard", 123, n_documents), SP_OK);
    for (uint64_t d = 0; d < n_documents; d++) assert_int_equal(put_document(&to, d), SP_OK);
    sp_tokens_writer_origin(to.writer, &origin);
    assert_int_equal(sp_tokens_writer_commit(to.writer), SP_OK);
}

/* ---- the same corpus in parts ---- */

/* Blocks of documents [bounds[b], bounds[b + 1]), block b by writer owner[b]. */
typedef struct split {
    size_t n_blocks, n_writers;
    uint64_t bounds[161];
    size_t owner[160];
} split;

static split random_split(uint64_t seed, uint64_t n_documents) {
    split made = {.n_blocks = 1 + mix(seed) % 12, .n_writers = 1 + mix(seed + 1) % 5};
    for (size_t b = 1; b < made.n_blocks; b++) { /* rising; a block may be empty */
        const uint64_t before = made.bounds[b - 1];
        made.bounds[b] = before + mix(seed * 100 + b) % (n_documents - before + 1) /
                                      (mix(seed * 31 + b) % 3 + 1);
    }
    made.bounds[made.n_blocks] = n_documents;
    for (size_t b = 0; b < made.n_blocks; b++)
        made.owner[b] = mix(seed * 1000 + b) % made.n_writers;
    return made;
}

static sp_status open_journal(sp_journal_writer **journal, size_t writer, const char *work) {
    char *path = NULL;
    const sp_tokens_job job = job_of(work);
    SP_TRY(sp_tokens_journal_path(&path, index_path, &job, writer));
    const sp_status status = sp_journal_writer_open(journal, path, &job);
    free(path);
    return status;
}

static void put_block(sp_journal_writer *journal, const split *of, size_t block) {
    const sink to = {.journal = journal};
    assert_int_equal(sp_journal_writer_begin(journal, block), SP_OK);
    for (uint64_t d = of->bounds[block]; d < of->bounds[block + 1]; d++)
        assert_int_equal(put_document(&to, d), SP_OK);
    assert_int_equal(sp_journal_writer_end(journal, NULL), SP_OK);
}

static void write_journals(const split *of, const char *work) {
    assert_int_equal(sp_tokens_parts_create(index_path), SP_OK);
    for (size_t w = 0; w < of->n_writers; w++) {
        sp_journal_writer *journal = NULL;
        assert_int_equal(open_journal(&journal, w, work), SP_OK);
        for (size_t b = 0; b < of->n_blocks; b++)
            if (of->owner[b] == w) put_block(journal, of, b);
        sp_journal_writer_close(journal);
    }
}

static sp_status write_parts(const split *of, const char *work) {
    const sp_tokens_job job = job_of(work);
    sp_tokens_plan *plan = NULL;
    char name[] = "shard";
    const sp_tokens_source source = {name, 123, of->bounds[of->n_blocks]};
    SP_TRY(sp_tokens_plan_create(&plan, index_path, &job, of->n_blocks));
    sp_status status = sp_tokens_plan_settle(plan);
    for (size_t p = sp_tokens_plan_n_parts(plan); p-- > 0 && status == SP_OK;)
        status = sp_tokens_part_write(plan, p);
    if (status == SP_OK) status = sp_tokens_index_write(plan, &source, 1, "{}");
    if (status == SP_OK) status = sp_tokens_journals_remove(index_path);
    sp_tokens_plan_destroy(plan);
    return status;
}

static void write_index(const split *of) {
    write_journals(of, "work");
    assert_int_equal(write_parts(of, "work"), SP_OK);
}

/* ---- comparisons ---- */

/* Datasets as HDF5 gives them, virtual ones through its own code. */
static void *load_dataset(const char *path, const char *name, size_t *n_bytes, hsize_t *extent) {
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), type = H5Dget_type(dataset);
    const hid_t space = H5Dget_space(dataset);
    assert_true(file >= 0 && dataset >= 0);
    assert_int_equal(H5Sget_simple_extent_ndims(space), 1);
    H5Sget_simple_extent_dims(space, extent, NULL);
    *n_bytes = H5Tget_size(type) * *extent;
    void *values = calloc(1, *n_bytes + 1);
    assert_true(*n_bytes == 0 ||
                H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(dataset);
    H5Fclose(file);
    return values;
}

static const char *const datasets[] = {
    "/segments/doc",          "/segments/byte_begin", "/segments/byte_len",
    "/documents/id",          "/documents/hash",      "/streams/small/ids",
    "/streams/small/offsets", "/streams/zebra/ids",   "/streams/zebra/offsets",
    "/streams/ant/ids",       "/streams/ant/offsets", "/sources/path",
    "/sources/bytes",         "/sources/documents",
};

static void assert_same_datasets(const char *a, const char *b) {
    for (size_t i = 0; i < sizeof datasets / sizeof datasets[0]; i++) {
        size_t n_first = 0, n_second = 0;
        hsize_t first_extent = 0, second_extent = 0;
        void *first = load_dataset(a, datasets[i], &n_first, &first_extent);
        void *second = load_dataset(b, datasets[i], &n_second, &second_extent);
        if (n_first != n_second || first_extent != second_extent ||
            memcmp(first, second, n_first) != 0)
            fail_msg("'%s' differs", datasets[i]);
        free(second);
        free(first);
    }
}

static void assert_same_segment(const sp_tokens *a, const sp_tokens *b, size_t i) {
    uint64_t begin[2];
    uint32_t len[2];
    assert_int_equal(sp_tokens_bytes(a, i, &begin[0], &len[0]), SP_OK);
    assert_int_equal(sp_tokens_bytes(b, i, &begin[1], &len[1]), SP_OK);
    assert_true(begin[0] == begin[1] && len[0] == len[1]);
    assert_int_equal(sp_tokens_document(a, i), sp_tokens_document(b, i));
    assert_true(sp_tokens_document_hash(a, i) == sp_tokens_document_hash(b, i));
    for (size_t s = 0; s < N_STREAMS; s++) {
        int32_t first[16], second[16];
        const size_t n = sp_tokens_length(a, s, i);
        assert_int_equal(n, sp_tokens_length(b, s, i));
        assert_int_equal(sp_tokens_read(a, s, i, first), SP_OK);
        assert_int_equal(sp_tokens_read(b, s, i, second), SP_OK);
        assert_memory_equal(first, second, n * sizeof first[0]);
    }
}

/* Through our reader, in an order that jumps. */
static void assert_same_reading(const char *a, const char *b) {
    sp_tokens *first = NULL, *second = NULL;
    assert_int_equal(sp_tokens_open(&first, a), SP_OK);
    if (sp_tokens_open(&second, b) != SP_OK) fail_msg("%s", sp_message());
    const size_t n = sp_tokens_n_segments(first), n_documents = sp_tokens_n_documents(first);
    assert_int_equal(n, sp_tokens_n_segments(second));
    assert_int_equal(n_documents, sp_tokens_n_documents(second));
    assert_string_equal(sp_tokens_digest(first), sp_tokens_digest(second));
    for (size_t s = 0; s < N_STREAMS; s++)
        assert_string_equal(sp_tokens_stream_name(second, sp_tokens_stream_at(second, s)),
                            streams[s].name);
    const size_t step = n < 2000 ? 1 : n / 2000;
    for (size_t i = 0; i < n; i += step) assert_same_segment(first, second, (i * 7919) % n);
    for (size_t d = 0; d < n_documents; d += step) {
        char *ids[2], expected[64];
        assert_int_equal(sp_tokens_document_id(first, d, &ids[0]), SP_OK);
        assert_int_equal(sp_tokens_document_id(second, d, &ids[1]), SP_OK);
        assert_string_equal(ids[0], ids[1]);
        assert_string_equal(ids[0], id_of(d, expected));
        free(ids[0]);
        free(ids[1]);
    }
    sp_tokens_close(second);
    sp_tokens_close(first);
}

/* ---- tests ---- */

static void any_split_over_writers_is_the_plain_file(void **state) {
    for (uint64_t seed = 1; seed <= 25; seed++) {
        const uint64_t n_documents = 1 + mix(seed + 77) % 120 + (seed == 1 ? 3 : 0);
        const split of = random_split(seed, n_documents + 2); /* document 2 has segments */
        write_plain(plain, n_documents + 2);
        write_index(&of);
        assert_same_datasets(plain, index_path);
        assert_same_reading(plain, index_path);
    }
}

static void index_has_no_byte_of_time_or_place(void **state) {
    const split of = random_split(5, 60);
    size_t n_first = 0, n_second = 0;
    write_index(&of);
    char *first = temp_read(index_path, &n_first);
    sleep(1);
    write_index(&of);
    char *second = temp_read(index_path, &n_second);
    assert_int_equal(n_first, n_second);
    assert_memory_equal(first, second, n_first);
    assert_null(memmem(first, n_first, dir, strlen(dir)));
    free(second);
    free(first);
}

static void chunks_and_frames_are_crossed(void **state) {
    split of = {.n_blocks = 3, .n_writers = 2, .bounds = {0, 9000, 9001, 25000}};
    of.owner[1] = 1;
    write_plain(plain, 25000);
    write_index(&of);
    assert_same_datasets(plain, index_path);
    assert_same_reading(plain, index_path);
}

static void more_parts_than_stay_open_are_read(void **state) {
    split of = {.n_blocks = 150, .n_writers = 150};
    for (size_t b = 0; b < 150; b++) {
        of.bounds[b + 1] = 5 * (b + 1);
        of.owner[b] = b;
    }
    write_plain(plain, 750);
    write_index(&of);
    assert_same_reading(plain, index_path);
}

static void folder_can_be_moved_and_the_index_renamed(void **state) {
    char moved[TEMP_PATH_SIZE], from[TEMP_PATH_SIZE], to[TEMP_PATH_SIZE], name[TEMP_PATH_SIZE];
    const split of = random_split(3, 50);
    write_plain(plain, 50);
    write_index(&of);
    mkdir(temp_path(moved, dir, "elsewhere"), 0777);
    assert_int_equal(rename(index_path, temp_path(name, moved, "other.h5")), 0);
    assert_int_equal(
        rename(temp_path(from, dir, "corpus.parts"), temp_path(to, moved, "corpus.parts")), 0);
    assert_same_datasets(plain, name);
    assert_same_reading(plain, name);
}

/* ---- resume ---- */

static void journal_path_of(char path[TEMP_PATH_SIZE], size_t writer) {
    char *made = NULL;
    const sp_tokens_job job = job_of("work");
    assert_int_equal(sp_tokens_journal_path(&made, index_path, &job, writer), SP_OK);
    snprintf(path, TEMP_PATH_SIZE, "%s", made);
    free(made);
}

/* A writer that was killed, wherever its journal ends: another one, with another number, does what
   is missing. */
static void journal_cut_anywhere_goes_on(void **state) {
    const split of = {.n_blocks = 4, .n_writers = 1, .bounds = {0, 10, 10, 25, 40}};
    const sp_tokens_job job = job_of("work");
    char path[TEMP_PATH_SIZE];
    size_t n_bytes = 0, n_kept_before = 0;
    write_plain(plain, 40);
    write_journals(&of, "work");
    journal_path_of(path, 0);
    char *data = temp_read(path, &n_bytes);
    size_t cut = 0;
    for (bool is_last = false; !is_last; cut += 97) {
        is_last = cut >= n_bytes;
        if (is_last) cut = n_bytes;
        const sp_tokens_block *blocks = NULL;
        sp_journal_writer *again = NULL, *other = NULL;
        sp_tokens_plan *plan = NULL;
        temp_write(path, data, cut);
        assert_int_equal(sp_tokens_plan_create(&plan, index_path, &job, 4), SP_OK);
        assert_int_equal(open_journal(&again, 0, "work"), SP_OK);
        assert_int_equal(open_journal(&other, 1, "work"), SP_OK);
        const size_t n_kept = sp_journal_writer_blocks(again, &blocks);
        assert_true(n_kept >= n_kept_before); /* more bytes, more blocks */
        n_kept_before = n_kept;
        for (size_t b = 0; b < 4; b++) {
            assert_int_equal(sp_tokens_plan_has(plan, b), b < n_kept);
            if (b >= n_kept) put_block(b % 2 ? other : again, &of, b);
        }
        sp_journal_writer_close(again);
        sp_journal_writer_close(other);
        sp_tokens_plan_destroy(plan);
        assert_int_equal(write_parts(&of, "work"), SP_OK);
        assert_same_datasets(plain, index_path);
    }
    assert_int_equal(n_kept_before, 4);
    free(data);
}

static void block_that_was_not_ended_does_not_count(void **state) {
    const split of = {.n_blocks = 2, .n_writers = 1, .bounds = {0, 10, 20}};
    const sp_tokens_job job = job_of("work");
    sp_journal_writer *journal = NULL;
    sp_tokens_plan *plan = NULL;
    char path[TEMP_PATH_SIZE];
    struct stat before, after;
    assert_int_equal(sp_tokens_parts_create(index_path), SP_OK);
    assert_int_equal(open_journal(&journal, 0, "work"), SP_OK);
    put_block(journal, &of, 0);
    journal_path_of(path, 0);
    assert_int_equal(stat(path, &before), 0);
    const sink to = {.journal = journal};
    assert_int_equal(sp_journal_writer_begin(journal, 1), SP_OK);
    for (uint64_t d = 0; d < 60000; d++) assert_int_equal(put_document(&to, d), SP_OK);
    sp_journal_writer_close(journal);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size); /* the room is given back */
    assert_int_equal(sp_tokens_plan_create(&plan, index_path, &job, 2), SP_OK);
    assert_int_equal(sp_tokens_plan_settle(plan), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "block 1 of 2"));
    sp_tokens_plan_destroy(plan);
}

/* Killed for real, between any two calls; then another number of writers goes on. */
static bool is_done(const char *path, const sp_tokens_job *job) {
    char *summary = NULL;
    assert_int_equal(sp_tokens_find_done(&summary, path, job), SP_OK);
    const bool is_there = summary != NULL;
    if (is_there) assert_string_equal(summary, "{}");
    free(summary);
    return is_there;
}

static void killed_writers_lose_no_block(void **state) {
    enum { N_BLOCKS = 40 };
    split of = {.n_blocks = N_BLOCKS, .n_writers = 3};
    const sp_tokens_job job = job_of("work"), another = job_of("another");
    for (size_t b = 0; b < N_BLOCKS; b++) of.bounds[b + 1] = 20 * (b + 1);
    write_plain(plain, 800);
    assert_int_equal(sp_tokens_parts_create(index_path), SP_OK);
    size_t n_done = 0, n_rounds = 0;
    for (; n_done < N_BLOCKS && n_rounds < 1000; n_rounds++) {
        const size_t writer = n_rounds % of.n_writers, n_before = n_done;
        sp_tokens_plan *plan = NULL;
        assert_int_equal(sp_tokens_plan_create(&plan, index_path, &job, N_BLOCKS), SP_OK);
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            sp_journal_writer *journal = NULL;
            if (open_journal(&journal, writer, "work") != SP_OK) _exit(1);
            for (size_t b = 0; b < N_BLOCKS; b++)
                if (!sp_tokens_plan_has(plan, b)) put_block(journal, &of, b);
            _exit(0);
        }
        usleep(500 + (useconds_t)(mix(n_rounds) % 6000));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        sp_tokens_plan_destroy(plan);
        assert_int_equal(sp_tokens_plan_create(&plan, index_path, &job, N_BLOCKS), SP_OK);
        n_done = 0;
        for (size_t b = 0; b < N_BLOCKS; b++) n_done += sp_tokens_plan_has(plan, b);
        sp_tokens_plan_destroy(plan);
        assert_true(n_done >= n_before);
    }
    assert_int_equal(n_done, N_BLOCKS);
    assert_true(n_rounds > 1);
    assert_false(is_done(index_path, &job));
    assert_int_equal(write_parts(&of, "work"), SP_OK);
    assert_same_datasets(plain, index_path);
    assert_true(is_done(index_path, &job));
    assert_false(is_done(index_path, &another));
    assert_true(is_done(plain, &job));
    char part[TEMP_PATH_SIZE];
    assert_int_equal(unlink(temp_path(part, dir, "corpus.parts/part-0001-" TAG ".h5")), 0);
    assert_false(is_done(index_path, &job));
}

static void journals_of_two_jobs_do_not_meet(void **state) {
    const split of = {.n_blocks = 1, .n_writers = 1, .bounds = {0, 10}};
    sp_journal_writer *journal = NULL, *second = NULL;
    char path[TEMP_PATH_SIZE];
    write_journals(&of, "work");
    assert_int_equal(write_parts(&of, "another"), SP_BAD_DATA); /* which has no blocks */
    journal_path_of(path, 0);
    /* The name is of the job "work", but not the contents. */
    const sp_tokens_job another = job_of("another");
    assert_int_equal(sp_journal_writer_open(&journal, path, &another), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), path));
    assert_non_null(strstr(sp_message(), "another run"));
    temp_write(path, "no journal, but some text", 25);
    assert_int_equal(open_journal(&journal, 0, "work"), SP_BAD_DATA);
    temp_write(path, "", 0); /* killed at once */
    assert_int_equal(open_journal(&journal, 0, "work"), SP_OK);
    assert_int_equal(open_journal(&second, 0, "work"), SP_FAILURE); /* while the first is open */
    sp_journal_writer_close(journal);
}

/* Refused, or of no consequence, where only who drops documents would read it. */
static void flipped_byte_in_a_journal_changes_nothing(void **state) {
    const split of = {.n_blocks = 2, .n_writers = 1, .bounds = {0, 10, 25}};
    char path[TEMP_PATH_SIZE];
    size_t n_bytes = 0, n_refused = 0, n_tried = 0;
    write_plain(plain, 25);
    write_journals(&of, "work");
    journal_path_of(path, 0);
    char *data = temp_read(path, &n_bytes);
    for (size_t at = 0; at < n_bytes; at += 7, n_tried++) {
        data[at] = (char)(data[at] ^ 0x41);
        temp_write(path, data, n_bytes);
        const sp_status status = write_parts(&of, "work");
        if (status == SP_OK)
            assert_same_datasets(plain, index_path);
        else
            assert_int_equal(status, SP_BAD_DATA);
        n_refused += status != SP_OK;
        data[at] = (char)(data[at] ^ 0x41);
    }
    assert_true(n_refused > n_tried * 3 / 4);
    free(data);
}

static void full_disk_leaves_what_was_complete(void **state) {
    const split of = {.n_blocks = 1, .n_writers = 1, .bounds = {0, 400}};
    sp_journal_writer *journal = NULL;
    sp_status status = SP_OK;
    assert_int_equal(sp_tokens_parts_create(index_path), SP_OK);
    assert_int_equal(open_journal(&journal, 0, "work"), SP_OK);
    temp_limit_files(1000);
    assert_int_equal(sp_journal_writer_begin(journal, 0), SP_OK);
    const sink to = {.journal = journal};
    for (uint64_t d = 0; d < 400 && status == SP_OK; d++) status = put_document(&to, d);
    if (status == SP_OK) status = sp_journal_writer_end(journal, NULL);
    temp_limit_files(UINT64_MAX);
    assert_int_equal(status, SP_IO);
    sp_journal_writer_close(journal);
    write_plain(plain, 400);
    write_index(&of);
    assert_same_datasets(plain, index_path);
}

/* ---- refusals of the reader ---- */

static sp_status read_all(const char *name) {
    sp_tokens *tokens = NULL;
    SP_TRY(sp_tokens_open(&tokens, name));
    sp_status status = SP_OK;
    for (size_t i = 0; i < sp_tokens_n_segments(tokens) && status == SP_OK; i++) {
        uint64_t begin = 0;
        uint32_t len = 0;
        status = sp_tokens_bytes(tokens, i, &begin, &len);
        for (size_t s = 0; s < N_STREAMS && status == SP_OK; s++) {
            int32_t ids[16];
            assert_true(sp_tokens_length(tokens, s, i) <= 16);
            status = sp_tokens_read(tokens, s, i, ids);
        }
    }
    sp_tokens_close(tokens);
    return status;
}

static const split two_parts = {
    .n_blocks = 3, .n_writers = 2, .bounds = {0, 20, 30, 50}, .owner = {0, 1, 0}};

static void missing_part_is_named(void **state) {
    char part[TEMP_PATH_SIZE];
    write_index(&two_parts);
    assert_int_equal(unlink(temp_path(part, dir, "corpus.parts/part-0001-" TAG ".h5")), 0);
    assert_int_equal(read_all(index_path), SP_IO);
    assert_non_null(strstr(sp_message(), part));
    assert_non_null(strstr(sp_message(), index_path));
}

static void part_cut_anywhere_is_refused(void **state) {
    char part[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    write_index(&two_parts);
    char *data = temp_read(temp_path(part, dir, "corpus.parts/part-0001-" TAG ".h5"), &n_bytes);
    for (size_t cut = 0; cut < n_bytes; cut += 211) {
        temp_write(part, data, cut);
        assert_int_equal(read_all(index_path), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), part));
    }
    free(data);
}

static void index_cut_anywhere_is_refused(void **state) {
    size_t n_bytes = 0;
    write_index(&two_parts);
    char *data = temp_read(index_path, &n_bytes);
    for (size_t cut = 0; cut < n_bytes; cut += cut < 100 ? 1 : 31) {
        temp_write(index_path, data, cut);
        assert_int_equal(read_all(index_path), SP_BAD_DATA);
    }
    free(data);
}

static void part_of_another_run_is_refused(void **state) {
    char part[TEMP_PATH_SIZE];
    size_t n_bytes = 0;
    split other = two_parts;
    other.bounds[1] = 19;
    write_index(&two_parts);
    char *data = temp_read(temp_path(part, dir, "corpus.parts/part-0001-" TAG ".h5"), &n_bytes);
    write_index(&other);
    temp_write(part, data, n_bytes);
    assert_int_equal(read_all(index_path), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), part));
    assert_non_null(strstr(sp_message(), "another run"));
    /* A whole token file is no part, and a part is not the whole. */
    char *whole = temp_read(index_path, &n_bytes);
    temp_write(part, whole, n_bytes);
    assert_int_equal(read_all(index_path), SP_BAD_DATA);
    assert_int_equal(read_all(temp_path(part, dir, "corpus.parts/part-0000-" TAG ".h5")),
                     SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "one part"));
    free(whole);
    free(data);
}

/* Of the run that is replaced nothing stays, and nothing of the new one goes. */
static void replaced_index_takes_its_parts_along(void **state) {
    char parts[TEMP_PATH_SIZE];
    const split of = {.n_blocks = 3, .n_writers = 3, .bounds = {0, 8, 16, 25}, .owner = {0, 1, 2}};
    write_index(&of);
    assert_int_equal(temp_count(temp_path(parts, dir, "corpus.parts")), 3);
    write_journals(&two_parts, "another");
    assert_int_equal(temp_count(parts), 5); /* the old index can be read until the last moment */
    assert_int_equal(read_all(index_path), SP_OK);
    assert_int_equal(write_parts(&two_parts, "another"), SP_OK);
    assert_int_equal(temp_count(parts), 2);
    assert_int_equal(read_all(index_path), SP_OK);
}

static void plain_file_of_one_writer_is_the_merged_one(void **state) {
    char merged[TEMP_PATH_SIZE], parts[TEMP_PATH_SIZE];
    size_t n = 0, n_expected = 0;
    sp_tokens_plan *plan = NULL;
    const split one = {.n_blocks = 3, .n_writers = 1, .bounds = {0, 8, 16, 50}};
    const sp_tokens_job job = job_of("work");
    char name[] = "shard";
    const sp_tokens_source source = {name, 123, 50};
    write_index(&two_parts);
    assert_int_equal(sp_tokens_merge(temp_path(merged, dir, "merged.h5"), index_path), SP_OK);
    write_journals(&one, "work");
    assert_int_equal(sp_tokens_plan_create(&plan, index_path, &job, one.n_blocks), SP_OK);
    assert_int_equal(sp_tokens_plan_settle(plan), SP_OK);
    assert_true(sp_tokens_plan_has_one_part(plan));
    assert_int_equal(sp_tokens_plain_write(plan, &source, 1, "{}"), SP_OK);
    sp_tokens_plan_destroy(plan);
    assert_int_equal(sp_tokens_journals_remove(index_path), SP_OK);
    assert_int_not_equal(access(temp_path(parts, dir, "corpus.parts"), F_OK), 0);
    char *expected = temp_read(merged, &n_expected), *data = temp_read(index_path, &n);
    assert_int_equal(n, n_expected);
    assert_memory_equal(data, expected, n);
    free(data);
    free(expected);
}

/* Replaces /segments/doc of the index by a virtual dataset of other mappings. */
typedef struct mapping {
    const char *file, *dataset;
    hsize_t begin, n, part_begin, part_rows, stride;
} mapping;

static void falsify(const mapping *mappings, size_t n, hsize_t extent) {
    const hid_t file = H5Fopen(index_path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    const hid_t whole = H5Screate_simple(1, &extent, NULL);
    for (size_t i = 0; i < n; i++) {
        const mapping *m = &mappings[i];
        const hid_t part = H5Screate_simple(1, &m->part_rows, NULL);
        H5Sselect_hyperslab(whole, H5S_SELECT_SET, &m->begin, NULL, &m->n, NULL);
        H5Sselect_hyperslab(part, H5S_SELECT_SET, &m->part_begin, m->stride ? &m->stride : NULL,
                            &m->n, NULL);
        assert_true(H5Pset_virtual(properties, whole, m->file, m->dataset, part) >= 0);
        H5Sclose(part);
    }
    H5Sselect_all(whole);
    assert_true(H5Ldelete(file, "/segments/doc", H5P_DEFAULT) >= 0);
    const hid_t dataset = H5Dcreate2(file, "/segments/doc", H5T_STD_U64LE, whole, H5P_DEFAULT,
                                     properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Dclose(dataset);
    H5Sclose(whole);
    H5Pclose(properties);
    H5Fclose(file);
}

static void falsified_mappings_are_refused(void **state) {
#define FIRST "corpus.parts/part-0000-" TAG ".h5", "/segments/doc"
    size_t n_segments[3] = {0}; /* of each block */
    for (size_t b = 0; b < 3; b++)
        for (uint64_t d = two_parts.bounds[b]; d < two_parts.bounds[b + 1]; d++)
            n_segments[b] += segments_of(d);
    const hsize_t n = n_segments[0] + n_segments[1] + n_segments[2];
    const hsize_t n_part = n_segments[0] + n_segments[2];
    const struct {
        mapping mappings[2];
        size_t n;
    } cases[] = {
        {{{FIRST, 0, n, 0, n, 0}}, 1},           /* beyond the part */
        {{{FIRST, 0, n_part, 0, n_part, 0}}, 1}, /* a gap at the end */
        {{{FIRST, 1, n - 1, 0, n, 0}}, 1},       /* at the begin */
        {{{FIRST, 0, n_part, 0, n_part, 0}, {FIRST, n_part, n - n_part, 0, n_part, 0}},
         2},                                                                 /* twice */
        {{{FIRST, 0, n_part, 0, n_part, 0}, {FIRST, 1, n - 1, 0, n, 0}}, 2}, /* overlap */
        {{{FIRST, 0, n, 0, 2 * n, 2}}, 1},                                   /* every other row */
        {{{FIRST, 0, n_part, 0, n_part, 0}, /* TORN: one row in two, the last in none */
          {"corpus.parts/part-0001-" TAG ".h5", "/segments/doc", n_part - 1, n_segments[1], 0,
           n_segments[1], 0}},
         2},
        {{{"/etc/passwd", "/segments/doc", 0, n, 0, n, 0}}, 1},
        {{{"corpus.parts/../../x.h5", "/segments/doc", 0, n, 0, n, 0}}, 1},
        {{{"..", "/segments/doc", 0, n, 0, n, 0}}, 1},
        {{{"corpus.parts/part-0000-" TAG ".h5", "/documents/hash", 0, n, 0, n, 0}}, 1},
    };
    enum { TORN = 6 }; /* what it makes of the values would be refused, too */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_index(&two_parts);
        falsify(cases[i].mappings, cases[i].n, n);
        const sp_status status = read_all(index_path);
        if (status == SP_OK) fail_msg("case %zu is not refused", i);
        if (strstr(sp_message(), dir) == NULL ||
            (i == TORN && strstr(sp_message(), "in no part, or in two") == NULL))
            fail_msg("case %zu: %s", i, sp_message());
    }
    write_index(&two_parts); /* and the helper is not what makes them fail */
    const mapping right[] = {
        {FIRST, 0, n_segments[0], 0, n_part, 0},
        {"corpus.parts/part-0001-" TAG ".h5", "/segments/doc", n_segments[0], n_segments[1], 0,
         n_segments[1], 0},
        {FIRST, n_segments[0] + n_segments[1], n_segments[2], n_segments[0], n_part, 0}};
    falsify(right, 3, n);
    assert_int_equal(read_all(index_path), SP_OK);
}

/* ---- merge and verify ---- */

static void merged_file_is_the_plain_file(void **state) {
    char merged[TEMP_PATH_SIZE];
    temp_path(merged, dir, "merged.h5");
    for (uint64_t seed = 1; seed <= 5; seed++) {
        const split of = random_split(seed, 100);
        size_t n_expected = 0, n = 0;
        write_plain(plain, 100);
        write_index(&of);
        assert_int_equal(sp_tokens_merge(merged, index_path), SP_OK);
        char *expected = temp_read(plain, &n_expected), *data = temp_read(merged, &n);
        assert_int_equal(n, n_expected);
        assert_memory_equal(data, expected, n);
        free(data);
        free(expected);
    }
}

static sp_status verify(const char *name) {
    sp_tokens *tokens = NULL;
    SP_TRY(sp_tokens_open(&tokens, name));
    const sp_status status = sp_tokens_verify(tokens);
    sp_tokens_close(tokens);
    return status;
}

/* Documents [begin, end) of the index, by a check of their own. */
static void add_pieces(sp_tokens_check *all, const sp_tokens *tokens, size_t begin, size_t end) {
    sp_tokens_check *piece = NULL;
    uint64_t sum[2];
    assert_int_equal(sp_tokens_check_open(&piece, tokens), SP_OK);
    assert_int_equal(sp_tokens_check_documents(piece, begin, end, NULL), SP_OK);
    sp_tokens_check_sum(piece, sum);
    sp_tokens_check_add(all, sum);
    sp_tokens_check_close(piece);
}

static void file_is_verified_in_pieces_in_any_order(void **state) {
    enum { N_DOCUMENTS = 50 };
    write_plain(plain, N_DOCUMENTS, NULL);
    for (uint64_t seed = 0; seed < 8; seed++) {
        const size_t middle = mix(seed) % (N_DOCUMENTS + 1), twice = seed == 6, lacks = seed == 7;
        sp_tokens *tokens = NULL;
        sp_tokens_check *all = NULL;
        assert_int_equal(sp_tokens_open(&tokens, plain), SP_OK);
        assert_int_equal(sp_tokens_check_open(&all, tokens), SP_OK);
        add_pieces(all, tokens, middle, N_DOCUMENTS - lacks);
        add_pieces(all, tokens, 7, 7); /* none */
        assert_int_equal(sp_tokens_check_documents(all, 0, middle, NULL), SP_OK);
        if (twice) add_pieces(all, tokens, 2, 3);
        assert_int_equal(sp_tokens_check_finish(all), twice || lacks ? SP_BAD_DATA : SP_OK);
        sp_tokens_check_close(all);
        sp_tokens_close(tokens);
    }
}

static void first_segments_are_those_of_the_documents(void **state) {
    sp_tokens *tokens = NULL;
    size_t n_before = 0;
    write_plain(plain, 50, NULL);
    assert_int_equal(sp_tokens_open(&tokens, plain), SP_OK);
    for (uint64_t d = 0; d <= 50; d++) {
        assert_int_equal(sp_tokens_first_segment(tokens, d), n_before);
        n_before += d < 50 ? segments_of(d) : 0;
    }
    assert_int_equal(n_before, sp_tokens_n_segments(tokens));
    sp_tokens_close(tokens);
}

/* By HDF5 itself, so that all checksums are right: what readers cannot tell, digests do. */
static void set_value(const char *name, const char *dataset_name, hsize_t row, uint64_t add) {
    const hid_t file = H5Fopen(name, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, dataset_name, H5P_DEFAULT), space = H5Dget_space(dataset);
    const hid_t one = H5Screate(H5S_SCALAR);
    uint64_t value = 0;
    H5Sselect_elements(space, H5S_SELECT_SET, 1, &row);
    assert_true(H5Dread(dataset, H5T_NATIVE_UINT64, one, space, H5P_DEFAULT, &value) >= 0);
    value = value > 0 ? value - add : value + add;
    assert_true(H5Dwrite(dataset, H5T_NATIVE_UINT64, one, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(one);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
}

static void verify_finds_every_changed_value(void **state) {
    static const char *const numbers[] = {"/segments/byte_begin", "/segments/byte_len",
                                          "/documents/hash",      "/streams/small/ids",
                                          "/streams/zebra/ids",   "/streams/ant/ids"};
    char part[TEMP_PATH_SIZE];
    temp_path(part, dir, "corpus.parts/part-0000-" TAG ".h5");
    write_plain(plain, 50);
    write_index(&two_parts);
    assert_int_equal(verify(plain), SP_OK);
    assert_int_equal(verify(index_path), SP_OK);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        write_plain(plain, 50);
        write_index(&two_parts);
        set_value(plain, numbers[i], 5, 1);
        set_value(part, numbers[i], 5, 1);
        if (verify(plain) != SP_BAD_DATA) fail_msg("'%s' of the plain file", numbers[i]);
        if (verify(index_path) != SP_BAD_DATA) fail_msg("'%s' of a part", numbers[i]);
    }
}

static void verify_finds_flipped_bytes(void **state) {
    char part[TEMP_PATH_SIZE];
    size_t n_bytes = 0, n_refused = 0, n_tried = 0;
    write_plain(plain, 50);
    write_index(&two_parts);
    char *data = temp_read(temp_path(part, dir, "corpus.parts/part-0001-" TAG ".h5"), &n_bytes);
    for (size_t at = 3; at < n_bytes; at += 61, n_tried++) {
        data[at] = (char)(data[at] ^ 0x10);
        temp_write(part, data, n_bytes);
        const sp_status status = verify(index_path);
        assert_true(status == SP_OK || status == SP_BAD_DATA || status == SP_IO);
        if (status == SP_OK) assert_same_reading(plain, index_path); /* nothing of it was hit */
        n_refused += status != SP_OK;
        data[at] = (char)(data[at] ^ 0x10);
    }
    assert_true(n_refused > 0);
    free(data);
}

static void name_that_hdf5_would_expand_is_refused(void **state) {
    char path[TEMP_PATH_SIZE];
    assert_int_equal(sp_tokens_parts_create(temp_path(path, dir, "a%b.h5")), SP_USAGE);
}

int main(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
#define TEST(name) cmocka_unit_test_setup_teardown(name, create_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(any_split_over_writers_is_the_plain_file),
        TEST(index_has_no_byte_of_time_or_place),
        TEST(chunks_and_frames_are_crossed),
        TEST(more_parts_than_stay_open_are_read),
        TEST(folder_can_be_moved_and_the_index_renamed),
        TEST(journal_cut_anywhere_goes_on),
        TEST(block_that_was_not_ended_does_not_count),
        TEST(killed_writers_lose_no_block),
        TEST(journals_of_two_jobs_do_not_meet),
        TEST(flipped_byte_in_a_journal_changes_nothing),
        TEST(full_disk_leaves_what_was_complete),
        TEST(missing_part_is_named),
        TEST(part_cut_anywhere_is_refused),
        TEST(index_cut_anywhere_is_refused),
        TEST(part_of_another_run_is_refused),
        TEST(replaced_index_takes_its_parts_along),
        TEST(plain_file_of_one_writer_is_the_merged_one),
        TEST(falsified_mappings_are_refused),
        TEST(merged_file_is_the_plain_file),
        TEST(file_is_verified_in_pieces_in_any_order),
        TEST(first_segments_are_those_of_the_documents),
        TEST(verify_finds_every_changed_value),
        TEST(verify_finds_flipped_bytes),
        TEST(name_that_hdf5_would_expand_is_refused),
    };
    return cmocka_run_group_tests_name("tokens_parts", tests, NULL, NULL);
}
