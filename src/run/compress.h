/* Compression of a corpus: text or a token file in, a slot file out, shared by all ranks.

   Text is first tokenized (run/tokenize.h), by the encoder's tokenizer and without leaving out
   duplicates, so that every document is there exactly once and in order. Blocks of consecutive
   segments, which depend on the corpus alone, then go to the ranks from a queue of work; in a block,
   groups of consecutive segments are encoded in one pass, each by one thread. At last the blocks become the slot file:
   a plain one, or with several ranks a part a rank and an index over them (io/slots_parts.h). Each
   value in it is the same for any number of ranks and threads (but for oneDNN's bf16 products, which
   all threads share).

   What is done lies in the folder OUTPUT.work, which all ranks must see: the same command, with any
   number of ranks, goes on from it after a failure or a kill. Over a finished output it does
   nothing, until an input is changed. */
#pragma once

#include "io/slots_file.h"
#include "mpi/world.h"
#include "run/corpus.h"
#include "run/unit_reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_compress_job {
    const char *checkpoint; /* run or step folder */
    size_t ratio;           /* one that the checkpoint was trained for; 0: the least */
    const char *output;     /* slot file */
    /* Text shards, or one token file, and what to take of text. Also on_error of documents that
       cannot be compressed: a token beyond the encoder's vocabulary, or slots that the type cannot
       hold. */
    sp_corpus_options corpus;
    sp_slots_space space;
    sp_slots_dtype dtype;
    size_t n_refinements;           /* steps that slots are improved by (run/refine.h); only in the
                                       decoder's space; 0: none */
    bool keeps_text;                /* the segments' text goes into the slot file */
    const char *const *assignments; /* [n_assignments] over the configuration */
    size_t n_assignments;
} sp_compress_job;

typedef struct sp_compress_summary {
    bool was_done;        /* the output was finished before: counts are the file's, the rest is 0 */
    uint64_t n_documents; /* all of the input */
    uint64_t n_poisoned;  /* of these, left out as they cannot be compressed */
    uint64_t n_lost, n_unwanted; /* of text: to damage, by a condition */
    sp_losses losses;            /* of text: damage that was skipped */
    uint64_t n_segments, n_tokens, n_slots;
    uint64_t n_text_bytes;   /* of the segments' text */
    uint64_t n_stored_bytes; /* of the slots, scales included */
    /* What each type loses of these slots: the norm of the difference over the norm. */
    double relative_errors[SP_N_SLOTS_DTYPES];
    /* Nats that the decoder's targets of reconstruction cost, all together, with the encoder's slots
       and with the refined ones; and how many these are, 0: nothing was refined. */
    double nll_before, nll_after;
    uint64_t n_targets;
    /* What a use of all slots saves the decoder's prefill, and what compressing took; 0: the
       decoder's configuration is not there to be read. Of full segments, each by itself. */
    double saved_flop, compression_flop;
    double rank_seconds; /* of all ranks together: encoding all blocks, in earlier runs too */
    double seconds;      /* of this run */
} sp_compress_summary;

/* Collective over `world`. Fills *summary on every rank. SP_USAGE: a ratio that the checkpoint was
   not trained for, options that do not go with a token file; SP_BAD_DATA: a shard is not what its
   name says, a token file of another tokenizer or segment length, a document that cannot be
   compressed (unless it is to be skipped); SP_FAILURE: another process works on this output;
   SP_STOPPED: SIGTERM or SIGUSR1 came, and the blocks at hand were finished. */
SP_NODISCARD sp_status sp_compress(sp_world *world, const sp_compress_job *job,
                                   sp_compress_summary *summary);
