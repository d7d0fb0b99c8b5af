/* safetensors files: the table, the form that a family gives it, and the tensors' values. */
#include "io/family_tensors.h"
#include "io/safetensors.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/read_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void read_as(const char *model_type, const sp_mapping *mapping) {
    sp_tensor_table tensors = {0};
    size_t n_left_out = 0;
    sp_status status = sp_safetensors_read(&tensors, &n_left_out, mapping, "input");
    if (status == SP_OK) status = sp_tensor_table_sort(&tensors);
    if (status == SP_OK) fuzz_read_tensors(&tensors);
    if (status == SP_OK)
        status = sp_family_tensors_settle(&tensors, &n_left_out, model_type, "input");
    if (status == SP_OK) fuzz_read_tensors(&tensors);
    sp_tensor_table_free(&tensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    sp_mapping mapping = {0};
    if (sp_mapping_open(&mapping, fuzz_input_file(data, n_bytes)) != SP_OK) return 0;
    read_as("llama", &mapping);
    read_as("gpt2", &mapping); /* the one with matrices to transpose */
    sp_mapping_close(&mapping);
    return 0;
}
