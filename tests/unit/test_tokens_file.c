#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/tokens_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <hdf5.h>

/* HDF5 1.10 loses some memory itself where it refuses a damaged root group. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

static char dir[TEMP_PATH_SIZE], path[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    temp_path(path, dir, "tokens.h5");
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

/* Three documents, the second without text; a stream of 16 bits that cuts and one of 32. */
enum { SEGMENT_TOKENS = 4, N_SEGMENTS = 3 };
static const sp_tokens_stream streams[] = {{"small", "digest of small", 65536},
                                           {"large.2", "digest of large", 65537}};
static const int32_t small_ids[] = {0, 1, 2, 65535, 7, 65535, 9};
static const int32_t large_ids[] = {65536, 5, 4, 3, 2, 1};
static const struct {
    uint64_t document, byte_begin;
    uint32_t byte_len;
    size_t begin[2], n[2]; /* in small_ids and large_ids */
} segments[N_SEGMENTS] = {
    {0, 0, 10, {0, 0}, {4, 3}}, {0, 10, 3, {4, 3}, {1, 0}}, {2, 0, 8, {5, 3}, {2, 3}}};
static const char *const ids[] = {"shard.jsonl:1", "", "a much longer id, in UTF-8: \u00e9\u20ac"};
static const uint64_t hashes[] = {11, 0xFFFFFFFFFFFFFFFF, 33};

static sp_status write_file(void) {
    sp_tokens_writer *writer = NULL;
    SP_TRY(sp_tokens_writer_open(&writer, path, SEGMENT_TOKENS, streams, 2));
    sp_status status = sp_tokens_writer_source(writer, "shard.jsonl", 123, 3);
    for (uint64_t d = 0; d < 3 && status == SP_OK; d++) {
        status = sp_tokens_writer_document(writer, ids[d], hashes[d]);
        for (size_t i = 0; i < N_SEGMENTS && status == SP_OK; i++) {
            const int32_t *const of_streams[] = {small_ids + segments[i].begin[0],
                                                 large_ids + segments[i].begin[1]};
            if (segments[i].document == d)
                status = sp_tokens_writer_segment(writer, segments[i].byte_begin,
                                                  segments[i].byte_len, of_streams, segments[i].n);
        }
    }
    if (status == SP_OK) return sp_tokens_writer_commit(writer);
    sp_tokens_writer_abort(writer);
    return status;
}

/* Reads all there is to read. */
static sp_status read_file(const char *name) {
    sp_tokens *tokens = NULL;
    SP_TRY(sp_tokens_open(&tokens, name));
    sp_status status = SP_OK;
    for (size_t i = 0; i < sp_tokens_n_segments(tokens) && status == SP_OK; i++) {
        uint64_t begin = 0;
        uint32_t len = 0;
        status = sp_tokens_bytes(tokens, i, &begin, &len);
        for (size_t s = 0; s < sp_tokens_n_streams(tokens) && status == SP_OK; s++) {
            int32_t *read = calloc(sp_tokens_length(tokens, s, i) + 1, sizeof *read);
            status = sp_tokens_read(tokens, s, i, read);
            free(read);
        }
    }
    for (size_t d = 0; d < sp_tokens_n_documents(tokens) && status == SP_OK; d++) {
        char *id = NULL;
        status = sp_tokens_document_id(tokens, d, &id);
        free(id);
    }
    sp_tokens_close(tokens);
    return status;
}

static void written_file_gives_its_values(void **state) {
    sp_tokens *tokens = NULL;
    size_t stream[2];
    assert_int_equal(write_file(), SP_OK);
    assert_int_equal(temp_count(dir), 1);
    assert_int_equal(sp_tokens_open(&tokens, path), SP_OK);
    assert_int_equal(sp_tokens_n_segments(tokens), N_SEGMENTS);
    assert_int_equal(sp_tokens_n_documents(tokens), 3);
    assert_int_equal(sp_tokens_segment_tokens(tokens), SEGMENT_TOKENS);
    assert_int_equal(strlen(sp_tokens_digest(tokens)), 32);
    for (size_t s = 0; s < 2; s++) {
        assert_int_equal(sp_tokens_find_stream(tokens, streams[s].name, &stream[s]), SP_OK);
        assert_string_equal(sp_tokens_stream_name(tokens, stream[s]), streams[s].name);
        assert_int_equal(sp_tokens_vocab_size(tokens, stream[s]), streams[s].vocab_size);
        assert_string_equal(sp_tokens_tokenizer_digest(tokens, stream[s]),
                            streams[s].tokenizer_digest);
    }
    for (size_t i = 0; i < N_SEGMENTS; i++) {
        const int32_t *const expected[] = {small_ids, large_ids};
        uint64_t begin = 0;
        uint32_t len = 0;
        assert_int_equal(sp_tokens_bytes(tokens, i, &begin, &len), SP_OK);
        assert_int_equal(begin, segments[i].byte_begin);
        assert_int_equal(len, segments[i].byte_len);
        assert_int_equal(sp_tokens_document(tokens, i), segments[i].document);
        assert_true(sp_tokens_document_hash(tokens, i) == hashes[segments[i].document]);
        for (size_t s = 0; s < 2; s++) {
            int32_t read[SEGMENT_TOKENS] = {0};
            const size_t n = sp_tokens_length(tokens, stream[s], i);
            assert_int_equal(n, segments[i].n[s]);
            assert_int_equal(sp_tokens_read(tokens, stream[s], i, read), SP_OK);
            assert_memory_equal(read, expected[s] + segments[i].begin[s], n * sizeof *read);
        }
    }
    for (size_t d = 0; d < 3; d++) {
        char *id = NULL;
        assert_int_equal(sp_tokens_document_id(tokens, d, &id), SP_OK);
        assert_string_equal(id, ids[d]);
        free(id);
    }
    sp_tokens_close(tokens);
}

static void same_contents_are_the_same_bytes(void **state) {
    size_t n_first = 0, n_second = 0;
    assert_int_equal(write_file(), SP_OK);
    char *first = temp_read(path, &n_first);
    sleep(1); /* no time of writing may get in */
    assert_int_equal(write_file(), SP_OK);
    char *second = temp_read(path, &n_second);
    assert_int_equal(n_first, n_second);
    assert_memory_equal(first, second, n_first);
    free(second);
    free(first);
}

static void missing_stream_is_refused_with_a_list(void **state) {
    sp_tokens *tokens = NULL;
    size_t stream = 99;
    assert_int_equal(write_file(), SP_OK);
    assert_int_equal(sp_tokens_open(&tokens, path), SP_OK);
    assert_int_equal(sp_tokens_find_stream(tokens, "gpt2", &stream), SP_USAGE);
    assert_non_null(strstr(sp_message(), "'large.2', 'small'"));
    assert_int_equal(stream, 99);
    sp_tokens_close(tokens);
}

static void many_segments_cross_chunks(void **state) {
    enum { MANY = 70000 }; /* beyond a chunk of 65536 values in every dataset */
    sp_tokens_writer *writer = NULL;
    sp_tokens *tokens = NULL;
    assert_int_equal(sp_tokens_writer_open(&writer, path, 3, streams, 1), SP_OK);
    for (int32_t i = 0; i < MANY; i++) {
        const int32_t some[] = {i % 65536, (i * 7) % 65536, 1};
        const int32_t *const of_stream[] = {some};
        const size_t n[] = {1 + (size_t)i % 3};
        if (i % 10 == 0)
            assert_int_equal(sp_tokens_writer_document(writer, "x", (uint64_t)i), SP_OK);
        assert_int_equal(sp_tokens_writer_segment(writer, (uint64_t)i, 1, of_stream, n), SP_OK);
    }
    assert_int_equal(sp_tokens_writer_commit(writer), SP_OK);
    assert_int_equal(sp_tokens_open(&tokens, path), SP_OK);
    for (int32_t k = 0; k < MANY; k += 13) {
        const int32_t i = (k * 31) % MANY;
        int32_t read[3] = {0};
        const int32_t some[] = {i % 65536, (i * 7) % 65536, 1};
        const size_t n = sp_tokens_length(tokens, 0, (size_t)i);
        assert_int_equal(n, 1 + i % 3);
        assert_int_equal(sp_tokens_read(tokens, 0, (size_t)i, read), SP_OK);
        assert_memory_equal(read, some, n * sizeof *read);
        assert_int_equal(sp_tokens_document(tokens, (size_t)i), i / 10);
    }
    sp_tokens_close(tokens);
}

static void wrong_streams_and_ids_are_not_written(void **state) {
    static const sp_tokens_stream bad[][2] = {{{"a/b", "", 5}, {"b", "", 5}},
                                              {{"", "", 5}, {"b", "", 5}},
                                              {{".", "", 5}, {"b", "", 5}},
                                              {{"same", "", 5}, {"same", "", 5}}};
    sp_tokens_writer *writer = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sp_tokens_writer_open(&writer, path, 4, bad[i], 2), SP_USAGE);
    assert_int_equal(sp_tokens_writer_open(&writer, path, 4, streams, 1), SP_OK);
    const int32_t beyond[] = {65536}, negative[] = {-1};
    const int32_t *const too_large[] = {beyond}, *const too_small[] = {negative};
    const size_t one[] = {1};
    assert_int_equal(sp_tokens_writer_document(writer, "x", 1), SP_OK);
    assert_int_equal(sp_tokens_writer_segment(writer, 0, 1, too_large, one), SP_BAD_DATA);
    assert_int_equal(sp_tokens_writer_segment(writer, 0, 1, too_small, one), SP_BAD_DATA);
    assert_int_equal(sp_tokens_writer_commit(writer), SP_BAD_DATA); /* no segment */
    assert_int_equal(temp_count(dir), 0);
}

static void file_cut_anywhere_is_refused(void **state) {
    size_t n_bytes = 0;
    assert_int_equal(write_file(), SP_OK);
    char *data = temp_read(path, &n_bytes);
    for (size_t cut = 0; cut < n_bytes; cut += cut < 600 ? 1 : 37) {
        temp_write(path, data, cut);
        assert_int_equal(read_file(path), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), path));
    }
    free(data);
}

/* Any byte changed: what can be read at all is what was written, for checksums cover the rest. */
static void flipped_byte_is_refused_or_without_effect(void **state) {
    size_t n_bytes = 0, n_refused = 0;
    assert_int_equal(write_file(), SP_OK);
    char *data = temp_read(path, &n_bytes);
    for (size_t at = 0; at < n_bytes; at += at < 600 ? 1 : 13) {
        data[at] = (char)(data[at] ^ 0x5A);
        temp_write(path, data, n_bytes);
        const sp_status status = read_file(path);
        assert_true(status == SP_OK || status == SP_BAD_DATA || status == SP_IO);
        n_refused += status != SP_OK;
        data[at] = (char)(data[at] ^ 0x5A);
    }
    assert_true(n_refused > 0);
    free(data);
}

/* ---- falsified by HDF5 itself, so that all checksums are right ---- */

static void set_u64(hid_t file, const char *object, const char *name, uint64_t value) {
    const hid_t owner = H5Oopen(file, object, H5P_DEFAULT);
    const hid_t attribute = H5Aopen(owner, name, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, H5T_NATIVE_UINT64, &value) >= 0);
    H5Aclose(attribute);
    H5Oclose(owner);
}

static void set_value(hid_t file, const char *name, hsize_t row, uint64_t value) {
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    const hid_t one = H5Screate(H5S_SCALAR);
    H5Sselect_elements(space, H5S_SELECT_SET, 1, &row);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_UINT64, one, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(one);
    H5Sclose(space);
    H5Dclose(dataset);
}

static void set_extent(hid_t file, const char *name, hsize_t extent) {
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(H5Dset_extent(dataset, &extent) >= 0);
    H5Dclose(dataset);
}

static void lower_segment_tokens(hid_t f) { set_u64(f, "/", "segment_tokens", 3); }
static void no_segment_tokens(hid_t f) { set_u64(f, "/", "segment_tokens", 0); }
static void version_to_come(hid_t f) { set_u64(f, "/", "format_version", 2); }
static void no_version(hid_t f) { H5Adelete(f, "format_version"); }
static void no_format(hid_t f) { H5Adelete(f, "format"); }
static void no_cut_stream(hid_t f) { H5Ldelete(f, "/streams/small", H5P_DEFAULT); }
static void no_streams(hid_t f) { H5Ldelete(f, "/streams", H5P_DEFAULT); }
static void no_ids(hid_t f) { H5Ldelete(f, "/streams/small/ids", H5P_DEFAULT); }
static void no_vocabulary(hid_t f) { set_u64(f, "/streams/small", "vocab_size", 0); }
static void vast_vocabulary(hid_t f) { set_u64(f, "/streams/small", "vocab_size", 1ULL << 40); }
static void less_vocabulary(hid_t f) { set_u64(f, "/streams/small", "vocab_size", 65535); }
static void less_large_vocabulary(hid_t f) { set_u64(f, "/streams/large.2", "vocab_size", 65536); }
static void offset_falls(hid_t f) { set_value(f, "/streams/large.2/offsets", 1, 4); }
static void offset_not_from_0(hid_t f) { set_value(f, "/streams/small/offsets", 0, 1); }
static void offset_beyond(hid_t f) { set_value(f, "/streams/small/offsets", 3, 1ULL << 60); }
static void offsets_short(hid_t f) { set_extent(f, "/streams/small/offsets", 3); }
static void fewer_ids(hid_t f) { set_extent(f, "/streams/small/ids", 6); }
static void absurd_ids(hid_t f) { set_extent(f, "/streams/small/ids", 1ULL << 60); }
static void absurd_segments(hid_t f) { set_extent(f, "/segments/doc", 1ULL << 61); }
static void absurd_documents(hid_t f) { set_extent(f, "/documents/hash", 1ULL << 62); }
static void fewer_documents(hid_t f) { set_extent(f, "/documents/hash", 2); }
static void fewer_ranges(hid_t f) { set_extent(f, "/segments/byte_len", 2); }
static void no_segments(hid_t f) { set_extent(f, "/segments/doc", 0); }
static void document_falls(hid_t f) { set_value(f, "/segments/doc", 0, 1); }
static void document_beyond(hid_t f) { set_value(f, "/segments/doc", 2, 3); }
static void range_wraps(hid_t f) { set_value(f, "/segments/byte_begin", 1, UINT64_MAX); }

static void replace_by_another_type(hid_t file) {
    H5Ldelete(file, "/segments/doc", H5P_DEFAULT);
    const hsize_t extent = 3;
    const hid_t space = H5Screate_simple(1, &extent, NULL);
    H5Dclose(H5Dcreate2(file, "/segments/doc", H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT,
                        H5P_DEFAULT));
    H5Sclose(space);
}

static void replace_by_values_elsewhere(hid_t file) {
    H5Ldelete(file, "/segments/doc", H5P_DEFAULT);
    const hsize_t extent = 3;
    const hid_t space = H5Screate_simple(1, &extent, NULL), outside = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(outside, "/etc/passwd", 0, 24);
    H5Dclose(
        H5Dcreate2(file, "/segments/doc", H5T_STD_U64LE, space, H5P_DEFAULT, outside, H5P_DEFAULT));
    H5Pclose(outside);
    H5Sclose(space);
}

static void falsified_file_is_refused(void **state) {
    void (*const falsify[])(hid_t file) = {lower_segment_tokens,
                                           no_segment_tokens,
                                           version_to_come,
                                           no_version,
                                           no_format,
                                           no_cut_stream,
                                           no_streams,
                                           no_ids,
                                           no_vocabulary,
                                           vast_vocabulary,
                                           less_vocabulary,
                                           less_large_vocabulary,
                                           offset_falls,
                                           offset_not_from_0,
                                           offset_beyond,
                                           offsets_short,
                                           fewer_ids,
                                           absurd_ids,
                                           absurd_segments,
                                           absurd_documents,
                                           fewer_documents,
                                           fewer_ranges,
                                           no_segments,
                                           document_falls,
                                           document_beyond,
                                           range_wraps,
                                           replace_by_another_type,
                                           replace_by_values_elsewhere};
    for (size_t i = 0; i < sizeof falsify / sizeof falsify[0]; i++) {
        assert_int_equal(write_file(), SP_OK);
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(file >= 0);
        falsify[i](file);
        H5Fclose(file);
        if (read_file(path) != SP_BAD_DATA) fail_msg("case %zu is not refused", i);
        if (strstr(sp_message(), path) == NULL) fail_msg("case %zu: '%s'", i, sp_message());
    }
}

static void other_files_are_refused(void **state) {
    char other[TEMP_PATH_SIZE];
    assert_int_equal(read_file(temp_path(other, dir, "none.h5")), SP_IO);
    assert_int_equal(read_file(dir), SP_BAD_DATA);
    temp_write(temp_path(other, dir, "text.h5"), "no HDF5", 7);
    assert_int_equal(read_file(other), SP_BAD_DATA);
}

static void full_disk_leaves_nothing(void **state) {
    size_t n_bytes = 0;
    assert_int_equal(write_file(), SP_OK);
    free(temp_read(path, &n_bytes));
    unlink(path);
    for (size_t limit = 0; limit < n_bytes; limit += n_bytes / 23) {
        temp_limit_files(limit);
        const sp_status status = write_file();
        temp_limit_files(UINT64_MAX);
        assert_int_equal(status, SP_IO);
        assert_int_equal(temp_count(dir), 0);
    }
    assert_int_equal(write_file(), SP_OK); /* the process is none the worse for it */
    assert_int_equal(read_file(path), SP_OK);
}

static void digest_follows_the_contents_only(void **state) {
    char digest[SP_DIGEST_HEX_SIZE];
    sp_tokens *tokens = NULL;
    assert_int_equal(write_file(), SP_OK);
    assert_int_equal(sp_tokens_open(&tokens, path), SP_OK);
    strcpy(digest, sp_tokens_digest(tokens));
    sp_tokens_close(tokens);

    sp_tokens_writer *writer = NULL;
    const int32_t some[] = {1, 2};
    const int32_t *const of_streams[2][2] = {{some, some}, {some + 1, some}};
    const size_t one[] = {1, 1};
    char digests[4][SP_DIGEST_HEX_SIZE];
    const struct {
        const char *id;
        uint64_t hash, byte_begin;
        size_t ids;
    } cases[4] = {{"a", 1, 0, 0}, {"b", 1, 0, 0}, {"a", 1, 0, 1}, {"a", 2, 0, 0}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(sp_tokens_writer_open(&writer, path, 4, streams, 2), SP_OK);
        assert_int_equal(sp_tokens_writer_document(writer, cases[i].id, cases[i].hash), SP_OK);
        assert_int_equal(
            sp_tokens_writer_segment(writer, cases[i].byte_begin, 1, of_streams[cases[i].ids], one),
            SP_OK);
        assert_int_equal(sp_tokens_writer_commit(writer), SP_OK);
        assert_int_equal(sp_tokens_open(&tokens, path), SP_OK);
        strcpy(digests[i], sp_tokens_digest(tokens));
        sp_tokens_close(tokens);
    }
    assert_string_equal(digests[0], digests[1]); /* an id is a name, not content */
    assert_string_not_equal(digests[0], digests[2]);
    assert_string_not_equal(digests[0], digests[3]);
    assert_string_not_equal(digests[0], digest);
}

static void description_has_counts_streams_and_sources(void **state) {
    json_t *description = NULL;
    assert_int_equal(write_file(), SP_OK);
    assert_int_equal(sp_tokens_describe(&description, path), SP_OK);
    assert_int_equal(json_integer_value(json_object_get(description, "segments")), N_SEGMENTS);
    assert_int_equal(json_integer_value(json_object_get(description, "documents")), 3);
    const json_t *stream = json_array_get(json_object_get(description, "streams"), 1);
    assert_string_equal(json_string_value(json_object_get(stream, "name")), "small");
    assert_int_equal(json_integer_value(json_object_get(stream, "tokens")), 7);
    const json_t *source = json_array_get(json_object_get(description, "sources"), 0);
    assert_string_equal(json_string_value(json_object_get(source, "path")), "shard.jsonl");
    assert_int_equal(json_integer_value(json_object_get(source, "bytes")), 123);
    json_decref(description);
}

int main(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written_file_gives_its_values, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(same_contents_are_the_same_bytes, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(missing_stream_is_refused_with_a_list, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(many_segments_cross_chunks, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(wrong_streams_and_ids_are_not_written, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(file_cut_anywhere_is_refused, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(flipped_byte_is_refused_or_without_effect, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(falsified_file_is_refused, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(other_files_are_refused, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(full_disk_leaves_nothing, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(digest_follows_the_contents_only, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(description_has_counts_streams_and_sources, create_folder,
                                        remove_folder)};
    return cmocka_run_group_tests_name("tokens_file", tests, NULL, NULL);
}
