#include "io/hdf5_table.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Well below the usual limit of 1024 open files, and more than a training run's readers touch
   between two reads of one part. */
enum { MOST_OPEN = 128 };

/* The least for a cache of chunks: two of those that we write, as a range may lie in both. */
enum { LEAST_CACHE_BYTES = 1 << 18 };

typedef struct table_column {
    char *name; /* owned */
    sp_hdf5_kind kind;
    size_t cache_bytes;
    sp_hdf5_rows rows; /* pieces' parts count from 1: 0 is the file itself */
} table_column;

typedef struct table_part {
    char *path; /* owned */
    sp_hdf5_file file;
    bool is_open;
    sp_hdf5_dataset *datasets; /* [n_columns], owned while open */
    uint64_t last_use;
} table_part;

struct sp_hdf5_table {
    char *path;
    sp_hdf5_file file;
    sp_hdf5_parts names;   /* of parts, as in the file */
    table_column *columns; /* [n_columns], owned */
    size_t n_columns;
    table_part *parts;                       /* [1 + names.n], owned: the file itself first */
    const char *part_format, *digest_format; /* static */
    size_t n_open;
    uint64_t n_uses;
};

/* ---- opening ---- */

sp_status sp_hdf5_table_open(sp_hdf5_table **table, const char *path) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **table, "a file"));
    sp_hdf5_table *made = block;
    made->file.id = H5I_INVALID_HID;
    made->path = strdup(path);
    sp_status status = made->path == NULL ? sp_fail(SP_FAILURE, "no memory for '%s'", path) : SP_OK;
    if (status == SP_OK) status = sp_hdf5_open(&made->file, made->path);
    if (status == SP_OK)
        *table = made;
    else
        sp_hdf5_table_close(made);
    return status;
}

/* The file itself stays open: its id is the table's. */
static void close_part(sp_hdf5_table *table, table_part *part) {
    for (size_t c = 0; part->datasets != NULL && c < table->n_columns; c++)
        sp_hdf5_release_dataset(&part->datasets[c]);
    free(part->datasets);
    part->datasets = NULL;
    if (part != table->parts) sp_hdf5_close(&part->file);
    table->n_open -= part->is_open;
    part->is_open = false;
}

void sp_hdf5_table_close(sp_hdf5_table *table) {
    if (table == NULL) return;
    for (size_t p = 0; table->parts != NULL && p <= table->names.n; p++) {
        close_part(table, &table->parts[p]);
        free(table->parts[p].path);
    }
    free(table->parts);
    for (size_t c = 0; c < table->n_columns; c++) {
        sp_hdf5_rows_free(&table->columns[c].rows);
        free(table->columns[c].name);
    }
    free(table->columns);
    sp_hdf5_parts_free(&table->names);
    sp_hdf5_close(&table->file);
    free(table->path);
    free(table);
}

const sp_hdf5_file *sp_hdf5_table_file(const sp_hdf5_table *table) { return &table->file; }
size_t sp_hdf5_table_n_parts(const sp_hdf5_table *table) { return table->names.n; }

/* All rows lie in the file itself. */
static sp_status find_own_rows(sp_hdf5_table *table, table_column *column) {
    void *piece = NULL;
    SP_TRY(sp_hdf5_count(&column->rows.n, &table->file, column->name, column->kind));
    if (column->rows.n == 0) return SP_OK;
    SP_TRY(sp_alloc(&piece, sizeof *column->rows.pieces, "a column"));
    column->rows.pieces = piece;
    column->rows.pieces[0] = (sp_hdf5_piece){.n = column->rows.n};
    column->rows.n_pieces = 1;
    return SP_OK;
}

static sp_status find_rows(sp_hdf5_table *table, table_column *column, size_t first_row) {
    bool is_virtual = false;
    SP_TRY(sp_hdf5_read_virtual(&is_virtual, &column->rows, &table->names, &table->file,
                                column->name, first_row));
    if (!is_virtual) return find_own_rows(table, column);
    for (size_t i = 0; i < column->rows.n_pieces; i++) column->rows.pieces[i].part++;
    return SP_OK;
}

sp_status sp_hdf5_table_add(sp_hdf5_table *table, size_t *column, size_t *n_rows, const char *name,
                            sp_hdf5_kind kind, size_t first_row, size_t cache_bytes) {
    assert(table->parts == NULL);
    table_column *grown = realloc(table->columns, (table->n_columns + 1) * sizeof *grown);
    if (grown != NULL) table->columns = grown;
    table_column made = {.kind = kind, .cache_bytes = cache_bytes};
    made.name = grown == NULL ? NULL : strdup(name);
    sp_status status = SP_OK;
    if (made.name == NULL) status = sp_fail(SP_FAILURE, "no memory for the columns of a file");
    if (status == SP_OK) status = find_rows(table, &made, first_row);
    if (status != SP_OK) {
        sp_hdf5_rows_free(&made.rows);
        free(made.name);
        return status;
    }
    *column = table->n_columns;
    *n_rows = made.rows.n;
    table->columns[table->n_columns++] = made;
    return SP_OK;
}

/* ---- parts ---- */

/* Opens the column's dataset in a part and holds its extent against the pieces there: they lie
   within it, and no row counts twice, so that what is read stays in proportion to the files. */
static sp_status open_dataset(const sp_hdf5_table *table, sp_hdf5_dataset *dataset,
                              const table_part *part, const table_column *column,
                              size_t cache_bytes) {
    const sp_hdf5_file *file = part == table->parts ? &table->file : &part->file;
    const size_t index = (size_t)(part - table->parts);
    size_t end = 0, n = 0;
    for (size_t i = 0; i < column->rows.n_pieces; i++) {
        const sp_hdf5_piece *piece = &column->rows.pieces[i];
        if (piece->part != index) continue;
        if (piece->part_begin + piece->n > end) end = piece->part_begin + piece->n;
        n += piece->n;
    }
    if (n == 0) return SP_OK;
    SP_TRY(sp_hdf5_open_dataset(dataset, file, column->name, column->kind, 1, cache_bytes));
    if (end <= dataset->extent[0] && n <= dataset->extent[0]) return SP_OK;
    sp_hdf5_release_dataset(dataset);
    return sp_fail(SP_BAD_DATA, "'%s', '%s': %zu rows, '%s' takes %zu from it", file->path,
                   column->name, dataset->extent[0], table->path, n > end ? n : end);
}

/* A file of its kind, and the very one that the whole was made with. */
static sp_status check_attributes(const sp_hdf5_table *table, const table_part *part) {
    const char *name = table->names.names[part - table->parts - 1];
    char found[64] = "", attribute[2 * SP_HDF5_PART_NAME_SIZE], digest[64], expected[64];
    if (sp_hdf5_read_string(&part->file, "/", "format", found, sizeof found) != SP_OK ||
        strcmp(found, table->part_format) != 0)
        return sp_fail(SP_BAD_DATA, "'%s': not a part of '%s', but of format '%s'", part->path,
                       table->path, found);
    SP_TRY(sp_hdf5_read_string(&part->file, "/", "digest", digest, sizeof digest));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(attribute, sizeof attribute, table->digest_format, name);
#pragma GCC diagnostic pop
    SP_TRY(sp_hdf5_read_string(&table->file, "/", attribute, expected, sizeof expected));
    if (strcmp(digest, expected) != 0)
        return sp_fail(SP_BAD_DATA,
                       "'%s': a part of another run: its digest "
                       "is %s, '%s' was made with %s",
                       part->path, digest, table->path, expected);
    return SP_OK;
}

/* Opens the part's datasets that are read again and again. */
static sp_status open_part(sp_hdf5_table *table, table_part *part) {
    void *datasets = NULL;
    const size_t n_parts = table->names.n + 1, n_open = n_parts < MOST_OPEN ? n_parts : MOST_OPEN;
    SP_TRY(sp_alloc_array(&datasets, table->n_columns, sizeof *part->datasets, "columns"));
    part->datasets = datasets;
    for (size_t c = 0; c < table->n_columns; c++) part->datasets[c] = SP_HDF5_NO_DATASET;
    table->n_open++;
    part->is_open = true;
    sp_status status = SP_OK;
    if (part != table->parts) status = sp_hdf5_open(&part->file, part->path);
    if (part != table->parts && status == SP_OK) status = check_attributes(table, part);
    for (size_t c = 0; c < table->n_columns && status == SP_OK; c++) {
        const table_column *column = &table->columns[c];
        size_t cache_bytes = column->cache_bytes / n_open;
        if (cache_bytes < LEAST_CACHE_BYTES) cache_bytes = LEAST_CACHE_BYTES;
        if (column->cache_bytes > 0)
            status = open_dataset(table, &part->datasets[c], part, column, cache_bytes);
    }
    if (status != SP_OK) close_part(table, part);
    return status;
}

static void close_oldest(sp_hdf5_table *table) {
    table_part *oldest = NULL;
    for (table_part *part = table->parts; part <= table->parts + table->names.n; part++)
        if (part->is_open && (oldest == NULL || part->last_use < oldest->last_use)) oldest = part;
    close_part(table, oldest);
}

static sp_status use_part(sp_hdf5_table *table, table_part *part) {
    if (!part->is_open && table->n_open >= MOST_OPEN) close_oldest(table);
    if (!part->is_open) SP_TRY(open_part(table, part));
    part->last_use = ++table->n_uses;
    return SP_OK;
}

/* The part's file is beside the file that names it. */
static sp_status name_part(sp_hdf5_table *table, table_part *part, const char *name) {
    const char *slash = strrchr(table->path, '/');
    const int folder_len = slash == NULL ? 0 : (int)(slash + 1 - table->path);
    part->file.id = H5I_INVALID_HID;
    if (asprintf(&part->path, "%.*s%s", folder_len, table->path, name) >= 0) return SP_OK;
    part->path = NULL;
    return sp_fail(SP_FAILURE, "no memory for a part's path");
}

/* Opens each column once; those that are not kept open are closed again. */
static sp_status check_columns(sp_hdf5_table *table, const table_part *part) {
    for (size_t c = 0; c < table->n_columns; c++) {
        sp_hdf5_dataset dataset = SP_HDF5_NO_DATASET;
        if (table->columns[c].cache_bytes > 0) continue; /* open_part() did */
        SP_TRY(open_dataset(table, &dataset, part, &table->columns[c], 0));
        sp_hdf5_release_dataset(&dataset);
    }
    return SP_OK;
}

sp_status sp_hdf5_table_check(sp_hdf5_table *table, const char *format, const char *digest_format) {
    void *parts = NULL;
    SP_TRY(sp_alloc_array(&parts, table->names.n + 1, sizeof *table->parts, "parts"));
    table->parts = parts;
    table->part_format = format;
    table->digest_format = digest_format;
    table->parts[0].file.id = H5I_INVALID_HID; /* the table's own is used */
    for (size_t p = 1; p <= table->names.n; p++)
        SP_TRY(name_part(table, &table->parts[p], table->names.names[p - 1]));
    for (size_t p = 0; p <= table->names.n; p++) {
        table_part *part = &table->parts[p];
        sp_status status = use_part(table, part);
        if (status == SP_OK) status = check_columns(table, part);
        if (status == SP_IO && p > 0)
            return sp_fail(status, "%s (a part of '%s')", sp_message(), table->path);
        SP_TRY(status);
    }
    return SP_OK;
}

/* ---- reading ---- */

/* The piece that holds `row`, or the first one behind it. */
static size_t find_piece(const sp_hdf5_rows *rows, size_t row) {
    size_t low = 0, high = rows->n_pieces;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (rows->pieces[middle].begin + rows->pieces[middle].n <= row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Reads rows of a piece. */
static sp_status read_piece(sp_hdf5_table *table, size_t column, const sp_hdf5_piece *piece,
                            size_t begin, size_t n, void *out) {
    table_part *part = &table->parts[piece->part];
    assert(table->columns[column].cache_bytes > 0);
    SP_TRY(use_part(table, part));
    return sp_hdf5_read_rows(&part->datasets[column], piece->part_begin + (begin - piece->begin), n,
                             out);
}

/* As they are read, whatever their size in the file. */
static size_t number_bytes(sp_hdf5_kind kind) {
    if (kind == SP_HDF5_U8 || kind == SP_HDF5_I8) return 1;
    return kind == SP_HDF5_U64 ? 8 : kind == SP_HDF5_U16 || kind == SP_HDF5_F16 ? 2 : 4;
}

sp_status sp_hdf5_table_read(sp_hdf5_table *table, size_t column, size_t begin, size_t n,
                             void *out) {
    const sp_hdf5_rows *rows = &table->columns[column].rows;
    const size_t item_bytes = number_bytes(table->columns[column].kind);
    assert(begin <= rows->n && n <= rows->n - begin);
    for (size_t i = find_piece(rows, begin); n > 0; i++) {
        const sp_hdf5_piece *piece = &rows->pieces[i];
        const size_t there = piece->begin + piece->n - begin, part = n < there ? n : there;
        SP_TRY(read_piece(table, column, piece, begin, part, out));
        out = (char *)out + part * item_bytes;
        begin += part;
        n -= part;
    }
    return SP_OK;
}

sp_status sp_hdf5_table_string(sp_hdf5_table *table, size_t column, size_t row, char **text) {
    const sp_hdf5_rows *rows = &table->columns[column].rows;
    assert(row < rows->n && table->columns[column].cache_bytes > 0);
    const sp_hdf5_piece *piece = &rows->pieces[find_piece(rows, row)];
    table_part *part = &table->parts[piece->part];
    void *string = NULL;
    SP_TRY(use_part(table, part));
    SP_TRY(sp_alloc(&string, part->datasets[column].item_bytes + 1, "a string"));
    const sp_status status = read_piece(table, column, piece, row, 1, string);
    if (status == SP_OK)
        *text = string;
    else
        free(string);
    return status;
}

/* Reads all of a column that lies in one part, so that a chunk with several pieces is unpacked
   once. */
static sp_status load_part(sp_hdf5_table *table, size_t c, size_t p, char *values) {
    const table_column *column = &table->columns[c];
    const size_t item_bytes = number_bytes(column->kind);
    sp_hdf5_dataset dataset = SP_HDF5_NO_DATASET;
    SP_TRY(use_part(table, &table->parts[p]));
    SP_TRY(open_dataset(table, &dataset, &table->parts[p], column, 0));
    sp_status status = SP_OK;
    for (size_t i = 0; i < column->rows.n_pieces && status == SP_OK; i++) {
        const sp_hdf5_piece *piece = &column->rows.pieces[i];
        if (piece->part == p)
            status = sp_hdf5_read_rows(&dataset, piece->part_begin, piece->n,
                                       values + piece->begin * item_bytes);
    }
    sp_hdf5_release_dataset(&dataset);
    return status;
}

sp_status sp_hdf5_table_load(sp_hdf5_table *table, size_t column, void **out) {
    const table_column *from = &table->columns[column];
    void *values = NULL;
    assert(from->kind != SP_HDF5_STRING);
    SP_TRY(sp_alloc_array(&values, from->rows.n, number_bytes(from->kind), from->name));
    sp_status status = SP_OK;
    for (size_t p = 0; p <= table->names.n && status == SP_OK; p++)
        status = load_part(table, column, p, values);
    if (status == SP_OK)
        *out = values;
    else
        free(values);
    return status;
}
