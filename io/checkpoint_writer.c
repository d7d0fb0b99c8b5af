#include "base/memory.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/checkpoint_folder.h"
#include "io/checkpoint_schema.h"
#include "io/hdf5_internal.h"
#include "io/manifest.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* 1 MiB: a piece of rows can be read alone, and the checksums' overhead is small. */
enum { CHUNK_VALUES = 1 << 18 };

struct sp_checkpoint_writer {
    char *run_dir, *temp_dir, *data_path; /* owned */
    const char *data_name;                /* in data_path */
    uint64_t step;
    sp_hdf5_file file;
};

static sp_status begin_folder(sp_checkpoint_writer *writer) {
    SP_TRY(sp_make_folders(writer->run_dir));
    SP_TRY(sp_checkpoint_folder(&writer->temp_dir, writer->run_dir, writer->step, true));
    SP_TRY(sp_remove_folder(writer->temp_dir)); /* a killed writer's */
    if (mkdir(writer->temp_dir, 0777) != 0)
        return sp_fail(SP_IO, "cannot create '%s': %s", writer->temp_dir, strerror(errno));
    if (asprintf(&writer->data_path, "%s/" SP_CHECKPOINT_DATA_NAME, writer->temp_dir, 0) < 0) {
        writer->data_path = NULL;
        return sp_fail(SP_FAILURE, "no memory for a path in '%s'", writer->temp_dir);
    }
    writer->data_name = strrchr(writer->data_path, '/') + 1;
    return SP_OK;
}

static sp_status begin_data(sp_checkpoint_writer *writer) {
    SP_TRY(sp_hdf5_create(&writer->file, writer->data_path, writer->data_path));
    SP_TRY(sp_hdf5_write_u64(&writer->file, "/", "step", writer->step));
    return sp_hdf5_create_group(&writer->file, SP_CHECKPOINT_TENSORS);
}

sp_status sp_checkpoint_begin(sp_checkpoint_writer **writer, const char *run_dir, uint64_t step) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **writer, "a checkpoint"));
    sp_checkpoint_writer *made = block;
    made->step = step;
    made->run_dir = strdup(run_dir);
    sp_status status = SP_OK;
    if (made->run_dir == NULL) status = sp_fail(SP_FAILURE, "no memory for '%s'", run_dir);
    if (status == SP_OK) status = begin_folder(made);
    if (status == SP_OK) {
        sp_hdf5_lock();
        status = begin_data(made);
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

static sp_status write_dataset(const sp_hdf5_file *file, const char *object, size_t n_dims,
                               const hsize_t *extent, const float *data) {
    hsize_t chunk[SP_CHECKPOINT_MAX_DIMS], n_values = 1;
    for (size_t i = 0; i < n_dims; i++) n_values *= extent[i];
    choose_chunk(chunk, extent, n_dims);
    /* HDF5 has no chunk that fits an empty dataset of fixed size. */
    hid_t properties = sp_hdf5_properties(n_values > 0 ? n_dims : 0, chunk, false);
    hid_t space = H5Screate_simple((int)n_dims, extent, NULL);
    hid_t id =
        H5Dcreate2(file->id, object, H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    sp_status status = SP_OK;
    if (id < 0 ||
        (n_values > 0 && H5Dwrite(id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0))
        status = sp_hdf5_fail(file->path, object);
    sp_hdf5_release(&id);
    sp_hdf5_release(&space);
    sp_hdf5_release(&properties);
    return status;
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
    hsize_t extent[SP_CHECKPOINT_MAX_DIMS];
    for (size_t i = 0; i < n_dims; i++) extent[i] = i == 0 ? n_rows : shape[i];
    sp_hdf5_lock();
    sp_status status = write_dataset(&writer->file, object, n_dims, extent, data);
    if (status == SP_OK) status = write_attributes(&writer->file, object, n_dims, shape, row_begin);
    if (status == SP_OK) status = sp_hdf5_check_written(&writer->file);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_checkpoint_write_tensor(sp_checkpoint_writer *writer, const char *name, size_t n_dims,
                                     const size_t *shape, const float *data) {
    assert(n_dims >= 1);
    return sp_checkpoint_write_rows(writer, name, n_dims, shape, 0, shape[0], data);
}

sp_status sp_checkpoint_commit(sp_checkpoint_writer *writer, const json_t *extra) {
    sp_hdf5_lock();
    sp_status status = sp_hdf5_finish(&writer->file);
    sp_hdf5_unlock();
    if (status == SP_OK)
        status = sp_manifest_write(writer->temp_dir, writer->step, &writer->data_name, 1, extra);
    if (status == SP_OK) status = sp_checkpoint_publish(writer->run_dir, writer->step);
    sp_checkpoint_abort(writer); /* of what was published nothing is left to remove */
    return status;
}

void sp_checkpoint_abort(sp_checkpoint_writer *writer) {
    if (writer == NULL) return;
    sp_hdf5_lock();
    sp_hdf5_close(&writer->file);
    sp_hdf5_unlock();
    if (writer->temp_dir != NULL) sp_discard_folder(writer->temp_dir);
    free(writer->data_path);
    free(writer->temp_dir);
    free(writer->run_dir);
    free(writer);
}
