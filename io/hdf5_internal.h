/* HDF5 under io/'s own roof: the one lock, errors as one message, checked small steps.

   Every function here but sp_hdf5_lock() is called with the lock held. A public function of io/
   that reaches HDF5 takes the lock, calls one static function that does the work, and gives it
   back. Ids start as H5I_INVALID_HID. Files are written in HDF5 1.10's format, whose metadata carry
   checksums: a flipped bit is an error, not a wild pointer. Nothing in a file depends on the time
   of writing: same contents, same bytes. */
#pragma once

#include "base/status.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SP_HDF5_MAX_DIMS = 4,
    SP_HDF5_MAX_STRING = 65535 /* bytes of an id or path in a dataset */
};

/* The library is not assumed thread-safe. Threads get it in the order of asking. The first lock also silences its error stack and keeps
   it from loading filters from plug-in files that a data file may name. */
void sp_hdf5_lock(void);
void sp_hdf5_unlock(void);

/* An open file. `path` is what messages call it: for a file in the making its final name. */
typedef struct sp_hdf5_file {
    hid_t id;
    const char *path; /* borrowed */
    int *write_errno; /* owned: of the first write that failed, else 0; NULL if opened to read */
    bool is_sealed;   /* io/hdf5_seal.h; a virtual dataset is read from such a file only */
} sp_hdf5_file;

/* Turns the library's error stack into one message about `object` in the file and clears it: at
   once after the call that failed, for every other call empties the stack. Returns SP_IO if the system failed (its errno is in the stack), else SP_BAD_DATA. */
SP_NODISCARD sp_status sp_hdf5_fail(const char *path, const char *object);

/* Creates the file temp_path, known as `path`, with room for a seal if it is to get one. */
SP_NODISCARD sp_status sp_hdf5_create(sp_hdf5_file *file, const char *temp_path, const char *path,
                                      bool is_sealed);

/* Opens an existing regular file for reading. SP_IO: cannot be opened; SP_BAD_DATA: no HDF5, or not
   what its seal says. */
SP_NODISCARD sp_status sp_hdf5_open(sp_hdf5_file *file, const char *path);

/* Has all writing to the file succeeded so far? SP_IO if not: going on is then in vain. */
SP_NODISCARD sp_status sp_hdf5_check_written(const sp_hdf5_file *file);

/* Writes out all that the library holds back, and closes. Only SP_OK means that it is in the file;
   the file is closed whatever the outcome. */
SP_NODISCARD sp_status sp_hdf5_finish(sp_hdf5_file *file);

/* Closes a file that was only read or is given up, or any other id; an invalid one is fine. */
void sp_hdf5_close(sp_hdf5_file *file);
void sp_hdf5_release(hid_t *id);

SP_NODISCARD sp_status sp_hdf5_create_group(const sp_hdf5_file *file, const char *name);

/* Attributes of the object `object` ("/" is the root): strings of fixed length, numbers as u64 or
   f64, one or a list. Reading refuses another class, size or count with SP_BAD_DATA. */
SP_NODISCARD sp_status sp_hdf5_write_string(const sp_hdf5_file *file, const char *object,
                                            const char *name, const char *value);
SP_NODISCARD sp_status sp_hdf5_write_u64(const sp_hdf5_file *file, const char *object,
                                         const char *name, uint64_t value);
SP_NODISCARD sp_status sp_hdf5_write_u64s(const sp_hdf5_file *file, const char *object,
                                          const char *name, const uint64_t *values, size_t n);
SP_NODISCARD sp_status sp_hdf5_write_double(const sp_hdf5_file *file, const char *object,
                                            const char *name, double value);

/* text [size] gets the string with its NUL. */
SP_NODISCARD sp_status sp_hdf5_read_string(const sp_hdf5_file *file, const char *object,
                                           const char *name, char *text, size_t size);
SP_NODISCARD sp_status sp_hdf5_read_u64(const sp_hdf5_file *file, const char *object,
                                        const char *name, uint64_t *value);
/* values [most]; *n is how many there are, at most `most`. */
SP_NODISCARD sp_status sp_hdf5_read_u64s(const sp_hdf5_file *file, const char *object,
                                         const char *name, uint64_t *values, size_t most,
                                         size_t *n);
SP_NODISCARD sp_status sp_hdf5_read_double(const sp_hdf5_file *file, const char *object,
                                           const char *name, double *value);

/* Creation properties of every dataset that we write: chunks of `chunk` [n_dims], checksummed, and
   shuffled and deflated if `is_compressed`. To be released; invalid if HDF5 has no memory. */
hid_t sp_hdf5_properties(size_t n_dims, const hsize_t *chunk, bool is_compressed);

/* IEEE half precision, as h5py's float16; a string of n_bytes, padded with NUL, UTF-8. To be
   released. */
hid_t sp_hdf5_f16_type(void);
hid_t sp_hdf5_string_type(size_t n_bytes);

/* What a dataset's values must be to be read as what we want without loss. */
typedef enum sp_hdf5_kind {
    SP_HDF5_U8,
    SP_HDF5_U16,
    SP_HDF5_U32,
    SP_HDF5_U64, /* unsigned integers of at most that size */
    SP_HDF5_I8,
    SP_HDF5_F16,
    SP_HDF5_F32,
    SP_HDF5_STRING
} sp_hdf5_kind;

/* What numbers of that kind are in our files. To be released; invalid for a string. */
hid_t sp_hdf5_number_type(sp_hdf5_kind kind);

/* An open dataset whose type, layout and extent were checked. */
typedef struct sp_hdf5_dataset {
    hid_t id, space, type; /* owned; `type` is how values are read into memory */
    const sp_hdf5_file *file;
    const char *name; /* borrowed */
    size_t n_dims;
    size_t extent[SP_HDF5_MAX_DIMS];
    size_t item_bytes; /* in memory */
} sp_hdf5_dataset;

/* A dataset that is not open; releasing it is fine. */
#define SP_HDF5_NO_DATASET \
    (sp_hdf5_dataset) { .id = H5I_INVALID_HID, .space = H5I_INVALID_HID, .type = H5I_INVALID_HID }

/* Opens the dataset `name` (borrowed) of n_dims dimensions. Its extent is held against what the
   file stores for it, so that memory for it is in proportion to the file. cache_bytes: for chunks
   that stay unpacked between reads; 0: the library's own choice. */
SP_NODISCARD sp_status sp_hdf5_open_dataset(sp_hdf5_dataset *dataset, const sp_hdf5_file *file,
                                            const char *name, sp_hdf5_kind kind, size_t n_dims,
                                            size_t cache_bytes);
void sp_hdf5_release_dataset(sp_hdf5_dataset *dataset);

/* Reads rows [begin, begin + n) of the first dimension to out [n, ...]; n may be 0. The range is
   within the extent. */
SP_NODISCARD sp_status sp_hdf5_read_rows(const sp_hdf5_dataset *dataset, size_t begin, size_t n,
                                         void *out);

/* Reads a whole one-dimensional dataset into *out, owned, that must have `n` values. */
SP_NODISCARD sp_status sp_hdf5_load(void **out, const sp_hdf5_file *file, const char *name,
                                    sp_hdf5_kind kind, size_t n);

/* Values of a one-dimensional dataset, without reading them. */
SP_NODISCARD sp_status sp_hdf5_count(size_t *n, const sp_hdf5_file *file, const char *name,
                                     sp_hdf5_kind kind);

/* Reads row `row` of a one-dimensional dataset of strings into *text, owned and terminated. */
SP_NODISCARD sp_status sp_hdf5_load_string(char **text, const sp_hdf5_file *file, const char *name,
                                           size_t row);
