#include "tests/check.h"
#include "tests/temp_folder.h"

#include "base/log.h"
#include "run/tokenize.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

static sp_world *world;
static char dir[TEMP_PATH_SIZE]; /* the same on every rank; rank 0 makes and removes it */

static bool is_first(void) { return sp_world_rank(world) == 0; }

static int create_folder(void **state) {
    if (is_first()) temp_folder_create(dir);
    sp_world_broadcast(world, dir, sizeof dir, 0);
    return 0;
}

static int remove_folder(void **state) {
    sp_world_barrier(world);
    if (is_first()) temp_folder_remove(dir);
    return 0;
}

/* ---- tokenizers whose ids can be told without a tokenizer: byte b is id b, and "ab" may be 256 */

/* Byte-level BPE spells bytes as printable characters (GPT-2's table). */
static uint32_t spelled_byte(int byte) {
    int n_shifted = 0;
    for (int b = 0; b <= byte; b++) {
        const bool is_printable =
            (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
        if (is_printable && b == byte) return (uint32_t)byte;
        if (!is_printable && b < byte) n_shifted++;
    }
    return (uint32_t)(256 + n_shifted);
}

static sp_tokenizer *create_tokenizer(bool merges_ab) {
    json_t *vocabulary = json_object(), *merges = json_array();
    for (int byte = 0; byte < 256; byte++) {
        const uint32_t c = spelled_byte(byte);
        const char two[] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F)), '\0'};
        const char one[] = {(char)c, '\0'};
        json_object_set_new(vocabulary, c < 0x80 ? one : two, json_integer(byte));
    }
    if (merges_ab) {
        json_object_set_new(vocabulary, "ab", json_integer(256));
        json_array_append_new(merges, json_string("a b"));
    }
    json_t *whole =
        json_pack("{s:s, s:[], s:n, s:{s:s, s:b, s:b, s:b}, s:n, s:{s:s, s:b, s:b, s:b},"
                  " s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
                  "version", "1.0", "added_tokens", "normalizer", "pre_tokenizer", "type",
                  "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1,
                  "post_processor", "decoder", "type", "ByteLevel", "add_prefix_space", 1,
                  "trim_offsets", 1, "use_regex", 1, "model", "type", "BPE", "dropout", "unk_token",
                  "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback",
                  0, "ignore_merges", 0, "vocab", vocabulary, "merges", merges);
    assert_non_null(whole);
    sp_tokenizer *tokenizer = NULL;
    if (sp_tokenizer_create(&tokenizer, whole, "bytes") != SP_OK) fail_msg("%s", sp_message());
    json_decref(whole);
    return tokenizer;
}

/* ---- a corpus of text files and lines, some packed, some empty ---- */

enum { N_FILES = 4, N_LINES = 37, N_DOCUMENTS = 2 + 2 * N_LINES };
static const char *const file_names[N_FILES] = {"one.txt", "lines.jsonl", "empty.txt",
                                                "packed.jsonl.gz"};
typedef struct document {
    char id[TEMP_PATH_SIZE + 32], text[512];
    size_t n_bytes;
} document;
static document documents[N_DOCUMENTS];
static char paths[N_FILES][TEMP_PATH_SIZE];

/* Letters, "ab", blanks, characters of 2, 3 and 4 bytes, and bytes that are no UTF-8. */
static size_t make_text(char *text, size_t n_pieces, uint32_t *seed) {
    static const char *const pieces[] = {"a",      "ab",     "b",          " ",    "word", "ab ab",
                                         "\u00e9", "\u20ac", "\U0001F600", "\xFF", "\n",   "aab"};
    text[0] = '\0';
    for (size_t i = 0; i < n_pieces; i++) {
        *seed = *seed * 1664525U + 1013904223U;
        strcat(text, pieces[(*seed >> 16) % (sizeof pieces / sizeof pieces[0])]);
    }
    return strlen(text);
}

/* Writes a line of JSON whose string holds the bytes as they are. */
static void print_line(FILE *out, const document *d, bool has_id) {
    fputs("{\"text\": \"", out);
    for (const char *c = d->text; *c != '\0'; c++)
        if (*c == '\n')
            fputs("\\n", out);
        else
            fputc(*c, out);
    fputs("\"", out);
    if (has_id) fprintf(out, ", \"id\": \"%s\"", d->id);
    fputs("}\n", out);
}

static void make_lines(size_t file, size_t first, uint32_t *seed) {
    char *text = NULL;
    size_t n_bytes = 0, line = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    for (size_t i = 0; i < N_LINES; i++) {
        document *d = &documents[first + i];
        const bool has_id = i % 3 == 1;
        line++;
        if (i % 5 == 2) {
            fputs("\n", out); /* a blank line */
            line++;
        }
        d->n_bytes = make_text(d->text, i % 4 == 0 ? 0 : 3 * i, seed);
        if (has_id)
            snprintf(d->id, sizeof d->id, "doc-%zu", first + i);
        else
            snprintf(d->id, sizeof d->id, "%s:%zu", paths[file], line);
        print_line(out, d, has_id);
    }
    fclose(out);
    if (is_first() && strstr(paths[file], ".gz") != NULL) {
        const gzFile packed = gzopen(paths[file], "wb");
        assert_int_equal(gzwrite(packed, text, (unsigned)n_bytes), n_bytes);
        gzclose(packed);
    } else if (is_first()) {
        temp_write(paths[file], text, n_bytes);
    }
    free(text);
}

/* Every rank knows what is in the corpus; the first one writes it. */
static void make_corpus(void) {
    uint32_t seed = 7;
    for (size_t i = 0; i < N_FILES; i++) temp_path(paths[i], dir, file_names[i]);
    documents[0].n_bytes = make_text(documents[0].text, 90, &seed);
    strcpy(documents[0].id, paths[0]);
    if (is_first()) temp_write(paths[0], documents[0].text, documents[0].n_bytes);
    make_lines(1, 1, &seed);
    documents[1 + N_LINES].n_bytes = 0;
    strcpy(documents[1 + N_LINES].id, paths[2]);
    if (is_first()) temp_write(paths[2], "", 0);
    make_lines(3, 2 + N_LINES, &seed);
    sp_world_barrier(world);
}

/* ---- what the definition gives ---- */

/* The end of the segment that begins at `begin`, of at most n bytes: not before 10xxxxxx, if there
   is such an end. */
static size_t segment_end(const document *d, size_t begin, size_t n) {
    if (d->n_bytes - begin <= n) return d->n_bytes;
    for (size_t end = begin + n; end > begin; end--)
        if (((unsigned char)d->text[end] & 0xC0) != 0x80) return end;
    return begin + n;
}

static size_t ids_with_ab(int32_t *ids, const char *text, size_t n_bytes) {
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; n++) {
        const bool is_ab = i + 1 < n_bytes && text[i] == 'a' && text[i + 1] == 'b';
        ids[n] = is_ab ? 256 : (unsigned char)text[i];
        i += is_ab ? 2 : 1;
    }
    return n;
}

static void assert_segment(const sp_tokens *tokens, size_t segment, const document *d, size_t begin,
                           size_t end) {
    uint64_t byte_begin = 0;
    uint32_t byte_len = 0;
    int32_t ids[512], expected[512];
    size_t bytes = 0, merged = 0;
    assert_int_equal(sp_tokens_find_stream(tokens, "bytes", &bytes), SP_OK);
    assert_int_equal(sp_tokens_find_stream(tokens, "merged", &merged), SP_OK);
    assert_int_equal(sp_tokens_document(tokens, segment), d - documents);
    assert_true(sp_tokens_document_hash(tokens, segment) == XXH3_64bits(d->text, d->n_bytes));
    assert_int_equal(sp_tokens_bytes(tokens, segment, &byte_begin, &byte_len), SP_OK);
    assert_int_equal(byte_begin, begin);
    assert_int_equal(byte_len, end - begin);

    assert_int_equal(sp_tokens_length(tokens, bytes, segment), end - begin);
    assert_int_equal(sp_tokens_read(tokens, bytes, segment, ids), SP_OK);
    for (size_t i = begin; i < end; i++)
        assert_int_equal(ids[i - begin], (unsigned char)d->text[i]);

    const size_t n_expected = ids_with_ab(expected, d->text + begin, end - begin);
    assert_int_equal(sp_tokens_length(tokens, merged, segment), n_expected);
    assert_int_equal(sp_tokens_read(tokens, merged, segment, ids), SP_OK);
    assert_memory_equal(ids, expected, n_expected * sizeof *ids);
}

static void assert_corpus(const char *path, size_t segment_tokens,
                          const sp_tokenize_summary *summary) {
    sp_tokens *tokens = NULL;
    size_t segment = 0, n_bytes = 0, n_empty = 0;
    assert_int_equal(sp_tokens_open(&tokens, path), SP_OK);
    assert_int_equal(sp_tokens_n_documents(tokens), N_DOCUMENTS);
    for (size_t i = 0; i < N_DOCUMENTS; i++) {
        const document *d = &documents[i];
        char *id = NULL;
        assert_int_equal(sp_tokens_document_id(tokens, i, &id), SP_OK);
        assert_string_equal(id, d->id);
        free(id);
        n_bytes += d->n_bytes;
        n_empty += d->n_bytes == 0;
        for (size_t begin = 0; begin < d->n_bytes; segment++) {
            const size_t end = segment_end(d, begin, segment_tokens);
            assert_segment(tokens, segment, d, begin, end);
            begin = end;
        }
    }
    assert_int_equal(sp_tokens_n_segments(tokens), segment);
    assert_true(summary->n_documents == N_DOCUMENTS && summary->tallies.n_empty == n_empty);
    assert_true(summary->n_segments == segment && summary->tallies.n_bytes == n_bytes);
    assert_true(summary->n_tokens[0] == n_bytes && summary->n_tokens[1] <= n_bytes);
    sp_tokens_close(tokens);
}

/* Runs the job over the named files into dir/tokens.h5, with the streams "bytes" and "merged". */
static sp_status run(sp_tokenize_summary *summary, const char *const *files, size_t n_files,
                     size_t segment_tokens, uint64_t block_bytes) {
    sp_tokenizer *bytes = create_tokenizer(false), *merged = create_tokenizer(true);
    const sp_tokenize_stream streams[] = {{"bytes", bytes}, {"merged", merged}};
    char output[TEMP_PATH_SIZE];
    const sp_tokenize_job job = {
        .corpus = {.names = files, .n_names = n_files},
        .segmenting = {.streams = streams, .n_streams = 2, .segment_tokens = segment_tokens},
        .keeps_duplicates = true, /* short texts may be equal */
        .block_bytes = block_bytes,
        .output = temp_path(output, dir, "tokens.h5")};
    const sp_status status = sp_tokenize(world, &job, summary);
    sp_tokenizer_destroy(merged);
    sp_tokenizer_destroy(bytes);
    return status;
}

/* One block, and so one writer, or several blocks. */
static void file_is_what_the_definition_says_for_any_ranks(void **state) {
    static const struct {
        size_t segment_tokens;
        uint64_t block_bytes;
    } jobs[] = {{1, 0}, {3, 0}, {4, 2000}, {16, 0}, {16, 2000}, {100000, 2000}};
    make_corpus();
    const char *const files[] = {paths[0], paths[1], paths[2], paths[3]};
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        sp_tokenize_summary summary = {0};
        char output[TEMP_PATH_SIZE], parts[TEMP_PATH_SIZE];
        const sp_status status =
            run(&summary, files, N_FILES, jobs[i].segment_tokens, jobs[i].block_bytes);
        if (status != SP_OK) fail_msg("%s", sp_message());
        if (is_first()) {
            assert_corpus(temp_path(output, dir, "tokens.h5"), jobs[i].segment_tokens, &summary);
            assert_false(summary.was_done);
            /* Nothing is left beside it but parts, and of these the present ones alone. */
            const bool has_parts = access(temp_path(parts, dir, "tokens.parts"), F_OK) == 0;
            assert_int_equal(temp_count(dir), N_FILES + 1 + has_parts);
            assert_true(!has_parts || jobs[i].block_bytes > 0);
            assert_true(!has_parts || temp_count(parts) <= (size_t)sp_world_size(world));
        }
        sp_tokenize_summary_free(&summary);
        sp_world_barrier(world);
    }
}

static void finished_job_is_found_done(void **state) {
    make_corpus();
    const char *const files[] = {paths[0], paths[1], paths[2], paths[3]};
    for (uint64_t block_bytes = 0; block_bytes <= 2000; block_bytes += 2000) {
        sp_tokenize_summary made = {0}, found = {0}, other = {0};
        assert_int_equal(run(&made, files, N_FILES, 16, block_bytes), SP_OK);
        assert_int_equal(run(&found, files, N_FILES, 16, block_bytes), SP_OK);
        assert_false(made.was_done);
        assert_true(found.was_done);
        assert_int_equal(found.n_documents, made.n_documents);
        assert_int_equal(found.n_segments, made.n_segments);
        assert_memory_equal(&found.tallies, &made.tallies, sizeof made.tallies);
        assert_memory_equal(found.n_tokens, made.n_tokens, 2 * sizeof *made.n_tokens);
        assert_int_equal(run(&other, files, N_FILES - 1, 16, block_bytes), SP_OK);
        assert_false(other.was_done);
        sp_tokenize_summary_free(&made);
        sp_tokenize_summary_free(&found);
        sp_tokenize_summary_free(&other);
    }
}

/* The job fails on every rank with this status and message, and leaves nothing. */
static void assert_fails(const char *name, const char *text, sp_status expected,
                         const char *message) {
    sp_tokenize_summary summary = {0};
    char path[TEMP_PATH_SIZE];
    temp_path(path, dir, name);
    if (is_first() && text != NULL) temp_write(path, text, strlen(text));
    sp_world_barrier(world);
    const char *const files[] = {path};
    assert_int_equal(run(&summary, files, 1, 16, 0), expected);
    if (strstr(sp_message(), message) == NULL) fail_msg("'%s'", sp_message());
    sp_world_barrier(world);
    if (is_first()) {
        assert_int_equal(temp_count(dir), text != NULL);
        if (text != NULL) unlink(path);
    }
    sp_world_barrier(world);
}

static void bad_input_ends_every_rank_and_leaves_nothing(void **state) {
    assert_fails("bad.jsonl", "{\"text\": \"fine\"}\n{\"text\": 7}\n", SP_BAD_DATA, "line 2");
    assert_fails("empty.txt", "", SP_BAD_DATA, "no text");
    assert_fails("blank.jsonl", "\n\n", SP_BAD_DATA, "no text");
    assert_fails("text.csv", "x", SP_BAD_DATA, "unknown kind");
    assert_fails("cut.jsonl.gz", "\x1f\x8b", SP_BAD_DATA, "too early");
    assert_fails("missing.txt", NULL, SP_IO, "missing.txt");
}

static void output_that_cannot_be_written_ends_every_rank(void **state) {
    char path[TEMP_PATH_SIZE], output[TEMP_PATH_SIZE];
    temp_path(path, dir, "a.txt");
    if (is_first()) temp_write(path, "some text", 9);
    sp_world_barrier(world);
    sp_tokenizer *bytes = create_tokenizer(false);
    const sp_tokenize_stream stream = {"bytes", bytes};
    const char *const files[] = {path};
    const sp_tokenize_job job = {
        .corpus = {.names = files, .n_names = 1},
        .segmenting = {.streams = &stream, .n_streams = 1, .segment_tokens = 4},
        .output = temp_path(output, dir, "none/tokens.h5")};
    sp_tokenize_summary summary = {0};
    assert_int_equal(sp_tokenize(world, &job, &summary), SP_IO);
    assert_non_null(strstr(sp_message(), "none/tokens.h5"));
    sp_tokenizer_destroy(bytes);
}

/* ---- SentencePiece's kind, whose dummy prefix belongs to whole documents only ---- */

static sp_tokenizer *load_sentencepiece(void) {
    json_t *json = NULL;
    sp_tokenizer *tokenizer = NULL;
    assert_int_equal(sp_json_load_file(&json, "tests/fixtures/text/tokenizer_phi3.json"), SP_OK);
    assert_int_equal(sp_tokenizer_create(&tokenizer, json, "phi3"), SP_OK);
    json_decref(json);
    return tokenizer;
}

static void assert_decodes(const sp_tokens *tokens, const sp_tokenizer *tokenizer, size_t segment) {
    const size_t index = sp_tokens_document(tokens, segment);
    const bool is_first_of_document =
        segment == 0 || sp_tokens_document(tokens, segment - 1) != index;
    uint64_t begin = 0;
    uint32_t len = 0;
    assert_int_equal(sp_tokens_bytes(tokens, segment, &begin, &len), SP_OK);
    for (size_t stream = 0; stream < 2; stream++) {
        int32_t ids[1024];
        char *text = NULL;
        size_t n_bytes = 0;
        const size_t n = sp_tokens_length(tokens, stream, segment);
        assert_int_equal(sp_tokens_read(tokens, stream, segment, ids), SP_OK);
        const sp_decode_options options = {.is_continuation = stream > 0 || !is_first_of_document};
        assert_int_equal(sp_tokenizer_decode(tokenizer, &text, &n_bytes, ids, n, options), SP_OK);
        assert_int_equal(n_bytes, len);
        assert_memory_equal(text, documents[index].text + begin, len);
        free(text);
    }
}

static void assert_all_decode(const char *path, const sp_tokenizer *tokenizer) {
    sp_tokens *tokens = NULL;
    assert_int_equal(sp_tokens_open(&tokens, path), SP_OK);
    for (size_t s = 0; s < sp_tokens_n_segments(tokens); s++) assert_decodes(tokens, tokenizer, s);
    sp_tokens_close(tokens);
}

static void sentencepieces_segments_decode_to_their_bytes(void **state) {
    static const size_t sizes[] = {1, 2, 7, 100000};
    sp_tokenizer *tokenizer = load_sentencepiece();
    const sp_tokenize_stream streams[] = {{"first", tokenizer}, {"other", tokenizer}};
    make_corpus();
    const char *const files[] = {paths[0], paths[1], paths[2], paths[3]};
    char output[TEMP_PATH_SIZE];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const sp_tokenize_job job = {
            .corpus = {.names = files, .n_names = N_FILES},
            .segmenting = {.streams = streams, .n_streams = 2, .segment_tokens = sizes[i]},
            .keeps_duplicates = true,
            .output = temp_path(output, dir, "tokens.h5")};
        sp_tokenize_summary summary = {0};
        if (sp_tokenize(world, &job, &summary) != SP_OK) fail_msg("%s", sp_message());
        sp_tokenize_summary_free(&summary);
        if (is_first()) assert_all_decode(output, tokenizer);
        sp_world_barrier(world);
    }
    sp_tokenizer_destroy(tokenizer);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, create_folder, remove_folder)

int main(void) {
    if (sp_world_begin(&world) != SP_OK) return 1;
    sp_log_set_level(SP_LOG_QUIET);
    const struct CMUnitTest tests[] = {WITH_FOLDER(file_is_what_the_definition_says_for_any_ranks),
                                       WITH_FOLDER(finished_job_is_found_done),
                                       WITH_FOLDER(sentencepieces_segments_decode_to_their_bytes),
                                       WITH_FOLDER(bad_input_ends_every_rank_and_leaves_nothing),
                                       WITH_FOLDER(output_that_cannot_be_written_ends_every_rank)};
    const int n_failed = cmocka_run_group_tests_name("tokenize", tests, NULL, NULL);
    (void)sp_world_end(world, SP_OK);
    return n_failed;
}
