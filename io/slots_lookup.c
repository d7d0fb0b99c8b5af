#include "io/slots_lookup.h"

#include "base/memory.h"
#include "io/slots_schema.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Rows of a chunk, which is what a look-up reads at once: 16 KiB. */
enum { CHUNK_ROWS = 1024 };

static uint64_t hash_of(const char *id) { return XXH3_64bits(id, strlen(id)); }

static int compare_rows(const void *a, const void *b) {
    const sp_slots_lookup_row *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->document < y->document ? -1 : x->document > y->document;
}

/* ---- making one ---- */

sp_status sp_slots_lookup_add(sp_slots_lookup *lookup, const char *id) {
    if (lookup->n == lookup->capacity) {
        const size_t n = lookup->n > 0 ? 2 * lookup->n : 256;
        sp_slots_lookup_row *grown = realloc(lookup->rows, n * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory to sort %zu ids", n);
        lookup->rows = grown;
        lookup->capacity = n;
    }
    lookup->rows[lookup->n] = (sp_slots_lookup_row){hash_of(id), lookup->n};
    lookup->n++;
    return SP_OK;
}

static void sort(sp_slots_lookup *lookup) {
    if (lookup->n > 0) qsort(lookup->rows, lookup->n, sizeof *lookup->rows, compare_rows);
}

sp_status sp_slots_lookup_write(sp_slots_lookup *lookup, const sp_hdf5_file *file) {
    const hsize_t extent[] = {lookup->n, 2}, most[] = {H5S_UNLIMITED, 2};
    const hsize_t chunk[] = {CHUNK_ROWS, 2};
    sort(lookup);
    hid_t space = H5Screate_simple(2, extent, most); /* chunks may then be longer than all of it */
    hid_t properties = sp_hdf5_properties(2, chunk, false);
    hid_t type = sp_hdf5_number_type(SP_HDF5_U64);
    hid_t dataset = H5Dcreate2(file->id, SP_SLOTS_DOCUMENTS_BY_ID, type, space, H5P_DEFAULT,
                               properties, H5P_DEFAULT);
    sp_status status = SP_OK;
    if (dataset < 0 || (lookup->n > 0 && H5Dwrite(dataset, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL,
                                                  H5P_DEFAULT, lookup->rows) < 0))
        status = sp_hdf5_fail(file->path, SP_SLOTS_DOCUMENTS_BY_ID);
    sp_hdf5_release(&dataset);
    sp_hdf5_release(&type);
    sp_hdf5_release(&properties);
    sp_hdf5_release(&space);
    return status == SP_OK ? sp_hdf5_check_written(file) : status;
}

void sp_slots_lookup_free(sp_slots_lookup *lookup) {
    free(lookup->rows);
    *lookup = (sp_slots_lookup){0};
}

/* ---- reading one ---- */

/* The file's rows, a chunk at a time. */
typedef struct reading {
    sp_hdf5_dataset dataset;
    size_t n;                             /* rows of all */
    sp_slots_lookup_row rows[CHUNK_ROWS]; /* those of one chunk */
    size_t n_rows;
} reading;

sp_status sp_slots_lookup_fail(const char *path) {
    return sp_fail(SP_BAD_DATA,
                   "'%s', '%s': damaged: its rows do not rise, or do not lead to their documents; "
                   "`slotpress merge` makes a file with a new one",
                   path, SP_SLOTS_DOCUMENTS_BY_ID);
}

static sp_status damaged(const reading *r) { return sp_slots_lookup_fail(r->dataset.file->path); }

static sp_status open_reading(reading *r, const sp_hdf5_file *file, size_t n) {
    r->dataset = SP_HDF5_NO_DATASET;
    r->n = n;
    SP_TRY(sp_hdf5_open_dataset(&r->dataset, file, SP_SLOTS_DOCUMENTS_BY_ID, SP_HDF5_U64, 2, 0));
    if (r->dataset.extent[0] == n && r->dataset.extent[1] == 2) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s', '%s': %zu rows of %zu values for %zu documents", file->path,
                   SP_SLOTS_DOCUMENTS_BY_ID, r->dataset.extent[0], r->dataset.extent[1], n);
}

static sp_status read_chunk(reading *r, size_t chunk) {
    const size_t begin = chunk * CHUNK_ROWS, left = r->n - begin;
    r->n_rows = left < CHUNK_ROWS ? left : CHUNK_ROWS;
    SP_TRY(sp_hdf5_read_rows(&r->dataset, begin, r->n_rows, r->rows));
    for (size_t i = 1; i < r->n_rows; i++)
        if (compare_rows(&r->rows[i - 1], &r->rows[i]) >= 0) return damaged(r);
    return SP_OK;
}

/* Where the hash is expected among n chunks whose hashes lie between two others, as these are spread
   evenly. */
static size_t guess(size_t n, uint64_t hash, uint64_t low, uint64_t high) {
    if (hash <= low || high <= low) return 0;
    const size_t at = (size_t)((double)n * ((double)(hash - low) / (double)(high - low)));
    return at < n ? at : n - 1;
}

/* Reads the first chunk whose last hash is not less; *chunk is their number if there is none. Guesses
   that go wrong give way to halving. */
static sp_status seek(reading *r, uint64_t hash, size_t *chunk) {
    enum { MOST_GUESSES = 4 };
    const size_t n_chunks = (r->n + CHUNK_ROWS - 1) / CHUNK_ROWS;
    size_t begin = 0, end = n_chunks, present = n_chunks;
    uint64_t low = 0, high = UINT64_MAX;
    for (size_t n_guesses = 0; begin < end; n_guesses++) {
        const size_t n = end - begin;
        present = begin + (n_guesses < MOST_GUESSES ? guess(n, hash, low, high) : n / 2);
        SP_TRY(read_chunk(r, present));
        const uint64_t first = r->rows[0].hash, last = r->rows[r->n_rows - 1].hash;
        if (first < low || last > high) return damaged(r);
        if (last < hash) {
            begin = present + 1;
            low = last;
        } else {
            end = present;
            high = first;
            if (first < hash) break;
        }
    }
    *chunk = end;
    return end < n_chunks && end != present ? read_chunk(r, end) : SP_OK;
}

/* Whether row i of the chunk leads to that id. */
static sp_status is_called(const reading *r, size_t i, sp_hdf5_table *table, size_t id_column,
                           const char *id, bool *is_it) {
    const sp_slots_lookup_row *row = &r->rows[i];
    char *found = NULL;
    if (row->document >= r->n) return damaged(r);
    SP_TRY(sp_hdf5_table_string(table, id_column, (size_t)row->document, &found));
    *is_it = strcmp(found, id) == 0;
    const bool is_right = *is_it || hash_of(found) == row->hash;
    free(found);
    return is_right ? SP_OK : damaged(r);
}

static sp_status find(reading *r, sp_hdf5_table *table, size_t id_column, const char *id,
                      size_t *document) {
    const uint64_t hash = hash_of(id);
    const size_t n_chunks = (r->n + CHUNK_ROWS - 1) / CHUNK_ROWS;
    size_t chunk = 0;
    SP_TRY(seek(r, hash, &chunk));
    while (chunk < n_chunks) {
        for (size_t i = 0; i < r->n_rows; i++) {
            bool is_it = false;
            if (r->rows[i].hash > hash) return SP_OK;
            if (r->rows[i].hash < hash) continue;
            SP_TRY(is_called(r, i, table, id_column, id, &is_it));
            if (is_it) {
                *document = (size_t)r->rows[i].document;
                return SP_OK;
            }
        }
        if (++chunk < n_chunks) SP_TRY(read_chunk(r, chunk));
    }
    return SP_OK;
}

bool sp_slots_lookup_is_there(const sp_hdf5_file *file) {
    const bool is_there = H5Lexists(file->id, SP_SLOTS_DOCUMENTS_BY_ID, H5P_DEFAULT) > 0;
    H5Eclear2(H5E_DEFAULT);
    return is_there;
}

static sp_status allocate(reading **r) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **r, "ids"));
    *r = block;
    return SP_OK;
}

sp_status sp_slots_lookup_find(sp_hdf5_table *table, size_t id_column, size_t n_documents,
                               const char *id, size_t *document) {
    reading *r = NULL;
    SP_TRY(allocate(&r));
    *document = n_documents;
    sp_status status = open_reading(r, sp_hdf5_table_file(table), n_documents);
    if (status == SP_OK) status = find(r, table, id_column, id, document);
    sp_hdf5_release_dataset(&r->dataset);
    free(r);
    return status;
}

static sp_status compare(const sp_slots_lookup *lookup, reading *r) {
    for (size_t begin = 0; begin < r->n; begin += CHUNK_ROWS) {
        SP_TRY(read_chunk(r, begin / CHUNK_ROWS));
        if (memcmp(r->rows, lookup->rows + begin, r->n_rows * sizeof *r->rows) != 0)
            return damaged(r);
    }
    return SP_OK;
}

sp_status sp_slots_lookup_compare(sp_slots_lookup *lookup, const sp_hdf5_file *file) {
    reading *r = NULL;
    SP_TRY(allocate(&r));
    sort(lookup);
    sp_status status = open_reading(r, file, lookup->n);
    if (status == SP_OK) status = compare(lookup, r);
    sp_hdf5_release_dataset(&r->dataset);
    free(r);
    return status;
}
