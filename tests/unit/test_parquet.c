/* Documents from Parquet, against what pyarrow read from the same files (tools/make_parquet_fixtures.py). */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/parquet_file.h"
#include "io/text_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define FIXTURES "tests/fixtures/parquet/"

static char dir[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

static void need_arrow(void) {
    if (sp_parquet_is_supported()) return;
    print_message("skipped: needs Arrow's Parquet library (tools/bootstrap parquet)\n");
    skip();
}

/* What came out of a shard: "id|text\n" of each document, the id only if it is the input's own, and
   what was lost. */
typedef struct outcome {
    char *listing; /* owned */
    size_t n_listing;
    size_t n_documents, n_lost[3];
    uint64_t n_unwanted, n_rows;   /* n_rows: the last document's */
    char message[SP_MESSAGE_SIZE]; /* of the first loss */
} outcome;

static void free_outcome(outcome *o) {
    free(o->listing);
    *o = (outcome){0};
}

/* Reads on after damage; any other failure is returned. */
static sp_status read_documents(outcome *o, FILE *out, sp_text_reader *reader) {
    for (;;) {
        sp_document document;
        bool end = false;
        const sp_status status = sp_text_reader_next(reader, &document, &end);
        if (status == SP_BAD_DATA) {
            if (o->message[0] == '\0') snprintf(o->message, sizeof o->message, "%s", sp_message());
            o->n_lost[sp_text_reader_loss(reader)]++;
            assert_true(o->n_lost[0] + o->n_lost[1] + o->n_lost[2] < 1000); /* it comes to an end */
            continue;
        }
        if (status != SP_OK) return status;
        if (end) return SP_OK;
        o->n_documents++;
        o->n_rows = document.row;
        fprintf(out, "%s|", document.has_own_id ? document.id : "");
        fwrite(document.text, 1, document.n_bytes, out);
        fputc('\n', out);
    }
}

/* Reads a unit of a shard, or all of it, and adds to *o. */
static sp_status read_unit(outcome *o, const char *path, const sp_text_unit *unit,
                           const sp_text_options *options) {
    char *listing = NULL;
    size_t n = 0;
    sp_text_reader *reader = NULL;
    const sp_status status = sp_text_reader_open(&reader, path, unit, options);
    if (status != SP_OK) return status;
    FILE *out = open_memstream(&listing, &n);
    const sp_status read_status = read_documents(o, out, reader);
    o->n_unwanted += sp_text_reader_n_unwanted(reader);
    sp_text_reader_close(reader);
    fclose(out);
    o->listing = realloc(o->listing, o->n_listing + n + 1);
    assert_non_null(o->listing);
    memcpy(o->listing + o->n_listing, listing, n + 1);
    o->n_listing += n;
    free(listing);
    return read_status;
}

static outcome read_shard(const char *path, const sp_text_options *options) {
    outcome o = {0};
    if (read_unit(&o, path, NULL, options) != SP_OK) fail_msg("%s", sp_message());
    return o;
}

static void assert_same(const outcome *a, const outcome *b) {
    assert_int_equal(a->n_documents, b->n_documents);
    assert_int_equal(a->n_listing, b->n_listing);
    assert_memory_equal(a->listing, b->listing, a->n_listing);
}

static void assert_says(const char *message, const char *text) {
    if (strstr(message, text) == NULL) fail_msg("'%s' does not say '%s'", message, text);
}

/* ---- sound files ---- */

static const struct {
    const char *parquet, *jsonl;
} pairs[] = {{FIXTURES "snappy.parquet", FIXTURES "snappy.jsonl"},
             {FIXTURES "zstd.parquet", FIXTURES "snappy.jsonl"},
             {FIXTURES "kinds.parquet", FIXTURES "kinds.jsonl"},
             {FIXTURES "dictionary.parquet", FIXTURES "dictionary.jsonl"},
             {FIXTURES "sums.parquet", FIXTURES "sums.jsonl"}};
enum { N_PAIRS = sizeof pairs / sizeof pairs[0] };

static void documents_are_those_that_pyarrow_reads(void **state) {
    need_arrow();
    for (size_t i = 0; i < N_PAIRS; i++) {
        outcome ours = read_shard(pairs[i].parquet, NULL);
        outcome theirs = read_shard(pairs[i].jsonl, NULL);
        assert_same(&ours, &theirs);
        assert_int_equal(ours.n_documents, i == 4 ? 20 : 32);
        assert_int_equal(ours.n_rows, ours.n_documents);
        free_outcome(&ours);
        free_outcome(&theirs);
    }
}

static void row_groups_are_units_that_make_the_file(void **state) {
    need_arrow();
    sp_text_unit *units = NULL;
    size_t n_units = 0;
    outcome parts = {0}, whole = read_shard(FIXTURES "zstd.parquet", NULL);
    assert_int_equal(sp_text_units(&units, &n_units, FIXTURES "zstd.parquet", 1, NULL), SP_OK);
    assert_int_equal(n_units, 4);
    for (size_t i = 0; i < n_units; i++) {
        assert_true(units[i].n_bytes > 100 && units[i].n_bytes < 10000);
        assert_int_equal(read_unit(&parts, FIXTURES "zstd.parquet", &units[i], NULL), SP_OK);
        assert_int_equal(parts.n_documents, i < 3 ? 10 * (i + 1) : 32);
        assert_int_equal(parts.n_rows, parts.n_documents); /* rows count in the file */
    }
    assert_same(&parts, &whole);
    free(units);
    free_outcome(&parts);
    free_outcome(&whole);

    assert_int_equal(sp_text_units(&units, &n_units, FIXTURES "no_rows.parquet", 1, NULL), SP_OK);
    free(units);
    outcome none = read_shard(FIXTURES "no_rows.parquet", NULL);
    assert_int_equal(none.n_documents, 0);
    free_outcome(&none);
}

/* Rows of a unit, counted from what is given and what is lost: each in its place. */
static uint64_t count_rows(const char *path, const sp_text_unit *unit,
                           const sp_text_options *options, uint64_t row) {
    sp_text_reader *reader = NULL;
    assert_int_equal(sp_text_reader_open(&reader, path, unit, options), SP_OK);
    for (;;) {
        sp_document document;
        bool end = false;
        const sp_status status = sp_text_reader_next(reader, &document, &end);
        uint64_t first = document.row, n_rows = 1;
        if (status == SP_OK && end) break;
        if (status != SP_OK) sp_text_reader_lost_rows(reader, &first, &n_rows);
        if (n_rows > 0) assert_int_equal(first, row + 1);
        if (status == SP_OK && document.is_unwanted) assert_int_equal(document.n_bytes, 0);
        row += n_rows;
    }
    sp_text_reader_close(reader);
    return row;
}

static void every_row_keeps_its_number(void **state) {
    need_arrow();
    static const char *const paths[] = {FIXTURES "zstd.parquet", FIXTURES "codec.parquet",
                                        FIXTURES "nulls.parquet", FIXTURES "too_large.parquet"};
    sp_condition condition;
    const sp_conditions where = {.items = &condition, .n = 1};
    assert_int_equal(sp_condition_parse(&condition, "text >= 'm'"), SP_OK);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        for (int has_condition = 0; has_condition < 2; has_condition++) {
            const sp_text_options options = {.where = has_condition ? &where : NULL,
                                             .gives_unwanted = true};
            sp_text_unit *units = NULL;
            size_t n_units = 0;
            uint64_t row = 0;
            if (sp_text_units(&units, &n_units, paths[i], 1, &options) != SP_OK)
                fail_msg("%s", sp_message());
            for (size_t u = 0; u < n_units; u++) {
                const uint64_t next = count_rows(paths[i], &units[u], &options, row);
                assert_int_equal(next - row, units[u].n_rows);
                row = next;
            }
            assert_true(row > 0);
            assert_int_equal(count_rows(paths[i], NULL, &options, 0), row);
            free(units);
        }
    }
    sp_condition_free(&condition);
}

static outcome read_where(const char *path, const char *const *texts, size_t n) {
    sp_condition items[4];
    const sp_conditions where = {.items = items, .n = n};
    for (size_t i = 0; i < n; i++) assert_int_equal(sp_condition_parse(&items[i], texts[i]), SP_OK);
    outcome o = read_shard(path, &(sp_text_options){.where = &where});
    for (size_t i = 0; i < n; i++) sp_condition_free(&items[i]);
    return o;
}

static void conditions_choose_as_they_do_in_json_lines(void **state) {
    need_arrow();
    static const char *const cases[][3] = {
        {"language = en"},
        {"language_score >= 0.8"},
        {"token_count>=11", "token_count < 50"},
        {"language != 'en'", "language_score < 0.9", "date > 2015"},
        {"token_count = 55"},
        {"id = <urn:uuid:00000003>"},
        {"language = xx"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = 0;
        while (n < 3 && cases[i][n] != NULL) n++;
        outcome all = read_shard(FIXTURES "snappy.parquet", NULL);
        outcome ours = read_where(FIXTURES "snappy.parquet", cases[i], n);
        outcome theirs = read_where(FIXTURES "snappy.jsonl", cases[i], n);
        assert_same(&ours, &theirs);
        assert_true(i == 6 ? ours.n_documents == 0 : ours.n_documents > 0);
        assert_true(ours.n_documents < all.n_documents);
        assert_int_equal(ours.n_documents + ours.n_unwanted, all.n_documents);
        assert_int_equal(theirs.n_unwanted, ours.n_unwanted);
        free_outcome(&all);
        free_outcome(&ours);
        free_outcome(&theirs);
    }
}

static void nulls_fail_conditions_and_a_null_text_is_damage(void **state) {
    need_arrow();
    outcome all = read_shard(FIXTURES "nulls.parquet", NULL);
    outcome listed = read_shard(FIXTURES "nulls.jsonl", NULL);
    assert_same(&all, &listed);
    assert_int_equal(all.n_documents, 28); /* of 32, every seventh of which has no text */
    assert_int_equal(all.n_lost[SP_LOST_ROW], 4);
    assert_string_equal(all.message, "'" FIXTURES "nulls.parquet', row 7: 'text' is null");
    free_outcome(&all);
    free_outcome(&listed);

    static const char *const conditions[] = {"language_score >= 0", "language != xx"};
    all = read_where(FIXTURES "nulls.parquet", conditions, 2);
    listed = read_where(FIXTURES "nulls.jsonl", conditions, 2);
    assert_same(&all, &listed);
    assert_int_equal(all.n_unwanted, 6); /* every fifth is null */
    assert_int_equal(all.n_documents, 22);
    free_outcome(&all);
    free_outcome(&listed);
}

static void made_up_ids_are_file_and_row(void **state) {
    need_arrow();
    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    const sp_text_unit second = {.begin = 1, .end = 2};
    assert_int_equal(sp_text_reader_open(&reader, FIXTURES "too_large.parquet", &second, NULL),
                     SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_BAD_DATA);
    sp_text_reader_close(reader);
    const sp_text_unit third = {.begin = 2, .end = 3};
    assert_int_equal(sp_text_reader_open(&reader, FIXTURES "too_large.parquet", &third, NULL),
                     SP_OK);
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_string_equal(document.id, FIXTURES "too_large.parquet:3");
    assert_false(document.has_own_id);
    sp_text_reader_close(reader);
}

static void bytes_that_are_not_utf8_are_kept(void **state) {
    need_arrow();
    outcome o = read_shard(FIXTURES "bytes.parquet", NULL);
    static const char raw[] = "<urn:uuid:00000004>|bad \xff\xfe and\0a NUL\n";
    assert_int_equal(o.n_documents, 32);
    assert_non_null(memmem(o.listing, o.n_listing, raw, sizeof raw - 1));
    free_outcome(&o);
}

static void column_of_the_text_is_named(void **state) {
    need_arrow();
    outcome o = read_shard(FIXTURES "struct.parquet", &(sp_text_options){.column = "doc.text"});
    outcome plain = read_shard(FIXTURES "snappy.parquet", NULL);
    assert_int_equal(o.n_documents, 3);
    const char *first = strchr(plain.listing, '|');
    assert_memory_equal(o.listing, first, (size_t)(strchr(first, '\n') - first));
    free_outcome(&o);
    free_outcome(&plain);
    o = read_shard(FIXTURES "snappy.parquet", &(sp_text_options){.column = "dump"});
    assert_says(o.listing, "|CC-MAIN-2013-20\n");
    free_outcome(&o);
}

/* ---- files that are not what is asked for ---- */

static void assert_refused(const char *path, const sp_text_options *options, const char *text) {
    sp_text_reader *reader = NULL;
    assert_int_equal(sp_text_reader_open(&reader, path, NULL, options), SP_BAD_DATA);
    assert_says(sp_message(), text);
    assert_says(sp_message(), path);
}

static void wrong_columns_are_refused_by_name(void **state) {
    need_arrow();
    assert_refused(FIXTURES "no_text.parquet", NULL, "no column 'text'");
    assert_refused(FIXTURES "number.parquet", NULL, "'text' holds no strings");
    assert_refused(FIXTURES "list.parquet", NULL, "'text' holds no strings");
    assert_refused(FIXTURES "snappy.parquet", &(sp_text_options){.column = "txt"},
                   "no column 'txt'");
    static const struct {
        const char *path, *condition, *message;
    } cases[] = {
        {FIXTURES "snappy.parquet", "score > 1", "no column 'score'"},
        {FIXTURES "snappy.parquet", "token_count = many", "'token_count' is a number"},
        {FIXTURES "struct.parquet", "doc = 1", "'doc' is neither text nor a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sp_condition condition;
        assert_int_equal(sp_condition_parse(&condition, cases[i].condition), SP_OK);
        const sp_conditions where = {.items = &condition, .n = 1};
        assert_refused(cases[i].path,
                       &(sp_text_options){.column = i < 2 ? NULL : "doc.text", .where = &where},
                       cases[i].message);
        sp_condition_free(&condition);
    }
}

static void files_that_are_not_parquet_are_refused(void **state) {
    need_arrow();
    char path[TEMP_PATH_SIZE];
    sp_text_reader *reader = NULL;
    temp_write(temp_path(path, dir, "empty.parquet"), "", 0);
    assert_refused(path, NULL, "size is 0 bytes");
    temp_write(path, "{\"text\": \"this is not Parquet\"}\n", 32);
    assert_refused(path, NULL, "not a parquet file");
    assert_int_equal(sp_text_reader_open(&reader, temp_path(path, dir, "none.parquet"), NULL, NULL),
                     SP_IO);
    assert_says(sp_message(), path);
    assert_int_equal(sp_text_reader_open(&reader, dir, NULL, NULL), SP_BAD_DATA);
}

/* ---- damage ---- */

static void file_cut_anywhere_is_refused(void **state) {
    need_arrow();
    size_t n_bytes = 0;
    char path[TEMP_PATH_SIZE], *data = temp_read(FIXTURES "snappy.parquet", &n_bytes);
    temp_path(path, dir, "cut.parquet");
    for (size_t n = 0; n < n_bytes; n += n < 64 || n + 64 > n_bytes ? 1 : 97) {
        temp_write(path, data, n);
        assert_refused(path, NULL, path);
    }
    free(data);
}

static void damaged_page_takes_its_row_group_alone(void **state) {
    need_arrow();
    size_t n_bytes = 0;
    char path[TEMP_PATH_SIZE], *data = temp_read(FIXTURES "sums.parquet", &n_bytes);
    outcome sound = read_shard(FIXTURES "sums.parquet", NULL);
    /* A text of row group 1, where its page lies: the checksum is wrong from here on. */
    char *text = memmem(data, n_bytes, "urn:uuid:00000007", 17);
    assert_non_null(text);
    text[16] = '8';
    temp_write(temp_path(path, dir, "damaged.parquet"), data, n_bytes);
    outcome o = read_shard(path, NULL);
    assert_int_equal(o.n_documents, 15);
    assert_int_equal(o.n_lost[SP_LOST_GROUP], 1);
    assert_int_equal(o.n_lost[SP_LOST_ROW] + o.n_lost[SP_LOST_FILE], 0);
    assert_says(o.message, path);
    assert_says(o.message, "row group 1, from row 6 on: ");
    assert_says(o.message, "checksum");
    assert_int_equal(o.n_rows, 20); /* rows behind it keep their numbers */
    const char *last = memmem(sound.listing, sound.n_listing, "<urn:uuid:0000000a>", 19);
    assert_memory_equal(strstr(o.listing, "<urn:uuid:0000000a>"), last,
                        sound.n_listing - (size_t)(last - sound.listing));
    free_outcome(&o);
    free_outcome(&sound);
    free(data);
}

static void row_count_that_is_not_the_columns_is_damage(void **state) {
    need_arrow();
    static const struct {
        char count; /* as the footer's Thrift has it: twice the number */
        size_t n_documents;
        const char *message;
    } cases[] = {{8, 19, "more values than"}, {12, 20, "fewer values than"}};
    size_t n_bytes = 0;
    char path[TEMP_PATH_SIZE], *data = temp_read(FIXTURES "sums.parquet", &n_bytes);
    /* The field after a row group's count is its offset in the file; group 1's is the second. */
    static const char count_of_5[] = {0x16, 10, 0x26};
    char *at = memmem(data, n_bytes, count_of_5, sizeof count_of_5);
    at = memmem(at + 1, n_bytes - (size_t)(at + 1 - data), count_of_5, sizeof count_of_5);
    assert_non_null(at);
    for (size_t i = 0; i < 2; i++) {
        at[1] = cases[i].count;
        temp_write(temp_path(path, dir, "count.parquet"), data, n_bytes);
        outcome o = read_shard(path, NULL);
        assert_int_equal(o.n_documents, cases[i].n_documents);
        assert_int_equal(o.n_lost[SP_LOST_GROUP], 1);
        assert_says(o.message, "row group 1, ");
        assert_says(o.message, cases[i].message);
        free_outcome(&o);
    }
    free(data);
}

/* Where the footer is altered, nobody counts rows that cannot be there, and units count as the file. */
static void rows_of_an_altered_footer_are_not_believed(void **state) {
    need_arrow();
    const sp_text_options options = {.gives_unwanted = true};
    size_t n_bytes = 0, n_read = 0;
    char path[TEMP_PATH_SIZE], *data = temp_read(FIXTURES "sums.parquet", &n_bytes);
    uint32_t footer_bytes = 0;
    memcpy(&footer_bytes, data + n_bytes - 8, 4);
    temp_path(path, dir, "altered.parquet");
    for (size_t i = 0; i < 2 * (size_t)(footer_bytes / 3); i++) {
        const size_t at = n_bytes - 8 - footer_bytes + i / 2 * 3;
        sp_text_unit *units = NULL;
        size_t n_units = 0;
        uint64_t row = 0;
        const char before = data[at];
        data[at] = i % 2 == 0 ? (char)0xFE : 1; /* of a number, one with more bytes, or -1 */
        temp_write(path, data, n_bytes);
        data[at] = before;
        if (sp_text_units(&units, &n_units, path, 1, &options) != SP_OK) {
            sp_text_reader *reader = NULL;
            assert_int_not_equal(sp_text_reader_open(&reader, path, NULL, &options), SP_OK);
            continue;
        }
        for (size_t u = 0; u < n_units; u++) row = count_rows(path, &units[u], &options, row);
        assert_true(row < 1000);
        assert_int_equal(count_rows(path, NULL, &options, 0), row);
        n_read++;
        free(units);
    }
    assert_true(n_read > 10);
    free(data);
}

static void unknown_codec_takes_its_row_group_alone(void **state) {
    need_arrow();
    outcome o = read_shard(FIXTURES "codec.parquet", NULL);
    assert_int_equal(o.n_documents, 4);
    assert_int_equal(o.n_lost[SP_LOST_GROUP], 1);
    assert_says(o.message, "codec.parquet', row group 1, from row 3 on: ");
    free_outcome(&o);
}

/* Of this process; a sanitizer keeps what is freed. */
static void assert_peak_below_mb(long most) {
#ifndef __SANITIZE_ADDRESS__
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    assert_true(usage.ru_maxrss / 1000 < most);
#else
    (void)most;
#endif
}

static void document_of_100_mb_is_read_and_one_beyond_the_memory_is_not(void **state) {
    need_arrow();
    outcome o = read_shard(FIXTURES "too_large.parquet", NULL);
    assert_string_equal(o.listing, "|first\n|last\n");
    assert_int_equal(o.n_lost[SP_LOST_GROUP], 1);
    assert_says(o.message, "row group 1, from row 2 on: ");
    free_outcome(&o);

    sp_text_reader *reader = NULL;
    sp_document document;
    bool end = false;
    assert_int_equal(sp_text_reader_open(&reader, FIXTURES "large.parquet", NULL, NULL), SP_OK);
    static const size_t sizes[] = {5, 100000000, 4};
    for (size_t i = 0; i < 3; i++) {
        if (sp_text_reader_next(reader, &document, &end) != SP_OK) fail_msg("%s", sp_message());
        assert_int_equal(document.n_bytes, sizes[i]);
        if (i == 1)
            for (size_t at = 0; at < document.n_bytes; at += 5)
                assert_memory_equal(document.text + at, "word ", 5);
    }
    assert_int_equal(sp_text_reader_next(reader, &document, &end), SP_OK);
    assert_true(end);
    sp_text_reader_close(reader);
    assert_peak_below_mb(512);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_those_that_pyarrow_reads),
        cmocka_unit_test(row_groups_are_units_that_make_the_file),
        cmocka_unit_test(every_row_keeps_its_number),
        cmocka_unit_test(conditions_choose_as_they_do_in_json_lines),
        cmocka_unit_test(nulls_fail_conditions_and_a_null_text_is_damage),
        cmocka_unit_test(made_up_ids_are_file_and_row),
        cmocka_unit_test(bytes_that_are_not_utf8_are_kept),
        cmocka_unit_test(column_of_the_text_is_named),
        cmocka_unit_test(wrong_columns_are_refused_by_name),
        cmocka_unit_test(files_that_are_not_parquet_are_refused),
        cmocka_unit_test(file_cut_anywhere_is_refused),
        cmocka_unit_test(damaged_page_takes_its_row_group_alone),
        cmocka_unit_test(row_count_that_is_not_the_columns_is_damage),
        cmocka_unit_test(rows_of_an_altered_footer_are_not_believed),
        cmocka_unit_test(unknown_codec_takes_its_row_group_alone),
        cmocka_unit_test(document_of_100_mb_is_read_and_one_beyond_the_memory_is_not)};
    return cmocka_run_group_tests_name("parquet", tests, create_folder, remove_folder);
}
