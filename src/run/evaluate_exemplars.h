/* Examples of tasks for in-context learning, from the files in which they are published, and as they
   are put to a decoder (pcc.md §5):

       SST-2  GLUE's .tsv, columns sentence and label      Sentence: SENTENCE\nSentiment: negative
       WSC    SuperGLUE's .jsonl                           Question: In the sentence "TEXT", does the
                                                           pronoun 'SPAN2' refer to SPAN1?\nAnswer: no
       GSM8K  .jsonl of question and answer                Question: QUESTION\nAnswer: ANSWER

   A demonstration ends in a blank line. Without its content an example has N/A for the sentence or
   the text. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { SP_N_OPTIONS = 2 };

typedef struct sp_exemplar {
    char *prompt; /* up to where the answer, with its blank, begins; owned */
    char *empty;  /* the same without its content; owned; NULL of GSM8K */
    char *answer; /* with its blank; owned */
    size_t label; /* which option it is; 0 of GSM8K */
} sp_exemplar;

typedef struct sp_exemplars {
    const char *task; /* "SST-2", "WSC" or "GSM8K", static */
    /* What an answer may be, with its blank: no and yes, negative and positive; static; NULL of GSM8K */
    const char *const *options;
    sp_exemplar *items; /* [n], owned */
    size_t n, capacity;
} sp_exemplars; /* all zero: none */

/* Reads a file, packed or not, up to `limit` examples (0: all). SP_BAD_DATA: none of these forms, an
   example without a label or answer, or no example. *exemplars is empty then. */
SP_NODISCARD sp_status sp_exemplars_read(sp_exemplars *exemplars, const char *path, size_t limit);
void sp_exemplars_free(sp_exemplars *exemplars);

/* The order in which examples serve as demonstrations: as in the file, and where there are options one
   of each in turn, until one has no more. Fills order [n]; returns how many there are. */
size_t sp_exemplars_order(const sp_exemplars *exemplars, size_t *order);

/* Whether a text answers an example of GSM8K with its number: the first one after ####, else the last
   one before a blank line or another question. */
bool sp_exemplar_is_solved(const sp_exemplar *exemplar, const char *text);
