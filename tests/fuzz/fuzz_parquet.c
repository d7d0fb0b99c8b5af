/* Parquet files, as text shards: the whole, and row group by row group, all rows and those that a
   condition chooses. Without Arrow in the build there is nothing to read with. */
#include "io/parquet_file.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/read_text.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    if (sp_parquet_is_supported()) return 0;
    sp_parquet *file = NULL;
    if (sp_parquet_open(&file, "input", 1) != SP_OK)
        printf("skipped: needs Arrow: %s\n", sp_message());
    exit(77);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    static sp_condition condition;
    if (condition.name == NULL && sp_condition_parse(&condition, "token_count >= 3") != SP_OK)
        abort();
    const sp_conditions where = {&condition, 1};
    const sp_text_options all = {.gives_unwanted = true},
                          some = {.where = &where, .gives_unwanted = true};
    const char *path = fuzz_input_named(".parquet", data, n_bytes);
    fuzz_read_text(path, 1, &all);
    fuzz_read_text(path, 1, &some);
    return 0;
}
