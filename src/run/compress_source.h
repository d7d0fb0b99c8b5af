/* The two ends of a compression's input: its tokens, and where it is kept, its text. */
#pragma once

#include "run/compress_work.h"

/* Collective. Opens the tokens into work->tokens and finds the encoder's stream; text is tokenized
   before, unless that is done. Also cuts the blocks. */
SP_NODISCARD sp_status sp_compress_open_tokens(sp_compress_work *work);

/* The documents' text, one after the other. */
typedef struct sp_compress_texts sp_compress_texts; /* opaque */

/* Collective. Of text its shards are read again; of a token file the encoder's tokens are decoded. */
SP_NODISCARD sp_status sp_compress_texts_open(sp_compress_texts **texts,
                                              const sp_compress_work *work);
void sp_compress_texts_close(sp_compress_texts *texts); /* NULL is fine */

/* Local. The text of a document, whose numbers do not fall from call to call: *text [*n_bytes],
   borrowed until the next call. SP_BAD_DATA: it is not the text whose hash was taken. */
SP_NODISCARD sp_status sp_compress_texts_of(sp_compress_texts *texts, uint64_t document,
                                            const char **text, size_t *n_bytes);
