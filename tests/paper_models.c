#include "tests/paper_models.h"

#include "tests/check.h"

#include <stdio.h>
#include <sys/stat.h>

static const char llama3_8b[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 4096, \"intermediate_size\": 14336,"
    " \"num_hidden_layers\": 32, \"num_attention_heads\": 32, \"num_key_value_heads\": 8,"
    " \"vocab_size\": 128256, \"rms_norm_eps\": 1e-5, \"rope_theta\": 500000.0,"
    " \"max_position_embeddings\": 8192, \"tie_word_embeddings\": false,"
    " \"torch_dtype\": \"bfloat16\", \"bos_token_id\": 128000, \"eos_token_id\": 128009}";
static const char gpt2_large[] =
    "{\"model_type\": \"gpt2\", \"n_embd\": 1280, \"n_layer\": 36, \"n_head\": 20,"
    " \"vocab_size\": 50257, \"n_positions\": 1024, \"layer_norm_epsilon\": 1e-5,"
    " \"bos_token_id\": 50256, \"eos_token_id\": 50256}";

static void write_model(const char *dir, const char *name, const char *json) {
    char folder[TEMP_PATH_SIZE], path[TEMP_PATH_SIZE];
    assert_int_equal(mkdir(temp_path(folder, dir, name), 0777), 0);
    temp_write(temp_path(path, folder, "config.json"), json, strlen(json));
}

void paper_models_create(paper_models *paper, const char *encoder, const char *const *sets) {
    enum { MOST_SETS = 24 };
    char of_encoder[TEMP_PATH_SIZE + 32], of_decoder[TEMP_PATH_SIZE + 32];
    const char *all[MOST_SETS] = {"run.dir=runs/x",
                                  "data.tokens=no-such-file.h5",
                                  "data.encoder_stream=e",
                                  "data.decoder_stream=d",
                                  "data.budget_tokens=5G",
                                  of_encoder,
                                  of_decoder};
    size_t n = 7;
    temp_folder_create(paper->dir);
    write_model(paper->dir, "llama3", llama3_8b);
    write_model(paper->dir, "gpt2", gpt2_large);
    snprintf(of_encoder, sizeof of_encoder, "encoder.model=%s/%s", paper->dir, encoder);
    snprintf(of_decoder, sizeof of_decoder, "decoder.model=%s/llama3", paper->dir);
    for (; *sets != NULL; sets++) {
        assert_true(n < MOST_SETS);
        all[n++] = *sets;
    }
    paper->config = (sp_run_config){0};
    if (sp_run_config_load(&paper->config, NULL, all, n) != SP_OK) fail_msg("%s", sp_message());
}

void paper_models_release(paper_models *paper) {
    sp_run_config_free(&paper->config);
    temp_folder_remove(paper->dir);
}
