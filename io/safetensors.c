#include "io/safetensors.h"

#include "base/size.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The format's own limit, which keeps a hostile header from filling memory as JSON. */
enum { PREFIX_BYTES = 8, MOST_HEADER_BYTES = 100000000 };

/* A file's header and what is known of the rest. */
typedef struct header {
    json_t *json; /* owned */
    const unsigned char *data;
    size_t n_data; /* bytes */
    const char *path;
} header;

/* One member of the header. */
typedef struct record {
    const char *name;  /* borrowed from the header */
    size_t begin, end; /* bytes of the data */
} record;

/* The format's types: bits of a value, and ours where we have it. */
static const struct {
    const char *name;
    size_t bits;
    bool is_read;
    sp_dtype dtype;
} types[] = {
    {"F32", 32, true, SP_F32},    {"F16", 16, true, SP_F16}, {"BF16", 16, true, SP_BF16},
    {"F64", 64, false, 0},        {"I64", 64, false, 0},     {"I32", 32, false, 0},
    {"I16", 16, false, 0},        {"I8", 8, false, 0},       {"U64", 64, false, 0},
    {"U32", 32, false, 0},        {"U16", 16, false, 0},     {"U8", 8, false, 0},
    {"BOOL", 8, false, 0},        {"C64", 64, false, 0},     {"F8_E5M2", 8, false, 0},
    {"F8_E4M3", 8, false, 0},     {"F8_E8M0", 8, false, 0},  {"F6_E2M3", 6, false, 0},
    {"F6_E3M2", 6, false, 0},     {"F4", 4, false, 0},       {"F8_E4M3FNUZ", 8, false, 0},
    {"F8_E5M2FNUZ", 8, false, 0},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static sp_status read_header(header *head, const sp_mapping *mapping, const char *path) {
    uint64_t n_header = 0;
    if (mapping->n_bytes < PREFIX_BYTES)
        return sp_fail(SP_BAD_DATA, "'%s': %zu bytes are no safetensors file; cut short?", path,
                       mapping->n_bytes);
    memcpy(&n_header, mapping->data, PREFIX_BYTES);
    if (n_header > MOST_HEADER_BYTES || n_header > mapping->n_bytes - PREFIX_BYTES)
        return sp_fail(SP_BAD_DATA,
                       "'%s', offset 0: a header of %ju bytes in a file of %zu; not a safetensors "
                       "file, or cut short?",
                       path, (uintmax_t)n_header, mapping->n_bytes);
    json_t *json = NULL;
    SP_TRY(sp_json_load_text(&json, (const char *)mapping->data + PREFIX_BYTES, n_header, path));
    if (!json_is_object(json)) {
        json_decref(json);
        return sp_fail(SP_BAD_DATA, "'%s', offset 8: the header is not a JSON object", path);
    }
    *head = (header){.json = json,
                     .data = mapping->data + PREFIX_BYTES + n_header,
                     .n_data = mapping->n_bytes - PREFIX_BYTES - n_header,
                     .path = path};
    return SP_OK;
}

static sp_status read_type(size_t *type, const json_t *member, const char *name,
                           const header *head) {
    const json_t *dtype = json_object_get(member, "dtype");
    const char *wanted = json_is_string(dtype) ? json_string_value(dtype) : "";
    for (*type = 0; *type < N_TYPES; ++*type)
        if (strcmp(wanted, types[*type].name) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': tensor '%s' has the type '%s', which safetensors has not",
                   head->path, name, wanted);
}

/* A whole number of at least 0 at index i. */
static bool read_item(size_t *out, const json_t *array, size_t i) {
    const json_t *item = json_array_get(array, i);
    if (!json_is_integer(item) || json_integer_value(item) < 0) return false;
    *out = (size_t)json_integer_value(item); /* not negative, and both have 64 bits */
    return true;
}

/* *n_values is the product of all dimensions; *tensor gets as many as it can hold. */
static sp_status read_shape(sp_tensor *tensor, size_t *n_values, const json_t *member,
                            const char *name, const header *head) {
    const json_t *shape = json_object_get(member, "shape");
    if (!json_is_array(shape))
        return sp_fail(SP_BAD_DATA, "'%s': tensor '%s' has no 'shape'", head->path, name);
    tensor->n_dims = json_array_size(shape);
    *n_values = 1;
    for (size_t i = 0; i < tensor->n_dims; i++) {
        size_t dim = 0;
        if (!read_item(&dim, shape, i) || !sp_size_mul(n_values, *n_values, dim))
            return sp_fail(SP_BAD_DATA, "'%s': tensor '%s': dimension %zu is impossible",
                           head->path, name, i);
        if (i < SP_MAX_DIMS) tensor->shape[i] = dim;
    }
    return SP_OK;
}

static sp_status read_offsets(record *where, const json_t *member, size_t n_values, size_t bits,
                              const header *head) {
    const json_t *offsets = json_object_get(member, "data_offsets");
    if (json_array_size(offsets) != 2 || !read_item(&where->begin, offsets, 0) ||
        !read_item(&where->end, offsets, 1))
        return sp_fail(SP_BAD_DATA, "'%s': tensor '%s': 'data_offsets' are not two offsets",
                       head->path, where->name);
    if (where->begin > where->end || where->end > head->n_data)
        return sp_fail(SP_BAD_DATA,
                       "'%s': tensor '%s': bytes %zu to %zu are not within the data's %zu; cut "
                       "short?",
                       head->path, where->name, where->begin, where->end, head->n_data);
    size_t n_bits = 0;
    if (!sp_size_mul(&n_bits, n_values, bits) || n_bits % 8 != 0 ||
        n_bits / 8 != where->end - where->begin)
        return sp_fail(SP_BAD_DATA, "'%s': tensor '%s': %zu values of %zu bits are not %zu bytes",
                       head->path, where->name, n_values, bits, where->end - where->begin);
    return SP_OK;
}

static sp_status read_member(sp_tensor_table *tensors, size_t *n_left_out, record *where,
                             const char *name, const json_t *member, const header *head) {
    size_t type = 0, n_values = 0;
    sp_tensor tensor = {0};
    where->name = name;
    if (!json_is_object(member))
        return sp_fail(SP_BAD_DATA, "'%s': tensor '%s' is not an object", head->path, name);
    SP_TRY(read_type(&type, member, name, head));
    SP_TRY(read_shape(&tensor, &n_values, member, name, head));
    SP_TRY(read_offsets(where, member, n_values, types[type].bits, head));
    if (!types[type].is_read || tensor.n_dims > SP_MAX_DIMS) {
        ++*n_left_out;
        return SP_OK;
    }
    tensor.dtype = types[type].dtype;
    tensor.data = head->data + where->begin;
    return sp_tensor_table_add(tensors, name, &tensor);
}

static int compare_offsets(const void *a, const void *b) {
    const record *left = a, *right = b;
    if (left->begin != right->begin) return left->begin < right->begin ? -1 : 1;
    return (left->end > right->end) - (left->end < right->end);
}

/* Holds the tensors against each other: end to end they are the data. */
static sp_status check_cover(record *records, size_t n, const header *head) {
    size_t end = 0;
    if (n > 0) qsort(records, n, sizeof *records, compare_offsets);
    for (size_t i = 0; i < n; i++) {
        if (records[i].begin != end)
            return sp_fail(SP_BAD_DATA,
                           "'%s': tensor '%s' begins at byte %zu of the data, the one before it "
                           "ends at %zu",
                           head->path, records[i].name, records[i].begin, end);
        end = records[i].end;
    }
    if (end != head->n_data)
        return sp_fail(SP_BAD_DATA,
                       "'%s': the tensors end at byte %zu of the data, the file at %zu", head->path,
                       end, head->n_data);
    return SP_OK;
}

static sp_status read_members(sp_tensor_table *tensors, size_t *n_left_out, const header *head) {
    const size_t n_members = json_object_size(head->json);
    record *records = calloc(n_members + 1, sizeof *records); /* never 0 bytes */
    if (records == NULL)
        return sp_fail(SP_FAILURE, "'%s': no memory for %zu records", head->path, n_members);
    sp_status status = SP_OK;
    size_t n = 0;
    const char *name;
    json_t *member;
    json_object_foreach(head->json, name, member) {
        if (strcmp(name, "__metadata__") == 0) continue;
        status = read_member(tensors, n_left_out, &records[n++], name, member, head);
        if (status != SP_OK) goto cleanup;
    }
    status = check_cover(records, n, head);

cleanup:
    free(records);
    return status;
}

sp_status sp_safetensors_read(sp_tensor_table *tensors, size_t *n_left_out,
                              const sp_mapping *mapping, const char *path) {
    header head = {0};
    SP_TRY(read_header(&head, mapping, path));
    const sp_status status = read_members(tensors, n_left_out, &head);
    json_decref(head.json);
    return status;
}
