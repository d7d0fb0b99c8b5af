#include "tests/gguf_image.h"

#include "tests/check.h"

void gguf_bytes(gguf_image *image, const void *bytes, size_t n_bytes) {
    assert_true(n_bytes <= GGUF_IMAGE_SIZE - image->n_bytes);
    memcpy(image->bytes + image->n_bytes, bytes, n_bytes);
    image->n_bytes += n_bytes;
}

void gguf_u32(gguf_image *image, uint32_t value) { gguf_bytes(image, &value, sizeof value); }

void gguf_u64(gguf_image *image, uint64_t value) { gguf_bytes(image, &value, sizeof value); }

void gguf_string(gguf_image *image, const char *text) {
    gguf_u64(image, strlen(text));
    gguf_bytes(image, text, strlen(text));
}

void gguf_header(gguf_image *image, uint32_t version, uint64_t n_tensors, uint64_t n_fields) {
    gguf_bytes(image, "GGUF", 4);
    gguf_u32(image, version);
    gguf_u64(image, n_tensors);
    gguf_u64(image, n_fields);
}

static void begin_field(gguf_image *image, const char *key, uint32_t type) {
    gguf_string(image, key);
    gguf_u32(image, type);
}

void gguf_string_field(gguf_image *image, const char *key, const char *value) {
    begin_field(image, key, GGUF_STRING);
    gguf_string(image, value);
}

void gguf_u32_field(gguf_image *image, const char *key, uint32_t value) {
    begin_field(image, key, GGUF_U32);
    gguf_u32(image, value);
}

void gguf_f32_field(gguf_image *image, const char *key, float value) {
    begin_field(image, key, GGUF_F32);
    gguf_bytes(image, &value, sizeof value);
}

void gguf_bool_field(gguf_image *image, const char *key, uint8_t value) {
    begin_field(image, key, GGUF_BOOL);
    gguf_bytes(image, &value, sizeof value);
}

static void begin_array(gguf_image *image, const char *key, uint32_t item_type, size_t n) {
    begin_field(image, key, GGUF_ARRAY);
    gguf_u32(image, item_type);
    gguf_u64(image, n);
}

void gguf_strings_field(gguf_image *image, const char *key, const char *const *items, size_t n) {
    begin_array(image, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) gguf_string(image, items[i]);
}

void gguf_u32s_field(gguf_image *image, const char *key, const uint32_t *items, size_t n) {
    begin_array(image, key, GGUF_U32, n);
    for (size_t i = 0; i < n; i++) gguf_u32(image, items[i]);
}

void gguf_f32s_field(gguf_image *image, const char *key, const float *items, size_t n) {
    begin_array(image, key, GGUF_F32, n);
    gguf_bytes(image, items, n * sizeof *items);
}

void gguf_tensor(gguf_image *image, const char *name, uint32_t n_dims, const uint64_t *dims,
                 uint32_t type, uint64_t offset) {
    gguf_string(image, name);
    gguf_u32(image, n_dims);
    gguf_bytes(image, dims, n_dims * sizeof *dims);
    gguf_u32(image, type);
    gguf_u64(image, offset);
}

void gguf_pad(gguf_image *image, size_t alignment) {
    while (image->n_bytes % alignment != 0) gguf_bytes(image, "", 1);
}
