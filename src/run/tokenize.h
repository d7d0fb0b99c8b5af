/* Tokenizing a corpus: text shards in, a token file out, shared by all ranks, exactly once.

   The corpus is read twice. The survey (run/survey.h) numbers its documents and finds those that
   repeat an earlier one; then ranks take blocks (run/blocks.h) from a queue, each appending what it
   tokenized to a journal of its own (io/tokens_journal.h). From the journals come the parts and the
   index over them, or where one rank did all, a plain file (io/tokens_part.h).

       OUTPUT          the token file, when all is done
       OUTPUT.work     what the survey found; until then
       STEM.parts      journals; then the parts, if there are several

   A job that failed or was killed leaves what it finished: the next one of the same input and
   options, with any number of ranks, goes on from it. Every dataset is the same for any number of
   ranks and interruptions. */
#pragma once

#include "base/status.h"
#include "mpi/world.h"
#include "run/corpus.h"
#include "run/tokenize_block.h"
#include "run/tokenize_summary.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct sp_tokenize_job {
    sp_corpus_options corpus; /* the text shards, in order, and what to take of them */
    sp_segmenting segmenting;
    bool keeps_duplicates; /* documents whose text came before are tokenized again */
    uint64_t block_bytes;  /* as in run/blocks.h; 0: by its rule */
    const char *output;
} sp_tokenize_job;

/* Collective over `world`. Tokenizes the job's shards into its output file and fills *summary on
   every rank, to be freed by sp_tokenize_summary_free(). If the output is there and made of this very
   job, nothing is read or changed. Progress goes to stderr on rank 0. All ranks must see the
   output's folder. SP_USAGE: the output
   is an input or a folder; SP_BAD_DATA: a shard is not what its name says (unless damage is skipped), or no
   shard holds any text that is wanted; nothing then changes under the output's name. SP_FAILURE:
   another process makes the same output; SP_STOPPED: SIGTERM or SIGUSR1 came, and the blocks at hand
   were finished. */
SP_NODISCARD sp_status sp_tokenize(sp_world *world, const sp_tokenize_job *job,
                                   sp_tokenize_summary *summary);
