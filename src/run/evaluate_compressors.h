/* The compressors that an evaluation compares: each checkpoint at each ratio that it was trained for,
   or at those that are asked for; or what each made in a slot file. */
#pragma once

#include "base/config.h"
#include "io/content_digest.h"

typedef struct sp_methods_options {
    const char *const *checkpoints; /* [n_checkpoints], at least 1: run or step folders; the first
                                       one's decoder also reads the full context, and none */
    size_t n_checkpoints;
    const char *const *assignments; /* [n_assignments] over the configurations */
    size_t n_assignments;
    sp_count_list ratios;     /* none: all of each checkpoint */
    const char *const *slots; /* [n_checkpoints]: slot files that have the contexts, each at its own
                                 ratio; NULL: each checkpoint's encoder compresses them */
    const char *contexts;     /* file to write the contexts to in place of asking
                             (run/evaluate_contexts.h); NULL: items are asked */
    const char *work;         /* folder for what is answered (run/evaluate_journal.h); NULL: none */
} sp_methods_options;         /* borrowed */

typedef struct sp_compressor_choice {
    const char *checkpoint, *slots; /* borrowed; slots NULL: the encoder compresses */
    size_t ratio;
    char digest[SP_DIGEST_HEX_SIZE]; /* of its parameters */
    json_t *config;                  /* in effect, owned */
} sp_compressor_choice;

/* Of an identity (run/evaluate_journal.h): another one where the same command answers otherwise. */
enum { SP_EVALUATE_FORMAT = 1 };

typedef struct sp_compressor_choices {
    sp_compressor_choice
        *items; /* [n], owned: checkpoints as they are named, their ratios rising */
    size_t n;
} sp_compressor_choices; /* all zero: none */

/* Local. Reads what the checkpoints were trained for, and the slot files were made at; no model is opened.
   SP_USAGE: a checkpoint was not trained for a ratio that is asked for; SP_BAD_DATA: for that of its
   slot file; the message names those that it was. Else as sp_slots_open(). */
SP_NODISCARD sp_status sp_compressor_choices_make(sp_compressor_choices *choices,
                                                  const sp_methods_options *options);

/* Local. Makes an array, owned, of what tells each choice from others that would answer otherwise: digests
   of its parameters and slots, its configuration, and states of its models' files. SP_IO: a model is not
   there; else as sp_slots_open(). */
SP_NODISCARD sp_status sp_compressor_choices_identify(json_t **identity,
                                                      const sp_compressor_choices *choices);
/* The same of one. */
SP_NODISCARD sp_status sp_compressor_choice_identify(json_t **identity,
                                                     const sp_compressor_choice *choice);

void sp_compressor_choices_free(sp_compressor_choices *choices);
