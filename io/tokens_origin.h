/* What made a token file: attributes by which a run that is repeated finds its work done. For io/
   only; they are not part of the contents, and no reader needs them.

       job_digest  of the job (io/tokens_journal.h): its input, tokenizers and options
       summary     what the run counted, as its own text
*/
#pragma once

#include "io/hdf5_internal.h"
#include "io/tokens_journal.h"

enum { SP_TOKENS_SUMMARY_SIZE = 2048 /* bytes of a summary, with its NUL */ };

typedef struct sp_tokens_origin {
    char job_digest[SP_DIGEST_HEX_SIZE]; /* empty: not known */
    char summary[SP_TOKENS_SUMMARY_SIZE];
} sp_tokens_origin;

/* SP_FAILURE: the summary is too long. */
SP_NODISCARD sp_status sp_tokens_origin_make(sp_tokens_origin *origin, const sp_tokens_job *job,
                                             const char *summary);

/* With io's lock held: writes a known origin. */
SP_NODISCARD sp_status sp_tokens_origin_write(const sp_hdf5_file *file,
                                              const sp_tokens_origin *origin);

/* Reads the origin of the file `path`; empty if it has none, or is no token file. */
void sp_tokens_origin_read(sp_tokens_origin *origin, const char *path);
