#include "io/gguf.h"

#include "base/size.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are read as they lie");

enum {
    DEFAULT_ALIGNMENT = 32,
    LEAST_FIELD_BYTES = 8 + 4 + 1,     /* empty key, type, one byte */
    LEAST_TENSOR_BYTES = 8 + 4 + 4 + 8 /* empty name, n_dims, type, offset */
};

/* Of data that are not there: past any file, and far from wrapping. */
static const size_t MOST_DATA_BYTES = (size_t)1 << 60;

/* The format's types of a value, by their numbers; n_bytes is 0 where it varies. */
enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, N_VALUE_TYPES };
static const size_t value_bytes[N_VALUE_TYPES] = {
    [U8] = 1,  [I8] = 1,  [U16] = 2,  [I16] = 2, [U32] = 4, [I32] = 4,
    [F32] = 4, [U64] = 8, [BOOL] = 1, [I64] = 8, [F64] = 8,
};

/* ggml's tensor types by their numbers; NULL: withdrawn. */
static const char *const ggml_names[] = {
    "F32",    "F16",   "Q4_0",  "Q4_1",   "Q4_2",  "Q4_3",  "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
    "Q2_K",   "Q3_K",  "Q4_K",  "Q5_K",   "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
    "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
    "BF16",   NULL,    NULL,    NULL,     "TQ1_0", "TQ2_0", NULL,      NULL,     NULL,      "MXFP4",
};
enum { N_GGML_TYPES = sizeof ggml_names / sizeof ggml_names[0] };

/* Bytes [at, n_bytes) of a file are still to be read. */
typedef struct cursor {
    const unsigned char *data;
    size_t n_bytes, at;
    const char *path;
    bool is_outline; /* the tensors' values may go beyond the end */
} cursor;

static size_t left(const cursor *c) { return c->n_bytes - c->at; }

static sp_status cut_short(const cursor *c, const char *what) {
    return sp_fail(SP_BAD_DATA, "'%s', offset %zu: %s goes beyond the file's end; cut short?",
                   c->path, c->at, what);
}

static sp_status take(void *out, size_t n_bytes, cursor *c, const char *what) {
    if (n_bytes > left(c)) return cut_short(c, what);
    memcpy(out, c->data + c->at, n_bytes);
    c->at += n_bytes;
    return SP_OK;
}

/* *string is new, as JSON, which takes UTF-8 only. */
static sp_status take_string(json_t **string, cursor *c, const char *what) {
    uint64_t n_bytes = 0;
    SP_TRY(take(&n_bytes, sizeof n_bytes, c, what));
    if (n_bytes > left(c)) {
        c->at -= sizeof n_bytes;
        return cut_short(c, what);
    }
    *string = json_stringn((const char *)c->data + c->at, n_bytes);
    if (*string == NULL)
        return sp_fail(SP_BAD_DATA, "'%s', offset %zu: %s is not UTF-8", c->path, c->at, what);
    c->at += n_bytes;
    return SP_OK;
}

/* A string that is a name: not empty and without NUL, so that C reads all of it. */
static sp_status take_name(json_t **name, cursor *c, const char *what) {
    const size_t at = c->at;
    json_t *taken = NULL;
    SP_TRY(take_string(&taken, c, what));
    const size_t len = json_string_length(taken);
    if (len == 0 || strlen(json_string_value(taken)) != len) {
        json_decref(taken);
        return sp_fail(SP_BAD_DATA, "'%s', offset %zu: %s is empty or holds a NUL", c->path, at,
                       what);
    }
    *name = taken;
    return SP_OK;
}

/* One number at `bytes` as JSON, or NULL: one that JSON cannot hold, or a bool beyond 1. */
static json_t *make_number(uint32_t type, const unsigned char *bytes) {
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } value;
    memcpy(&value, bytes, value_bytes[type]);
    switch (type) {
    case U8:
        return json_integer(value.u8);
    case I8:
        return json_integer(value.i8);
    case U16:
        return json_integer(value.u16);
    case I16:
        return json_integer(value.i16);
    case U32:
        return json_integer(value.u32);
    case I32:
        return json_integer(value.i32);
    case U64:
        return value.u64 > INT64_MAX ? NULL : json_integer((json_int_t)value.u64);
    case I64:
        return json_integer(value.i64);
    case F32:
        return json_real((double)value.f32); /* NULL if not finite */
    case F64:
        return json_real(value.f64);
    default:
        return value.u8 > 1 ? NULL : json_boolean(value.u8);
    }
}

static sp_status take_scalar(json_t **value, uint32_t type, cursor *c, const char *key) {
    if (type == STRING) return take_string(value, c, key);
    if (type >= N_VALUE_TYPES || value_bytes[type] == 0)
        return sp_fail(SP_BAD_DATA, "'%s', offset %zu: '%s' has the type %u, which GGUF has not",
                       c->path, c->at, key, type);
    if (value_bytes[type] > left(c)) return cut_short(c, key);
    *value = make_number(type, c->data + c->at);
    if (*value == NULL)
        return sp_fail(SP_BAD_DATA, "'%s', offset %zu: '%s' is no number that is in use", c->path,
                       c->at, key);
    c->at += value_bytes[type];
    return SP_OK;
}

/* Steps over n strings, so that who reads them need not check their lengths. */
static sp_status skip_strings(size_t n, cursor *c, const char *key) {
    for (size_t i = 0; i < n; i++) {
        uint64_t n_bytes = 0;
        SP_TRY(take(&n_bytes, sizeof n_bytes, c, key));
        if (n_bytes > left(c)) return cut_short(c, key);
        c->at += n_bytes;
    }
    return SP_OK;
}

static sp_status take_array(sp_gguf_array *array, cursor *c, const char *key) {
    uint64_t n_items = 0;
    SP_TRY(take(&array->item_type, sizeof array->item_type, c, key));
    SP_TRY(take(&n_items, sizeof n_items, c, key));
    if (array->item_type >= N_VALUE_TYPES || array->item_type == ARRAY)
        return sp_fail(SP_BAD_DATA,
                       "'%s', offset %zu: '%s' is an array of the type %u, which is not supported",
                       c->path, c->at - 12, key, array->item_type);
    const bool has_strings = array->item_type == STRING;
    const size_t item_bytes = has_strings ? sizeof(uint64_t) : value_bytes[array->item_type];
    if (n_items > left(c) / item_bytes)
        return sp_fail(SP_BAD_DATA,
                       "'%s', offset %zu: '%s' has %ju items in the %zu bytes left; cut short?",
                       c->path, c->at - 8, key, (uintmax_t)n_items, left(c));
    array->n_items = n_items;
    array->data = c->data + c->at;
    if (has_strings) return skip_strings(n_items, c, key);
    c->at += n_items * item_bytes;
    return SP_OK;
}

/* Room grows by doubling: it is full whenever the count is a power of two. */
static sp_status add_array(sp_gguf *gguf, const sp_gguf_array *array, const char *key) {
    const size_t n = gguf->n_arrays;
    if ((n & (n - 1)) == 0) {
        sp_gguf_array *grown = reallocarray(gguf->arrays, n == 0 ? 1 : 2 * n, sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu arrays", 2 * n);
        gguf->arrays = grown;
    }
    gguf->arrays[n] = *array;
    gguf->arrays[n].key = strdup(key);
    if (gguf->arrays[n].key == NULL) return sp_fail(SP_FAILURE, "no memory for '%s'", key);
    gguf->n_arrays++;
    return SP_OK;
}

/* Takes a field's type and value; an array's member of the metadata is null. */
static sp_status take_value(sp_gguf *gguf, cursor *c, const char *key) {
    uint32_t type = 0;
    json_t *value = NULL;
    SP_TRY(take(&type, sizeof type, c, key));
    if (type == ARRAY) {
        sp_gguf_array array = {0};
        SP_TRY(take_array(&array, c, key));
        SP_TRY(add_array(gguf, &array, key));
        value = json_null();
    } else {
        SP_TRY(take_scalar(&value, type, c, key));
    }
    if (json_object_set_new(gguf->metadata, key, value) != 0)
        return sp_fail(SP_FAILURE, "no memory for '%s'", key);
    return SP_OK;
}

static sp_status take_field(sp_gguf *gguf, cursor *c) {
    const size_t at = c->at;
    json_t *key = NULL;
    SP_TRY(take_name(&key, c, "a field's key"));
    sp_status status = SP_OK;
    if (json_object_get(gguf->metadata, json_string_value(key)) != NULL)
        status = sp_fail(SP_BAD_DATA, "'%s', offset %zu: the key '%s' stands twice", c->path, at,
                         json_string_value(key));
    if (status == SP_OK) status = take_value(gguf, c, json_string_value(key));
    json_decref(key);
    return status;
}

static sp_status check_count(uint64_t n, size_t least_bytes, const cursor *c, const char *what) {
    if (n <= left(c) / least_bytes) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s', offset %zu: %ju %s in the %zu bytes left; cut short?",
                   c->path, c->at, (uintmax_t)n, what, left(c));
}

static sp_status check_version(uint32_t version, const char *path) {
    if (version == 2 || version == 3) return SP_OK;
    if ((version & 0xffff) == 0)
        return sp_fail(SP_BAD_DATA, "'%s', offset 4: big-endian GGUF is not supported", path);
    return sp_fail(SP_BAD_DATA, "'%s', offset 4: GGUF version %u is not supported; supported: 2, 3",
                   path, version);
}

static sp_status take_header(uint32_t *version, uint64_t *n_tensors, uint64_t *n_fields,
                             cursor *c) {
    if (c->n_bytes < 4 || memcmp(c->data, "GGUF", 4) != 0)
        return sp_fail(SP_BAD_DATA, "'%s', offset 0: not a GGUF file", c->path);
    c->at = 4;
    SP_TRY(take(version, sizeof *version, c, "the header"));
    SP_TRY(check_version(*version, c->path));
    SP_TRY(take(n_tensors, sizeof *n_tensors, c, "the header"));
    return take(n_fields, sizeof *n_fields, c, "the header");
}

static sp_status read_alignment(size_t *alignment, const sp_gguf *gguf, const char *path) {
    *alignment = DEFAULT_ALIGNMENT;
    SP_TRY(sp_json_get_size(alignment, gguf->metadata, "general.alignment", path));
    if (*alignment == 0 || *alignment > UINT32_MAX || (*alignment & (*alignment - 1)) != 0)
        return sp_fail(SP_BAD_DATA, "'%s': 'general.alignment' is %zu, not a power of two", path,
                       *alignment);
    return SP_OK;
}

static sp_status find_dtype(sp_dtype *dtype, uint32_t type, const cursor *c, const char *name) {
    char number[32];
    snprintf(number, sizeof number, "of number %u", type);
    const char *type_name = type < N_GGML_TYPES ? ggml_names[type] : NULL;
    for (*dtype = 0; type_name != NULL && *dtype < SP_N_DTYPES; ++*dtype)
        if (strcmp(type_name, sp_dtypes[*dtype].name) == 0) return SP_OK;
    return sp_fail(SP_BAD_DATA,
                   "'%s', offset %zu: tensor '%s' has the type %s; slotpress reads F32, F16, BF16, "
                   "Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K and Q6_K",
                   c->path, c->at - sizeof type, name, type_name != NULL ? type_name : number);
}

/* Takes the dimensions, innermost first, into *tensor, outermost first. */
static sp_status take_shape(sp_tensor *tensor, cursor *c, const char *name) {
    const size_t at = c->at;
    uint32_t n_dims = 0;
    SP_TRY(take(&n_dims, sizeof n_dims, c, name));
    if (n_dims > SP_MAX_DIMS)
        return sp_fail(SP_BAD_DATA, "'%s', offset %zu: tensor '%s' has %u dimensions; most are %d",
                       c->path, at, name, n_dims, SP_MAX_DIMS);
    tensor->n_dims = n_dims;
    size_t n_values = 1;
    for (size_t i = 0; i < n_dims; i++) {
        uint64_t dim = 0;
        SP_TRY(take(&dim, sizeof dim, c, name));
        tensor->shape[n_dims - 1 - i] = dim;
        /* No 0, beside which the other dimensions could be anything. */
        if (dim == 0 || !sp_size_mul(&n_values, n_values, dim) ||
            n_values > SIZE_MAX / sizeof(float))
            return sp_fail(SP_BAD_DATA, "'%s', offset %zu: tensor '%s' has an impossible size",
                           c->path, at, name);
    }
    return SP_OK;
}

/* Rounds up; `alignment` is a power of two below 2^32 and `offset` lies in a file. */
static size_t align(size_t offset, size_t alignment) {
    return (offset + alignment - 1) & ~(alignment - 1);
}

static size_t tensor_bytes(const sp_tensor *tensor) {
    return sp_dtype_bytes(tensor->dtype, sp_tensor_n_values(tensor));
}

/* *end is where the data of the tensors before ends, padded, and goes on behind this one. */
static sp_status take_tensor(sp_gguf *gguf, size_t *end, size_t alignment, cursor *c,
                             const char *name) {
    sp_tensor tensor = {0};
    uint32_t type = 0;
    uint64_t offset = 0;
    SP_TRY(take_shape(&tensor, c, name));
    SP_TRY(take(&type, sizeof type, c, name));
    SP_TRY(find_dtype(&tensor.dtype, type, c, name));
    const size_t block = sp_dtypes[tensor.dtype].block_values;
    if (sp_tensor_row_values(&tensor) % block != 0)
        return sp_fail(SP_BAD_DATA,
                       "'%s', offset %zu: tensor '%s' has rows of %zu values, which are no blocks "
                       "of %zu",
                       c->path, c->at, name, sp_tensor_row_values(&tensor), block);
    SP_TRY(take(&offset, sizeof offset, c, name));
    if (offset != *end)
        return sp_fail(SP_BAD_DATA,
                       "'%s', offset %zu: tensor '%s' begins at byte %ju of the data, not behind "
                       "the one before it, at %zu",
                       c->path, c->at - sizeof offset, name, (uintmax_t)offset, *end);
    const size_t n_bytes = tensor_bytes(&tensor);
    const size_t most = c->is_outline ? MOST_DATA_BYTES : c->n_bytes;
    if (n_bytes > most || *end > most - n_bytes)
        return sp_fail(SP_BAD_DATA,
                       "'%s': tensor '%s' goes beyond the file's end, with %zu bytes; cut short?",
                       c->path, name, n_bytes);
    *end = align(*end + n_bytes, alignment);
    return sp_tensor_table_add(&gguf->tensors, name, &tensor);
}

static sp_status take_tensors(sp_gguf *gguf, size_t n_tensors, size_t alignment, cursor *c) {
    size_t end = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        json_t *name = NULL;
        SP_TRY(take_name(&name, c, "a tensor's name"));
        const sp_status status = take_tensor(gguf, &end, alignment, c, json_string_value(name));
        json_decref(name);
        if (status != SP_OK) return status;
    }
    return SP_OK;
}

/* Where the data begin is known only behind the last tensor's description. */
static sp_status place_tensors(sp_gguf *gguf, size_t alignment, const cursor *c) {
    size_t at = align(c->at, alignment);
    for (size_t i = 0; i < gguf->tensors.n_entries; i++) {
        sp_tensor *tensor = &gguf->tensors.entries[i].tensor;
        const size_t n_bytes = tensor_bytes(tensor);
        const bool is_there = at <= c->n_bytes && n_bytes <= c->n_bytes - at;
        if (!is_there && !c->is_outline)
            return sp_fail(SP_BAD_DATA,
                           "'%s', offset %zu: tensor '%s' of %zu bytes goes beyond the file's end; "
                           "cut short?",
                           c->path, at, gguf->tensors.entries[i].name, n_bytes);
        tensor->data = is_there ? c->data + at : NULL;
        at = align(at + n_bytes, alignment);
    }
    return SP_OK;
}

static sp_status read_file(sp_gguf *gguf, cursor *c) {
    uint64_t n_tensors = 0, n_fields = 0;
    size_t alignment = 0;
    SP_TRY(take_header(&gguf->version, &n_tensors, &n_fields, c));
    SP_TRY(check_count(n_fields, LEAST_FIELD_BYTES, c, "fields"));
    gguf->metadata = json_object();
    for (uint64_t i = 0; i < n_fields; i++) SP_TRY(take_field(gguf, c));
    SP_TRY(read_alignment(&alignment, gguf, c->path));
    SP_TRY(check_count(n_tensors, LEAST_TENSOR_BYTES, c, "tensors"));
    SP_TRY(take_tensors(gguf, n_tensors, alignment, c));
    SP_TRY(place_tensors(gguf, alignment, c));
    if (sp_tensor_table_sort(&gguf->tensors) != SP_OK)
        return sp_fail(SP_BAD_DATA, "'%s': %s", c->path, sp_message());
    return SP_OK;
}

static sp_status open_file(sp_gguf *gguf, const char *path, bool is_outline) {
    sp_gguf made = {0};
    SP_TRY(sp_mapping_open(&made.mapping, path));
    cursor c = {.data = made.mapping.data,
                .n_bytes = made.mapping.n_bytes,
                .path = path,
                .is_outline = is_outline};
    const sp_status status = read_file(&made, &c);
    if (status == SP_OK)
        *gguf = made;
    else
        sp_gguf_close(&made);
    return status;
}

sp_status sp_gguf_open(sp_gguf *gguf, const char *path) { return open_file(gguf, path, false); }

sp_status sp_gguf_open_outline(sp_gguf *gguf, const char *path) {
    return open_file(gguf, path, true);
}

void sp_gguf_close(sp_gguf *gguf) {
    sp_tensor_table_free(&gguf->tensors);
    for (size_t i = 0; i < gguf->n_arrays; i++) free(gguf->arrays[i].key);
    free(gguf->arrays);
    json_decref(gguf->metadata);
    sp_mapping_close(&gguf->mapping);
    *gguf = (sp_gguf){0};
}

static const sp_gguf_array *find_array(const sp_gguf *gguf, const char *key) {
    for (size_t i = 0; i < gguf->n_arrays; i++)
        if (strcmp(gguf->arrays[i].key, key) == 0) return &gguf->arrays[i];
    return NULL;
}

sp_status sp_gguf_get_array(json_t **array, const sp_gguf *gguf, const char *key,
                            const char *path) {
    const sp_gguf_array *found = find_array(gguf, key);
    *array = NULL;
    if (found == NULL) return SP_OK;
    json_t *made = json_array();
    cursor c = {.data = gguf->mapping.data,
                .n_bytes = gguf->mapping.n_bytes,
                .at = (size_t)(found->data - gguf->mapping.data),
                .path = path};
    for (size_t i = 0; i < found->n_items; i++) {
        json_t *item = NULL;
        sp_status status = take_scalar(&item, found->item_type, &c, key);
        if (status == SP_OK && json_array_append_new(made, item) != 0)
            status = sp_fail(SP_FAILURE, "no memory for the items of '%s'", key);
        if (status != SP_OK) {
            json_decref(made);
            return status;
        }
    }
    *array = made;
    return SP_OK;
}
