#include "tests/parts_corpus.h"

#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>

#include <hdf5.h>

char parts_dir[TEMP_PATH_SIZE], parts_plain[TEMP_PATH_SIZE], parts_index[TEMP_PATH_SIZE];

const parts_split parts_in_two = {
    .n_blocks = 3, .n_writers = 2, .bounds = {0, 20, 30, 50}, .owner = {0, 1, 0}};

static const sp_tokens_stream parts_streams[PARTS_N_STREAMS] = {{"small", "digest of small", 65536},
                                                                {"zebra", "digest of zebra", 65537},
                                                                {"ant", "digest of ant", 300}};

sp_tokens_job parts_job(const char *work) {
    return (sp_tokens_job){.work = work,
                           .segment_tokens = PARTS_SEGMENT_TOKENS,
                           .streams = parts_streams,
                           .n_streams = PARTS_N_STREAMS};
}

int parts_set_up(void **state) {
    temp_folder_create(parts_dir);
    temp_path(parts_plain, parts_dir, "plain.h5");
    temp_path(parts_index, parts_dir, "corpus.h5");
    char digest[SP_DIGEST_HEX_SIZE];
    const sp_tokens_job job = parts_job("work");
    assert_int_equal(sp_tokens_job_digest(digest, &job), SP_OK);
    digest[sizeof PARTS_TAG - 1] = '\0';
    assert_string_equal(digest, PARTS_TAG);
    return 0;
}

int parts_tear_down(void **state) {
    temp_folder_remove(parts_dir);
    return 0;
}

uint64_t parts_mix(uint64_t value) { /* splitmix64 */
    value += 0x9E3779B97F4A7C15;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
    return value ^ (value >> 31);
}

size_t parts_n_segments(uint64_t document) { return parts_mix(document) % 5; } /* 0: an empty one */
static uint64_t parts_hash(uint64_t document) { return parts_mix(document ^ 0xABCDEF); }

static const char *parts_id(uint64_t document, char id[64]) {
    snprintf(id, 64, "%.*s%ju", (int)(parts_mix(document) % 20), "a long name, of some length",
             (uintmax_t)document);
    return id;
}

sp_status parts_put_document(const parts_sink *to, uint64_t document) {
    char id[64];
    parts_id(document, id);
    const uint64_t hash = parts_hash(document);
    SP_TRY(to->journal != NULL ? sp_journal_writer_document(to->journal, id, hash)
                               : sp_tokens_writer_document(to->writer, id, hash));
    for (size_t i = 0; i < parts_n_segments(document); i++) {
        int32_t ids[PARTS_N_STREAMS][16];
        size_t n[PARTS_N_STREAMS];
        const int32_t *const of_stream[PARTS_N_STREAMS] = {ids[0], ids[1], ids[2]};
        for (size_t s = 0; s < PARTS_N_STREAMS; s++) {
            const uint64_t key = parts_mix(document * 64 + i * 8 + s);
            n[s] = s == 0 ? 1 + key % PARTS_SEGMENT_TOKENS : key % 16;
            for (size_t k = 0; k < n[s]; k++)
                ids[s][k] = (int32_t)(parts_mix(key + k) % parts_streams[s].vocab_size);
        }
        SP_TRY(to->journal != NULL
                   ? sp_journal_writer_segment(to->journal, 10 * i, 10, of_stream, n)
                   : sp_tokens_writer_segment(to->writer, 10 * i, 10, of_stream, n));
    }
    return SP_OK;
}

void parts_write_plain(const char *path, uint64_t n_documents) {
    parts_sink to = {0};
    sp_tokens_origin origin;
    const sp_tokens_job job = parts_job("work");
    assert_int_equal(sp_tokens_origin_make(&origin, &job, "{}"), SP_OK);
    assert_int_equal(sp_tokens_writer_open(&to.writer, path, PARTS_SEGMENT_TOKENS, parts_streams,
                                           PARTS_N_STREAMS),
                     SP_OK);
    assert_int_equal(sp_tokens_writer_source(to.writer, "shard", 123, n_documents), SP_OK);
    for (uint64_t d = 0; d < n_documents; d++) assert_int_equal(parts_put_document(&to, d), SP_OK);
    sp_tokens_writer_origin(to.writer, &origin);
    assert_int_equal(sp_tokens_writer_commit(to.writer), SP_OK);
}

/* ---- the same corpus in parts ---- */

parts_split parts_random_split(uint64_t seed, uint64_t n_documents) {
    parts_split made = {.n_blocks = 1 + parts_mix(seed) % 12,
                        .n_writers = 1 + parts_mix(seed + 1) % 5};
    for (size_t b = 1; b < made.n_blocks; b++) { /* rising; a block may be empty */
        const uint64_t before = made.bounds[b - 1];
        made.bounds[b] = before + parts_mix(seed * 100 + b) % (n_documents - before + 1) /
                                      (parts_mix(seed * 31 + b) % 3 + 1);
    }
    made.bounds[made.n_blocks] = n_documents;
    for (size_t b = 0; b < made.n_blocks; b++)
        made.owner[b] = parts_mix(seed * 1000 + b) % made.n_writers;
    return made;
}

sp_status parts_open_journal(sp_journal_writer **journal, size_t writer, const char *work) {
    char *path = NULL;
    const sp_tokens_job job = parts_job(work);
    SP_TRY(sp_tokens_journal_path(&path, parts_index, &job, writer));
    const sp_status status = sp_journal_writer_open(journal, path, &job);
    free(path);
    return status;
}

void parts_put_block(sp_journal_writer *journal, const parts_split *of, size_t block) {
    const parts_sink to = {.journal = journal};
    assert_int_equal(sp_journal_writer_begin(journal, block), SP_OK);
    for (uint64_t d = of->bounds[block]; d < of->bounds[block + 1]; d++)
        assert_int_equal(parts_put_document(&to, d), SP_OK);
    assert_int_equal(sp_journal_writer_end(journal, NULL), SP_OK);
}

void parts_write_journals(const parts_split *of, const char *work) {
    assert_int_equal(sp_tokens_parts_create(parts_index), SP_OK);
    for (size_t w = 0; w < of->n_writers; w++) {
        sp_journal_writer *journal = NULL;
        assert_int_equal(parts_open_journal(&journal, w, work), SP_OK);
        for (size_t b = 0; b < of->n_blocks; b++)
            if (of->owner[b] == w) parts_put_block(journal, of, b);
        sp_journal_writer_close(journal);
    }
}

sp_status parts_write_parts(const parts_split *of, const char *work) {
    const sp_tokens_job job = parts_job(work);
    sp_tokens_plan *plan = NULL;
    char name[] = "shard";
    const sp_tokens_source source = {name, 123, of->bounds[of->n_blocks]};
    SP_TRY(sp_tokens_plan_create(&plan, parts_index, &job, of->n_blocks));
    sp_status status = sp_tokens_plan_settle(plan);
    for (size_t p = sp_tokens_plan_n_parts(plan); p-- > 0 && status == SP_OK;)
        status = sp_tokens_part_write(plan, p);
    if (status == SP_OK) status = sp_tokens_index_write(plan, &source, 1, "{}");
    if (status == SP_OK) status = sp_tokens_journals_remove(parts_index);
    sp_tokens_plan_destroy(plan);
    return status;
}

void parts_write_index(const parts_split *of) {
    parts_write_journals(of, "work");
    assert_int_equal(parts_write_parts(of, "work"), SP_OK);
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

void parts_assert_same_datasets(const char *a, const char *b) {
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
    for (size_t s = 0; s < PARTS_N_STREAMS; s++) {
        int32_t first[16], second[16];
        const size_t n = sp_tokens_length(a, s, i);
        assert_int_equal(n, sp_tokens_length(b, s, i));
        assert_int_equal(sp_tokens_read(a, s, i, first), SP_OK);
        assert_int_equal(sp_tokens_read(b, s, i, second), SP_OK);
        assert_memory_equal(first, second, n * sizeof first[0]);
    }
}

void parts_assert_same_reading(const char *a, const char *b) {
    sp_tokens *first = NULL, *second = NULL;
    assert_int_equal(sp_tokens_open(&first, a), SP_OK);
    if (sp_tokens_open(&second, b) != SP_OK) fail_msg("%s", sp_message());
    const size_t n = sp_tokens_n_segments(first), n_documents = sp_tokens_n_documents(first);
    assert_int_equal(n, sp_tokens_n_segments(second));
    assert_int_equal(n_documents, sp_tokens_n_documents(second));
    assert_string_equal(sp_tokens_digest(first), sp_tokens_digest(second));
    for (size_t s = 0; s < PARTS_N_STREAMS; s++)
        assert_string_equal(sp_tokens_stream_name(second, sp_tokens_stream_at(second, s)),
                            parts_streams[s].name);
    const size_t step = n < 2000 ? 1 : n / 2000;
    for (size_t i = 0; i < n; i += step) assert_same_segment(first, second, (i * 7919) % n);
    for (size_t d = 0; d < n_documents; d += step) {
        char *ids[2], expected[64];
        assert_int_equal(sp_tokens_document_id(first, d, &ids[0]), SP_OK);
        assert_int_equal(sp_tokens_document_id(second, d, &ids[1]), SP_OK);
        assert_string_equal(ids[0], ids[1]);
        assert_string_equal(ids[0], parts_id(d, expected));
        free(ids[0]);
        free(ids[1]);
    }
    sp_tokens_close(second);
    sp_tokens_close(first);
}

sp_status parts_read_all(const char *name) {
    sp_tokens *tokens = NULL;
    SP_TRY(sp_tokens_open(&tokens, name));
    sp_status status = SP_OK;
    for (size_t i = 0; i < sp_tokens_n_segments(tokens) && status == SP_OK; i++) {
        uint64_t begin = 0;
        uint32_t len = 0;
        status = sp_tokens_bytes(tokens, i, &begin, &len);
        for (size_t s = 0; s < PARTS_N_STREAMS && status == SP_OK; s++) {
            int32_t ids[16];
            assert_true(sp_tokens_length(tokens, s, i) <= 16);
            status = sp_tokens_read(tokens, s, i, ids);
        }
    }
    sp_tokens_close(tokens);
    return status;
}
