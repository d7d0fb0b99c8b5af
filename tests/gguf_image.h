/* GGUF files built in memory, right or wrong in any field. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The format's types of a value, by their numbers. */
enum { GGUF_U32 = 4, GGUF_F32 = 6, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9, GGUF_U64 = 10 };

/* ggml's types of a tensor, by their numbers. */
enum { GGML_F32 = 0, GGML_Q4_1 = 3, GGML_Q3_K = 11 };

enum { GGUF_IMAGE_SIZE = 16384 };
typedef struct gguf_image {
    unsigned char bytes[GGUF_IMAGE_SIZE];
    size_t n_bytes;
} gguf_image; /* all zero: empty */

/* Each appends. */
void gguf_bytes(gguf_image *image, const void *bytes, size_t n_bytes);
void gguf_u32(gguf_image *image, uint32_t value);
void gguf_u64(gguf_image *image, uint64_t value);
void gguf_string(gguf_image *image, const char *text);
void gguf_header(gguf_image *image, uint32_t version, uint64_t n_tensors, uint64_t n_fields);
void gguf_string_field(gguf_image *image, const char *key, const char *value);
void gguf_u32_field(gguf_image *image, const char *key, uint32_t value);
void gguf_f32_field(gguf_image *image, const char *key, float value);
void gguf_bool_field(gguf_image *image, const char *key, uint8_t value);
void gguf_strings_field(gguf_image *image, const char *key, const char *const *items, size_t n);
void gguf_u32s_field(gguf_image *image, const char *key, const uint32_t *items, size_t n);
void gguf_f32s_field(gguf_image *image, const char *key, const float *items, size_t n);

/* A tensor's description; dims are innermost first. */
void gguf_tensor(gguf_image *image, const char *name, uint32_t n_dims, const uint64_t *dims,
                 uint32_t type, uint64_t offset);

/* Zeros up to a multiple of `alignment`. */
void gguf_pad(gguf_image *image, size_t alignment);
