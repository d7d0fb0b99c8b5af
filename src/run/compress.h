/* Compression: text in, the encoder's memory of each segment out, as a slot file.

   Documents are cut as in a token file, by the encoder's tokenizer. Groups of consecutive segments
   go to the ranks in turn, and rank 0 writes them in order: the file is the same for any number of
   ranks. */
#pragma once

#include "mpi/world.h"

#include <stddef.h>
#include <stdint.h>

typedef struct sp_compress_job {
    const char *checkpoint;   /* run or step folder */
    size_t ratio;             /* as the checkpoint was trained for */
    const char *output;       /* slot file */
    const char *const *paths; /* [n_paths] text shards, in order */
    size_t n_paths;
    const char *const *assignments; /* [n_assignments] over the configuration */
    size_t n_assignments;
} sp_compress_job;

typedef struct sp_compress_summary {
    uint64_t n_documents, n_segments, n_tokens, n_slots;
    double seconds;
} sp_compress_summary;

/* Collective over `world`. Fills *summary on every rank. SP_USAGE: a ratio that the checkpoint was
   not trained for; SP_BAD_DATA: a shard is not what its name says; nothing is then left under the
   output's name. */
SP_NODISCARD sp_status sp_compress(sp_world *world, const sp_compress_job *job,
                                   sp_compress_summary *summary);
