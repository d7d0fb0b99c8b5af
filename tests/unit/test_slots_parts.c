#include "tests/check.h"
#include "tests/temp_folder.h"

#include "io/slots_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hdf5.h>

static char dir[TEMP_PATH_SIZE], plain[TEMP_PATH_SIZE], whole[TEMP_PATH_SIZE];
static char folder[TEMP_PATH_SIZE], merged[TEMP_PATH_SIZE];

static int create_folder(void **state) {
    temp_folder_create(dir);
    temp_path(plain, dir, "plain.h5");
    temp_path(whole, dir, "whole.h5");
    temp_path(folder, dir, "whole.parts");
    temp_path(merged, dir, "merged.h5");
    mkdir(folder, 0777);
    return 0;
}

static int remove_folder(void **state) {
    char command[TEMP_PATH_SIZE + 16];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return system(command);
}

/* Ten documents: the first two and the last without segments, the fourth over three parts. Part 1 holds
   no document's begin, part 3 no segment. */
enum { D = 5, N_DOCUMENTS = 10, N_SEGMENTS = 12, N_PARTS = 4, MOST_SLOTS = 4 };
static const size_t segments_of[N_DOCUMENTS] = {0, 0, 1, 6, 1, 0, 2, 1, 1, 0};
static const size_t first_segments[N_PARTS + 1] = {0, 3, 6, 12, 12};
static const size_t first_documents[N_PARTS + 1] = {0, 4, 4, 9, 10};

static size_t slots_of(size_t segment) { return segment * 7 % (MOST_SLOTS + 1); }
static float value_of(size_t segment, size_t i) {
    return (float)((segment * 131 + i * 37) % 257) - 128.0F;
}

typedef struct written {
    char values[MOST_SLOTS * D * 4], text[32];
    float x[MOST_SLOTS * D], scales[MOST_SLOTS];
    sp_slots_written segment;
} written;

static void make_segment(written *w, const sp_slots_info *info, size_t segment, uint64_t begin) {
    const size_t n = slots_of(segment);
    for (size_t i = 0; i < n * D; i++) w->x[i] = value_of(segment, i);
    assert_int_equal(sp_slots_pack(info->dtype, w->values, w->scales, w->x, n, D), SP_OK);
    const int len = snprintf(w->text, sizeof w->text, "text %zu", segment * segment);
    w->segment = (sp_slots_written){.byte_begin = begin,
                                    .byte_len = (uint32_t)len,
                                    .n_tokens = (uint32_t)(4 * n),
                                    .n_slots = n,
                                    .values = w->values,
                                    .scales = w->scales,
                                    .text = w->text};
}

static sp_slots_info info_of(sp_slots_dtype dtype, bool has_text) {
    return (sp_slots_info){.space = SP_SLOTS_DECODER,
                           .dtype = dtype,
                           .d = D,
                           .ratio = 4,
                           .compressor_digest = "abc",
                           .has_text = has_text,
                           .job_digest = "job"};
}

/* Appends segments [begin, end) and documents [document, document_end); counts what was written. */
static sp_slots_counts append(sp_slots_writer *writer, const sp_slots_info *info, size_t begin,
                              size_t end, size_t document, size_t document_end) {
    sp_slots_counts counts = {0};
    size_t segment = 0;
    for (size_t d = 0; d < N_DOCUMENTS; d++) {
        char id[16];
        snprintf(id, sizeof id, "document-%zu", d);
        if (d >= document && d < document_end) {
            assert_int_equal(sp_slots_writer_document(writer, id, d + 1), SP_OK);
            counts.n_documents++;
        }
        uint64_t byte = 0;
        for (size_t i = 0; i < segments_of[d]; i++, segment++) {
            written w;
            make_segment(&w, info, segment, byte);
            byte += w.segment.byte_len;
            if (segment < begin || segment >= end) continue;
            assert_int_equal(sp_slots_writer_segment(writer, &w.segment), SP_OK);
            counts.n_segments++;
            counts.n_slots += w.segment.n_slots;
            counts.n_text_bytes += info->has_text ? w.segment.byte_len : 0;
        }
    }
    return counts;
}

static void write_plain(const sp_slots_info *info) {
    sp_slots_writer *writer = NULL;
    assert_int_equal(sp_slots_writer_open(&writer, plain, info), SP_OK);
    append(writer, info, 0, N_SEGMENTS, 0, N_DOCUMENTS);
    assert_int_equal(sp_slots_writer_commit(writer), SP_OK);
}

static void write_parts(const sp_slots_info *info, sp_slots_counts *counts) {
    sp_slots_counts before = {0};
    for (size_t p = 0; p < N_PARTS; p++) {
        sp_slots_writer *writer = NULL;
        char *path = NULL;
        assert_int_equal(sp_slots_part_path(&path, whole, p), SP_OK);
        assert_int_equal(
            sp_slots_writer_open_part(&writer, path, info, &before, strlen("document-0")), SP_OK);
        counts[p] = append(writer, info, first_segments[p], first_segments[p + 1],
                           first_documents[p], first_documents[p + 1]);
        assert_int_equal(sp_slots_writer_commit(writer), SP_OK);
        before.n_documents += counts[p].n_documents;
        before.n_segments += counts[p].n_segments;
        before.n_slots += counts[p].n_slots;
        before.n_text_bytes += counts[p].n_text_bytes;
        free(path);
    }
}

static void write_both(const sp_slots_info *info) {
    sp_slots_counts counts[N_PARTS];
    write_plain(info);
    write_parts(info, counts);
    assert_int_equal(sp_slots_index_write(whole, info, counts, N_PARTS, strlen("document-0")),
                     SP_OK);
}

static void part_path(char path[TEMP_PATH_SIZE], size_t part) {
    char *made = NULL;
    assert_int_equal(sp_slots_part_path(&made, whole, part), SP_OK);
    snprintf(path, TEMP_PATH_SIZE, "%s", made);
    free(made);
}

static void assert_same_file(const char *a, const char *b) {
    size_t n_a = 0, n_b = 0;
    char *data_a = temp_read(a, &n_a), *data_b = temp_read(b, &n_b);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(data_a, data_b, n_a);
    free(data_a);
    free(data_b);
}

/* ---- types ---- */

static void int8_is_within_half_a_step_of_its_scale(void **state) {
    enum { N = 7 };
    float x[N * D], read[N * D], scales[N];
    int8_t values[N * D];
    for (size_t i = 0; i < N * D; i++)
        x[i] = ldexpf(value_of(3, i), 12 * (int)(i / D) - 36) * (i / D == 2 ? 0 : 1);
    x[6 * D] = -1e-44F; /* a row of a subnormal alone */
    for (size_t i = 1; i < D; i++) x[6 * D + i] = 0;
    assert_int_equal(sp_slots_pack(SP_SLOTS_INT8, values, scales, x, N, D), SP_OK);
    sp_slots_unpack(SP_SLOTS_INT8, read, values, scales, N, D);
    for (size_t r = 0; r < N; r++) {
        double most = 0;
        for (size_t i = r * D; i < (r + 1) * D; i++) most = fmax(most, fabs((double)x[i]));
        for (size_t i = r * D; i < (r + 1) * D; i++) {
            const double step = most / 127;
            if (!(fabs((double)read[i] - (double)x[i]) <= 0.5001 * step + 2e-44))
                fail_msg("row %zu: %g became %g", r, (double)x[i], (double)read[i]);
        }
    }
    const float infinite = INFINITY;
    assert_int_equal(sp_slots_pack(SP_SLOTS_INT8, values, scales, &infinite, 1, 1), SP_NUMERIC);
}

/* ---- parts ---- */

static void parts_read_as_one_file(void **state) {
    for (int dtype = 0; dtype < SP_N_SLOTS_DTYPES; dtype++) {
        for (int has_text = 0; has_text < 2; has_text++) {
            const sp_slots_info info = info_of((sp_slots_dtype)dtype, has_text);
            sp_slots *a = NULL, *b = NULL;
            write_both(&info);
            assert_int_equal(sp_slots_open(&a, plain), SP_OK);
            assert_int_equal(sp_slots_open(&b, whole), SP_OK);
            assert_int_equal(sp_slots_n_parts(a), 0);
            assert_int_equal(sp_slots_n_parts(b), N_PARTS);
            assert_string_equal(sp_slots_digest_of(a), sp_slots_digest_of(b));
            assert_int_equal(sp_slots_n_documents(b), N_DOCUMENTS);
            assert_int_equal(sp_slots_n_segments(b), N_SEGMENTS);
            assert_int_equal(sp_slots_n_slots(a), sp_slots_n_slots(b));
            const size_t n_slots = sp_slots_n_slots(b);
            for (size_t begin = 0; begin <= n_slots; begin++) {
                for (size_t n = 0; begin + n <= n_slots; n++) {
                    float x[N_SEGMENTS * MOST_SLOTS * D] = {0},
                                                      y[N_SEGMENTS * MOST_SLOTS * D] = {0};
                    assert_int_equal(sp_slots_read(a, begin, n, x), SP_OK);
                    assert_int_equal(sp_slots_read(b, begin, n, y), SP_OK);
                    assert_memory_equal(x, y, sizeof x);
                }
            }
            for (size_t i = 0; i < N_SEGMENTS; i++) {
                char x[32] = "", y[32] = "";
                sp_slots_segment s, t;
                assert_int_equal(sp_slots_get_segment(a, i, &s), SP_OK);
                assert_int_equal(sp_slots_get_segment(b, i, &t), SP_OK);
                assert_memory_equal(&s, &t, sizeof s);
                if (!has_text) continue;
                assert_int_equal(sp_slots_read_text(a, i, x), SP_OK);
                assert_int_equal(sp_slots_read_text(b, i, y), SP_OK);
                assert_string_equal(x, y);
            }
            for (size_t d = 0; d < N_DOCUMENTS; d++) {
                char id[16];
                size_t begin = 0, end = 0;
                snprintf(id, sizeof id, "document-%zu", d);
                assert_int_equal(sp_slots_find_document(b, id, &begin, &end), SP_OK);
                assert_int_equal(end - begin, segments_of[d]);
            }
            assert_int_equal(sp_slots_verify(a), SP_OK);
            assert_int_equal(sp_slots_verify(b), SP_OK);
            sp_slots_close(a);
            sp_slots_close(b);
            assert_int_equal(sp_slots_merge(merged, whole), SP_OK);
            assert_same_file(merged, plain);
        }
    }
}

static sp_status open_whole(void) {
    sp_slots *slots = NULL;
    SP_TRY(sp_slots_open(&slots, whole));
    const sp_status status = sp_slots_verify(slots);
    sp_slots_close(slots);
    return status;
}

static void missing_or_cut_part_is_refused(void **state) {
    const sp_slots_info info = info_of(SP_SLOTS_INT8, true);
    for (size_t p = 0; p < N_PARTS; p++) {
        char path[TEMP_PATH_SIZE];
        size_t n_bytes = 0;
        write_both(&info);
        part_path(path, p);
        char *data = temp_read(path, &n_bytes);
        unlink(path);
        assert_int_equal(open_whole(), SP_IO);
        assert_non_null(strstr(sp_message(), path));
        for (size_t cut = 1; cut < n_bytes; cut += n_bytes / 7) {
            temp_write(path, data, cut);
            assert_int_equal(open_whole(), SP_BAD_DATA);
            assert_non_null(strstr(sp_message(), path));
        }
        free(data);
    }
}

static void parts_of_other_runs_are_refused(void **state) {
    const sp_slots_info info = info_of(SP_SLOTS_F16, false);
    char first[TEMP_PATH_SIZE], second[TEMP_PATH_SIZE], other[TEMP_PATH_SIZE];
    sp_slots_counts counts[N_PARTS];
    temp_path(other, dir, "other");
    write_both(&info);
    part_path(first, 0);
    part_path(second, 2);
    rename(first, other);
    rename(second, first);
    assert_int_equal(open_whole(), SP_BAD_DATA);
    rename(first, second);
    rename(other, first);
    assert_int_equal(open_whole(), SP_OK);
    /* The part itself is no slot file. */
    sp_slots *slots = NULL;
    assert_int_equal(sp_slots_open(&slots, second), SP_BAD_DATA);
    assert_non_null(strstr(sp_message(), "a part of a slot file"));
    /* Nor does an index over parts that are not there, or are of another job, come to be. */
    sp_slots_info stranger = info;
    stranger.job_digest = "another job";
    write_parts(&info, counts);
    assert_int_equal(sp_slots_index_write(merged, &info, counts, N_PARTS, 10), SP_IO);
    assert_int_equal(sp_slots_index_write(whole, &stranger, counts, N_PARTS, 10), SP_BAD_DATA);
    counts[2].n_segments++;
    assert_int_equal(sp_slots_index_write(whole, &info, counts, N_PARTS, 10), SP_BAD_DATA);
}

/* Falsified by HDF5 itself, so that all checksums are right. */
static void changed_value_is_found_by_verify(void **state) {
    static const char *const names[] = {"/slots/scale", "/segments/tokens", "/documents/hash",
                                        "/text/bytes"};
    const sp_slots_info info = info_of(SP_SLOTS_INT8, true);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[TEMP_PATH_SIZE];
        write_both(&info);
        part_path(path, 2);
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        const hid_t dataset = H5Dopen2(file, names[i], H5P_DEFAULT), space = H5Dget_space(dataset);
        const hid_t one = H5Screate(H5S_SCALAR);
        const hsize_t row = 0;
        const double value = 77;
        H5Sselect_elements(space, H5S_SELECT_SET, 1, &row);
        assert_true(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, one, space, H5P_DEFAULT, &value) >= 0);
        H5Sclose(one);
        H5Sclose(space);
        H5Dclose(dataset);
        H5Fclose(file);
        if (open_whole() != SP_BAD_DATA) fail_msg("'%s' may change", names[i]);
        assert_int_equal(sp_slots_merge(merged, whole), SP_BAD_DATA);
        assert_int_equal(access(merged, F_OK), -1);
    }
}

static void job_is_known_by_its_digest(void **state) {
    const sp_slots_info info = info_of(SP_SLOTS_BF16, false);
    write_both(&info);
    assert_true(sp_slots_is_of_job(whole, "job") && sp_slots_is_of_job(plain, "job"));
    assert_false(sp_slots_is_of_job(whole, "jo") || sp_slots_is_of_job(merged, "job"));
    temp_write(merged, "no HDF5", 7);
    assert_false(sp_slots_is_of_job(merged, "job"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int8_is_within_half_a_step_of_its_scale),
        cmocka_unit_test_setup_teardown(parts_read_as_one_file, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(missing_or_cut_part_is_refused, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(parts_of_other_runs_are_refused, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(changed_value_is_found_by_verify, create_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(job_is_known_by_its_digest, create_folder, remove_folder)};
    return cmocka_run_group_tests_name("slots_parts", tests, NULL, NULL);
}
