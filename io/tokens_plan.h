/* The inside of a plan (io/tokens_part.h), for those that make it and write by it. */
#pragma once

#include "io/tokens_part.h"

/* Where a block goes. */
typedef struct sp_tokens_place {
    bool is_there;
    sp_tokens_block block; /* as in the journal */
    size_t part;
    uint64_t document, segment;           /* first ones in the whole file */
    uint64_t part_document, part_segment; /* and in the part */
    uint64_t *ids, *part_ids;             /* [n_streams] each, in the plan's own block */
} sp_tokens_place;

typedef struct sp_tokens_plan_part {
    char *journal_path, *path; /* owned */
    char *name;                /* of path, relative to the index's folder; borrowed from it */
    size_t n_blocks;
    uint64_t n_documents, n_segments, *n_ids; /* n_ids [n_streams], owned */
} sp_tokens_plan_part;

struct sp_tokens_plan {
    const sp_tokens_job *job; /* borrowed */
    char *output;             /* owned */
    sp_tokens_place *places;  /* [n_blocks], owned, in the order of the corpus */
    uint64_t *place_ids;      /* owned */
    size_t n_blocks;
    sp_tokens_plan_part *parts; /* [n_parts], owned */
    size_t n_parts;
    bool is_settled;
    char job_digest[SP_DIGEST_HEX_SIZE];
    uint64_t n_documents, n_segments, n_ids[SP_TOKENS_MAX_STREAMS];
    uint64_t tallies[SP_TOKENS_N_TALLIES]; /* of all blocks that are there */
    size_t longest_id;
};
