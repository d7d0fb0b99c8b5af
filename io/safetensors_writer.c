#include "io/safetensors.h"

#include "base/memory.h"
#include "base/size.h"
#include "io/atomic_file.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie");

enum { ALIGNMENT = 8 }; /* of the data, so that a mapped file's values are aligned */

/* Sorted, so that the order in which a caller set its metadata does not show. */
static const size_t dump_flags = JSON_COMPACT | JSON_SORT_KEYS;

static int compare_names(const void *a, const void *b) {
    const sp_safetensors_entry *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

/* *sorted [n], owned: the entries by name. */
static sp_status sort_entries(const sp_safetensors_entry ***sorted,
                              const sp_safetensors_entry *entries, size_t n, const char *path) {
    void *made = NULL;
    SP_TRY(sp_alloc_array(&made, n, sizeof **sorted, "a list of tensors"));
    const sp_safetensors_entry **list = made;
    for (size_t i = 0; i < n; i++) list[i] = &entries[i];
    qsort(list, n, sizeof *list, compare_names);
    for (size_t i = 1; i < n; i++)
        if (strcmp(list[i - 1]->name, list[i]->name) == 0) {
            const sp_status status =
                sp_fail(SP_BAD_DATA, "'%s': the tensor '%s' stands twice", path, list[i]->name);
            free(list);
            return status;
        }
    *sorted = list;
    return SP_OK;
}

static size_t entry_bytes(const sp_safetensors_entry *entry) {
    size_t n_values = 1;
    for (size_t i = 0; i < entry->n_dims; i++) n_values *= entry->shape[i]; /* is in memory */
    return n_values * sizeof(float);
}

/* The entry's member of the header, or NULL: no memory, or a name that is not UTF-8. */
static json_t *describe_entry(const sp_safetensors_entry *entry, size_t begin) {
    json_t *shape = json_array();
    for (size_t i = 0; i < entry->n_dims; i++)
        if (json_array_append_new(shape, json_integer((json_int_t)entry->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + entry_bytes(entry)));
}

static sp_status make_header(json_t **header, const sp_safetensors_entry *const *sorted, size_t n,
                             const json_t *metadata, const char *path) {
    json_t *made = json_object();
    /* The writer only reads it; jansson counts references in place. */
    if (metadata != NULL) json_object_set(made, "__metadata__", (json_t *)metadata);
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        if (json_object_set_new(made, sorted[i]->name, describe_entry(sorted[i], begin)) != 0) {
            json_decref(made);
            return sp_fail(SP_BAD_DATA, "'%s': the tensor name '%s' is not UTF-8", path,
                           sorted[i]->name);
        }
        begin += entry_bytes(sorted[i]);
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

static sp_status write_file(const char *path, const char *head, size_t n_head,
                            const sp_safetensors_entry *const *sorted, size_t n) {
    sp_atomic_file file = {0};
    SP_TRY(sp_atomic_begin(&file, path));
    sp_status status = sp_write_all(file.fd, head, n_head, path);
    for (size_t i = 0; status == SP_OK && i < n; i++)
        status = sp_write_all(file.fd, sorted[i]->data, entry_bytes(sorted[i]), path);
    if (status == SP_OK) return sp_atomic_commit(&file);
    sp_atomic_abort(&file);
    return status;
}

sp_status sp_safetensors_write(const char *path, const sp_safetensors_entry *entries, size_t n,
                               const json_t *metadata) {
    const sp_safetensors_entry **sorted = NULL;
    json_t *header = NULL;
    char *head = NULL;
    size_t n_head = 0;
    sp_status status = sort_entries(&sorted, entries, n, path);
    if (status == SP_OK) status = make_header(&header, sorted, n, metadata, path);
    if (status == SP_OK) status = print_header(&head, &n_head, header, path);
    if (status == SP_OK) status = write_file(path, head, n_head, sorted, n);
    free(head);
    json_decref(header);
    free(sorted);
    return status;
}
