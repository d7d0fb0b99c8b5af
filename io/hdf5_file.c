#include "io/hdf5_file.h"

#include "io/hdf5_driver.h"
#include "io/hdf5_internal.h"
#include "io/hdf5_seal.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Tickets, so that the library is lent in the order of asking: a thread that writes piece after piece
   may win a bare mutex back each time, before the one that waits has woken. */
static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_is_over = PTHREAD_COND_INITIALIZER;
static uint64_t next_ticket, turn; /* behind the door */
static pthread_once_t is_set_up = PTHREAD_ONCE_INIT;

static void set_up(void) {
    /* Files that are still open at exit are given up ones: nothing is to be written to them. */
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

void sp_hdf5_lock(void) {
    pthread_mutex_lock(&door);
    const uint64_t ticket = next_ticket++;
    while (turn != ticket) pthread_cond_wait(&turn_is_over, &door);
    pthread_mutex_unlock(&door);
    pthread_once(&is_set_up, set_up);
}

void sp_hdf5_unlock(void) {
    pthread_mutex_lock(&door);
    turn++;
    pthread_mutex_unlock(&door);
    pthread_cond_broadcast(&turn_is_over);
}

void sp_hdf5_version(char *text, size_t size) {
    unsigned major = 0, minor = 0, release = 0;
    sp_hdf5_lock();
    H5get_libversion(&major, &minor, &release);
    sp_hdf5_unlock();
    snprintf(text, size, "%u.%u.%u", major, minor, release);
}

/* ---- errors ---- */

typedef struct cause {
    char text[256]; /* of the innermost error */
    int errno_seen; /* 0: the system did not fail */
} cause;

/* Called for each entry of the error stack, the innermost first. */
static herr_t keep_cause(unsigned n, const H5E_error2_t *error, void *data) {
    cause *found = data;
    const char *text = error->desc != NULL ? error->desc : "";
    if (n == 0) snprintf(found->text, sizeof found->text, "%s", text);
    const char *number = strstr(text, "errno = ");
    if (number != NULL && found->errno_seen == 0)
        found->errno_seen = atoi(number + strlen("errno = "));
    return 0;
}

sp_status sp_hdf5_fail(const char *path, const char *object) {
    cause found = {.text = "unknown error of HDF5"};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_cause, &found);
    H5Eclear2(H5E_DEFAULT);
    if (found.errno_seen != 0)
        return sp_fail(SP_IO, "'%s', '%s': %s", path, object, strerror(found.errno_seen));
    return sp_fail(SP_BAD_DATA, "'%s', '%s': %s", path, object, found.text);
}

/* ---- files ---- */

static hid_t access_properties(void) {
    const hid_t properties = H5Pcreate(H5P_FILE_ACCESS);
    if (properties < 0) return properties;
    H5Pset_fclose_degree(properties, H5F_CLOSE_STRONG);
    H5Pset_libver_bounds(properties, H5F_LIBVER_V110, H5F_LIBVER_V110);
    /* Files under a final name never change, and the writer's lock is atomic_file's. */
    H5Pset_file_locking(properties, 0, 1);
    return properties;
}

static hid_t creation_properties(bool is_sealed) {
    const hid_t properties = H5Pcreate(H5P_FILE_CREATE);
    if (properties >= 0) H5Pset_obj_track_times(properties, 0);
    if (properties >= 0 && is_sealed) H5Pset_userblock(properties, SP_HDF5_SEAL_BYTES);
    return properties;
}

sp_status sp_hdf5_create(sp_hdf5_file *file, const char *temp_path, const char *path,
                         bool is_sealed) {
    hid_t access = access_properties(), creation = creation_properties(is_sealed);
    int *write_errno = calloc(1, sizeof *write_errno);
    hid_t id = H5I_INVALID_HID;
    sp_status status = SP_OK;
    if (write_errno == NULL) status = sp_fail(SP_FAILURE, "no memory for '%s'", path);
    if (status == SP_OK) status = sp_hdf5_use_driver(access, write_errno);
    if (status == SP_OK) {
        id = H5Fcreate(temp_path, H5F_ACC_TRUNC, creation, access);
        if (id < 0) status = sp_hdf5_fail(path, "/");
        if (id < 0 && *write_errno != 0)
            status = sp_fail(SP_IO, "cannot create '%s': %s", path, strerror(*write_errno));
    }
    sp_hdf5_release(&creation);
    sp_hdf5_release(&access);
    if (status == SP_OK)
        *file = (sp_hdf5_file){
            .id = id, .path = path, .write_errno = write_errno, .is_sealed = is_sealed};
    else
        free(write_errno);
    return status;
}

sp_status sp_hdf5_open(sp_hdf5_file *file, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0)
        return sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return sp_fail(SP_BAD_DATA, "'%s': not a regular file", path);
    bool is_sealed = false;
    SP_TRY(sp_hdf5_check_seal(&is_sealed, path));
    hid_t access = access_properties();
    const hid_t id = H5Fopen(path, H5F_ACC_RDONLY, access);
    const sp_status status = id < 0 ? sp_hdf5_fail(path, "/") : SP_OK;
    sp_hdf5_release(&access);
    if (status == SP_OK) *file = (sp_hdf5_file){.id = id, .path = path, .is_sealed = is_sealed};
    return status;
}

sp_status sp_hdf5_check_written(const sp_hdf5_file *file) {
    if (*file->write_errno == 0) return SP_OK;
    return sp_fail(SP_IO, "cannot write '%s': %s", file->path, strerror(*file->write_errno));
}

sp_status sp_hdf5_finish(sp_hdf5_file *file) {
    sp_status status = SP_OK;
    if (H5Fflush(file->id, H5F_SCOPE_GLOBAL) < 0) status = sp_hdf5_fail(file->path, "/");
    if (H5Fclose(file->id) < 0 && status == SP_OK) status = sp_hdf5_fail(file->path, "/");
    file->id = H5I_INVALID_HID;
    if (*file->write_errno != 0) status = sp_hdf5_check_written(file); /* the cause of all else */
    sp_hdf5_close(file);
    return status;
}

void sp_hdf5_close(sp_hdf5_file *file) {
    if (file->id > 0) H5Fclose(file->id);
    H5Eclear2(H5E_DEFAULT);
    free(file->write_errno);
    *file = (sp_hdf5_file){.id = H5I_INVALID_HID};
}

void sp_hdf5_release(hid_t *id) {
    if (*id > 0) H5Idec_ref(*id);
    *id = H5I_INVALID_HID;
}

sp_status sp_hdf5_create_group(const sp_hdf5_file *file, const char *name) {
    hid_t properties = H5Pcreate(H5P_GROUP_CREATE);
    if (properties >= 0) H5Pset_obj_track_times(properties, 0);
    hid_t group = H5Gcreate2(file->id, name, H5P_DEFAULT, properties, H5P_DEFAULT);
    const sp_status status = group < 0 ? sp_hdf5_fail(file->path, name) : SP_OK;
    sp_hdf5_release(&group);
    sp_hdf5_release(&properties);
    return status;
}

/* ---- types and properties ---- */

hid_t sp_hdf5_f16_type(void) {
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type < 0) return type;
    /* IEEE 754 binary16: sign in bit 15, 5 bits of exponent from bit 10, 10 of mantissa. */
    if (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 ||
        H5Tset_ebias(type, 15) < 0) {
        H5Tclose(type);
        return H5I_INVALID_HID;
    }
    return type;
}

hid_t sp_hdf5_number_type(sp_hdf5_kind kind) {
    switch (kind) {
    case SP_HDF5_U8:
        return H5Tcopy(H5T_STD_U8LE);
    case SP_HDF5_I8:
        return H5Tcopy(H5T_STD_I8LE);
    case SP_HDF5_U16:
        return H5Tcopy(H5T_STD_U16LE);
    case SP_HDF5_U32:
        return H5Tcopy(H5T_STD_U32LE);
    case SP_HDF5_U64:
        return H5Tcopy(H5T_STD_U64LE);
    case SP_HDF5_F16:
        return sp_hdf5_f16_type();
    case SP_HDF5_F32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case SP_HDF5_STRING:
        break;
    }
    return H5I_INVALID_HID;
}

hid_t sp_hdf5_string_type(size_t n_bytes) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) return type;
    H5Tset_size(type, n_bytes > 0 ? n_bytes : 1);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

hid_t sp_hdf5_properties(size_t n_dims, const hsize_t *chunk, bool is_compressed) {
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (properties < 0) return properties;
    H5Pset_obj_track_times(properties, 0);
    if (n_dims > 0) {
        H5Pset_chunk(properties, (int)n_dims, chunk);
        if (is_compressed) {
            H5Pset_shuffle(properties);
            H5Pset_deflate(properties, 1); /* token ids: within a few % of level 9's size */
        }
        H5Pset_fletcher32(properties);
    }
    return properties;
}

/* ---- attributes ---- */

static sp_status write_attribute(const sp_hdf5_file *file, const char *object, const char *name,
                                 hid_t file_type, hid_t memory_type, const void *values,
                                 const size_t *n) {
    const hsize_t extent = n != NULL ? *n : 0;
    hid_t space = n != NULL ? H5Screate_simple(1, &extent, NULL) : H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate_by_name(file->id, object, name, file_type, space, H5P_DEFAULT,
                                        H5P_DEFAULT, H5P_DEFAULT);
    sp_status status = SP_OK;
    if (attribute < 0 || H5Awrite(attribute, memory_type, values) < 0)
        status = sp_hdf5_fail(file->path, name);
    sp_hdf5_release(&attribute);
    sp_hdf5_release(&space);
    return status;
}

sp_status sp_hdf5_write_string(const sp_hdf5_file *file, const char *object, const char *name,
                               const char *value) {
    hid_t type = sp_hdf5_string_type(strlen(value));
    const sp_status status = write_attribute(file, object, name, type, type, value, NULL);
    sp_hdf5_release(&type);
    return status;
}

sp_status sp_hdf5_write_u64(const sp_hdf5_file *file, const char *object, const char *name,
                            uint64_t value) {
    return write_attribute(file, object, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value, NULL);
}

sp_status sp_hdf5_write_u64s(const sp_hdf5_file *file, const char *object, const char *name,
                             const uint64_t *values, size_t n) {
    return write_attribute(file, object, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, values, &n);
}

sp_status sp_hdf5_write_double(const sp_hdf5_file *file, const char *object, const char *name,
                               double value) {
    return write_attribute(file, object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value, NULL);
}

/* An open attribute with its type and number of values. */
typedef struct attribute {
    hid_t id, type, space;
    size_t n;
} attribute;

static void release_attribute(attribute *opened) {
    sp_hdf5_release(&opened->space);
    sp_hdf5_release(&opened->type);
    sp_hdf5_release(&opened->id);
}

static sp_status open_attribute(attribute *opened, const sp_hdf5_file *file, const char *object,
                                const char *name, H5T_class_t class, size_t most) {
    attribute made = {H5I_INVALID_HID, H5I_INVALID_HID, H5I_INVALID_HID, 0};
    sp_status status = SP_OK;
    made.id = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    if (made.id < 0) {
        H5Eclear2(H5E_DEFAULT);
        status = sp_fail(SP_BAD_DATA, "'%s', '%s': no attribute '%s'", file->path, object, name);
        goto cleanup;
    }
    made.type = H5Aget_type(made.id);
    made.space = H5Aget_space(made.id);
    const hssize_t n = made.space < 0 ? -1 : H5Sget_simple_extent_npoints(made.space);
    const bool is_list = made.space >= 0 && H5Sget_simple_extent_ndims(made.space) > 0;
    if (made.type < 0 || n < 0 || H5Tget_class(made.type) != class ||
        H5Tis_variable_str(made.type) > 0 || (size_t)n > most || (!is_list && n != 1)) {
        H5Eclear2(H5E_DEFAULT);
        status = sp_fail(SP_BAD_DATA, "'%s', '%s': attribute '%s' is of another type or size",
                         file->path, object, name);
        goto cleanup;
    }
    made.n = (size_t)n;
    *opened = made;
    return SP_OK;

cleanup:
    release_attribute(&made);
    return status;
}

static sp_status read_attribute(const attribute *opened, hid_t memory_type, void *values,
                                const char *path, const char *name) {
    return H5Aread(opened->id, memory_type, values) < 0 ? sp_hdf5_fail(path, name) : SP_OK;
}

sp_status sp_hdf5_read_string(const sp_hdf5_file *file, const char *object, const char *name,
                              char *text, size_t size) {
    attribute opened;
    SP_TRY(open_attribute(&opened, file, object, name, H5T_STRING, 1));
    const size_t n_bytes = H5Tget_size(opened.type);
    hid_t type = sp_hdf5_string_type(n_bytes);
    sp_status status = SP_OK;
    if (n_bytes >= size || opened.n != 1) {
        status = sp_fail(SP_BAD_DATA, "'%s', '%s': attribute '%s' has %zu bytes, at most %zu fit",
                         file->path, object, name, n_bytes, size - 1);
    } else {
        memset(text, 0, size);
        status = read_attribute(&opened, type, text, file->path, name);
    }
    sp_hdf5_release(&type);
    release_attribute(&opened);
    return status;
}

sp_status sp_hdf5_read_u64s(const sp_hdf5_file *file, const char *object, const char *name,
                            uint64_t *values, size_t most, size_t *n) {
    attribute opened;
    SP_TRY(open_attribute(&opened, file, object, name, H5T_INTEGER, most));
    sp_status status = SP_OK;
    /* Tools in which integers are signed by default may have rewritten it. */
    const bool is_signed = H5Tget_sign(opened.type) == H5T_SGN_2;
    if (H5Tget_size(opened.type) > sizeof *values)
        status = sp_fail(SP_BAD_DATA, "'%s', '%s': attribute '%s' has more than 64 bits",
                         file->path, object, name);
    else
        status = read_attribute(&opened, is_signed ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64, values,
                                file->path, name);
    for (size_t i = 0; i < opened.n && is_signed && status == SP_OK; i++)
        if ((int64_t)values[i] < 0)
            status = sp_fail(SP_BAD_DATA, "'%s', '%s': attribute '%s' is negative", file->path,
                             object, name);
    if (status == SP_OK) *n = opened.n;
    release_attribute(&opened);
    return status;
}

sp_status sp_hdf5_read_u64(const sp_hdf5_file *file, const char *object, const char *name,
                           uint64_t *value) {
    size_t n = 0;
    uint64_t read = 0;
    SP_TRY(sp_hdf5_read_u64s(file, object, name, &read, 1, &n));
    if (n != 1)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': attribute '%s' is empty", file->path, object,
                       name);
    *value = read;
    return SP_OK;
}

sp_status sp_hdf5_read_double(const sp_hdf5_file *file, const char *object, const char *name,
                              double *value) {
    attribute opened;
    SP_TRY(open_attribute(&opened, file, object, name, H5T_FLOAT, 1));
    const sp_status status =
        opened.n == 1
            ? read_attribute(&opened, H5T_NATIVE_DOUBLE, value, file->path, name)
            : sp_fail(SP_BAD_DATA, "'%s', '%s': attribute '%s' is empty", file->path, object, name);
    release_attribute(&opened);
    return status;
}
