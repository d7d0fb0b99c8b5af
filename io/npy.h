/* NumPy's files, version 1.0: one matrix of f32.

       offset 0   "\x93NUMPY" 1 0
              8   u16 N, bytes of the header
             10   header, a Python dictionary padded with blanks to a newline at its end, so that the
                  data begin at a multiple of 64:
                  {'descr': '<f4', 'fortran_order': False, 'shape': (ROWS, COLUMNS), }
         10 + N   data, row-major

   (numpy.lib.format in NumPy's reference) */
#pragma once

#include "base/status.h"

#include <stddef.h>

/* Writes values [n_rows, n_columns] as the file `path`; either may be 0. SP_IO: cannot be written;
   then nothing is left and nothing changed under `path`. */
SP_NODISCARD sp_status sp_npy_write(const char *path, const float *values, size_t n_rows,
                                    size_t n_columns);
