/* tokenizer.json, and text: the bytes before a NUL are the file, which has none, those behind it are
   encoded; without a NUL the file is its own text. */
#include "tests/fuzz/use_tokenizer.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    enum { MOST_TEXT = 2048 };
    const uint8_t *nul = n_bytes > 0 ? memchr(data, 0, n_bytes) : NULL;
    const size_t n_json = nul != NULL ? (size_t)(nul - data) : n_bytes;
    const uint8_t *text = nul != NULL ? nul + 1 : data;
    const size_t n_text = nul != NULL ? n_bytes - n_json - 1 : n_bytes;
    json_t *json = NULL;
    if (sp_json_load_text(&json, (const char *)data, n_json, "input") == SP_OK)
        fuzz_use_tokenizer(json, text, n_text < MOST_TEXT ? n_text : MOST_TEXT);
    json_decref(json);
    return 0;
}
