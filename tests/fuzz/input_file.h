/* A fuzzer's input as a file, for readers that take a path. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Makes the input the content of a file in memory and returns its path, static: the file is the
   same one for every input. Ends the process if the machine has no such files. */
const char *fuzz_input_file(const uint8_t *data, size_t n_bytes);

/* Likewise, under a name that ends in `extension`, for readers that go by it; static until the next
   call. The name lies in fuzz_folder(). */
const char *fuzz_input_named(const char *extension, const uint8_t *data, size_t n_bytes);

/* A folder of this process's own, static, in TMPDIR; removed at exit with what lies in it, if
   nothing crashes. */
const char *fuzz_folder(void);
