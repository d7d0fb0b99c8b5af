/* What the stages of a compression share, and the folder in which they leave what is done.

       OUTPUT.work/job           identity of the job, so that another one's remains are not taken
       OUTPUT.work/tokens.h5     of text: its tokens, with what run/tokenize.h leaves beside it
       OUTPUT.work/block-000123  a finished block (run/compress_block.h) */
#pragma once

#include "io/content_digest.h"
#include "io/run_lock.h"
#include "io/tokens_file.h"
#include "run/compress.h"
#include "run/trained.h"

/* Consecutive segments in one pass: fixed, so that the bits do not depend on the ranks. With 256 tokens
   and 64 slots each, 1,280 rows: products of so many are as fast as of more. */
enum { SP_COMPRESS_GROUP = 4 };

typedef struct sp_compress_work {
    sp_world *world;
    const sp_compress_job *job;
    sp_trained trained;
    sp_layout layout;
    bool is_text;
    sp_corpus *corpus;               /* of text, its sums unchecked; NULL: a token file */
    sp_corpus_options unchecked;     /* its options */
    char *dir;                       /* owned: OUTPUT.work */
    sp_run_lock lock;                /* rank 0's */
    char digest[SP_DIGEST_HEX_SIZE]; /* of the command: what the output is marked with */
    char state[SP_DIGEST_HEX_SIZE];  /* of the command and the state of its inputs: of work */
    uint64_t newest_ns;              /* rank 0's: when an input was last changed, its name too */
    sp_tokens *tokens;
    size_t stream;         /* of the encoder's tokenizer */
    size_t decoder_stream; /* of the decoder's, where slots are refined */
    size_t block_segments; /* a multiple of a group */
    size_t n_blocks;
    sp_slots_info info; /* of the output */
    size_t d;           /* values a slot */
    sp_compress_summary summary;
} sp_compress_work;

/* A path in the work folder: *path, owned. */
SP_NODISCARD sp_status sp_compress_path(const sp_compress_work *work, const char *name,
                                        char **path);

/* Collective. Opens the corpus of text, or checks the token file, and makes the digests. The
   trained parts are open as far as the checkpoint. */
SP_NODISCARD sp_status sp_compress_identify(sp_compress_work *work);

/* Local, rank 0's: is the output there, made by this command, and newer than all input? */
bool sp_compress_is_done(const sp_compress_work *work);

/* Local, rank 0's: creates or takes over the work folder; remains of another job are removed. */
SP_NODISCARD sp_status sp_compress_open_folder(sp_compress_work *work);

/* Local, rank 0's: after a failure, removes a folder in which nothing is worth keeping; after
   success, the folder with all in it. */
void sp_compress_leave_folder(sp_compress_work *work);
SP_NODISCARD sp_status sp_compress_remove_folder(sp_compress_work *work);

/* Removes a folder and all in it; one that is not there is fine. SP_IO. */
SP_NODISCARD sp_status sp_remove_tree(const char *path);

/* Local. Segments [begin, end) of a block. */
static inline size_t sp_compress_block_begin(const sp_compress_work *work, size_t block) {
    const size_t n = sp_tokens_n_segments(work->tokens), begin = block * work->block_segments;
    return begin < n ? begin : n;
}

/* Local. Slots that a segment is promised. */
static inline size_t sp_compress_n_slots(const sp_compress_work *work, size_t segment) {
    return sp_layout_n_slots(&work->layout, sp_tokens_length(work->tokens, work->stream, segment));
}
