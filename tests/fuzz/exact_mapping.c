/* In place of io/mapping.c: a copy of the file that ends where a page ends, with none behind it. A
   real mapping goes on to its page's end. So a step beyond the file is seen, even one in a library
   that no sanitizer was compiled into, as Jansson. */
#include "io/mapping.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096 }; /* bytes, on x86-64 */

static size_t whole_pages(size_t n_bytes) { return (n_bytes + PAGE - 1) / PAGE * PAGE; }

sp_status sp_mapping_open(sp_mapping *mapping, const char *path) {
    sp_status status = SP_OK;
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        status = sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
        goto cleanup;
    }
    sp_mapping made = {.n_bytes = (size_t)info.st_size};
    const size_t n_pages_bytes = whole_pages(made.n_bytes);
    unsigned char *pages = mmap(NULL, n_pages_bytes + PAGE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *copy = pages + n_pages_bytes - made.n_bytes;
    if (pages == MAP_FAILED || mprotect(pages + n_pages_bytes, PAGE, PROT_NONE) != 0 ||
        fread(copy, 1, made.n_bytes, file) != made.n_bytes)
        abort();
    made.data = copy;
    *mapping = made;

cleanup:
    if (file != NULL) fclose(file);
    return status;
}

void sp_mapping_close(sp_mapping *mapping) {
    const size_t n_pages_bytes = whole_pages(mapping->n_bytes);
    if (mapping->data != NULL)
        munmap((void *)(mapping->data + mapping->n_bytes - n_pages_bytes), n_pages_bytes + PAGE);
    *mapping = (sp_mapping){0};
}

/* The copy has no file to come back from. */
void sp_mapping_give_back(const sp_mapping *mapping) { (void)mapping; }
