/* The likeliest of many. */
#pragma once

#include <stddef.h>

/* Index of the greatest of x [n], the first of equals; n is at least 1. NaN is never the greatest,
   unless it is all there is: then 0. One thread. */
size_t sp_argmax(const float *x, size_t n);
