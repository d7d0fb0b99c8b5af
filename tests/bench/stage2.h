/* The training step that benches time: stage 2 with both objectives, one model as encoder and as
   frozen decoder, random tokens. */
#pragma once

#include "io/model_source.h"
#include "pcc/compressor.h"
#include "run/optimizer.h"

#include <stdint.h>

typedef struct stage2_options {
    const char *model; /* path */
    sp_precision precision;
    sp_training training; /* by LoRA of rank 64 on all matrices, or in full */
    size_t segment_tokens, n_slots;
    size_t n_layers; /* of each side, the first ones; 0: all */
} stage2_options;

typedef struct stage2 {
    sp_model_source source;
    sp_weights weights;
    sp_compressor *compressor;
    sp_optimizer optimizer;
    sp_layout layout;
    sp_batch batch;
    sp_pass pass;
    sp_workspace workspace;
    uint32_t random;
    uint64_t step;
} stage2;

/* All of these end the program on an error. */
void stage2_open(stage2 *s, const stage2_options *options);
void stage2_close(stage2 *s);

/* Makes one step over n_samples segments, with clipping and the update; returns its FLOP by the
   chain's own arithmetic. */
double stage2_step(stage2 *s, size_t n_samples);
