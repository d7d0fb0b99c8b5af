/* Files damaged at random: whoever reads them comes to an end, with what is lost told apart. Under
   sanitizers (`make san`) no byte beyond a buffer is touched either. SEED chooses another run. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/parquet_file.h"
#include "io/text_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

enum { N_DAMAGED = 200, MOST_SECONDS = 240 };

static char dir[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    alarm(MOST_SECONDS); /* a reader that hangs ends the test */
    return 0;
}

static int remove_folder(void **state) {
    temp_folder_remove(dir);
    return 0;
}

static uint64_t draw(uint64_t *state, uint64_t below) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % below;
}

/* Damages data [*n], whose last n_footer bytes tell of all others: a cut, other bytes, zeros, a copy
   of another place, a number made absurd. */
static void damage(unsigned char *data, size_t *n, size_t n_footer, uint64_t *state) {
    const bool in_footer = n_footer > 0 && draw(state, 2) == 0;
    const size_t begin = in_footer ? *n - n_footer : 0;
    const size_t at = begin + draw(state, *n - begin), left = *n - at;
    const size_t length = left < 64 ? left : (size_t)draw(state, 64);
    switch (draw(state, 6)) {
    case 0:
        *n = at;
        break;
    case 1:
        data[at] = (unsigned char)draw(state, 256);
        break;
    case 2:
        for (uint64_t i = 0; i < 1 + draw(state, 32); i++)
            data[begin + draw(state, *n - begin)] = (unsigned char)draw(state, 256);
        break;
    case 3:
        memset(data + at, 0, length);
        break;
    case 4:
        memmove(data + at, data + draw(state, *n - length + 1), length);
        break;
    default:
        memcpy(data + at, "\xFF\xFF\xFF\xFF\x7F", left < 5 ? left : 5);
    }
}

/* What came of a file. */
typedef enum outcome { REFUSED, LOST_SOME, WHOLE, N_OUTCOMES } outcome;

/* Reads to the end, every byte of every document. */
static outcome read_on(const char *path, const sp_text_options *options) {
    sp_text_reader *reader = NULL;
    size_t n_lost = 0, n_documents = 0;
    bool end = false;
    unsigned sum = 0;
    sp_status status = sp_text_reader_open(&reader, path, NULL, options);
    if (status != SP_OK) {
        assert_int_equal(status, SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), path));
        return REFUSED;
    }
    while (!end) {
        sp_document document;
        status = sp_text_reader_next(reader, &document, &end);
        if (status != SP_OK) {
            /* An offset beyond what a file can have is the system's to refuse. */
            assert_true(status == SP_BAD_DATA || status == SP_IO);
            assert_non_null(strstr(sp_message(), path));
            n_lost++;
            if (status == SP_IO) break;
        } else if (!end) {
            n_documents++;
            for (size_t i = 0; i < document.n_bytes; i++) sum += (unsigned char)document.text[i];
            sum += (unsigned)strlen(document.id);
        }
        assert_true(n_lost + n_documents < 100000);
    }
    sp_text_reader_close(reader);
    assert_true(sum > 0 || n_documents == 0);
    return n_lost > 0 ? LOST_SOME : WHOLE;
}

static uint64_t seed(void) {
    const char *text = getenv("SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

static void assert_all_come_to_an_end(const char *name, const unsigned char *good, size_t n_good,
                                      size_t n_footer) {
    uint64_t state = seed();
    size_t n_of[N_OUTCOMES] = {0};
    char path[TEMP_PATH_SIZE];
    sp_condition condition;
    assert_int_equal(sp_condition_parse(&condition, "language = en"), SP_OK);
    const sp_conditions where = {.items = &condition, .n = 1};
    const sp_text_options options[] = {{0}, {.where = &where}};
    unsigned char *data = malloc(n_good);
    for (size_t i = 0; i < N_DAMAGED; i++) {
        size_t n = n_good;
        memcpy(data, good, n);
        damage(data, &n, n_footer, &state);
        temp_write(temp_path(path, dir, name), data, n);
        n_of[read_on(path, &options[i % 2])]++;
    }
    free(data);
    sp_condition_free(&condition);
    print_message("%s: %zu refused, %zu with losses, %zu read whole\n", name, n_of[REFUSED],
                  n_of[LOST_SOME], n_of[WHOLE]);
    /* Damage of each kind was met. */
    assert_true(n_of[LOST_SOME] > 0 && n_of[REFUSED] + n_of[LOST_SOME] > N_DAMAGED / 4);
}

static void damaged_parquet_comes_to_an_end(void **state) {
    if (!sp_parquet_is_supported()) {
        print_message("skipped: needs Arrow's Parquet library (tools/bootstrap parquet)\n");
        skip();
    }
    static const char *const names[] = {"snappy.parquet", "zstd.parquet", "kinds.parquet",
                                        "sums.parquet", "dictionary.parquet"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[TEMP_PATH_SIZE];
        size_t n_bytes = 0;
        unsigned char *good = (unsigned char *)temp_read(
            temp_path(path, "tests/fixtures/parquet", names[i]), &n_bytes);
        const unsigned char *length = good + n_bytes - 8; /* of the footer */
        assert_all_come_to_an_end(names[i], good, n_bytes, 8 + length[0] + 256 * (size_t)length[1]);
        free(good);
    }
}

static void damaged_packed_lines_come_to_an_end(void **state) {
    size_t n_bytes = 0;
    char *text = temp_read("tests/fixtures/parquet/snappy.jsonl", &n_bytes);
    unsigned char *packed = malloc(2 * n_bytes + 1024);
    size_t n_packed = 0;
    for (size_t begin = 0; begin < n_bytes; begin += 1000) { /* several frames */
        const size_t n = n_bytes - begin < 1000 ? n_bytes - begin : 1000;
        n_packed += ZSTD_compress(packed + n_packed, n_bytes, text + begin, n, 3);
    }
    assert_all_come_to_an_end("lines.jsonl.zst", packed, n_packed, 0);
    free(packed);
    assert_all_come_to_an_end("lines.jsonl", (const unsigned char *)text, n_bytes, 0);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(damaged_parquet_comes_to_an_end),
                                       cmocka_unit_test(damaged_packed_lines_come_to_an_end)};
    return cmocka_run_group_tests_name("text_damage", tests, create_folder, remove_folder);
}
