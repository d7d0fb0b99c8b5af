/* A finished block of a compression: its slots as they are stored, in a file of its own.

       head      magic, digest of the job, counts, sums, checksum of all that follows
       poison    u8 [n_segments], not 0: the segment cannot be compressed; its slots are 0
       scales    f32 [n_slots], where the type has them
       values    [n_slots, d]

   Numbers are as this machine has them: the file is read back by the job that wrote it. */
#pragma once

#include "io/content_digest.h"
#include "io/mapping.h"
#include "io/slots_dtype.h"

#include <stdbool.h>
#include <stdint.h>

/* Why a segment cannot be compressed. */
typedef enum sp_poison {
    SP_POISON_NONE,
    SP_POISON_TOKENS, /* a token beyond the encoder's vocabulary */
    SP_POISON_VALUES  /* slots that are not finite, or beyond the type's range */
} sp_poison;

typedef struct sp_compress_block {
    uint64_t n_segments, n_slots;
    size_t d;
    sp_slots_dtype dtype;
    double squares;                   /* sum over all values, before they are rounded */
    double lost[SP_N_SLOTS_DTYPES];   /* sum of squares of what rounding to each type takes */
    double nll_before, nll_after;     /* of refinement, in nats; 0 where there is none */
    uint64_t n_targets;               /* of these */
    double seconds;                   /* that it took */
    const unsigned char *is_poisoned; /* [n_segments], an sp_poison */
    const float *scales;              /* [n_slots], or NULL */
    const void *values;               /* [n_slots, d] */
    sp_mapping mapping;               /* owned, of the file; none in one that is to be written */
} sp_compress_block;

/* Writes the file `path`, atomically. */
SP_NODISCARD sp_status sp_compress_block_write(const char *path,
                                               const char digest[SP_DIGEST_HEX_SIZE],
                                               const sp_compress_block *block);

/* Opens the file into *block, whose first four members the caller knows and has set; to be released
   by sp_compress_block_close(). SP_IO: cannot be opened; SP_BAD_DATA: not such a file, of another
   digest or size. */
SP_NODISCARD sp_status sp_compress_block_open(sp_compress_block *block, const char *path,
                                              const char digest[SP_DIGEST_HEX_SIZE]);
void sp_compress_block_close(sp_compress_block *block); /* an empty one is fine */

/* Reads all of an open block. SP_BAD_DATA: it is not what was written. */
SP_NODISCARD sp_status sp_compress_block_check(const sp_compress_block *block, const char *path);
