/* GGUF files: the tables, the configuration, the tensors by their Hugging Face names, the tokenizer,
   and the description that `inspect` prints. */
#include "io/gguf.h"
#include "io/gguf_config.h"
#include "io/gguf_names.h"
#include "io/gguf_tokenizer.h"
#include "io/model_source.h"
#include "model/model_config.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/read_tensors.h"
#include "tests/fuzz/use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void read_model(sp_gguf *gguf, const char *path) {
    json_t *json = NULL;
    sp_model_config config = {0};
    if (sp_gguf_make_config(&json, gguf, path) == SP_OK) {
        if (sp_model_config_read(&config, json, path) != SP_OK) config = (sp_model_config){0};
        if (sp_gguf_rename_tensors(gguf, json, path) == SP_OK) fuzz_read_tensors(&gguf->tensors);
    }
    json_decref(json);
}

static void read_tokenizer(const sp_gguf *gguf, const char *path) {
    json_t *json = NULL;
    if (sp_gguf_make_tokenizer(&json, gguf, path) == SP_OK)
        fuzz_use_tokenizer(json, (const uint8_t *)path, 5);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    const char *path = fuzz_input_file(data, n_bytes);
    sp_gguf gguf = {0};
    if (sp_gguf_open(&gguf, path) != SP_OK) return 0;
    fuzz_read_tensors(&gguf.tensors);
    read_tokenizer(&gguf, path);
    read_model(&gguf, path);
    sp_gguf_close(&gguf);

    json_t *description = NULL;
    if (sp_model_source_describe(&description, path) == SP_OK) json_decref(description);
    return 0;
}
