#include "base/memory.h"

#include "base/size.h"

#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <threads.h>

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

/* glibc otherwise moves large blocks to the heap once one has been freed, and what is freed there stays:
   a run that closes one model and opens another then holds both, or not, as blocks happen to lie. */
static void give_back_large_blocks(void) {
#if defined(M_MMAP_THRESHOLD)
    (void)mallopt(M_MMAP_THRESHOLD, HUGE_PAGE);
    (void)mallopt(M_TRIM_THRESHOLD, 2 * HUGE_PAGE);
#endif
}

/* A block that holds huge pages begins with one, and asks for them; where there are none, it has others. */
static void *allocate(size_t n_bytes) {
    const size_t n_huge_bytes = n_bytes / HUGE_PAGE * HUGE_PAGE;
    static once_flag once = ONCE_FLAG_INIT;
    void *block = NULL;
    call_once(&once, give_back_large_blocks);
    if (posix_memalign(&block, n_huge_bytes > 0 ? HUGE_PAGE : ALIGNMENT, n_bytes) != 0) return NULL;
    if (n_huge_bytes > 0) (void)madvise(block, n_huge_bytes, MADV_HUGEPAGE);
    return block;
}

/* Pages that are given back read as zero, and are placed where the thread runs that writes them first. */
static void clear(char *block, size_t n_bytes) {
    size_t n_given = n_bytes / HUGE_PAGE * HUGE_PAGE;
    if (n_given > 0 && madvise(block, n_given, MADV_DONTNEED) != 0) n_given = 0;
    memset(block + n_given, 0, n_bytes - n_given);
}

sp_status sp_alloc(void **out, size_t n_bytes, const char *what) {
    const size_t rounded = sp_arena_bytes(n_bytes);
    void *block = rounded < n_bytes ? NULL : allocate(rounded > 0 ? rounded : ALIGNMENT);
    if (block == NULL) return sp_fail(SP_FAILURE, "no memory: %zu bytes for %s", n_bytes, what);
    clear(block, rounded);
    *out = block;
    return SP_OK;
}

sp_status sp_alloc_array(void **out, size_t n, size_t item_bytes, const char *what) {
    size_t n_bytes = 0;
    if (!sp_size_mul(&n_bytes, n, item_bytes))
        return sp_fail(SP_FAILURE, "no memory: %zu x %zu bytes for %s", n, item_bytes, what);
    return sp_alloc(out, n_bytes, what);
}

sp_status sp_arena_reserve(sp_arena *arena, size_t capacity, const char *what) {
    assert(arena->used == 0);
    if (capacity <= arena->capacity) return SP_OK;
    sp_arena_release(arena);
    arena->base = allocate(sp_arena_bytes(capacity));
    if (arena->base == NULL)
        return sp_fail(SP_FAILURE, "no memory: %zu bytes for %s", capacity, what);
    arena->capacity = sp_arena_bytes(capacity);
    return SP_OK;
}

void *sp_arena_push(sp_arena *arena, size_t n_bytes) {
    char *block = arena->base + arena->used;
    arena->used += sp_arena_bytes(n_bytes);
    assert(arena->used <= arena->capacity);
    return block;
}

void sp_arena_release(sp_arena *arena) {
    free(arena->base);
    *arena = (sp_arena){0};
}
