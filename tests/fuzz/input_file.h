/* A fuzzer's input as a file, for readers that take a path. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Makes the input the content of a file in memory and returns its path, static: the file is the
   same one for every input. Ends the process if the machine has no such files. */
const char *fuzz_input_file(const uint8_t *data, size_t n_bytes);
