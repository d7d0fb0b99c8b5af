/* A group of segments in one pass: the least that a compression does at once, by one thread.

   Groups and the threads that run them are apart so that a slot's bits depend on neither the ranks
   nor the threads: a matrix product's may depend on how many threads share it, so each group is one
   thread's. */
#pragma once

#include "run/compress_block.h"
#include "run/compress_work.h"
#include "run/refine.h"

/* A group at hand, and what one thread needs for one. */
typedef struct sp_compress_group {
    const sp_compress_work *work; /* borrowed */
    sp_batch batch;
    sp_workspace workspace;
    int32_t *ids, *decoder_ids; /* of a segment, owned, as all below */
    float *memory, *slots, *rounded;
    char *packed;
    float *packed_scales;
    sp_refiner refiner;
    size_t n_members; /* segments in the batch */
    size_t segments[SP_COMPRESS_GROUP],
        begins[SP_COMPRESS_GROUP]; /* the slots' place in the block */
    size_t n_slots[SP_COMPRESS_GROUP], n_targets[SP_COMPRESS_GROUP];
    sp_status status; /* of the first group that failed here */
    char message[SP_MESSAGE_SIZE];
} sp_compress_group;

/* What a group adds to its block. */
typedef struct sp_compress_sums {
    double squares, lost[SP_N_SLOTS_DTYPES];
    sp_refine_loss loss;
} sp_compress_sums;

/* Where its slots go: buffers of the block, whose first segment is `first`. */
typedef struct sp_compress_target {
    size_t first;
    unsigned char *is_poisoned;
    float *scales;
    char *values;
} sp_compress_target;

/* Local, by one thread for all: makes the models ready for the longest segment, and one group, all zero,
   ready to be used. To be released whatever the outcome. */
SP_NODISCARD sp_status sp_compress_group_reserve(sp_compress_group *group,
                                                 const sp_compress_work *work);
void sp_compress_group_release(sp_compress_group *group);

/* Local, by any thread. Encodes segments [begin, end) to the target, from slot `slot` of its block on.
   SP_BAD_DATA, SP_NUMERIC: a document that cannot be compressed, unless it is to be skipped. */
SP_NODISCARD sp_status sp_compress_group_run(sp_compress_group *group,
                                             const sp_compress_target *target, size_t begin,
                                             size_t end, size_t slot, sp_compress_sums *sums);
