/* A tokenizer as the command line names it: NAME=DIR. */
#pragma once

#include "base/status.h"
#include "io/tokens_file.h"
#include "text/tokenizer.h"

#include <stdbool.h>

typedef struct sp_named_tokenizer {
    char name[SP_STREAM_NAME_SIZE];
    sp_tokenizer *tokenizer; /* owned */
} sp_named_tokenizer;        /* all zero: none */

/* Is `text` of the form NAME=DIR, for errors of use before the ranks begin? */
bool sp_named_tokenizer_is_spelled(const char *text);

/* Opens the tokenizer of "NAME=DIR", DIR being a folder, a tokenizer.json or a .gguf. SP_USAGE: not
   of that form; else as of the tokenizer's file. */
SP_NODISCARD sp_status sp_named_tokenizer_open(sp_named_tokenizer *named, const char *text);
void sp_named_tokenizer_close(sp_named_tokenizer *named); /* all zero is fine */

/* Holds it against an open token file: *stream is the stream of its name. SP_USAGE: there is none,
   or it was made by another tokenizer. */
SP_NODISCARD sp_status sp_named_tokenizer_find(const sp_named_tokenizer *named,
                                               const sp_tokens *tokens, size_t *stream);
