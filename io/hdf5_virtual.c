#include "io/hdf5_virtual.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Mappings that an index of ours may hold: far more than blocks of a corpus, and some 100 MB. */
enum { MOST_MAPPINGS = 1 << 20 };

/* ---- writing ---- */

/* Maps rows [begin, begin + n) of the whole of n_rows to the part's. */
static sp_status add_mapping(hid_t properties, const char *name, size_t n_rows,
                             const sp_hdf5_piece *piece, const char *part_name, size_t part_rows) {
    const hsize_t whole_extent = n_rows, part_extent = part_rows, count = piece->n;
    const hsize_t begin = piece->begin, part_begin = piece->part_begin;
    hid_t whole = H5Screate_simple(1, &whole_extent, NULL);
    hid_t part = H5Screate_simple(1, &part_extent, NULL);
    sp_status status = SP_OK;
    if (whole < 0 || part < 0 ||
        H5Sselect_hyperslab(whole, H5S_SELECT_SET, &begin, NULL, &count, NULL) < 0 ||
        H5Sselect_hyperslab(part, H5S_SELECT_SET, &part_begin, NULL, &count, NULL) < 0 ||
        H5Pset_virtual(properties, whole, part_name, name, part) < 0)
        status = sp_hdf5_fail(part_name, name);
    sp_hdf5_release(&part);
    sp_hdf5_release(&whole);
    return status;
}

static bool follows(const sp_hdf5_piece *first, const sp_hdf5_piece *second) {
    return second->part == first->part && second->begin == first->begin + first->n &&
           second->part_begin == first->part_begin + first->n;
}

static sp_status add_mappings(hid_t properties, const char *name, size_t n_rows,
                              const sp_hdf5_piece *pieces, size_t n_pieces, char *const *part_names,
                              const size_t *part_rows) {
    sp_hdf5_piece run = {0};
    for (size_t i = 0; i <= n_pieces; i++) {
        if (i < n_pieces && pieces[i].n == 0) continue;
        if (i < n_pieces && run.n > 0 && follows(&run, &pieces[i])) {
            run.n += pieces[i].n;
            continue;
        }
        if (run.n > 0)
            SP_TRY(add_mapping(properties, name, n_rows, &run, part_names[run.part],
                               part_rows[run.part]));
        if (i < n_pieces) run = pieces[i];
    }
    return SP_OK;
}

sp_status sp_hdf5_write_virtual(const sp_hdf5_file *file, const char *name, hid_t type,
                                size_t n_rows, const sp_hdf5_piece *pieces, size_t n_pieces,
                                char *const *part_names, const size_t *part_rows) {
    const hsize_t extent = n_rows;
    hid_t space = H5Screate_simple(1, &extent, NULL);
    hid_t properties = sp_hdf5_properties(0, NULL, false), dataset = H5I_INVALID_HID;
    sp_status status = SP_OK;
    if (space < 0 || properties < 0) status = sp_hdf5_fail(file->path, name);
    if (status == SP_OK)
        status = add_mappings(properties, name, n_rows, pieces, n_pieces, part_names, part_rows);
    if (status == SP_OK) {
        dataset = H5Dcreate2(file->id, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
        if (dataset < 0) status = sp_hdf5_fail(file->path, name);
    }
    sp_hdf5_release(&dataset);
    sp_hdf5_release(&properties);
    sp_hdf5_release(&space);
    return status == SP_OK ? sp_hdf5_check_written(file) : status;
}

/* ---- reading ---- */

void sp_hdf5_parts_free(sp_hdf5_parts *parts) {
    for (size_t i = 0; i < parts->n; i++) free(parts->names[i]);
    free(parts->names);
    *parts = (sp_hdf5_parts){0};
}

void sp_hdf5_rows_free(sp_hdf5_rows *rows) {
    free(rows->pieces);
    *rows = (sp_hdf5_rows){0};
}

/* A name that stays in the folder of the file that names it. */
static bool is_inside(const char *name) {
    if (name[0] == '\0' || name[0] == '/') return false;
    for (const char *at = name; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0')) return false;
    }
    return true;
}

/* Finds the name, or adds it. Most mappings name the part of the one before or the next. */
static sp_status find_part(size_t *part, sp_hdf5_parts *parts, const char *name) {
    for (size_t i = parts->n; i-- > 0;) {
        if (strcmp(parts->names[i], name) != 0) continue;
        *part = i;
        return SP_OK;
    }
    char **grown = realloc(parts->names, (parts->n + 1) * sizeof *grown);
    if (grown != NULL) parts->names = grown;
    char *copy = grown == NULL ? NULL : strdup(name);
    if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for a part's name");
    *part = parts->n;
    parts->names[parts->n++] = copy;
    return SP_OK;
}

/* The range that a selection is: *begin and *n; false if it is none. */
static bool get_range(size_t *begin, size_t *n, hid_t space) {
    hsize_t first = 0, last = 0;
    const hssize_t n_points = space < 0 ? -1 : H5Sget_select_npoints(space);
    if (n_points <= 0 || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_select_bounds(space, &first, &last) < 0 || last - first + 1 != (hsize_t)n_points)
        return false;
    *begin = first;
    *n = (size_t)n_points;
    return true;
}

static sp_status read_mapping(sp_hdf5_piece *piece, sp_hdf5_parts *parts, hid_t properties,
                              size_t i, const sp_hdf5_file *file, const char *name) {
    char part_name[SP_HDF5_PART_NAME_SIZE] = "", dataset[SP_HDF5_PART_NAME_SIZE] = "";
    hid_t whole = H5Pget_virtual_vspace(properties, i);
    hid_t part = H5Pget_virtual_srcspace(properties, i);
    size_t n_of_part = 0;
    const bool is_range = get_range(&piece->begin, &piece->n, whole) &&
                          get_range(&piece->part_begin, &n_of_part, part) && piece->n == n_of_part;
    sp_hdf5_release(&part);
    sp_hdf5_release(&whole);
    const ssize_t name_len = H5Pget_virtual_filename(properties, i, part_name, sizeof part_name);
    const ssize_t dataset_len = H5Pget_virtual_dsetname(properties, i, dataset, sizeof dataset);
    H5Eclear2(H5E_DEFAULT);
    if (!is_range)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': mapping %zu is no range of rows", file->path, name,
                       i);
    if (dataset_len < 0 || (size_t)dataset_len >= sizeof dataset || strcmp(dataset, name) != 0)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': mapping %zu is to another dataset", file->path,
                       name, i);
    if (name_len < 0 || (size_t)name_len >= sizeof part_name || !is_inside(part_name))
        return sp_fail(SP_BAD_DATA,
                       "'%s', '%s': mapping %zu is to a file that is not in this file's folder",
                       file->path, name, i);
    return find_part(&piece->part, parts, part_name);
}

static int compare_begin(const void *a, const void *b) {
    const sp_hdf5_piece *first = a, *second = b;
    return (first->begin > second->begin) - (first->begin < second->begin);
}

static sp_status check_cover(const sp_hdf5_rows *rows, size_t first_row, const char *path,
                             const char *name) {
    size_t end = first_row;
    for (size_t i = 0; i < rows->n_pieces; i++) {
        if (rows->pieces[i].begin != end)
            return sp_fail(SP_BAD_DATA, "'%s', '%s': row %zu is in no part, or in two", path, name,
                           end);
        end += rows->pieces[i].n;
    }
    if (end != rows->n)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': %zu rows are mapped, there are %zu", path, name,
                       end, rows->n);
    return SP_OK;
}

static sp_status read_mappings(sp_hdf5_rows *rows, sp_hdf5_parts *parts, hid_t properties,
                               const sp_hdf5_file *file, const char *name) {
    size_t n = 0;
    if (H5Pget_virtual_count(properties, &n) < 0) return sp_hdf5_fail(file->path, name);
    if (n > MOST_MAPPINGS)
        return sp_fail(SP_BAD_DATA, "'%s', '%s': %zu mappings, at most %d are read", file->path,
                       name, n, MOST_MAPPINGS);
    void *pieces = NULL;
    SP_TRY(sp_alloc_array(&pieces, n, sizeof *rows->pieces, "mappings"));
    rows->pieces = pieces;
    rows->n_pieces = n;
    for (size_t i = 0; i < n; i++)
        SP_TRY(read_mapping(&rows->pieces[i], parts, properties, i, file, name));
    qsort(rows->pieces, n, sizeof *rows->pieces, compare_begin);
    return SP_OK;
}

static sp_status read_rows(sp_hdf5_rows *rows, sp_hdf5_parts *parts, hid_t dataset,
                           hid_t properties, const sp_hdf5_file *file, const char *name,
                           size_t first_row) {
    hsize_t extent = 0;
    hid_t space = H5Dget_space(dataset);
    const bool has_extent = space >= 0 && H5Sget_simple_extent_ndims(space) == 1 &&
                            H5Sget_simple_extent_dims(space, &extent, NULL) == 1;
    sp_hdf5_release(&space);
    if (!has_extent) {
        H5Eclear2(H5E_DEFAULT);
        return sp_fail(SP_BAD_DATA, "'%s', '%s': not a dataset of one dimension", file->path, name);
    }
    rows->n = extent;
    SP_TRY(read_mappings(rows, parts, properties, file, name));
    return check_cover(rows, first_row, file->path, name);
}

sp_status sp_hdf5_read_virtual(bool *is_virtual, sp_hdf5_rows *rows, sp_hdf5_parts *parts,
                               const sp_hdf5_file *file, const char *name, size_t first_row) {
    sp_hdf5_rows made = {0};
    hid_t dataset = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (dataset < 0) return sp_hdf5_fail(file->path, name);
    hid_t properties = H5Dget_create_plist(dataset);
    sp_status status = properties < 0 ? sp_hdf5_fail(file->path, name) : SP_OK;
    *is_virtual = properties >= 0 && H5Pget_layout(properties) == H5D_VIRTUAL;
    if (status == SP_OK && *is_virtual && !file->is_sealed)
        status =
            sp_fail(SP_BAD_DATA,
                    "'%s', '%s': lies in parts, but the file has no seal of ours to say that it "
                    "is whole; write it anew",
                    file->path, name);
    if (status == SP_OK && *is_virtual)
        status = read_rows(&made, parts, dataset, properties, file, name, first_row);
    if (status == SP_OK)
        *rows = made;
    else
        sp_hdf5_rows_free(&made);
    sp_hdf5_release(&properties);
    sp_hdf5_release(&dataset);
    return status;
}
