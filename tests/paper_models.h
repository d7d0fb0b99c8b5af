/* Configurations of the paper's two compressors, over folders that hold the config.json of their models
   and nothing else. What fails here fails the test. */
#pragma once

#include "run/run_config.h"
#include "tests/temp_folder.h"

typedef struct paper_models {
    char dir[TEMP_PATH_SIZE]; /* holds llama3/ (Llama-3-8B-Instruct), gpt2/ (GPT2-Large) */
    sp_run_config config;
} paper_models;

/* Makes stage 2, 5G tokens, with the encoder "gpt2" or "llama3", then `sets` ("train.lr=1"), up to a
   NULL. */
void paper_models_create(paper_models *paper, const char *encoder, const char *const *sets);
void paper_models_release(paper_models *paper);
