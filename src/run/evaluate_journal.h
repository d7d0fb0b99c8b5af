/* What an evaluation has answered so far, on the disk, so that the same command goes on after a kill.

       FOLDER/TASK-DIGEST/      an evaluation; DIGEST is the beginning of its identity's
           identity.json        what tells it from every other
           lock                 rank 0's, as long as it runs
           answers-R-K.jsonl    of rank R in one run, a unit a line as soon as it is answered:

       {"sum":"...","unit":{"method":M,"begin":B,"end":E,"figures":[...],"texts":[...]}}

   A unit is items [B, E) by one method: figures [E - B, n_figures], and what was generated for each, or
   no texts. The sum (XXH3-128) is of the identity's digest and the unit's bytes. Lines are appended and
   never changed; one that is torn, damaged, of another evaluation or of no such unit counts as not
   there, and of several the first counts. Evaluations share a folder, each by itself. */
#pragma once

#include "base/json.h"
#include "mpi/world.h"

typedef struct sp_evaluate_journal sp_evaluate_journal; /* opaque */

typedef struct sp_evaluate_extent {
    size_t n_methods, n_items, n_figures; /* figures of an item */
} sp_evaluate_extent;

/* Collective over the world. Opens or begins the evaluation `task` of an identity, rank 0's (elsewhere
   NULL), into *journal, owned by every rank. SP_FAILURE: another command does the same evaluation here;
   SP_IO: the folder cannot be made or read. */
SP_NODISCARD sp_status sp_evaluate_journal_open(sp_evaluate_journal **journal, sp_world *world,
                                                const char *folder, const char *task,
                                                const json_t *identity,
                                                const sp_evaluate_extent *extent);
void sp_evaluate_journal_close(sp_evaluate_journal *journal); /* local; NULL is fine */

/* Local. Was the unit answered before this run? The same on every rank. */
bool sp_evaluate_journal_has(const sp_evaluate_journal *journal, size_t method, size_t begin,
                             size_t end);

/* Local, on rank 0, of one that was: the unit, borrowed. */
const json_t *sp_evaluate_journal_unit(const sp_evaluate_journal *journal, size_t method,
                                       size_t begin);

/* Local. Appends a unit that this rank has answered, and syncs it. SP_IO. */
SP_NODISCARD sp_status sp_evaluate_journal_add(sp_evaluate_journal *journal, const json_t *unit);
