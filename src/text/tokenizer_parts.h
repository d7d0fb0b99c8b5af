/* What a tokenizer is made of; for tokenizer.c, which makes it, and encode.c, which uses it. */
#pragma once

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

enum { SP_TOKENIZER_DIGEST_SIZE = 33 }; /* 32 hexadecimal digits and a NUL */

struct sp_tokenizer {
    sp_vocabulary vocabulary;
    sp_bpe bpe;
    sp_normalizer normalizer;
    sp_pretokenizer pretokenizer;
    sp_decoder decoder;
    sp_added_tokens added;
    size_t vocab_size;
    const sp_added_token *
        *added_by_id; /* [vocab_size], owned: NULL where the token is no added one */
    char digest[SP_TOKENIZER_DIGEST_SIZE];
};
