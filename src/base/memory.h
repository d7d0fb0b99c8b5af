/* Aligned memory that may run out: 64-byte aligned blocks, and arenas for the activations of a
   step. What is 2 MiB or more begins at such a boundary, lies in huge pages where the system gives them,
   is touched first by the threads that fill it, and goes back to the system when it is freed. */
#pragma once

#include "base/status.h"

#include <stddef.h>

/* Allocates n_bytes of zeroed memory at 64-byte alignment into *out, owned: release with free().
   n_bytes may be 0. SP_FAILURE: no memory; the message gives the bytes and `what` for. */
SP_NODISCARD sp_status sp_alloc(void **out, size_t n_bytes, const char *what);

/* The same for n items of item_bytes, with the product checked. */
SP_NODISCARD sp_status sp_alloc_array(void **out, size_t n, size_t item_bytes, const char *what);

/* A stack of blocks in one allocation, sized before the step from the blocks' own cost functions.
   push() cannot fail: to overrun is a broken invariant of ours. */
typedef struct sp_arena {
    char *base; /* owned */
    size_t capacity, used;
} sp_arena;

SP_NODISCARD sp_status sp_arena_reserve(sp_arena *arena, size_t capacity, const char *what);
void *sp_arena_push(sp_arena *arena, size_t n_bytes); /* 64-byte aligned, not zeroed */
void sp_arena_release(sp_arena *arena);

/* What push() takes for n_bytes: rounded up to the alignment. */
static inline size_t sp_arena_bytes(size_t n_bytes) { return (n_bytes + 63) & ~(size_t)63; }
