/* Tokenizers: UTF-8 text to token ids and back, as Hugging Face's tokenizers 0.23 does it from the
   same tokenizer.json.

       text -> added tokens cut out -> normalizer -> pre-tokenizer (words) -> byte-level BPE -> ids

   Covered are the byte-level BPE kinds (GPT-2, Llama 3, Qwen2, SmolLM2, Mistral-Nemo): normalizer
   null or NFC; pre-tokenizers ByteLevel, Split, Digits and Sequence; BPE with ignore_merges and
   unk_token; decoder ByteLevel. Any other component is refused by its name rather than
   approximated. `post_processor`, `truncation` and `padding` are not read: no BOS or EOS is added.

   Text need not be valid UTF-8: each run of bytes that is not becomes one word of its own, so that
   decoding gives the same bytes back. What cannot come back is what the tokenizer itself changes or
   drops: NFC, white space that an added token takes along, and a byte for which the vocabulary has
   no token (SmolLM2's has none for 0xFF and some control characters), which becomes unk_token, or
   nothing where there is none.

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
                     the last. Inside what the normalizer changed, where no offset of the text
                     corresponds, it is one that is no character's boundary */
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

/* Replaces *encoding by the ids of n_bytes of text, as encode(text, add_special_tokens=False).
   With parse_special false, the spellings of special tokens in the text are plain text (as with
   `encode_special_tokens`); added tokens that are not special are found in either case.
   Takes time in O(n log n) for any text. SP_BAD_DATA: a pattern of the pre-tokenizer exceeds its
   limit of steps on this text; the encoding is then empty. */
SP_NODISCARD sp_status sp_tokenizer_encode(const sp_tokenizer *tokenizer, sp_encoding *encoding,
                                           const char *text, size_t n_bytes, bool parse_special);

/* Joins the bytes of n_ids tokens into *text, owned (free()), *n_bytes long plus a NUL that is not
   counted; there may be NULs and pieces of characters inside. With skip_special, special tokens
   give nothing. SP_BAD_DATA: an id that the tokenizer does not have; outputs are untouched. */
SP_NODISCARD sp_status sp_tokenizer_decode(const sp_tokenizer *tokenizer, char **text,
                                           size_t *n_bytes, const int32_t *ids, size_t n_ids,
                                           bool skip_special);

/* The largest id + 1, added tokens included: every id is below it. */
size_t sp_tokenizer_vocab_size(const sp_tokenizer *tokenizer);

/* Whether a token is spelled `content` in tokenizer.json ("<|endoftext|>", "\xC4\xA0the"); its id
   goes to *id, which is untouched otherwise. */
bool sp_tokenizer_find(const sp_tokenizer *tokenizer, const char *content, int32_t *id);

/* 32 hexadecimal digits over all that decides an encoding: vocabulary, merges, added tokens,
   normalizer, pre-tokenizer. The same for any formatting or member order of the JSON. Borrowed
   from the tokenizer. */
const char *sp_tokenizer_digest(const sp_tokenizer *tokenizer);
