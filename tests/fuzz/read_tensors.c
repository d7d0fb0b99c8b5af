#include "tests/fuzz/read_tensors.h"

#include <stdlib.h>

enum { MOST_ROWS = 8 }; /* at a time: the rest is more of the same */

static void read_tensor(const sp_tensor *tensor) {
    const size_t n_values = sp_tensor_n_values(tensor);
    if (n_values == 0) return;
    const size_t width = sp_tensor_row_values(tensor), n_rows = n_values / width;
    const size_t n_read = n_rows < MOST_ROWS ? n_rows : MOST_ROWS;
    float *rows = malloc(n_read * width * sizeof *rows);
    if (rows == NULL) abort();
    sp_tensor_read_rows(tensor, rows, 0, n_read);
    sp_tensor_read_rows(tensor, rows, n_rows - n_read, n_read);
    free(rows);
}

void fuzz_read_tensors(const sp_tensor_table *tensors) {
    for (size_t i = 0; i < tensors->n_entries; i++) read_tensor(&tensors->entries[i].tensor);
}
