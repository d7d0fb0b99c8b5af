/* A decoder that reads contexts in three forms, and what it makes of prompts after them:

       full         [BOS] context joint prompt
       none         [BOS] prompt
       compressed   [BOS] <mem> slots </mem> ... prompt       once for each segment of the context

   Texts hold no special tokens: their spellings are plain text. A group of contexts is read at a time;
   readings of one context that follow each other share its rows; passes are cut by the group alone, so
   that results do not depend on who else reads what. */
#pragma once

#include "run/trained.h"
#include "text/answer.h"

#include <stdbool.h>

typedef enum sp_context_form {
    SP_CONTEXT_FULL,
    SP_CONTEXT_NONE,
    SP_CONTEXT_COMPRESSED,
    SP_N_CONTEXT_FORMS
} sp_context_form;

/* "full", "none", "compressed" */
extern const char *const sp_context_form_names[SP_N_CONTEXT_FORMS];

typedef struct sp_context_reader sp_context_reader; /* opaque */

/* Opens a checkpoint's compressor into *reader, owned: with both sides, or with the decoder alone, which
   then needs slots that are there. Arguments as for sp_trained_open(). */
SP_NODISCARD sp_status sp_context_reader_open(sp_context_reader **reader, const char *checkpoint,
                                              const char *const *assignments, size_t n_assignments,
                                              sp_sides sides);

/* From here on contexts are compressed by looking them up in a slot file (borrowed path): each must be
   the text of a document there, or of several with blank lines between them. Errors as of sp_stored_slots_open(). */
SP_NODISCARD sp_status sp_context_reader_use_slots(sp_context_reader *reader, const char *path);

void sp_context_reader_close(sp_context_reader *reader); /* NULL is fine */

/* Forgets the group's contexts, and reads others at this ratio; 0 and errors as sp_trained_use_ratio(). */
SP_NODISCARD sp_status sp_context_reader_use_ratio(sp_context_reader *reader, size_t ratio);

const sp_trained *sp_context_reader_trained(const sp_context_reader *reader);

/* Tokens that the decoder's tokenizer makes of a text. */
SP_NODISCARD sp_status sp_context_reader_count(sp_context_reader *reader, size_t *n,
                                               sp_answer_text text);

/* Forgets the group's contexts. */
void sp_context_reader_clear(sp_context_reader *reader);

/* Adds a context to the group; *index names it until the next clear. SP_BAD_DATA: a token beyond a
   model's vocabulary; a text that no document of the slot file has. */
SP_NODISCARD sp_status sp_context_reader_add(sp_context_reader *reader, sp_answer_text context,
                                             size_t *index);

/* Decoder rows that a context of the group is in a form, BOS apart. */
size_t sp_context_reader_rows(const sp_context_reader *reader, size_t context,
                              sp_context_form form);

typedef struct sp_reading {
    size_t context;    /* in the group */
    const char *joint; /* between a context as text and the prompt */
    sp_answer_text prompt;
    sp_answer_text target; /* of a score; not empty */
    bool has_end;          /* EOS after the target counts, too */
} sp_reading;

/* What was generated: text, owned by the array. */
typedef struct sp_made_texts {
    char **texts; /* [n] terminated; NULs may be inside */
    size_t *lens; /* [n] bytes */
    size_t n;
} sp_made_texts; /* all zero: none */

void sp_made_texts_free(sp_made_texts *made);

/* Goes on greedily from n readings, whose prompts are not empty, each up to max_new_tokens or the model's stop tokens, into *made.
   SP_BAD_DATA: a reading is longer than the positions that a model has learned. */
SP_NODISCARD sp_status sp_context_reader_generate(sp_context_reader *reader, sp_context_form form,
                                                  const sp_reading *readings, size_t n,
                                                  size_t max_new_tokens, sp_made_texts *made);

typedef struct sp_target_score {
    double nll;      /* sum over the target's tokens, nats */
    size_t n_tokens; /* of the target, with its EOS */
} sp_target_score;

/* Scores the targets of n readings into scores [n]. Errors as above; SP_NUMERIC: a score is not finite. */
SP_NODISCARD sp_status sp_context_reader_score(sp_context_reader *reader, sp_context_form form,
                                               const sp_reading *readings, size_t n,
                                               sp_target_score *scores);
