/* Memory of one rank, item by item: what a plan foretells, and what a run is checked against at its
   start. Both come from here, and from the blocks' own cost functions. */
#pragma once

#include "base/status.h"
#include "chain/cut.h"
#include "chain/pass.h"

#include <stdint.h>

typedef enum sp_memory_item {
    SP_MEMORY_MAPPED,
    SP_MEMORY_COPIED,
    SP_MEMORY_VALUES,
    SP_MEMORY_GRADIENTS,
    SP_MEMORY_MOMENTS,
    SP_MEMORY_SNAPSHOT,
    SP_MEMORY_KEPT,
    SP_MEMORY_SCRATCH,
    SP_MEMORY_STAGING,
    SP_MEMORY_TOKENS,
    SP_MEMORY_LIBRARIES,
    SP_N_MEMORY_ITEMS
} sp_memory_item;

/* "activations kept", and what makes it smaller: "fewer train.micro_batch, …". Static. */
extern const char *const sp_memory_item_names[SP_N_MEMORY_ITEMS];
extern const char *const sp_memory_item_remedies[SP_N_MEMORY_ITEMS];
/* The names as keys of JSON. */
extern const char *const sp_memory_item_keys[SP_N_MEMORY_ITEMS];

typedef struct sp_memory {
    uint64_t items[SP_N_MEMORY_ITEMS]; /* bytes */
    /* Pages of model files that are read once, and given back when the weights are loaded: before
       most of the items are there. The system can take them sooner, so they are no part of what a rank
       needs. */
    uint64_t file_pages;
} sp_memory;

/* What a rank of a grid holds. */
typedef struct sp_rank_share {
    const sp_chain *chain;
    sp_stage stages[2];   /* [n_stages]; two in a folded cut */
    size_t in_flight[2];  /* micro-batches between forward and backward */
    size_t first_trained; /* blocks before it run forward only, and keep nothing */
    size_t n_stages;
    const sp_batch *batch; /* the largest micro-batch */
    uint64_t weights_mapped, weights_copied, weights_file;
    uint64_t n_trained;     /* values of these blocks */
    uint64_t largest_group; /* of one block */
    size_t data;            /* replicas */
    int zero;               /* 1: optimiser state is sharded; 2: gradients too */
    size_t wire_bytes;      /* of a value between stages: 4 or 2 */
    uint64_t token_bytes;   /* of the token file's index */
    bool is_in_pipeline;    /* rows cross to other ranks */
} sp_rank_share;

/* The blocks' recomputation is as chain->recomputes says. */
sp_memory sp_memory_of(const sp_rank_share *share);

/* All that the rank needs; with the mapped weights or, since ranks of a node share these, without. */
uint64_t sp_memory_total(const sp_memory *memory);
uint64_t sp_memory_private(const sp_memory *memory);

/* What `ps` or getrusage() will show at most: the total, or more while the weights are loaded. */
uint64_t sp_memory_peak(const sp_memory *memory);

sp_memory_item sp_memory_largest(const sp_memory *memory);

/* Recomputes as few layers of the share's blocks as it takes for `share` to need no more than n_bytes:
   those that keep most first. Sets `recomputes` of the chain (all other blocks' become false for these
   stages) and returns how many; all that can be, where even that is not enough. */
size_t sp_memory_choose_recompute(sp_chain *chain, const sp_rank_share *share, uint64_t n_bytes);

/* The ranks of one node and what it has. */
typedef struct sp_node_memory {
    size_t n_ranks;
    uint64_t mapped;    /* weights that the ranks map, those of several once, bytes */
    uint64_t n_bytes;   /* what the node, or its control group, lets the ranks have together */
    const char *source; /* whose limit that is, for messages: "--memory" */
} sp_node_memory;

/* The part of the node's memory that one rank may take, its mapped weights included: what
   sp_memory_choose_recompute() wants. */
uint64_t sp_memory_budget(const sp_node_memory *node, const sp_memory *memory);

/* Bytes that the ranks take together. */
uint64_t sp_memory_of_node(const sp_node_memory *node, const sp_memory *ranks);

/* Refuses (SP_USAGE) memories [node->n_ranks] that the node does not have: says by how much, names the
   rank that needs most, its largest item and what makes that smaller; then `hint`. ranks
   [node->n_ranks] are their numbers. */
SP_NODISCARD sp_status sp_memory_check(const sp_node_memory *node, const sp_memory *memories,
                                       const size_t *ranks, const char *hint);

/* Inside that: the refusal, when it is known that the ranks need n_bytes together, and that `rank` with
   `memory` needs most. */
SP_NODISCARD sp_status sp_memory_refuse(const sp_node_memory *node, uint64_t n_bytes, size_t rank,
                                        const sp_memory *memory, const char *hint);

/* Writes bytes as people read them, "1.5 GiB", to text [size]; returns text. */
const char *sp_memory_text(char *text, size_t size, uint64_t n_bytes);
