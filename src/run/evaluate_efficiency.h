/* What a compressor saves: seconds to compress contexts, and to read them and write on, compressed and
   plain (pcc.md §5). Contexts are random tokens, no answer ends early, and each figure is the median of
   several runs after one that warms up. */
#pragma once

#include "base/json.h"
#include "mpi/world.h"
#include "run/evaluate_methods.h"

typedef struct sp_efficiency_job {
    sp_methods_options methods;
    size_t input_tokens; /* of each context; at least 1 */
    size_t new_tokens;   /* that are written after it; at least 2 */
    size_t batch;        /* contexts at once, on each rank */
    size_t n_runs;       /* of which the median is taken */
} sp_efficiency_job;

/* Collective over the world: all ranks work at the same time, and a figure is the slowest rank's. Makes
   an object on rank 0, owned, and NULL elsewhere: task ("efficiency"), input_tokens, new_tokens, batch,
   runs, ranks, plain {prefill_s, decode_s, total_s}, compressed [{ratio, checkpoint, context_rows,
   compression_s, prefill_s, decode_s, one_shot_s (all three), amortised_s (without the compression),
   one_shot_speedup, amortised_speedup (against plain), break_even_uses (of one context until its
   compression has paid; null: never)}]. Prefill ends with the first new token. SP_BAD_DATA: more
   positions than a model has learned. */
SP_NODISCARD sp_status sp_evaluate_efficiency(sp_world *world, json_t **result,
                                              const sp_efficiency_job *job);
