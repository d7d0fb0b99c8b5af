/* What a run would train, without weights: the very chain and cost functions of the run over outlines
   of its models, the bytes that each block's frozen weights would take, and what is known of the data
   before it is read. */
#pragma once

#include "io/model_source.h"
#include "run/outline.h"
#include "run/samples.h"

/* Frozen weights of one block, or of several, in bytes. */
typedef struct sp_plan_weights {
    uint64_t mapped;   /* used in place: pages of the file, shared by the ranks of a node */
    uint64_t copied;   /* converted into memory of the rank's own */
    uint64_t file;     /* pages of the file that are read once, for conversion or as first values */
    uint64_t n_values; /* parameters that these are */
} sp_plan_weights;

/* Segments as they come. */
typedef struct sp_plan_data {
    bool is_read;          /* from the token file; else full segments are assumed */
    uint64_t n_segments;   /* to train on; 0: unknown */
    double encoder_tokens; /* of a segment, mean */
    double decoder_tokens; /* likewise */
    size_t most_encoder_tokens, most_decoder_tokens;
    /* of rows of fine-tuning, means; 0: samples are segments */
    double segments, prompt_tokens, answer_tokens;
    double completes; /* share of segments that another one follows */
    uint64_t n_steps; /* of the run; 0: unknown */
    uint64_t n_bytes; /* what a rank keeps of the token file in memory */
} sp_plan_data;

/* Where so many rows of fine-tuning are heaviest, for one number of them; 0: none yet. */
typedef struct sp_heaviest_rows {
    size_t n_samples;
    uint64_t first;
    bool is_held_out;
} sp_heaviest_rows;

enum { SP_MOST_HEAVIEST = 16 };

typedef struct sp_plan_chain {
    const sp_run_config *config; /* borrowed */
    sp_outline outline;
    sp_model_source sources[SP_N_SIDES]; /* types of tensors, where the files are there */
    sp_precision precisions[SP_N_SIDES];
    sp_plan_weights *weights; /* [n_blocks], owned */
    bool head_is_table;       /* the bytes that the decoder's head uses are its embedding's */
    sp_layout layout;
    sp_plan_data data;
    const sp_samples *rows; /* of fine-tuning; NULL: samples are segments */
    sp_task_set read_tasks; /* where the chain has read them itself */
    sp_samples read_rows;
    sp_heaviest_rows *heaviest; /* [SP_MOST_HEAVIEST], owned: found so far, as finding takes long */
} sp_plan_chain;                /* all zero: empty */

/* Makes the chain of a configuration (borrowed). Reads config.json or a GGUF file's header, and what is
   known of the data from `samples` (borrowed until the end), or if that is NULL from the token file, if
   there is one, or from the files of rows. Errors as of sp_outline_create(), of opening its models and
   its token file, and of sp_task_set_read(). The chain stays where it is. */
SP_NODISCARD sp_status sp_plan_chain_open(sp_plan_chain *chain, const sp_run_config *config,
                                          const sp_samples *samples);
void sp_plan_chain_close(sp_plan_chain *chain);

static inline const sp_chain *sp_plan_blocks(const sp_plan_chain *chain) {
    return &chain->outline.compressor->chain;
}

/* Writes where a block stands, such as "decoder layer 3", to text [size]. */
void sp_plan_block_name(char *text, size_t size, const sp_plan_chain *chain, size_t block);

/* The side that a block belongs to; the converter is the encoder's. */
sp_side sp_plan_block_side(const sp_plan_chain *chain, size_t block);

/* Bytes of a value between stages, as parallel.wire says: 4 or 2. */
size_t sp_plan_wire_bytes(const sp_run_config *config);

/* Trained values of a block. */
size_t sp_plan_block_trained(const sp_plan_chain *chain, size_t block);

/* Values of a block that are held in memory as parameters are, but not trained. */
size_t sp_plan_block_frozen(const sp_plan_chain *chain, size_t block);

/* The weights of the blocks with has_block [n_blocks] on one rank: what two of them share counts
   once. */
sp_plan_weights sp_plan_weights_of(const sp_plan_chain *chain, const bool *has_block);

/* What one block does over a micro-batch of the mean kind. */
typedef struct sp_plan_cost {
    double flop_forward, flop_backward;
    double adapted_forward, adapted_backward; /* of these, in f32 whatever the frozen weights are */
    double output_bytes;                      /* f32 rows to the next block */
    double kept_bytes;
    double rows; /* of its input */
} sp_plan_cost;

/* Writes costs [n_blocks] of a micro-batch of n_samples. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_plan_costs(sp_plan_cost *costs, const sp_plan_chain *chain,
                                     size_t n_samples);

/* Blocks before it are not run in training, as their states are kept on the disk; 0: none. */
size_t sp_plan_first_run(const sp_plan_chain *chain);

/* Fills a batch (release with sp_batch_free()) with n_samples of the largest kind, for memory: of rows
   the largest n_samples that follow each other in the run's stream, or in what is held out. */
SP_NODISCARD sp_status sp_plan_largest_batch(sp_batch *batch, const sp_plan_chain *chain,
                                             size_t n_samples);
