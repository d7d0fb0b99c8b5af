#include "io/npy.h"

#include "io/atomic_file.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie");

/* The two largest numbers still fit. */
enum { PREAMBLE = 10, HEAD_SIZE = 192, ALIGNMENT = 64 };

static size_t make_head(char head[HEAD_SIZE], size_t n_rows, size_t n_columns) {
    memset(head, ' ', HEAD_SIZE);
    const int len = snprintf(head + PREAMBLE, HEAD_SIZE - PREAMBLE,
                             "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }",
                             n_rows, n_columns);
    const size_t used = PREAMBLE + (size_t)len;
    head[used] = ' '; /* in place of the NUL */
    const size_t n_bytes = (used + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    head[n_bytes - 1] = '\n';
    const uint16_t n_header = (uint16_t)(n_bytes - PREAMBLE); /* below HEAD_SIZE */
    memcpy(head, "\x93NUMPY\x01\x00", 8);
    memcpy(head + 8, &n_header, sizeof n_header);
    return n_bytes;
}

sp_status sp_npy_write(const char *path, const float *values, size_t n_rows, size_t n_columns) {
    char head[HEAD_SIZE];
    const size_t n_head = make_head(head, n_rows, n_columns);
    sp_atomic_file file = {0};
    SP_TRY(sp_atomic_begin(&file, path));
    sp_status status = sp_write_all(file.fd, head, n_head, path);
    if (status == SP_OK)
        status = sp_write_all(file.fd, values, n_rows * n_columns * sizeof *values, path);
    if (status == SP_OK) return sp_atomic_commit(&file);
    sp_atomic_abort(&file);
    return status;
}
