/* Which libraries of kernels are in use. */
#pragma once

#include <stddef.h>

/* Write to text [size]: OpenBLAS's version with how it was built and the core that it chose, and
   oneDNN's version. */
void sp_openblas_version(char *text, size_t size);
void sp_onednn_version(char *text, size_t size);
