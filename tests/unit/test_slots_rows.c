/* Segments of a slot file that are more than a block: each is read in any order as it was written, with its
   text, documents are found among them, and what is wrong at a block's edge is refused. */
#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/slots_file.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_ROWS = 8192, N_SEGMENTS = 2 * BLOCK_ROWS + 100, STRIDE = 5003 /* prime */ };

static temp_file *file;
static sp_slots_segment *segments; /* [N_SEGMENTS] as written */
static size_t n_documents;

/* Some documents have no segment; those of the first block's last segments lie across its edge. */
static size_t n_segments_of(size_t document) { return document * 7 % 5; }

static void text_of(char text[8], size_t segment) {
    (void)snprintf(text, 8, "%zu", segment * 37 % 100000);
}

static void write_document(sp_slots_writer *writer, size_t document, size_t *segment,
                           size_t *slot) {
    static const uint16_t values[4] = {0};
    char id[16];
    uint64_t byte_begin = 0;
    (void)snprintf(id, sizeof id, "d%zu", document);
    assert_int_equal(sp_slots_writer_document(writer, id, document), SP_OK);
    for (size_t k = 0; k < n_segments_of(document) && *segment < N_SEGMENTS; k++, ++*segment) {
        char text[8];
        text_of(text, *segment);
        const sp_slots_written written = {.byte_begin = byte_begin,
                                          .byte_len = (uint32_t)strlen(text),
                                          .n_tokens = (uint32_t)(*segment % 9),
                                          .n_slots = *segment * 3 % 4,
                                          .values = values,
                                          .text = text};
        assert_int_equal(sp_slots_writer_segment(writer, &written), SP_OK);
        segments[*segment] = (sp_slots_segment){.doc = document,
                                                .byte_begin = byte_begin,
                                                .byte_len = written.byte_len,
                                                .n_tokens = written.n_tokens,
                                                .slot_begin = *slot,
                                                .n_slots = written.n_slots};
        byte_begin += written.byte_len;
        *slot += written.n_slots;
    }
}

static int set_up(void **state) {
    sp_slots_writer *writer = NULL;
    const sp_slots_info info = {.space = SP_SLOTS_MEMORY,
                                .dtype = SP_SLOTS_F16,
                                .d = 1,
                                .ratio = 4,
                                .compressor_digest = "0123",
                                .has_text = true};
    size_t segment = 0, slot = 0;
    if (temp_file_set_up(state, "slots.h5") != 0) return -1;
    file = *state;
    segments = calloc(N_SEGMENTS, sizeof *segments);
    if (segments == NULL || sp_slots_writer_open(&writer, file->path, &info) != SP_OK) return -1;
    for (n_documents = 0; segment < N_SEGMENTS; n_documents++)
        write_document(writer, n_documents, &segment, &slot);
    return sp_slots_writer_commit(writer) == SP_OK ? 0 : -1;
}

static int tear_down(void **state) {
    free(segments);
    return temp_file_tear_down(state);
}

static void each_is_read_in_any_order(void **state) {
    sp_slots *slots = NULL;
    assert_int_equal(sp_slots_open(&slots, file->path), SP_OK);
    assert_int_equal(sp_slots_n_segments(slots), N_SEGMENTS);
    /* Far from each other, and then one after the other. */
    for (size_t k = 0; k < N_SEGMENTS + 300; k++) {
        const size_t i = k < 300 ? k * STRIDE % N_SEGMENTS : k - 300;
        const sp_slots_segment *wanted = &segments[i];
        sp_slots_segment s;
        char text[8] = "", wanted_text[8];
        assert_int_equal(sp_slots_get_segment(slots, i, &s), SP_OK);
        assert_true(s.doc == wanted->doc && s.byte_begin == wanted->byte_begin &&
                    s.byte_len == wanted->byte_len && s.n_tokens == wanted->n_tokens &&
                    s.slot_begin == wanted->slot_begin && s.n_slots == wanted->n_slots);
        assert_int_equal(sp_slots_read_text(slots, i, text), SP_OK);
        text_of(wanted_text, i);
        assert_string_equal(text, wanted_text);
    }
    sp_slots_close(slots);
}

static void documents_are_found_among_them(void **state) {
    sp_slots *slots = NULL;
    size_t first = 0;
    assert_int_equal(sp_slots_open(&slots, file->path), SP_OK);
    for (size_t i = 0; i < n_documents; i++) {
        size_t begin = 0, end = 0, n = 0;
        while (first + n < N_SEGMENTS && segments[first + n].doc == i) n++;
        assert_int_equal(sp_slots_document_segments(slots, i, &begin, &end), SP_OK);
        assert_int_equal(begin, first);
        assert_int_equal(end, first + n);
        first += n;
    }
    sp_slots_close(slots);
}

/* Writes a value with right checksums; returns what was there. */
static uint64_t set_value(const char *name, hsize_t row, uint64_t value) {
    uint64_t before = 0;
    const hid_t opened = H5Fopen(file->path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(opened, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    const hid_t one = H5Screate(H5S_SCALAR);
    H5Sselect_elements(space, H5S_SELECT_SET, 1, &row);
    assert_true(H5Dread(dataset, H5T_NATIVE_UINT64, one, space, H5P_DEFAULT, &before) >= 0);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_UINT64, one, space, H5P_DEFAULT, &value) >= 0);
    H5Sclose(one);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(opened);
    return before;
}

static void what_is_wrong_at_an_edge_is_refused(void **state) {
    static const struct {
        const char *name;
        hsize_t row;
        ptrdiff_t off; /* from what is in the row before */
        const char *wrong;
    } cases[] = {{"/segments/doc", BLOCK_ROWS, -1, "document falls"},
                 {"/segments/doc", N_SEGMENTS - 1, 100000, "beyond /documents"},
                 {"/segments/slot_begin", BLOCK_ROWS, -1, "slots fall"},
                 {"/segments/slot_begin", 2 * BLOCK_ROWS, -1, "slots fall"},
                 {"/segments/slot_begin", N_SEGMENTS - 1, 100000, "beyond the file's"},
                 {"/segments/text_begin", BLOCK_ROWS, 0, "does not follow"},
                 {"/segments/text_begin", 2 * BLOCK_ROWS, 0, "does not follow"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sp_slots *slots = NULL;
        const uint64_t before = set_value(cases[i].name, cases[i].row - 1, 0);
        (void)set_value(cases[i].name, cases[i].row - 1, before);
        const uint64_t right =
            set_value(cases[i].name, cases[i].row, before + (uint64_t)cases[i].off);
        assert_int_equal(sp_slots_open(&slots, file->path), SP_BAD_DATA);
        assert_non_null(strstr(sp_message(), cases[i].wrong));
        (void)set_value(cases[i].name, cases[i].row, right);
        assert_int_equal(sp_slots_open(&slots, file->path), SP_OK);
        sp_slots_close(slots);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_is_read_in_any_order),
                                       cmocka_unit_test(documents_are_found_among_them),
                                       cmocka_unit_test(what_is_wrong_at_an_edge_is_refused)};
    return cmocka_run_group_tests_name("slots rows", tests, set_up, tear_down);
}
