#include "io/hdf5_column.h"

#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 64K ids of 16 bits: they pack well, a segment lies in one chunk or two, and unpacking one stays
   well below a millisecond. */
enum { CHUNK_BYTES = 1 << 17 };

static size_t rows_of_a_chunk(size_t row_bytes) {
    return row_bytes < CHUNK_BYTES ? CHUNK_BYTES / row_bytes : 1;
}

/* Creates a dataset of no rows that can grow, in *id. */
static sp_status create_growing(hid_t *id, const sp_hdf5_file *file, const char *name, hid_t type,
                                size_t chunk_rows, size_t row_items, bool is_compressed) {
    const int n_dims = row_items > 0 ? 2 : 1;
    const hsize_t extent[] = {0, row_items}, most[] = {H5S_UNLIMITED, row_items};
    const hsize_t chunk[] = {chunk_rows, row_items};
    hid_t space = H5Screate_simple(n_dims, extent, most);
    hid_t properties = sp_hdf5_properties((size_t)n_dims, chunk, is_compressed);
    *id = H5Dcreate2(file->id, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    const sp_status status = *id < 0 ? sp_hdf5_fail(file->path, name) : SP_OK;
    sp_hdf5_release(&properties);
    sp_hdf5_release(&space);
    return status;
}

sp_status sp_hdf5_column_create(sp_hdf5_column *column, const sp_hdf5_file *file, const char *name,
                                sp_hdf5_kind kind, size_t row_items, bool is_compressed) {
    assert(kind != SP_HDF5_STRING);
    const size_t n_items = row_items > 0 ? row_items : 1;
    sp_hdf5_column made = SP_HDF5_NO_COLUMN;
    made.file = file;
    made.row_items = row_items;
    made.name = strdup(name);
    made.type = sp_hdf5_number_type(kind);
    made.row_bytes = n_items * H5Tget_size(made.type);
    made.chunk_rows = rows_of_a_chunk(made.row_bytes);
    void *buffer = NULL;
    sp_status status = sp_alloc_array(&buffer, made.chunk_rows, made.row_bytes, name);
    made.buffer = buffer;
    if (status == SP_OK && made.name == NULL) status = sp_fail(SP_FAILURE, "no memory for a name");
    if (status != SP_OK) goto cleanup;
    status =
        create_growing(&made.id, file, name, made.type, made.chunk_rows, row_items, is_compressed);
    if (status != SP_OK) goto cleanup;
    *column = made;
    return SP_OK;

cleanup:
    sp_hdf5_column_release(&made);
    return status;
}

/* Writes the buffered rows at the end of the dataset. */
static sp_status flush_column(sp_hdf5_column *column) {
    if (column->n_buffered == 0) return SP_OK;
    const int n_dims = column->row_items > 0 ? 2 : 1;
    const hsize_t extent[] = {column->n_written + column->n_buffered, column->row_items};
    const hsize_t begin[] = {column->n_written, 0};
    const hsize_t count[] = {column->n_buffered, column->row_items};
    hid_t memory = H5Screate_simple(n_dims, count, NULL), space = H5I_INVALID_HID;
    sp_status status = SP_OK;
    if (H5Dset_extent(column->id, extent) < 0 || (space = H5Dget_space(column->id)) < 0 ||
        H5Sselect_hyperslab(space, H5S_SELECT_SET, begin, NULL, count, NULL) < 0 ||
        H5Dwrite(column->id, column->type, memory, space, H5P_DEFAULT, column->buffer) < 0)
        status = sp_hdf5_fail(column->file->path, column->name);
    sp_hdf5_release(&space);
    sp_hdf5_release(&memory);
    column->n_written += column->n_buffered;
    column->n_buffered = 0;
    return status == SP_OK ? sp_hdf5_check_written(column->file) : status;
}

sp_status sp_hdf5_column_append(sp_hdf5_column *column, const void *rows, size_t n) {
    for (const char *from = rows; n > 0;) {
        const size_t room = column->chunk_rows - column->n_buffered, part = n < room ? n : room;
        memcpy(column->buffer + column->n_buffered * column->row_bytes, from,
               part * column->row_bytes);
        column->n_buffered += part;
        from += part * column->row_bytes;
        n -= part;
        if (column->n_buffered == column->chunk_rows) SP_TRY(flush_column(column));
    }
    return SP_OK;
}

sp_status sp_hdf5_column_finish(sp_hdf5_column *column) { return flush_column(column); }

void sp_hdf5_column_release(sp_hdf5_column *column) {
    sp_hdf5_release(&column->id);
    sp_hdf5_release(&column->type);
    free(column->buffer);
    free(column->name);
    *column = SP_HDF5_NO_COLUMN;
}

/* ---- strings ---- */

/* A file without a name in the folder of `path`, so that nothing is left of it, however the process
   ends; where the file system cannot do that, one whose name is taken away at once. */
static int open_nameless(const char *path, char *name) {
    const char *slash = strrchr(path, '/');
    snprintf(name, strlen(path) + 8, "%.*s", (int)(slash == NULL ? 0 : slash - path + 1), path);
    int fd = open(name[0] != '\0' ? name : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) return fd;
    snprintf(name, strlen(path) + 8, "%s.XXXXXX", path);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0) unlink(name);
    return fd;
}

sp_status sp_hdf5_strings_begin(sp_hdf5_strings *strings, const char *path) {
    char *name = malloc(strlen(path) + 8);
    if (name == NULL) return sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    const int fd = open_nameless(path, name);
    free(name);
    FILE *waiting = fd < 0 ? NULL : fdopen(fd, "w+b");
    if (waiting == NULL) {
        if (fd >= 0) close(fd);
        return sp_fail(SP_IO, "cannot create a file beside '%s': %s", path, strerror(errno));
    }
    *strings = (sp_hdf5_strings){.waiting = waiting, .path = path};
    return SP_OK;
}

sp_status sp_hdf5_strings_append(sp_hdf5_strings *strings, const char *text) {
    const size_t n_bytes = strlen(text);
    if (n_bytes > SP_HDF5_MAX_STRING)
        return sp_fail(SP_BAD_DATA, "'%s': an id of %zu bytes, at most %d are kept: '%.80s…'",
                       strings->path, n_bytes, SP_HDF5_MAX_STRING, text);
    const uint32_t size = (uint32_t)n_bytes;
    if (fwrite(&size, sizeof size, 1, strings->waiting) != 1 ||
        fwrite(text, 1, n_bytes, strings->waiting) != n_bytes)
        return sp_fail(SP_IO, "cannot write beside '%s': %s", strings->path, strerror(errno));
    strings->n++;
    if (n_bytes > strings->longest) strings->longest = n_bytes;
    return SP_OK;
}

/* Moves the waiting strings into the column, each padded to its row. */
static sp_status copy_strings(sp_hdf5_strings *strings, sp_hdf5_column *column, char *row) {
    if (fflush(strings->waiting) != 0 || fseeko(strings->waiting, 0, SEEK_SET) != 0)
        return sp_fail(SP_IO, "cannot write beside '%s': %s", strings->path, strerror(errno));
    for (size_t i = 0; i < strings->n; i++) {
        uint32_t size = 0;
        memset(row, 0, column->row_bytes);
        if (fread(&size, sizeof size, 1, strings->waiting) != 1 || size > column->row_bytes ||
            fread(row, 1, size, strings->waiting) != size)
            return sp_fail(SP_IO, "cannot read back beside '%s': %s", strings->path,
                           ferror(strings->waiting) ? strerror(errno) : "it was changed");
        SP_TRY(sp_hdf5_column_append(column, row, 1));
    }
    return sp_hdf5_column_finish(column);
}

sp_status sp_hdf5_strings_finish(sp_hdf5_strings *strings, const sp_hdf5_file *file,
                                 const char *name) {
    sp_hdf5_column column = SP_HDF5_NO_COLUMN;
    column.file = file;
    column.row_bytes = strings->longest > 0 ? strings->longest : 1;
    column.chunk_rows = rows_of_a_chunk(column.row_bytes);
    void *buffer = NULL, *row = NULL;
    sp_status status = sp_alloc_array(&buffer, column.chunk_rows, column.row_bytes, name);
    column.buffer = buffer;
    if (status == SP_OK) status = sp_alloc(&row, column.row_bytes, name);
    if (status != SP_OK) goto cleanup;
    column.name = strdup(name);
    column.type = sp_hdf5_string_type(column.row_bytes);
    if (column.name == NULL) status = sp_fail(SP_FAILURE, "no memory for a name");
    if (status == SP_OK)
        status = create_growing(&column.id, file, name, column.type, column.chunk_rows, 0, true);
    if (status == SP_OK) status = copy_strings(strings, &column, row);

cleanup:
    free(row);
    sp_hdf5_column_release(&column);
    return status;
}

void sp_hdf5_strings_release(sp_hdf5_strings *strings) {
    if (strings->waiting != NULL) fclose(strings->waiting); /* unnamed: it ends here */
    *strings = (sp_hdf5_strings){0};
}
