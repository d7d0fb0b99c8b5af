#include "tests/check.h"
#include "tests/temp_folder.h"
#include "tests/text_shard.h"

#include "io/text_reader.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

/* Appends text as one gzip member to packed [capacity]. */
static size_t append_gzip(unsigned char *packed, size_t n_packed, size_t capacity, const char *text,
                          size_t n_bytes) {
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY),
                     Z_OK);
    stream.next_in = (unsigned char *)text;
    stream.avail_in = (uInt)n_bytes;
    stream.next_out = packed + n_packed;
    stream.avail_out = (uInt)(capacity - n_packed);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    const size_t n_all = n_packed + stream.total_out;
    deflateEnd(&stream);
    return n_all;
}

static size_t append_zstd(unsigned char *packed, size_t n_packed, size_t capacity, const char *text,
                          size_t n_bytes) {
    const size_t n = ZSTD_compress(packed + n_packed, capacity - n_packed, text, n_bytes, 3);
    assert_false(ZSTD_isError(n));
    return n_packed + n;
}

typedef size_t (*append_packed)(unsigned char *packed, size_t n_packed, size_t capacity,
                                const char *text, size_t n_bytes);
static const struct {
    const char *name;
    append_packed append;
} packings[] = {{"a.jsonl.gz", append_gzip}, {"a.jsonl.zst", append_zstd}};

static void packed_members_read_as_one_text(void **state) {
    for (size_t i = 0; i < 2; i++) {
        unsigned char packed[1024];
        size_t n = packings[i].append(packed, 0, sizeof packed, "{\"text\":\"one\"}\n{\"te", 19);
        n = packings[i].append(packed, n, sizeof packed, "", 0);
        n = packings[i].append(packed, n, sizeof packed, "xt\":\"two\"}", 10);
        shard_assert_documents(shard_put(packings[i].name, packed, n), "|0|one\n|0|two\n");
    }
}

static void packed_file_cut_anywhere_is_refused(void **state) {
    for (size_t i = 0; i < 2; i++) {
        unsigned char packed[1024];
        const char *text = "{\"text\":\"some text that is packed\"}\n";
        const size_t n = packings[i].append(packed, 0, sizeof packed, text, strlen(text));
        for (size_t n_bytes = 0; n_bytes < n; n_bytes++)
            shard_assert_refused(shard_put(packings[i].name, packed, n_bytes), "offset");
        packed[n / 2] ^= 0x55;
        char *listing = NULL;
        size_t n_documents = 0;
        const char *path = shard_put(packings[i].name, packed, n);
        /* zstd's frames may carry no checksum: then the text that comes out must still parse. */
        const sp_status status = shard_read_all(&listing, &n_documents, path);
        assert_true(status == SP_BAD_DATA || (i == 1 && status == SP_OK));
        free(listing);
        packed[n / 2] ^= 0x55;
        memcpy(packed + n, "junk", 4);
        shard_assert_refused(shard_put(packings[i].name, packed, n + 4), "offset");
    }
}

static void packed_lines_are_those_of_the_plain_file(void **state) {
    size_t n_bytes = 0, n_plain = 0, n_unpacked = 0;
    char *text = shard_lines(&n_bytes), *plain = NULL, *unpacked = NULL;
    unsigned char *packed = malloc(n_bytes + 1024);
    assert_int_equal(shard_read_all(&plain, &n_plain, shard_put("a.jsonl", text, n_bytes)), SP_OK);
    assert_int_equal(n_plain, 60);
    for (size_t i = 0; i < 2; i++) {
        const size_t n = packings[i].append(packed, 0, n_bytes + 1024, text, n_bytes);
        assert_int_equal(
            shard_read_all(&unpacked, &n_unpacked, shard_put(packings[i].name, packed, n)), SP_OK);
        assert_string_equal(unpacked, plain);
        free(unpacked);
    }
    free(packed);
    free(plain);
    free(text);
}

/* A text file is a document, whole or not; of lines that are packed nobody knows how many are lost. */
static void damaged_files_lose_what_can_be_counted(void **state) {
    static const struct {
        const char *name;
        uint64_t n_rows;
    } cases[] = {{"cut.txt.gz", 1}, {"cut.jsonl.gz", 0}};
    for (size_t i = 0; i < 2; i++) {
        sp_text_reader *reader = NULL;
        sp_document document;
        bool end = false;
        uint64_t row = 0, n_rows = 7;
        const char *path = shard_put_text(cases[i].name, "\x1f\x8b");
        assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
        assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
        sp_text_reader_lost_rows(reader, &row, &n_rows);
        assert_int_equal(n_rows, cases[i].n_rows);
        if (n_rows > 0) assert_string_equal(sp_text_reader_row_id(reader, row), path);
        sp_text_reader_close(reader);
    }
}

static void damage_of_a_packed_file_takes_the_rest_of_it(void **state) {
    for (size_t i = 0; i < 2; i++) {
        unsigned char packed[2048];
        size_t n = packings[i].append(packed, 0, sizeof packed, "{\"text\":\"one\"}\n", 15);
        memcpy(packed + n, "this is not packed", 18);
        sp_text_reader *reader = NULL;
        sp_document document;
        bool end = false;
        const char *path = shard_put(packings[i].name, packed, n + 18);
        assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
        assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
        assert_false(end);
        assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
        assert_int_equal(sp_text_reader_loss(reader), SP_LOST_FILE);
        assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
        assert_true(end);
        sp_text_reader_close(reader);
    }
}

/* Writes `head`, a line of more bytes than are read, and `tail`, packed to next to nothing. */
static const char *put_long_line(const char *name, const char *head, const char *tail) {
    enum { FRAMES = 300, FRAME_BYTES = 1 << 20 };
    char *letters = malloc(FRAME_BYTES);
    unsigned char *packed = malloc(FRAMES * 256);
    memset(letters, 'a', FRAME_BYTES);
    size_t n = append_zstd(packed, 0, FRAMES * 256, head, strlen(head));
    for (int i = 0; i < FRAMES; i++) n = append_zstd(packed, n, FRAMES * 256, letters, FRAME_BYTES);
    n = append_zstd(packed, n, FRAMES * 256, tail, strlen(tail));
    const char *path = shard_put(name, packed, n);
    free(packed);
    free(letters);
    return path;
}

static void line_beyond_the_memory_is_passed_over(void **state) {
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const char *path = put_long_line("long.jsonl.zst", "{\"text\":\"a\"}\n{\"text\":\"",
                                     "\"}\n{\"text\":\"c\"}\n");
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "line 2: 268435455 bytes or more"));
    assert_int_equal(sp_text_reader_loss(reader), SP_LOST_ROW);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(!end && document.row == 3 && document.text[0] == 'c');
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(end);
    sp_text_reader_close(reader);

    path = put_long_line("long.txt.zst", "", "");
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
    assert_int_equal(sp_text_reader_loss(reader), SP_LOST_FILE);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(end);
    sp_text_reader_close(reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_members_read_as_one_text),
        cmocka_unit_test(packed_file_cut_anywhere_is_refused),
        cmocka_unit_test(packed_lines_are_those_of_the_plain_file),
        cmocka_unit_test(damaged_files_lose_what_can_be_counted),
        cmocka_unit_test(damage_of_a_packed_file_takes_the_rest_of_it),
        cmocka_unit_test(line_beyond_the_memory_is_passed_over)};
    return cmocka_run_group_tests_name("text_packed", tests, shard_set_up, shard_tear_down);
}
