#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/checkpoint_folder.h"
#include "io/checkpoint_schema.h"
#include "io/content_digest.h"
#include "io/hdf5_internal.h"
#include "io/manifest.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHUNK_VALUES = 1 << 18, /* 1 MiB: rows can be read alone, and checksums cost little */
    PIECE_VALUES = 1 << 20, /* 4 MiB, some ms: for so long other threads wait for the library */
};

_Static_assert((int)SP_CHECKPOINT_DIGEST_SIZE >= (int)SP_DIGEST_HEX_SIZE, "a digest fits");

struct sp_checkpoint_writer {
    char *path, *name; /* owned; the file, in the temporary folder */
    sp_hdf5_file file;
};

sp_status sp_checkpoint_make_folder(const char *run_dir, uint64_t step) {
    char *folder = NULL;
    SP_TRY(sp_make_folders(run_dir));
    SP_TRY(sp_checkpoint_folder(&folder, run_dir, step, true));
    sp_status status = sp_remove_folder(folder);
    if (status == SP_OK && mkdir(folder, 0777) != 0)
        status = sp_fail(SP_IO, "cannot create '%s': %s", folder, strerror(errno));
    free(folder);
    return status;
}

/* ---- one writer's file ---- */

static sp_status make_names(sp_checkpoint_writer *writer, const char *run_dir, uint64_t step,
                            size_t number) {
    char *folder = NULL;
    SP_TRY(sp_checkpoint_folder(&folder, run_dir, step, true));
    if (asprintf(&writer->name, SP_CHECKPOINT_DATA_NAME, number) < 0) writer->name = NULL;
    if (asprintf(&writer->path, "%s/%s", folder, writer->name) < 0) writer->path = NULL;
    free(folder);
    if (writer->name == NULL || writer->path == NULL)
        return sp_fail(SP_FAILURE, "no memory for a path in '%s'", run_dir);
    return SP_OK;
}

static sp_status create_file(sp_checkpoint_writer *writer, uint64_t step) {
    SP_TRY(sp_hdf5_create(&writer->file, writer->path, writer->path, false));
    SP_TRY(sp_hdf5_write_u64(&writer->file, "/", "step", step));
    return sp_hdf5_create_group(&writer->file, SP_CHECKPOINT_TENSORS);
}

sp_status sp_checkpoint_begin(sp_checkpoint_writer **writer, const char *run_dir, uint64_t step,
                              size_t number) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **writer, "a checkpoint"));
    sp_checkpoint_writer *made = block;
    sp_status status = make_names(made, run_dir, step, number);
    if (status == SP_OK) {
        sp_hdf5_lock();
        status = create_file(made, step);
        sp_hdf5_unlock();
    }
    if (status == SP_OK)
        *writer = made;
    else
        sp_checkpoint_abort(made);
    return status;
}

/* Chunks cover whole inner dimensions as far as they fit. */
static void choose_chunk(hsize_t *chunk, const hsize_t *extent, size_t n_dims) {
    hsize_t room = CHUNK_VALUES;
    for (size_t i = n_dims; i-- > 0;) {
        chunk[i] = extent[i] < room ? extent[i] : room;
        if (chunk[i] == 0) chunk[i] = 1;
        room = room / chunk[i] > 0 ? room / chunk[i] : 1;
    }
}

static sp_status write_attributes(const sp_hdf5_file *file, const char *object, size_t n_dims,
                                  const size_t *shape, size_t row_begin) {
    uint64_t global_shape[SP_CHECKPOINT_MAX_DIMS];
    for (size_t i = 0; i < n_dims; i++) global_shape[i] = shape[i];
    SP_TRY(sp_hdf5_write_u64s(file, object, SP_CHECKPOINT_GLOBAL_SHAPE, global_shape, n_dims));
    return sp_hdf5_write_u64(file, object, SP_CHECKPOINT_ROW_BEGIN, row_begin);
}

static sp_status create_dataset(hid_t *id, const sp_hdf5_file *file, const char *object,
                                size_t n_dims, const hsize_t *extent, const hsize_t *chunk) {
    bool is_empty = false;
    for (size_t i = 0; i < n_dims; i++) is_empty = is_empty || extent[i] == 0;
    /* HDF5 has no chunk that fits an empty dataset of fixed size. */
    hid_t properties = sp_hdf5_properties(is_empty ? 0 : n_dims, chunk, false);
    hid_t space = H5Screate_simple((int)n_dims, extent, NULL);
    *id = H5Dcreate2(file->id, object, H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    const sp_status status = *id < 0 ? sp_hdf5_fail(file->path, object) : SP_OK;
    sp_hdf5_release(&space);
    sp_hdf5_release(&properties);
    return status;
}

/* Writes rows [begin, begin + n_rows) of the dataset. */
static sp_status write_piece(const sp_hdf5_file *file, hid_t id, const char *object, size_t n_dims,
                             const hsize_t *extent, hsize_t begin, hsize_t n_rows,
                             const float *data) {
    const hsize_t start[SP_CHECKPOINT_MAX_DIMS] = {begin};
    hsize_t count[SP_CHECKPOINT_MAX_DIMS] = {n_rows};
    for (size_t i = 1; i < n_dims; i++) count[i] = extent[i];
    hid_t in_memory = H5Screate_simple((int)n_dims, count, NULL);
    hid_t in_file = H5Dget_space(id);
    sp_status status = SP_OK;
    if (H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dwrite(id, H5T_NATIVE_FLOAT, in_memory, in_file, H5P_DEFAULT, data) < 0)
        status = sp_hdf5_fail(file->path, object);
    sp_hdf5_release(&in_file);
    sp_hdf5_release(&in_memory);
    return status == SP_OK ? sp_hdf5_check_written(file) : status;
}

/* Whole chunks, so that each is written at once. The lock is given back after every piece. */
static sp_status write_pieces(const sp_hdf5_file *file, hid_t id, const char *object, size_t n_dims,
                              const hsize_t *extent, const hsize_t *chunk, const float *data) {
    hsize_t row_values = 1;
    for (size_t i = 1; i < n_dims; i++) row_values *= extent[i];
    if (row_values == 0) return SP_OK;
    const hsize_t n_chunks = PIECE_VALUES / row_values / chunk[0];
    const hsize_t most = chunk[0] * (n_chunks > 0 ? n_chunks : 1);
    for (hsize_t begin = 0; begin < extent[0]; begin += most) {
        const hsize_t left = extent[0] - begin;
        sp_hdf5_lock();
        const sp_status status = write_piece(file, id, object, n_dims, extent, begin,
                                             left < most ? left : most, data + begin * row_values);
        sp_hdf5_unlock();
        if (status != SP_OK) return status;
    }
    return SP_OK;
}

sp_status sp_checkpoint_write_rows(sp_checkpoint_writer *writer, const char *name, size_t n_dims,
                                   const size_t *shape, size_t row_begin, size_t n_rows,
                                   const float *data) {
    assert(n_dims >= 1 && n_dims <= SP_CHECKPOINT_MAX_DIMS);
    assert(row_begin <= shape[0] && n_rows <= shape[0] - row_begin);
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL ||
        strlen(name) >= SP_CHECKPOINT_NAME_SIZE)
        return sp_fail(SP_FAILURE, "'%s' cannot be a tensor's name", name);
    char object[SP_CHECKPOINT_NAME_SIZE + sizeof SP_CHECKPOINT_TENSORS "/"];
    snprintf(object, sizeof object, SP_CHECKPOINT_TENSORS "/%s", name);
    hsize_t extent[SP_CHECKPOINT_MAX_DIMS], chunk[SP_CHECKPOINT_MAX_DIMS];
    for (size_t i = 0; i < n_dims; i++) extent[i] = i == 0 ? n_rows : shape[i];
    choose_chunk(chunk, extent, n_dims);
    hid_t id = H5I_INVALID_HID;
    sp_hdf5_lock();
    sp_status status = create_dataset(&id, &writer->file, object, n_dims, extent, chunk);
    if (status == SP_OK) status = write_attributes(&writer->file, object, n_dims, shape, row_begin);
    sp_hdf5_unlock();
    if (status == SP_OK)
        status = write_pieces(&writer->file, id, object, n_dims, extent, chunk, data);
    sp_hdf5_lock();
    sp_hdf5_release(&id);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_checkpoint_write_tensor(sp_checkpoint_writer *writer, const char *name, size_t n_dims,
                                     const size_t *shape, const float *data) {
    assert(n_dims >= 1);
    return sp_checkpoint_write_rows(writer, name, n_dims, shape, 0, shape[0], data);
}

static sp_status describe(sp_checkpoint_file *file, const sp_checkpoint_writer *writer) {
    struct stat info;
    *file = (sp_checkpoint_file){0};
    snprintf(file->name, sizeof file->name, "%s", writer->name);
    SP_TRY(sp_digest_file(file->xxh3_128, writer->path, 0));
    if (stat(writer->path, &info) != 0)
        return sp_fail(SP_IO, "cannot stat '%s': %s", writer->path, strerror(errno));
    file->n_bytes = (uint64_t)info.st_size;
    return SP_OK;
}

static void release(sp_checkpoint_writer *writer) {
    free(writer->path);
    free(writer->name);
    free(writer);
}

sp_status sp_checkpoint_finish(sp_checkpoint_writer *writer, sp_checkpoint_file *file) {
    sp_checkpoint_file described;
    sp_hdf5_lock();
    sp_status status = sp_hdf5_finish(&writer->file);
    sp_hdf5_unlock();
    if (status == SP_OK) status = sp_sync_path(writer->path);
    if (status == SP_OK) status = describe(&described, writer);
    if (status == SP_OK)
        *file = described;
    else
        unlink(writer->path);
    release(writer);
    return status;
}

void sp_checkpoint_abort(sp_checkpoint_writer *writer) {
    if (writer == NULL) return;
    sp_hdf5_lock();
    sp_hdf5_close(&writer->file);
    sp_hdf5_unlock();
    if (writer->path != NULL) unlink(writer->path);
    release(writer);
}

/* ---- all of them ---- */

sp_status sp_checkpoint_publish(const char *run_dir, uint64_t step, const sp_checkpoint_file *files,
                                size_t n_files, const json_t *extra) {
    char *folder = NULL;
    SP_TRY(sp_checkpoint_folder(&folder, run_dir, step, true));
    sp_status status = sp_manifest_write(folder, step, files, n_files, extra);
    if (status == SP_OK) status = sp_checkpoint_put_in_place(run_dir, step);
    if (status != SP_OK) sp_discard_folder(folder);
    free(folder);
    return status;
}

void sp_checkpoint_discard(const char *run_dir, uint64_t step) {
    char *folder = NULL;
    if (sp_checkpoint_folder(&folder, run_dir, step, true) != SP_OK) return; /* swept later */
    sp_discard_folder(folder);
    free(folder);
}
