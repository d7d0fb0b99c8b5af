#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/text_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

static char dir[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

/* Writes the file `name`; its path is static until the next call. */
static const char *put(const char *name, const void *data, size_t n_bytes) {
    static char path[TEMP_PATH_SIZE];
    temp_write(temp_path(path, dir, name), data, n_bytes);
    return path;
}

static const char *put_text(const char *name, const char *text) {
    return put(name, text, strlen(text));
}

/* Writes "own id|has it one?|text\n" for each document that the reader has left. */
static sp_status append_rest(FILE *out, sp_text_reader *reader, size_t *n_documents) {
    for (;;) {
        sp_document document;
        bool end = false;
        SP_TRY(sp_text_reader_next(reader, &document, &end));
        if (end) return SP_OK;
        ++*n_documents;
        fprintf(out, "%s|%d|", document.has_own_id ? document.id : "", document.has_own_id);
        fwrite(document.text, 1, document.n_bytes, out);
        fputc('\n', out);
    }
}

static sp_status read_all(char **listing, size_t *n_documents, const char *path) {
    size_t n_bytes = 0;
    FILE *out = open_memstream(listing, &n_bytes);
    sp_text_reader *reader = NULL;
    *n_documents = 0;
    sp_status status = sp_text_reader_open(&reader, path, NULL, NULL);
    if (status == SP_OK) status = append_rest(out, reader, n_documents);
    sp_text_reader_close(reader);
    fclose(out);
    return status;
}

static void assert_documents(const char *path, const char *expected) {
    char *listing = NULL;
    size_t n_documents = 0;
    const sp_status status = read_all(&listing, &n_documents, path);
    if (status != SP_OK) fail_msg("%s", sp_message());
    assert_string_equal(listing, expected);
    free(listing);
}

static void assert_refused(const char *path, const char *expected) {
    char *listing = NULL;
    size_t n_documents = 0;
    assert_int_equal(read_all(&listing, &n_documents, path), SP_BAD_DATA);
    if (strstr(sp_message(), expected) == NULL)
        fail_msg("'%s' does not say '%s'", sp_message(), expected);
    assert_non_null(strstr(sp_message(), path));
    free(listing);
}

static void text_file_is_one_document(void **state) {
    assert_documents(put_text("a.txt", "one\ntwo\r\n\n"), "|0|one\ntwo\r\n\n\n");
    assert_documents(put_text("empty.txt", ""), "|0|\n");
    assert_documents(put("bytes.txt", "\xFF\xFE\0x", 4), "|0|\xFF\xFE"); /* up to the NUL */
}

static void each_line_is_a_document(void **state) {
    assert_documents(put_text("a.jsonl", "{\"text\":\"one\"}\n{\"id\":\"x\",\"text\":\"two\"}"),
                     "|0|one\nx|1|two\n");
    assert_documents(put_text("b.jsonl", "\n  \r\n{\"text\": \"\", \"id\": 12}\r\n\t\n"),
                     "12|1|\n");
    assert_documents(put_text("c.jsonl", ""), "");
    assert_documents(put_text("d.jsonl", "\xEF\xBB\xBF{\"text\":\"after a byte order mark\"}"),
                     "|0|after a byte order mark\n");
    assert_documents(put_text("e.jsonl",
                              "{\"meta\":{\"text\":\"no\",\"a\":[1,-2.5e+3,true,null,{}]},"
                              "\"text\":\"first\",\"id\":null, \"text\" : \"last\" }\n"),
                     "|0|last\n");
}

static void escapes_are_decoded(void **state) {
    assert_documents(put_text("a.jsonl", "{\"text\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}"),
                     "|0|\"\\/\b\f\n\r\t\n");
    assert_documents(put_text("b.jsonl", "{\"te\\u0078t\":\"\\u00e9\\u20AC\\ud83d\\uDE00\"}"),
                     "|0|\u00e9\u20ac\U0001F600\n");
}

static void bytes_that_are_not_utf8_are_kept(void **state) {
    assert_documents(put_text("a.jsonl", "{\"text\":\"a\xFF\xC3(\xED\xA0\x80\",\"\xFE\":\"\xFF\"}"),
                     "|0|a\xFF\xC3(\xED\xA0\x80\n");
    /* Half a surrogate pair is its three bytes. */
    assert_documents(put_text("b.jsonl", "{\"text\":\"\\ud83dx\\ude00\"}"),
                     "|0|\xED\xA0\xBDx\xED\xB8\x80\n");
}

static void bad_line_is_named(void **state) {
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"x", "not a JSON object"},
        {"[1]", "not a JSON object"},
        {"{\"text\":1}", "field 'text' is not a string"},
        {"{\"text\":null}", "field 'text' is not a string"},
        {"{\"id\":\"a\"}", "no field 'text'"},
        {"{\"text\":\"a\",\"id\":[]}", "field 'id'"},
        {"{\"text\":\"a\",\"id\":\"a\\u0000b\"}", "NUL"},
        {"{\"text\":\"a", "closing quote"},
        {"{\"text\":\"a\"", "expected ',' or '}'"},
        {"{\"text\":\"a\"} x", "follows the object"},
        {"{\"text\":\"a\",}", "member's name"},
        {"{\"text\" \"a\"}", "expected ':'"},
        {"{\"text\":\"a\tb\"}", "control character"},
        {"{\"text\":\"\\x\"}", "unknown escape"},
        {"{\"text\":\"\\u12g4\"}", "hexadecimal"},
        {"{\"text\":\"a\",\"b\":01}", "expected ',' or '}'"},
        {"{\"text\":\"a\",\"b\":nul}", "no JSON value"},
        {"{\"text\":\"a\",\"b\":[1 2]}", "expected ',' or ']'"},
        {"{\"text\":\"a\",\"b\":", "line ends"},
        {"{\"text\":\"a\",\"b\":1.}", "decimals"},
        {"{\"text\":\"a\",\"b\":1e}", "exponent"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"text\":\"fine\"}\n\n%s\n", cases[i].line);
        const char *path = put_text("bad.jsonl", text);
        assert_refused(path, cases[i].message);
        assert_refused(path, "line 3: ");
    }
}

static void deep_nesting_is_refused_rather_than_followed(void **state) {
    enum { DEPTH = 100000 };
    char *text = malloc(DEPTH + 64);
    const int n_begin = sprintf(text, "{\"text\":\"a\",\"b\":");
    memset(text + n_begin, '[', DEPTH);
    assert_refused(put("deep.jsonl", text, (size_t)n_begin + DEPTH), "nested too deeply");
    free(text);
}

static void unknown_extension_names_the_known_ones(void **state) {
    assert_refused(put_text("a.csv", "x"), ".jsonl");
    assert_refused(put_text("txt", "x"), ".txt");
    assert_refused(put_text("a.gz", "x"), ".gz");
    uint64_t n_bytes = 0;
    assert_int_equal(sp_text_file_size(put_text("a.json", "x"), &n_bytes), SP_BAD_DATA);
    assert_int_equal(sp_text_file_size(put_text("a.txt", "xyz"), &n_bytes), SP_OK);
    assert_int_equal(n_bytes, 3);
    char missing[TEMP_PATH_SIZE];
    assert_int_equal(sp_text_file_size(temp_path(missing, dir, "no.txt"), &n_bytes), SP_IO);
}

/* ---- packed ---- */

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
        assert_documents(put(packings[i].name, packed, n), "|0|one\n|0|two\n");
    }
}

static void packed_file_cut_anywhere_is_refused(void **state) {
    for (size_t i = 0; i < 2; i++) {
        unsigned char packed[1024];
        const char *text = "{\"text\":\"some text that is packed\"}\n";
        const size_t n = packings[i].append(packed, 0, sizeof packed, text, strlen(text));
        for (size_t n_bytes = 0; n_bytes < n; n_bytes++)
            assert_refused(put(packings[i].name, packed, n_bytes), "offset");
        packed[n / 2] ^= 0x55;
        char *listing = NULL;
        size_t n_documents = 0;
        const char *path = put(packings[i].name, packed, n);
        /* zstd's frames may carry no checksum: then the text that comes out must still parse. */
        const sp_status status = read_all(&listing, &n_documents, path);
        assert_true(status == SP_BAD_DATA || (i == 1 && status == SP_OK));
        free(listing);
        packed[n / 2] ^= 0x55;
        memcpy(packed + n, "junk", 4);
        assert_refused(put(packings[i].name, packed, n + 4), "offset");
    }
}

/* ---- sizes ---- */

/* Some lines of very different lengths, blank ones among them. */
static char *make_lines(size_t *n_bytes) {
    char *text = NULL;
    FILE *out = open_memstream(&text, n_bytes);
    for (int i = 0; i < 60; i++) {
        if (i % 7 == 3) fputs("\n", out);
        fprintf(out, "{\"id\":%d,\"text\":\"", i);
        for (int n_letters = i % 11 == 5 ? 400 : i % 5; n_letters > 0; n_letters--)
            fputc('a' + i % 26, out);
        fputs("\"}\n", out);
    }
    fclose(out);
    return text;
}

static void packed_lines_are_those_of_the_plain_file(void **state) {
    size_t n_bytes = 0, n_plain = 0, n_unpacked = 0;
    char *text = make_lines(&n_bytes), *plain = NULL, *unpacked = NULL;
    unsigned char *packed = malloc(n_bytes + 1024);
    assert_int_equal(read_all(&plain, &n_plain, put("a.jsonl", text, n_bytes)), SP_OK);
    assert_int_equal(n_plain, 60);
    for (size_t i = 0; i < 2; i++) {
        const size_t n = packings[i].append(packed, 0, n_bytes + 1024, text, n_bytes);
        assert_int_equal(read_all(&unpacked, &n_unpacked, put(packings[i].name, packed, n)), SP_OK);
        assert_string_equal(unpacked, plain);
        free(unpacked);
    }
    free(packed);
    free(plain);
    free(text);
}

static void line_longer_than_any_buffer_is_read(void **state) {
    enum { LETTERS = 3 << 20 };
    char *text = malloc(LETTERS + 64);
    const int n_begin = sprintf(text, "{\"text\":\"");
    memset(text + n_begin, 'a', LETTERS);
    const int n_end = sprintf(text + n_begin + LETTERS, "\"}\n{\"text\":\"b\"}\n");
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const char *path = put("long.jsonl", text, (size_t)(n_begin + LETTERS + n_end));
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_int_equal(document.n_bytes, LETTERS);
    assert_memory_equal(document.text, text + n_begin, LETTERS);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(!end && document.n_bytes == 1 && document.row == 2);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(end);
    sp_text_reader_close(reader);
    free(text);
}

static void made_up_ids_are_file_and_line(void **state) {
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    char expected[TEMP_PATH_SIZE + 8];
    const char *path = put_text("a.jsonl", "\n{\"text\":\"x\"}\n");
    snprintf(expected, sizeof expected, "%s:2", path);
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_string_equal(document.id, expected);
    sp_text_reader_close(reader);

    path = put_text("a.txt", "x");
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_string_equal(document.id, path);
    sp_text_reader_close(reader);
}

/* ---- columns and conditions ---- */

static void read_with(char **listing, const char *path, const sp_text_unit *unit,
                      const sp_text_options *options, size_t *n_documents) {
    size_t n_bytes = 0;
    sp_text_reader *reader = NULL;
    FILE *out = open_memstream(listing, &n_bytes);
    if (sp_text_reader_open(&reader, path, unit, options) != SP_OK) fail_msg("%s", sp_message());
    if (append_rest(out, reader, n_documents) != SP_OK) fail_msg("%s", sp_message());
    sp_text_reader_close(reader);
    fclose(out);
}

static void column_names_the_field_of_the_text(void **state) {
    size_t n = 0;
    char *listing = NULL;
    const char *path = put_text("a.jsonl", "{\"text\":1,\"body\":\"x\",\"id\":\"i\"}\n");
    read_with(&listing, path, NULL, &(sp_text_options){.column = "body"}, &n);
    assert_string_equal(listing, "i|1|x\n");
    free(listing);
    read_with(&listing, path, NULL, &(sp_text_options){.column = "id"}, &n);
    assert_string_equal(listing, "i|1|i\n");
    free(listing);
}

static void conditions_are_asked_of_the_fields_of_a_line(void **state) {
    static const char lines[] =
        "{\"id\":\"a\",\"text\":\"\",\"n\":5,\"s\":0.5,\"l\":\"en\"}\n"
        "{\"id\":\"b\",\"text\":\"\",\"n\":-7,\"s\":2e3,\"l\":\"e\\u006e\"}\n"
        "{\"id\":\"c\",\"text\":\"\",\"n\":null,\"l\":\"de\"}\n"
        "{\"id\":\"d\",\"text\":\"\",\"m\":{\"n\":1},\"l\":\"\"}\n"
        "{\"id\":\"e\",\"text\":7,\"n\":99}\n"
        "{\"id\":\"f\",\"text\":\"\",\"n\":9223372036854775807}\n";
    static const struct {
        const char *conditions[2], *ids;
    } cases[] = {
        {{"n >= -7", "n < 50"}, "ab"},
        {{"n != 5", "n<99"}, "b"},
        {{"s > 0.5"}, "b"},
        {{"l = en"}, "ab"},
        {{"l = ''"}, "d"},
        {{"n = 9223372036854775807"}, "f"},
        {{"n = 9223372036854775806"}, ""},
        {{"n = 5.0"}, "a"},
    };
    const char *path = put_text("a.jsonl", lines);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sp_condition items[2];
        sp_conditions where = {.items = items};
        for (; where.n < 2 && cases[i].conditions[where.n] != NULL; where.n++)
            assert_int_equal(sp_condition_parse(&items[where.n], cases[i].conditions[where.n]),
                             SP_OK);
        char *listing = NULL, ids[8] = "";
        size_t n = 0;
        read_with(&listing, path, NULL, &(sp_text_options){.where = &where}, &n);
        for (const char *line = listing; *line != '\0'; line = strchr(line, '\n') + 1)
            strncat(ids, line, 1);
        assert_string_equal(ids, cases[i].ids);
        free(listing);
        for (size_t k = 0; k < where.n; k++) sp_condition_free(&items[k]);
    }
}

static void conditions_that_cannot_be_asked_are_errors(void **state) {
    static const struct {
        const char *condition, *message;
    } cases[] = {{"n = many", "line 1: 'n' is a number, and is compared with 'many'"},
                 {"t = true", "line 1: 't' is neither text nor a number"},
                 {"o = 1", "line 1: 'o' is neither text nor a number"}};
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const char *path = put_text("a.jsonl", "{\"text\":\"\",\"n\":5,\"t\":true,\"o\":[1]}\n");
    for (size_t i = 0; i < 3; i++) {
        sp_condition condition;
        assert_int_equal(sp_condition_parse(&condition, cases[i].condition), SP_OK);
        const sp_conditions where = {.items = &condition, .n = 1};
        const sp_text_options options = {.where = &where};
        assert_int_equal(sp_text_reader_open(&reader, path, NULL, &options), SP_OK);
        assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), cases[i].message));
        sp_text_reader_close(reader);
        sp_condition_free(&condition);
    }
    sp_condition condition;
    assert_int_equal(sp_condition_parse(&condition, "n = 1"), SP_OK);
    const sp_conditions where = {.items = &condition, .n = 1};
    assert_int_equal(sp_text_reader_open(&reader, put_text("a.txt", "x"), NULL,
                                         &(sp_text_options){.where = &where}),
                     SP_USAGE);
    sp_condition_free(&condition);
}

/* ---- units ---- */

static void ranges_of_any_size_make_the_file(void **state) {
    size_t n_bytes = 0, n_whole = 0;
    char *text = make_lines(&n_bytes), *whole = NULL;
    const char *path = put("a.jsonl", text, n_bytes);
    assert_int_equal(read_all(&whole, &n_whole, path), SP_OK);
    for (uint64_t range = 1; range < n_bytes + 40; range = range < 40 ? range + 1 : range + 53) {
        sp_text_unit *units = NULL;
        size_t n_units = 0, n_documents = 0, n_listed = 0;
        uint64_t sum = 0;
        assert_int_equal(sp_text_units(&units, &n_units, path, range, NULL), SP_OK);
        assert_int_equal(n_units, (n_bytes + range - 1) / range);
        for (size_t i = 0; i < n_units; i++) {
            char *part = NULL;
            read_with(&part, path, &units[i], NULL, &n_documents);
            assert_memory_equal(part, whole + n_listed, strlen(part));
            n_listed += strlen(part);
            sum += units[i].n_bytes;
            free(part);
        }
        assert_int_equal(n_documents, n_whole);
        assert_int_equal(n_listed, strlen(whole));
        assert_int_equal(sum, n_bytes);
        free(units);
    }
    free(whole);
    free(text);
}

static void lines_of_a_range_are_numbered_in_the_file(void **state) {
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    char expected[TEMP_PATH_SIZE + 8];
    const char *path = put_text("a.jsonl", "{\"text\":\"a\"}\n\n{\"text\":\"b\"}\nbad\n");
    const sp_text_unit unit = {.begin = 1, .end = 100};
    assert_int_equal(sp_text_reader_open(&reader, path, &unit, NULL), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    snprintf(expected, sizeof expected, "%s:3", path);
    assert_string_equal(document.id, expected);
    assert_int_equal(document.row, 3);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "line 4: column 1: not a JSON object"));
    sp_text_reader_close(reader);
}

/* Reads a range that knows how many lines lie before it, and checks what its documents are: "w" wanted,
   "u" unwanted, "x" lost. Adds to text, and to the lines passed. */
static void name_lines(char *text, uint64_t *n_lines, const char *path, sp_text_unit unit,
                       const sp_text_options *options) {
    sp_text_reader *reader = NULL;
    unit.n_rows_before = *n_lines;
    assert_int_equal(sp_text_reader_open(&reader, path, &unit, options), SP_OK);
    for (;;) {
        sp_document document;
        bool end = false;
        const sp_status status = sp_text_reader_next(reader, &document, &end);
        uint64_t row = document.row, n_rows = 1;
        if (status == SP_OK && end) break;
        if (status != SP_OK) sp_text_reader_lost_rows(reader, &row, &n_rows);
        assert_int_equal(n_rows, 1);
        const char *kind = status != SP_OK ? "x" : document.is_unwanted ? "u" : "w";
        sprintf(text + strlen(text), "%ju%s ", (uintmax_t)row, kind);
        if (status == SP_OK && document.is_unwanted) assert_int_equal(document.n_bytes, 0);
        if (row == 4) assert_string_equal(document.id, "own");
        if (row == 8) {
            char expected[TEMP_PATH_SIZE + 8];
            snprintf(expected, sizeof expected, "%s:8", path);
            assert_string_equal(document.id, expected);
            assert_string_equal(sp_text_reader_row_id(reader, 8), expected);
        }
    }
    *n_lines += sp_text_reader_n_lines(reader);
    sp_text_reader_close(reader);
}

static void every_line_keeps_its_number(void **state) {
    const char *path =
        put_text("a.jsonl", "{\"text\":\"a\",\"n\":3}\n\n{\"text\":\"b\"}\n"
                            "{\"id\":\"own\",\"text\":7,\"n\":1}\nbad\n{\"text\":null,\"n\":3}\n"
                            "{\"text\":\"c\",\"n\":4}\n{\"id\":[],\"n\":1}\n");
    sp_condition condition;
    assert_int_equal(sp_condition_parse(&condition, "n >= 3"), SP_OK);
    const sp_conditions where = {.items = &condition, .n = 1};
    const sp_text_options options = {.where = &where, .gives_unwanted = true};
    for (uint64_t range = 1; range < 140; range++) {
        sp_text_unit *units = NULL;
        size_t n_units = 0;
        char text[256] = "";
        uint64_t n_lines = 0;
        assert_int_equal(sp_text_units(&units, &n_units, path, range, NULL), SP_OK);
        for (size_t i = 0; i < n_units; i++) name_lines(text, &n_lines, path, units[i], &options);
        assert_string_equal(text, "1w 3u 4u 5x 6x 7w 8u ");
        assert_int_equal(n_lines, 8);
        free(units);
    }
    sp_condition_free(&condition);
}

/* Whoever needs no rows has no line counted that lies before the range. */
static void rows_that_nobody_needs_are_not_counted(void **state) {
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const char *path = put_text("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}\nbad\n");
    const sp_text_unit unit = {.begin = 5, .end = 100};
    const sp_text_options none = {.rows = SP_ROWS_UNNEEDED}, damage = {.rows = SP_ROWS_OF_DAMAGE};
    assert_int_equal(sp_text_reader_open(&reader, path, &unit, &none), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_int_equal(document.row, 0);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "line 2 after byte 13: "));
    sp_text_reader_close(reader);
    assert_int_equal(sp_text_reader_open(&reader, path, &unit, &damage), SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_int_equal(document.row, 0);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "line 3: "));
    sp_text_reader_close(reader);
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
        const char *path = put_text(cases[i].name, "\x1f\x8b");
        assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
        assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
        sp_text_reader_lost_rows(reader, &row, &n_rows);
        assert_int_equal(n_rows, cases[i].n_rows);
        if (n_rows > 0) assert_string_equal(sp_text_reader_row_id(reader, row), path);
        sp_text_reader_close(reader);
    }
}

static void what_cannot_be_divided_is_one_unit(void **state) {
    static const char *const names[] = {"a.txt", "a.jsonl.gz", "a.txt.zst", "empty.jsonl"};
    for (size_t i = 0; i < 4; i++) {
        sp_text_unit *units = NULL;
        size_t n_units = 0;
        const char *path = put_text(names[i], i < 3 ? "some bytes" : "");
        assert_int_equal(sp_text_units(&units, &n_units, path, 1, NULL), SP_OK);
        assert_int_equal(n_units, 1);
        assert_true(units[0].begin == 0 && units[0].end == UINT64_MAX);
        assert_int_equal(units[0].n_bytes, i < 3 ? 10 : 0);
        free(units);
    }
}

/* ---- going on after damage ---- */

static void reading_goes_on_behind_a_bad_line(void **state) {
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const char *path =
        put_text("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"brok\n\n{\"text\":\"c\"}\n[");
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, NULL), SP_OK);
    static const sp_status expected[] = {SP_OK, SP_BAD_DATA, SP_OK, SP_BAD_DATA};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(sp_text_reader_next(reader, &document, &end), expected[i]);
        assert_false(end);
        if (i % 2 == 1) assert_int_equal(sp_text_reader_loss(reader), SP_LOST_ROW);
    }
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(end);
    sp_text_reader_close(reader);
}

static void damage_of_a_packed_file_takes_the_rest_of_it(void **state) {
    for (size_t i = 0; i < 2; i++) {
        unsigned char packed[2048];
        size_t n = packings[i].append(packed, 0, sizeof packed, "{\"text\":\"one\"}\n", 15);
        memcpy(packed + n, "this is not packed", 18);
        sp_text_reader *reader = NULL;
        sp_document document;
        bool end = false;
        const char *path = put(packings[i].name, packed, n + 18);
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
    const char *path = put(name, packed, n);
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
        cmocka_unit_test(text_file_is_one_document),
        cmocka_unit_test(each_line_is_a_document),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(bytes_that_are_not_utf8_are_kept),
        cmocka_unit_test(bad_line_is_named),
        cmocka_unit_test(deep_nesting_is_refused_rather_than_followed),
        cmocka_unit_test(unknown_extension_names_the_known_ones),
        cmocka_unit_test(packed_members_read_as_one_text),
        cmocka_unit_test(packed_file_cut_anywhere_is_refused),
        cmocka_unit_test(packed_lines_are_those_of_the_plain_file),
        cmocka_unit_test(line_longer_than_any_buffer_is_read),
        cmocka_unit_test(made_up_ids_are_file_and_line),
        cmocka_unit_test(column_names_the_field_of_the_text),
        cmocka_unit_test(conditions_are_asked_of_the_fields_of_a_line),
        cmocka_unit_test(conditions_that_cannot_be_asked_are_errors),
        cmocka_unit_test(ranges_of_any_size_make_the_file),
        cmocka_unit_test(lines_of_a_range_are_numbered_in_the_file),
        cmocka_unit_test(every_line_keeps_its_number),
        cmocka_unit_test(rows_that_nobody_needs_are_not_counted),
        cmocka_unit_test(damaged_files_lose_what_can_be_counted),
        cmocka_unit_test(what_cannot_be_divided_is_one_unit),
        cmocka_unit_test(reading_goes_on_behind_a_bad_line),
        cmocka_unit_test(damage_of_a_packed_file_takes_the_rest_of_it),
        cmocka_unit_test(line_beyond_the_memory_is_passed_over)};
    return cmocka_run_group_tests_name("text_reader", tests, create_folder, remove_folder);
}
