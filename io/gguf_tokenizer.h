/* A GGUF file's own tokenizer, written as the tokenizer.json that it was made from.

   Byte-level BPE (tokenizer.ggml.model "gpt2") and SentencePiece's BPE ("llama"). Of the former the
   file names the pre-tokenizer (tokenizer.ggml.pre) rather than describe it; llama.cpp's
   src/llama-vocab.cpp says what each name stands for. The latter merges by scores, which become a
   list of merges (score_merges.h). Whether BOS belongs in front of a text (tokenizer.ggml.add_bos_token) is told as
   tokenizer.json tells it, by a "post_processor" template. */
#pragma once

#include "io/gguf.h"

/* Builds *tokenizer, owned. SP_BAD_DATA: another model, an unknown pre-tokenizer (each by its
   name), lists that are missing or differ in length, a token that stands twice. `path` names the
   file in messages. */
SP_NODISCARD sp_status sp_gguf_make_tokenizer(json_t **tokenizer, const sp_gguf *gguf,
                                              const char *path);
