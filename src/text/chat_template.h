/* Chat templates: what a chat model reads around a user's turn, as text, for one turn.

       [BOS] before | memory, then the prompt | after        and then the assistant's answer

   `before` and `after` are what the template that the model's makers publish (tokenizer_config.json,
   "chat_template") makes of one message of role user and of no other, with add_generation_prompt;
   that text is written down here, and no Jinja is run. A context's memory stands in the user's turn
   in front of the prompt, where the context's text would.

   Sources: the chat_template of Meta-Llama-3-8B-Instruct, Llama-3.1-8B-Instruct,
   Mistral-7B-Instruct-v0.1 to v0.3, Mistral-Nemo-Instruct-2407, Qwen2.5-7B-Instruct and
   Phi-3.5-mini-instruct. What Mistral's put between [INST] and the prompt is a space that
   SentencePiece makes the prompt's own, and that Nemo's, without SentencePiece, does not have: it is
   in neither text. Llama 3.1's names a date; it is the one that the template has where none is given,
   so that the same prompt is the same ids on every day. */
#pragma once

#include "text/tokenizer.h"

#include <stdbool.h>

typedef struct sp_chat_template {
    const char *name;
    const char *before, *after; /* with the spellings of special tokens */
    bool has_bos;               /* begins with the model's BOS, if it has one */
    bool trims;                 /* leaves out white space (ASCII) around the prompt */
    const char *end_of_turn;    /* the token that ends an answer */
    /* How it is recognised: the family, or NULL for any; tokens of the vocabulary, or NULL; words
       of the template that the model comes with, or NULL where it need not come with one. */
    const char *model_type;
    const char *tokens[2];
    const char *words;
} sp_chat_template;

enum { SP_N_CHAT_TEMPLATES = 6 };
extern const sp_chat_template sp_chat_templates[SP_N_CHAT_TEMPLATES];

/* The template of a model, static, or NULL if none is recognised. `published` is the model's own
   template, in Jinja, or NULL. */
const sp_chat_template *sp_chat_template_recognise(const sp_tokenizer *tokenizer,
                                                   const char *model_type, const char *published);

/* The first token that the template needs and the tokenizer lacks, static, or NULL. */
const char *sp_chat_template_missing_token(const sp_chat_template *chat,
                                           const sp_tokenizer *tokenizer);

/* Leaves out white space (ASCII) around text [n_bytes]. */
void sp_chat_trim(const char **text, size_t *n_bytes);

/* A turn as ids. All zero: empty. */
typedef struct sp_chat_turn {
    sp_encoding before, prompt, after;
    int32_t end_of_turn;
} sp_chat_turn;

/* Encodes a turn into an empty *turn, owned. Special tokens count in the template's own text only:
   their spellings in the prompt are plain text. SP_BAD_DATA: the tokenizer lacks a token that the
   template needs, which is named, or cannot encode the prompt; *turn is then empty. */
SP_NODISCARD sp_status sp_chat_turn_encode(sp_chat_turn *turn, const sp_chat_template *chat,
                                           const sp_tokenizer *tokenizer, const char *prompt);
void sp_chat_turn_free(sp_chat_turn *turn); /* an empty one is fine */
