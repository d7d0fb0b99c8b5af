#include "io/checkpoint.h"

#include "base/log.h"
#include "base/memory.h"
#include "io/checkpoint_folder.h"
#include "io/checkpoint_schema.h"
#include "io/hdf5_internal.h"
#include "io/manifest.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows [row_begin, row_begin + n_rows) of a tensor, in one dataset of one file. */
typedef struct tensor_piece {
    char *name;                                   /* owned */
    size_t file;                                  /* its index */
    size_t n_dims, shape[SP_CHECKPOINT_MAX_DIMS]; /* of the whole tensor */
    size_t row_begin, n_rows;
} tensor_piece;

/* Fewer than a process may have open files, and as many as rows of one tensor are read from in turn. */
enum { MOST_OPEN = 32 };

typedef struct data_file {
    char *path;        /* owned */
    sp_hdf5_file hdf5; /* open while its index is among the open ones */
} data_file;

typedef struct open_files {
    size_t files[MOST_OPEN], n_files; /* the one used last first */
} open_files;

struct sp_checkpoint {
    char *path;       /* of the step folder, owned */
    json_t *manifest; /* owned */
    data_file *files; /* [n_files], owned */
    size_t n_files;
    open_files *open;     /* owned; behind the library's lock, as the files are */
    tensor_piece *pieces; /* [n_pieces], owned: sorted by name, then row */
    size_t n_pieces, capacity;
    size_t *tensors; /* [n_tensors], owned: each one's first piece */
    size_t n_tensors;
};

/* ---- files by demand ---- */

/* Opens the file unless it is open, in the place of the one that was used longest ago. The file is
   borrowed until the next call. */
static sp_status use_file(sp_hdf5_file **used, const sp_checkpoint *checkpoint, size_t index) {
    open_files *open = checkpoint->open;
    data_file *file = &checkpoint->files[index];
    size_t at = 0;
    while (at < open->n_files && open->files[at] != index) at++;
    if (at == open->n_files) {
        if (at == MOST_OPEN) sp_hdf5_close(&checkpoint->files[open->files[--at]].hdf5);
        open->n_files = at;
        SP_TRY(sp_hdf5_open(&file->hdf5, file->path));
        open->n_files++;
    }
    memmove(open->files + 1, open->files, at * sizeof open->files[0]);
    open->files[0] = index;
    *used = &file->hdf5;
    return SP_OK;
}

/* ---- the index of pieces ---- */

static sp_status add_piece(sp_checkpoint *checkpoint, size_t file, const char *name) {
    if (checkpoint->n_pieces == checkpoint->capacity) {
        const size_t capacity = checkpoint->capacity > 0 ? 2 * checkpoint->capacity : 256;
        tensor_piece *larger = realloc(checkpoint->pieces, capacity * sizeof *larger);
        if (larger == NULL)
            return sp_fail(SP_FAILURE, "'%s': no memory for %zu tensors", checkpoint->path,
                           capacity);
        checkpoint->pieces = larger;
        checkpoint->capacity = capacity;
    }
    char *copy = strdup(name);
    if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for the name '%s'", name);
    checkpoint->pieces[checkpoint->n_pieces++] = (tensor_piece){.name = copy, .file = file};
    return SP_OK;
}

/* What the walk through /tensors carries. */
typedef struct walk {
    sp_checkpoint *checkpoint;
    size_t file;
    sp_status status;
} walk;

static herr_t visit_tensor(hid_t group, const char *name, const H5L_info_t *info, void *data) {
    (void)group, (void)info;
    walk *state = data;
    if (strlen(name) >= SP_CHECKPOINT_NAME_SIZE)
        state->status = sp_fail(SP_BAD_DATA, "'%s': a tensor's name of %zu bytes",
                                state->checkpoint->files[state->file].path, strlen(name));
    else
        state->status = add_piece(state->checkpoint, state->file, name);
    return state->status == SP_OK ? 0 : 1;
}

static void object_name(char object[SP_CHECKPOINT_NAME_SIZE + 16], const tensor_piece *piece) {
    snprintf(object, SP_CHECKPOINT_NAME_SIZE + 16, SP_CHECKPOINT_TENSORS "/%s", piece->name);
}

/* Reads a piece's attributes and holds them against its extent. */
static sp_status read_piece(tensor_piece *piece, const sp_hdf5_file *file) {
    char object[SP_CHECKPOINT_NAME_SIZE + 16];
    uint64_t shape[SP_CHECKPOINT_MAX_DIMS], row_begin = 0;
    object_name(object, piece);
    SP_TRY(sp_hdf5_read_u64s(file, object, SP_CHECKPOINT_GLOBAL_SHAPE, shape,
                             SP_CHECKPOINT_MAX_DIMS, &piece->n_dims));
    SP_TRY(sp_hdf5_read_u64(file, object, SP_CHECKPOINT_ROW_BEGIN, &row_begin));
    if (piece->n_dims == 0)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': no dimensions", file->path, object);

    sp_hdf5_dataset dataset = SP_HDF5_NO_DATASET;
    SP_TRY(sp_hdf5_open_dataset(&dataset, file, object, SP_HDF5_F32, piece->n_dims, 0));
    bool agrees = row_begin <= shape[0] && dataset.extent[0] <= shape[0] - row_begin;
    for (size_t i = 1; i < piece->n_dims; i++) agrees = agrees && dataset.extent[i] == shape[i];
    piece->row_begin = row_begin;
    piece->n_rows = dataset.extent[0];
    for (size_t i = 0; i < piece->n_dims; i++) piece->shape[i] = shape[i];
    sp_hdf5_release_dataset(&dataset);
    if (!agrees)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': its extent is not within its global shape",
                       file->path, object);
    return SP_OK;
}

static sp_status index_file(sp_checkpoint *checkpoint, size_t file) {
    sp_hdf5_file *hdf5 = NULL;
    SP_TRY(use_file(&hdf5, checkpoint, file));
    const size_t first = checkpoint->n_pieces;
    walk state = {.checkpoint = checkpoint, .file = file};
    const herr_t walked = H5Literate_by_name(hdf5->id, SP_CHECKPOINT_TENSORS, H5_INDEX_NAME,
                                             H5_ITER_INC, NULL, visit_tensor, &state, H5P_DEFAULT);
    SP_TRY(state.status);
    if (walked < 0) return sp_hdf5_fail(hdf5->path, SP_CHECKPOINT_TENSORS);
    for (size_t i = first; i < checkpoint->n_pieces; i++)
        SP_TRY(read_piece(&checkpoint->pieces[i], hdf5));
    return SP_OK;
}

static int by_name_and_row(const void *a, const void *b) {
    const tensor_piece *first = a, *second = b;
    const int order = strcmp(first->name, second->name);
    if (order != 0) return order;
    return (first->row_begin > second->row_begin) - (first->row_begin < second->row_begin);
}

/* The pieces from `first` on that are of one tensor; refuses gaps, overlaps and shapes that differ. */
static sp_status check_tensor(const sp_checkpoint *checkpoint, size_t first, size_t *n_pieces) {
    const tensor_piece *pieces = checkpoint->pieces + first;
    const size_t most = checkpoint->n_pieces - first;
    size_t n = 0, n_rows = 0;
    for (; n < most && strcmp(pieces[n].name, pieces[0].name) == 0; n++) {
        if (pieces[n].n_dims != pieces[0].n_dims ||
            memcmp(pieces[n].shape, pieces[0].shape, sizeof pieces[0].shape) != 0)
            return sp_fail(SP_BAD_DATA, "'%s', tensor '%s': pieces of different shapes",
                           checkpoint->path, pieces[0].name);
        if (pieces[n].row_begin != n_rows)
            return sp_fail(SP_BAD_DATA, "'%s', tensor '%s': rows from %zu on are missing or double",
                           checkpoint->path, pieces[0].name, n_rows);
        n_rows += pieces[n].n_rows; /* within shape[0]: each piece was checked to be */
    }
    if (n_rows != pieces[0].shape[0])
        return sp_fail(SP_BAD_DATA, "'%s', tensor '%s': %zu of %zu rows", checkpoint->path,
                       pieces[0].name, n_rows, pieces[0].shape[0]);
    *n_pieces = n;
    return SP_OK;
}

static sp_status index_tensors(sp_checkpoint *checkpoint) {
    void *block = NULL;
    if (checkpoint->n_pieces > 0)
        qsort(checkpoint->pieces, checkpoint->n_pieces, sizeof(tensor_piece), by_name_and_row);
    SP_TRY(sp_alloc_array(&block, checkpoint->n_pieces, sizeof(size_t), "a list of tensors"));
    checkpoint->tensors = block;
    for (size_t i = 0; i < checkpoint->n_pieces;) {
        size_t n_pieces = 0;
        SP_TRY(check_tensor(checkpoint, i, &n_pieces));
        checkpoint->tensors[checkpoint->n_tensors++] = i;
        i += n_pieces;
    }
    return SP_OK;
}

/* ---- opening ---- */

static sp_status index_files(sp_checkpoint *checkpoint) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof *checkpoint->open, "a checkpoint's open files"));
    checkpoint->open = block;
    const size_t n_files = sp_manifest_n_files(checkpoint->manifest);
    SP_TRY(sp_alloc_array(&block, n_files, sizeof(data_file), "a checkpoint's files"));
    checkpoint->files = block;
    for (size_t i = 0; i < n_files; i++) {
        data_file *file = &checkpoint->files[checkpoint->n_files++];
        file->hdf5.id = H5I_INVALID_HID;
        if (asprintf(&file->path, "%s/%s", checkpoint->path,
                     sp_manifest_file(checkpoint->manifest, i)) < 0) {
            file->path = NULL;
            return sp_fail(SP_FAILURE, "no memory for a path in '%s'", checkpoint->path);
        }
        SP_TRY(index_file(checkpoint, i));
    }
    return index_tensors(checkpoint);
}

static sp_status open_step_folder(sp_checkpoint **checkpoint, const char *dir, size_t index,
                                  size_t n_readers) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **checkpoint, "a checkpoint"));
    sp_checkpoint *made = block;
    made->path = strdup(dir);
    sp_status status = SP_OK;
    if (made->path == NULL) status = sp_fail(SP_FAILURE, "no memory for the path '%s'", dir);
    if (status == SP_OK) status = sp_manifest_read(&made->manifest, dir);
    if (status == SP_OK) status = sp_manifest_verify(made->manifest, dir, index, n_readers);
    if (status == SP_OK) {
        sp_hdf5_lock();
        status = index_files(made);
        sp_hdf5_unlock();
    }
    if (status == SP_OK)
        *checkpoint = made;
    else
        sp_checkpoint_close(made);
    return status;
}

/* Opens the newest of the run's steps that can be opened. */
static sp_status open_newest(sp_checkpoint **checkpoint, const char *run_dir, const uint64_t *steps,
                             size_t n_steps) {
    for (size_t i = 0; i < n_steps; i++) {
        char *path = NULL;
        SP_TRY(sp_checkpoint_folder(&path, run_dir, steps[i], false));
        const sp_status status = open_step_folder(checkpoint, path, 0, 1);
        if (status != SP_OK) sp_log(SP_LOG_WARNING, "passing over '%s': %s", path, sp_message());
        free(path);
        if (status == SP_OK) return SP_OK;
    }
    if (n_steps > 0)
        return sp_fail(SP_BAD_DATA, "'%s': none of its %zu checkpoints is valid", run_dir, n_steps);
    return sp_fail(SP_IO, "'%s': no checkpoint there, neither of a run nor of a step", run_dir);
}

sp_status sp_checkpoint_open(sp_checkpoint **checkpoint, const char *dir) {
    if (sp_is_step_folder(dir)) return open_step_folder(checkpoint, dir, 0, 1);
    uint64_t *steps = NULL;
    size_t n_steps = 0;
    SP_TRY(sp_checkpoint_list(&steps, &n_steps, dir));
    const sp_status status = open_newest(checkpoint, dir, steps, n_steps);
    free(steps);
    return status;
}

sp_status sp_checkpoint_open_shared(sp_checkpoint **checkpoint, const char *step_dir, size_t index,
                                    size_t n_readers) {
    assert(index < n_readers);
    return open_step_folder(checkpoint, step_dir, index, n_readers);
}

void sp_checkpoint_close(sp_checkpoint *checkpoint) {
    if (checkpoint == NULL) return;
    sp_hdf5_lock();
    for (size_t i = 0; i < checkpoint->n_files; i++) {
        sp_hdf5_close(&checkpoint->files[i].hdf5);
        free(checkpoint->files[i].path);
    }
    sp_hdf5_unlock();
    for (size_t i = 0; i < checkpoint->n_pieces; i++) free(checkpoint->pieces[i].name);
    free(checkpoint->tensors);
    free(checkpoint->pieces);
    free(checkpoint->open);
    free(checkpoint->files);
    json_decref(checkpoint->manifest);
    free(checkpoint->path);
    free(checkpoint);
}

/* ---- reading ---- */

const char *sp_checkpoint_path(const sp_checkpoint *checkpoint) { return checkpoint->path; }

const json_t *sp_checkpoint_manifest(const sp_checkpoint *checkpoint) {
    return checkpoint->manifest;
}

uint64_t sp_checkpoint_step(const sp_checkpoint *checkpoint) {
    return sp_manifest_step(checkpoint->manifest);
}

size_t sp_checkpoint_n_tensors(const sp_checkpoint *checkpoint) { return checkpoint->n_tensors; }

sp_checkpoint_tensor sp_checkpoint_tensor_at(const sp_checkpoint *checkpoint, size_t index) {
    assert(index < checkpoint->n_tensors);
    const tensor_piece *first = &checkpoint->pieces[checkpoint->tensors[index]];
    sp_checkpoint_tensor tensor = {.name = first->name, .n_dims = first->n_dims};
    memcpy(tensor.shape, first->shape, sizeof tensor.shape);
    return tensor;
}

/* The tensor's first piece, or NULL. */
static const tensor_piece *find_first_piece(const sp_checkpoint *checkpoint, const char *name,
                                            size_t *index) {
    size_t begin = 0, end = checkpoint->n_tensors;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        const tensor_piece *first = &checkpoint->pieces[checkpoint->tensors[middle]];
        const int order = strcmp(first->name, name);
        if (order == 0) {
            *index = middle;
            return first;
        }
        if (order < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

bool sp_checkpoint_find_tensor(const sp_checkpoint *checkpoint, const char *name,
                               sp_checkpoint_tensor *tensor) {
    size_t index = 0;
    if (find_first_piece(checkpoint, name, &index) == NULL) return false;
    *tensor = sp_checkpoint_tensor_at(checkpoint, index);
    return true;
}

/* Writes "[3, 4]". */
static void print_shape(char *text, size_t size, const size_t *shape, size_t n_dims) {
    size_t used = 0;
    for (size_t i = 0; i < n_dims && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%zu", i > 0 ? ", " : "[", shape[i]);
    if (used < size) snprintf(text + used, size - used, "]");
}

static sp_status find_shaped(const tensor_piece **first, const sp_checkpoint *checkpoint,
                             const char *name, size_t n_dims, const size_t *shape) {
    size_t index = 0;
    *first = find_first_piece(checkpoint, name, &index);
    if (*first == NULL) return sp_fail(SP_BAD_DATA, "'%s': no tensor '%s'", checkpoint->path, name);
    if ((*first)->n_dims == n_dims && memcmp((*first)->shape, shape, n_dims * sizeof *shape) == 0)
        return SP_OK;
    char has[128], wanted[128];
    print_shape(has, sizeof has, (*first)->shape, (*first)->n_dims);
    print_shape(wanted, sizeof wanted, shape, n_dims);
    return sp_fail(SP_BAD_DATA, "'%s', tensor '%s': its shape is %s, wanted is %s",
                   checkpoint->path, name, has, wanted);
}

/* Reads rows [begin, begin + n) of the tensor that lie in this piece to their place in out, which
   holds the wanted rows from row_begin on. */
static sp_status read_overlap(const sp_checkpoint *checkpoint, const tensor_piece *from,
                              size_t row_begin, size_t n_rows, float *out) {
    const size_t piece_end = from->row_begin + from->n_rows, row_end = row_begin + n_rows;
    const size_t begin = row_begin > from->row_begin ? row_begin : from->row_begin;
    const size_t end = row_end < piece_end ? row_end : piece_end;
    if (begin >= end) return SP_OK;
    size_t row_values = 1;
    for (size_t i = 1; i < from->n_dims; i++) row_values *= from->shape[i];
    char object[SP_CHECKPOINT_NAME_SIZE + 16];
    sp_hdf5_file *file = NULL;
    SP_TRY(use_file(&file, checkpoint, from->file));
    object_name(object, from);
    sp_hdf5_dataset dataset = SP_HDF5_NO_DATASET;
    SP_TRY(sp_hdf5_open_dataset(&dataset, file, object, SP_HDF5_F32, from->n_dims, 0));
    const sp_status status = sp_hdf5_read_rows(&dataset, begin - from->row_begin, end - begin,
                                               out + (begin - row_begin) * row_values);
    sp_hdf5_release_dataset(&dataset);
    return status;
}

sp_status sp_checkpoint_read_rows(const sp_checkpoint *checkpoint, const char *name, size_t n_dims,
                                  const size_t *shape, size_t row_begin, size_t n_rows,
                                  float *out) {
    assert(n_dims >= 1 && n_dims <= SP_CHECKPOINT_MAX_DIMS);
    assert(row_begin <= shape[0] && n_rows <= shape[0] - row_begin);
    const tensor_piece *first = NULL;
    SP_TRY(find_shaped(&first, checkpoint, name, n_dims, shape));
    const tensor_piece *end = checkpoint->pieces + checkpoint->n_pieces;
    sp_status status = SP_OK;
    sp_hdf5_lock();
    for (const tensor_piece *at = first; status == SP_OK && at < end && strcmp(at->name, name) == 0;
         at++)
        status = read_overlap(checkpoint, at, row_begin, n_rows, out);
    sp_hdf5_unlock();
    return status;
}

sp_status sp_checkpoint_read_tensor(const sp_checkpoint *checkpoint, const char *name,
                                    size_t n_dims, const size_t *shape, float *out) {
    assert(n_dims >= 1);
    return sp_checkpoint_read_rows(checkpoint, name, n_dims, shape, 0, shape[0], out);
}

/* ---- describing ---- */

static json_t *describe_tensor(const sp_checkpoint_tensor *tensor) {
    json_t *shape = json_array();
    for (size_t i = 0; i < tensor->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    return json_pack("{s:s, s:o}", "name", tensor->name, "shape", shape);
}

sp_status sp_checkpoint_describe(json_t **description, const char *dir) {
    sp_checkpoint *checkpoint = NULL;
    SP_TRY(sp_checkpoint_open(&checkpoint, dir));
    json_t *tensors = json_array();
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        const sp_checkpoint_tensor tensor = sp_checkpoint_tensor_at(checkpoint, i);
        json_array_append_new(tensors, describe_tensor(&tensor));
    }
    sp_status status = SP_OK;
    json_t *made = json_deep_copy(checkpoint->manifest);
    if (made == NULL || json_object_set_new(made, "path", json_string(dir)) != 0 ||
        json_array_size(tensors) != checkpoint->n_tensors ||
        json_object_set_new(made, "tensors", json_incref(tensors)) != 0)
        status = sp_fail(SP_BAD_DATA, "'%s': a name in it is not UTF-8", checkpoint->path);
    if (status == SP_OK) {
        *description = made;
        made = NULL;
    }
    json_decref(made);
    json_decref(tensors);
    sp_checkpoint_close(checkpoint);
    return status;
}
