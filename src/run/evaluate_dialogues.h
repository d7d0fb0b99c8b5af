/* Dialogues and the reply that is wanted, from HPD's files as they are published, {"Session-1":
   {position, speakers, scene, dialogue, positive_response, attributes, relations with Harry}}, names
   of members in either of its spellings; or from JSON lines {context, prompt, answer}, as `finetune`
   reads them. A session of HPD becomes

       context   Position: ... / Scene: ..., then who speaks, an attribute after the other, and their
                 relations with Harry; what is empty or 0 is left out
       prompt    the dialogue, a line an utterance, then `Harry:`
       answer    a blank and the reply

   Sessions without a reply, as in HPD's training file, are passed over. */
#pragma once

#include "base/status.h"

#include <stddef.h>

typedef struct sp_dialogue {
    char *context, *prompt, *answer; /* owned */
} sp_dialogue;

typedef struct sp_dialogues {
    const char *form;   /* "HPD" or "lines", static */
    sp_dialogue *items; /* [n], owned */
    size_t n, capacity, n_passed_over;
} sp_dialogues; /* all zero: none */

/* Reads a file, packed or not, up to `limit` dialogues (0: all). SP_BAD_DATA: neither of these forms,
   or no dialogue with a reply; *dialogues is empty then. */
SP_NODISCARD sp_status sp_dialogues_read(sp_dialogues *dialogues, const char *path, size_t limit);
void sp_dialogues_free(sp_dialogues *dialogues);
