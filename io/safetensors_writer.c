#include "io/safetensors.h"

#include "base/memory.h"
#include "io/atomic_file.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie");

enum {
    ALIGNMENT = 8,      /* of the data, so that a mapped file's values are aligned */
    PART_VALUES = 8192, /* converted at a time: 16 KB, on the stack */
};

/* Sorted, so that the order in which a caller set its metadata does not show. */
static const size_t dump_flags = JSON_COMPACT | JSON_SORT_KEYS;

struct sp_safetensors_writer {
    const char *path;                    /* borrowed */
    const sp_safetensors_entry *entries; /* [n_entries], borrowed, sorted */
    size_t n_entries;
    size_t entry, n_left; /* the one that is being written, and its values to come */
    sp_atomic_file file;
};

static int compare_names(const void *a, const void *b) {
    const sp_safetensors_entry *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static sp_status sort_entries(sp_safetensors_entry *entries, size_t n, const char *path) {
    if (n > 0) qsort(entries, n, sizeof *entries, compare_names);
    for (size_t i = 1; i < n; i++)
        if (strcmp(entries[i - 1].name, entries[i].name) == 0)
            return sp_fail(SP_BAD_DATA, "'%s': the tensor '%s' stands twice", path,
                           entries[i].name);
    return SP_OK;
}

/* Shapes are of what was or will be in memory, so that the product fits. */
static size_t entry_values(const sp_safetensors_entry *entry) {
    size_t n_values = 1;
    for (size_t i = 0; i < entry->n_dims; i++) n_values *= entry->shape[i];
    return n_values;
}

static size_t entry_bytes(const sp_safetensors_entry *entry) {
    return sp_dtype_bytes(entry->dtype, entry_values(entry));
}

/* The entry's member of the header, or NULL: no memory, or a name that is not UTF-8. */
static json_t *describe_entry(const sp_safetensors_entry *entry, size_t begin) {
    json_t *shape = json_array();
    for (size_t i = 0; i < entry->n_dims; i++)
        if (json_array_append_new(shape, json_integer((json_int_t)entry->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", sp_dtypes[entry->dtype].name, "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + entry_bytes(entry)));
}

static sp_status make_header(json_t **header, const sp_safetensors_entry *entries, size_t n,
                             const json_t *metadata, const char *path) {
    json_t *made = json_object();
    /* The writer only reads it; jansson counts references in place. */
    if (metadata != NULL) json_object_set(made, "__metadata__", (json_t *)metadata);
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        if (json_object_set_new(made, entries[i].name, describe_entry(&entries[i], begin)) != 0) {
            json_decref(made);
            return sp_fail(SP_BAD_DATA, "'%s': the tensor name '%s' is not UTF-8", path,
                           entries[i].name);
        }
        begin += entry_bytes(&entries[i]);
    }
    *header = made;
    return SP_OK;
}

/* *text, owned: the length and the header, padded with spaces. */
static sp_status print_header(char **text, size_t *n_bytes, const json_t *header,
                              const char *path) {
    const size_t n_json = json_dumpb(header, NULL, 0, dump_flags);
    const uint64_t n_padded = (n_json + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    char *made = n_json == 0 ? NULL : malloc(sizeof n_padded + n_padded);
    if (made == NULL) return sp_fail(SP_FAILURE, "no memory for the header of '%s'", path);
    memcpy(made, &n_padded, sizeof n_padded);
    memset(made + sizeof n_padded, ' ', n_padded);
    json_dumpb(header, made + sizeof n_padded, n_json, dump_flags);
    *text = made;
    *n_bytes = sizeof n_padded + n_padded;
    return SP_OK;
}

/* Goes on to the next entry that has values. */
static void settle(sp_safetensors_writer *writer) {
    while (writer->n_left == 0 && writer->entry + 1 < writer->n_entries)
        writer->n_left = entry_values(&writer->entries[++writer->entry]);
}

static sp_status write_header(const sp_safetensors_writer *writer, const json_t *metadata) {
    json_t *header = NULL;
    char *head = NULL;
    size_t n_head = 0;
    sp_status status =
        make_header(&header, writer->entries, writer->n_entries, metadata, writer->path);
    if (status == SP_OK) status = print_header(&head, &n_head, header, writer->path);
    if (status == SP_OK) status = sp_write_all(writer->file.fd, head, n_head, writer->path);
    free(head);
    json_decref(header);
    return status;
}

sp_status sp_safetensors_begin(sp_safetensors_writer **writer, const char *path,
                               sp_safetensors_entry *entries, size_t n, const json_t *metadata) {
    SP_TRY(sort_entries(entries, n, path));
    sp_safetensors_writer *made = calloc(1, sizeof *made);
    if (made == NULL) return sp_fail(SP_FAILURE, "no memory for the writer of '%s'", path);
    *made = (sp_safetensors_writer){.path = path, .entries = entries, .n_entries = n};
    if (n > 0) made->n_left = entry_values(&entries[0]);
    settle(made);
    sp_status status = sp_atomic_begin(&made->file, path);
    if (status == SP_OK) status = write_header(made, metadata);
    if (status == SP_OK)
        *writer = made;
    else
        sp_safetensors_abort(made);
    return status;
}

static sp_status append_half(sp_safetensors_writer *writer, sp_dtype dtype, const float *values,
                             size_t n) {
    uint16_t part[PART_VALUES];
    for (size_t begin = 0; begin < n; begin += PART_VALUES) {
        const size_t n_part = n - begin < PART_VALUES ? n - begin : PART_VALUES;
        if (dtype == SP_F16)
            sp_f32_to_f16(part, values + begin, n_part);
        else
            sp_f32_to_bf16(part, values + begin, n_part);
        SP_TRY(sp_write_all(writer->file.fd, part, n_part * sizeof *part, writer->path));
    }
    return SP_OK;
}

sp_status sp_safetensors_append(sp_safetensors_writer *writer, const float *values, size_t n) {
    assert(n <= writer->n_left);
    if (n == 0) return SP_OK;
    const sp_dtype dtype = writer->entries[writer->entry].dtype;
    if (dtype == SP_F32)
        SP_TRY(sp_write_all(writer->file.fd, values, n * sizeof *values, writer->path));
    else
        SP_TRY(append_half(writer, dtype, values, n));
    writer->n_left -= n;
    settle(writer);
    return SP_OK;
}

sp_status sp_safetensors_commit(sp_safetensors_writer *writer) {
    assert(writer->n_left == 0);
    const sp_status status = sp_atomic_commit(&writer->file);
    free(writer);
    return status;
}

void sp_safetensors_abort(sp_safetensors_writer *writer) {
    if (writer == NULL) return;
    sp_atomic_abort(&writer->file);
    free(writer);
}

static sp_status write_sorted(const char *path, sp_safetensors_entry *sorted, size_t n,
                              const json_t *metadata) {
    sp_safetensors_writer *writer = NULL;
    SP_TRY(sp_safetensors_begin(&writer, path, sorted, n, metadata));
    sp_status status = SP_OK;
    for (size_t i = 0; i < n && status == SP_OK; i++)
        status = sp_safetensors_append(writer, sorted[i].data, entry_values(&sorted[i]));
    if (status == SP_OK) return sp_safetensors_commit(writer);
    sp_safetensors_abort(writer);
    return status;
}

sp_status sp_safetensors_write(const char *path, const sp_safetensors_entry *entries, size_t n,
                               const json_t *metadata) {
    void *sorted = NULL;
    SP_TRY(sp_alloc_array(&sorted, n, sizeof *entries, "a list of tensors"));
    if (n > 0) memcpy(sorted, entries, n * sizeof *entries);
    const sp_status status = write_sorted(path, sorted, n, metadata);
    free(sorted);
    return status;
}
