#include "base/memory.h"
#include "base/size.h"
#include "io/hdf5_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Deflate packs at most 1032 bytes into one: a dataset that claims more than that for each byte
   that it stores is false, and no memory is asked for on its word. */
enum { MOST_PACKED = 1032 };

/* A chunk is unpacked as a whole, so its size is believed up to here only. */
enum { MOST_CHUNK_BYTES = 64 << 20 };

/* The type that values are read as; invalid if the dataset's own does not fit `kind`. */
static hid_t memory_type(hid_t file_type, sp_hdf5_kind kind) {
    static const size_t int_bytes[] = {
        [SP_HDF5_U8] = 1, [SP_HDF5_U16] = 2, [SP_HDF5_U32] = 4, [SP_HDF5_U64] = 8};
    const H5T_class_t class = H5Tget_class(file_type);
    const size_t n_bytes = H5Tget_size(file_type);
    hid_t type = H5I_INVALID_HID;
    switch (kind) {
    case SP_HDF5_U8:
    case SP_HDF5_U16:
    case SP_HDF5_U32:
    case SP_HDF5_U64:
        if (class != H5T_INTEGER || H5Tget_sign(file_type) != H5T_SGN_NONE ||
            n_bytes > int_bytes[kind])
            break;
        type = H5Tcopy(kind == SP_HDF5_U8    ? H5T_NATIVE_UINT8
                       : kind == SP_HDF5_U16 ? H5T_NATIVE_UINT16
                       : kind == SP_HDF5_U32 ? H5T_NATIVE_UINT32
                                             : H5T_NATIVE_UINT64);
        break;
    case SP_HDF5_I8:
        if (H5Tequal(file_type, H5T_STD_I8LE) > 0) type = H5Tcopy(H5T_NATIVE_INT8);
        break;
    case SP_HDF5_F16:
        type = sp_hdf5_f16_type();
        if (type >= 0 && H5Tequal(type, file_type) <= 0) sp_hdf5_release(&type);
        break;
    case SP_HDF5_F32:
        if (H5Tequal(file_type, H5T_IEEE_F32LE) > 0) type = H5Tcopy(H5T_NATIVE_FLOAT);
        break;
    case SP_HDF5_STRING:
        if (class == H5T_STRING && H5Tis_variable_str(file_type) == 0 &&
            n_bytes <= SP_HDF5_MAX_STRING)
            type = sp_hdf5_string_type(n_bytes);
        break;
    }
    return type;
}

static sp_status get_extent(sp_hdf5_dataset *dataset, size_t n_dims) {
    hsize_t extent[SP_HDF5_MAX_DIMS] = {0};
    assert(n_dims <= SP_HDF5_MAX_DIMS);
    if (H5Sis_simple(dataset->space) <= 0 ||
        H5Sget_simple_extent_ndims(dataset->space) != (int)n_dims ||
        H5Sget_simple_extent_dims(dataset->space, extent, NULL) < 0) {
        H5Eclear2(H5E_DEFAULT);
        return sp_fail(SP_BAD_DATA, "'%s', '%s': not a dataset of %zu dimensions",
                       dataset->file->path, dataset->name, n_dims);
    }
    dataset->n_dims = n_dims;
    for (size_t i = 0; i < n_dims; i++) dataset->extent[i] = extent[i];
    return SP_OK;
}

/* Chunks of a size that can be unpacked, or contiguous in this very file. */
static bool has_fair_layout(hid_t properties, size_t n_dims, size_t item_bytes) {
    switch (H5Pget_layout(properties)) {
    case H5D_COMPACT:
        return true;
    case H5D_CONTIGUOUS:
        return H5Pget_external_count(properties) == 0;
    case H5D_CHUNKED:
        break;
    default:
        return false;
    }
    hsize_t chunk[SP_HDF5_MAX_DIMS] = {0};
    if (H5Pget_chunk(properties, (int)n_dims, chunk) != (int)n_dims) return false;
    size_t n_bytes = item_bytes;
    for (size_t i = 0; i < n_dims; i++)
        if (!sp_size_mul(&n_bytes, n_bytes, chunk[i])) return false;
    return n_bytes <= MOST_CHUNK_BYTES;
}

/* Holds the extent against what the file stores for it. */
static sp_status check_storage(const sp_hdf5_dataset *dataset, size_t file_item_bytes) {
    hid_t properties = H5Dget_create_plist(dataset->id);
    const bool is_fair =
        properties >= 0 && has_fair_layout(properties, dataset->n_dims, file_item_bytes);
    sp_hdf5_release(&properties);
    H5Eclear2(H5E_DEFAULT);
    if (!is_fair)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': not laid out as slotpress writes it",
                       dataset->file->path, dataset->name);

    size_t n_bytes = file_item_bytes;
    bool fits = true;
    for (size_t i = 0; i < dataset->n_dims; i++)
        fits = fits && sp_size_mul(&n_bytes, n_bytes, dataset->extent[i]);
    hsize_t file_bytes = 0;
    const hsize_t stored = H5Dget_storage_size(dataset->id);
    if (!fits || H5Fget_filesize(dataset->file->id, &file_bytes) < 0 || stored > file_bytes ||
        n_bytes / MOST_PACKED > stored || (n_bytes > 0 && stored == 0))
        return sp_fail(SP_BAD_DATA, "'%s', '%s': its extent is beyond the %ju bytes stored for it",
                       dataset->file->path, dataset->name, (uintmax_t)stored);
    return SP_OK;
}

static hid_t dataset_access(size_t cache_bytes) {
    if (cache_bytes == 0) return H5Pcreate(H5P_DATASET_ACCESS);
    const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    /* Primes, and many times the chunks that fit. */
    const size_t n_hash_slots = cache_bytes < 1 << 20 ? 521 : 12421;
    if (access >= 0) H5Pset_chunk_cache(access, n_hash_slots, cache_bytes, 0.75);
    return access;
}

sp_status sp_hdf5_open_dataset(sp_hdf5_dataset *dataset, const sp_hdf5_file *file, const char *name,
                               sp_hdf5_kind kind, size_t n_dims, size_t cache_bytes) {
    sp_hdf5_dataset made = SP_HDF5_NO_DATASET;
    made.file = file;
    made.name = name;
    hid_t file_type = H5I_INVALID_HID, access = dataset_access(cache_bytes);
    made.id = H5Dopen2(file->id, name, access);
    sp_status status = SP_OK;
    if (made.id < 0) {
        status = sp_hdf5_fail(file->path, name);
        goto cleanup;
    }
    made.space = H5Dget_space(made.id);
    file_type = H5Dget_type(made.id);
    made.type = file_type < 0 ? file_type : memory_type(file_type, kind);
    if (made.space < 0 || made.type < 0) {
        H5Eclear2(H5E_DEFAULT);
        status = sp_fail(SP_BAD_DATA, "'%s', '%s': values of another type", file->path, name);
        goto cleanup;
    }
    made.item_bytes = H5Tget_size(made.type);
    status = get_extent(&made, n_dims);
    if (status == SP_OK) status = check_storage(&made, H5Tget_size(file_type));
    if (status != SP_OK) goto cleanup;
    *dataset = made;
    made = SP_HDF5_NO_DATASET;

cleanup:
    sp_hdf5_release(&file_type);
    sp_hdf5_release(&access);
    sp_hdf5_release_dataset(&made);
    return status;
}

void sp_hdf5_release_dataset(sp_hdf5_dataset *dataset) {
    sp_hdf5_release(&dataset->type);
    sp_hdf5_release(&dataset->space);
    sp_hdf5_release(&dataset->id);
}

sp_status sp_hdf5_read_rows(const sp_hdf5_dataset *dataset, size_t begin, size_t n, void *out) {
    assert(begin <= dataset->extent[0] && n <= dataset->extent[0] - begin);
    hsize_t start[SP_HDF5_MAX_DIMS] = {begin}, count[SP_HDF5_MAX_DIMS] = {n};
    size_t n_values = n;
    for (size_t i = 1; i < dataset->n_dims; i++) {
        count[i] = dataset->extent[i];
        n_values *= dataset->extent[i];
    }
    if (n_values == 0) return SP_OK;
    hid_t memory = H5Screate_simple((int)dataset->n_dims, count, NULL);
    sp_status status = SP_OK;
    if (memory < 0 ||
        H5Sselect_hyperslab(dataset->space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(dataset->id, dataset->type, memory, dataset->space, H5P_DEFAULT, out) < 0)
        status = sp_hdf5_fail(dataset->file->path, dataset->name);
    sp_hdf5_release(&memory);
    return status;
}

sp_status sp_hdf5_load(void **out, const sp_hdf5_file *file, const char *name, sp_hdf5_kind kind,
                       size_t n) {
    sp_hdf5_dataset dataset = SP_HDF5_NO_DATASET;
    SP_TRY(sp_hdf5_open_dataset(&dataset, file, name, kind, 1, 0));
    void *values = NULL;
    sp_status status = SP_OK;
    if (dataset.extent[0] != n)
        status = sp_fail(SP_BAD_DATA, "'%s', '%s': %zu values where %zu belong", file->path, name,
                         dataset.extent[0], n);
    if (status == SP_OK) status = sp_alloc_array(&values, n, dataset.item_bytes, name);
    if (status == SP_OK) status = sp_hdf5_read_rows(&dataset, 0, n, values);
    if (status == SP_OK) {
        *out = values;
        values = NULL;
    }
    free(values);
    sp_hdf5_release_dataset(&dataset);
    return status;
}

sp_status sp_hdf5_count(size_t *n, const sp_hdf5_file *file, const char *name, sp_hdf5_kind kind) {
    sp_hdf5_dataset dataset = SP_HDF5_NO_DATASET;
    SP_TRY(sp_hdf5_open_dataset(&dataset, file, name, kind, 1, 0));
    *n = dataset.extent[0];
    sp_hdf5_release_dataset(&dataset);
    return SP_OK;
}

sp_status sp_hdf5_load_string(char **text, const sp_hdf5_file *file, const char *name, size_t row) {
    sp_hdf5_dataset dataset = SP_HDF5_NO_DATASET;
    SP_TRY(sp_hdf5_open_dataset(&dataset, file, name, SP_HDF5_STRING, 1, 0));
    void *string = NULL;
    sp_status status = SP_OK;
    if (row >= dataset.extent[0])
        status = sp_fail(SP_BAD_DATA, "'%s', '%s': no row %zu", file->path, name, row);
    if (status == SP_OK) status = sp_alloc(&string, dataset.item_bytes + 1, "a string");
    if (status == SP_OK) status = sp_hdf5_read_rows(&dataset, row, 1, string);
    if (status == SP_OK) {
        *text = string;
        string = NULL;
    }
    free(string);
    sp_hdf5_release_dataset(&dataset);
    return status;
}
