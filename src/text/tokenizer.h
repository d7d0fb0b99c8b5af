/* Tokenizers: UTF-8 text to token ids and back, as Hugging Face's tokenizers 0.23 does it from the
   same tokenizer.json.

       text -> added tokens cut out -> normalizer -> pre-tokenizer (words) -> BPE -> ids -> decoder

   Covered are the kinds of GPT-2, Llama 2 and 3, Mistral, Qwen2 and Phi-3: the normalizers in
   normalizer.h, the pre-tokenizers in pretokenizer.h, byte-level BPE or BPE over characters with
   byte_fallback (bpe.h), the decoders in decoder.h, the post-processors in affixes.h. Any other
   component is refused by its name rather than approximated. `truncation` and `padding` are not
   read; the post-processor is only checked: no BOS or EOS is added.

   Text need not be valid UTF-8: what is not becomes byte tokens, without an effect on the text
   around it, so that decoding gives the same bytes back. What cannot come back is what the tokenizer
   itself changes or drops: what the normalizer does, a first space that its dummy prefix takes the
   place of, white space that an added token takes along, and a byte for which the vocabulary has no
   token (SmolLM2's has none for 0xFF and some control characters), which becomes unk_token, or
   nothing where there is none.

   A text may go on from another one, as a segment does within its document: SentencePiece's kinds
   then put no dummy prefix in front of it, and take none off when they decode it.

   Threads: a tokenizer does not change after creation and may be shared; each thread brings its own
   sp_encoding. */
#pragma once

#include "base/json.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_tokenizer sp_tokenizer;

/* Ids of one text; grows as needed, and is worth reusing for the next text: scratch memory and the
   cache of recent words live in it. All zero: empty. */
typedef struct sp_encoding {
    int32_t *ids; /* [n], owned */
    size_t *ends; /* [n], owned: byte offset in the text where the token ends; never falls, and the
                     last is the text's end: bytes without a token belong to the next one, or to
                     the last. Tokens inside what the tokenizer changed end where that ends: of
                     several with one end only the last bounds a piece of text */
    size_t n, capacity;
    struct sp_tokenizer_scratch *scratch; /* private, owned */
} sp_encoding;

/* Releases everything and leaves an empty encoding; an empty one may be freed again. */
void sp_encoding_free(sp_encoding *encoding);

/* Builds a tokenizer from the members of a tokenizer.json, which are borrowed for the call only.
   `name` stands for the file in messages. The result is owned: sp_tokenizer_destroy().
   SP_BAD_DATA: not a tokenizer, contradicts itself, or uses a component that is not covered;
   *tokenizer is then untouched. */
SP_NODISCARD sp_status sp_tokenizer_create(sp_tokenizer **tokenizer, const json_t *tokenizer_json,
                                           const char *name);

/* Releases a tokenizer; NULL is allowed. */
void sp_tokenizer_destroy(sp_tokenizer *tokenizer);

/* How a text is read. All zero: as encode(text, add_special_tokens=False). */
typedef struct sp_encode_options {
    bool specials_are_plain; /* spellings of special tokens are plain text, as with the reference's
                                encode_special_tokens; other added tokens are found all the same */
    bool is_continuation;    /* the text goes on from another: no dummy prefix */
} sp_encode_options;

/* Replaces *encoding by the ids of n_bytes of text. Takes time in O(n log n) for any text.
   SP_BAD_DATA: 2^31 bytes or more, before or after normalization, or a pattern exceeds its limit of
   steps on this text; the encoding is then empty. */
SP_NODISCARD sp_status sp_tokenizer_encode(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                                           const char *text, size_t n_bytes,
                                           sp_encode_options options);

/* How ids are read. All zero: as decode(ids, skip_special_tokens=False). */
typedef struct sp_decode_options {
    bool skips_special;   /* special tokens give nothing */
    bool is_continuation; /* the text goes on from another: no first space is taken off */
} sp_decode_options;

/* Turns n_ids tokens into *text, owned (free()), *n_bytes long plus a NUL that is not counted; there
   may be NULs and pieces of characters inside. SP_BAD_DATA: an id that the tokenizer does not have;
   outputs are untouched. */
SP_NODISCARD sp_status sp_tokenizer_decode(const sp_tokenizer *tokenizer, char **text,
                                           size_t *n_bytes, const int32_t *ids, size_t n_ids,
                                           sp_decode_options options);

/* The largest id + 1, added tokens included: every id is below it. */
size_t sp_tokenizer_vocab_size(const sp_tokenizer *tokenizer);

/* Whether a token is spelled `content` in tokenizer.json ("<|endoftext|>", "\xC4\xA0the"); its id
   goes to *id, which is untouched otherwise. */
bool sp_tokenizer_find(const sp_tokenizer *tokenizer, const char *content, int32_t *id);

/* 32 hexadecimal digits over all that decides an encoding: vocabulary, merges, added tokens,
   normalizer, pre-tokenizer. The same for any formatting or member order of the JSON. Borrowed
   from the tokenizer. */
const char *sp_tokenizer_digest(const sp_tokenizer *tokenizer);
