/* Items that an evaluation works on by one method or several: each has figures, and perhaps a text
   that was generated. Ranks share units of them, consecutive items by one method, and what they found
   comes together in the items' order, whatever the number of ranks; with a folder to work in, across
   runs of the same command, too. */
#pragma once

#include "base/json.h"
#include "mpi/world.h"
#include "run/evaluate_journal.h"

typedef struct sp_items {
    sp_world *world;
    sp_evaluate_extent extent;
    size_t n_kept;        /* texts of the first so many items are kept */
    double *figures;      /* [n_methods, n_items, n_figures], owned; 0 where another rank's */
    json_t *noted;        /* this rank's texts: [[method, item, text]] */
    size_t n_finished;    /* of these, of units that are finished */
    json_t *gathered;     /* rank 0's, of all */
    const json_t **texts; /* [n_methods, n_items] borrowed from these; NULL where none was noted */
    size_t n_dealt;       /* units so far, on any rank */
    sp_evaluate_journal *journal; /* NULL: nothing is kept */
} sp_items;                       /* all zero: none */

/* Local. Makes room: all figures are 0, and texts of the first n_kept items are kept. */
SP_NODISCARD sp_status sp_items_begin(sp_items *items, sp_world *world,
                                      const sp_evaluate_extent *extent, size_t n_kept);
void sp_items_end(sp_items *items); /* local */

/* Collective, before the first unit. What is answered is kept in a folder, as run/evaluate_journal.h
   says, and what is there is not asked again; from here on a signal (run/stop_signal.h) stops the
   evaluation. */
SP_NODISCARD sp_status sp_items_resume(sp_items *items, const char *folder, const char *task,
                                       const json_t *identity);

/* Local, by every rank for every unit. Is the unit still to be answered? */
bool sp_items_is_open(const sp_items *items, size_t method, size_t begin, size_t end);

/* Local, by every rank alike: deals what is to be done in turn. Is the next piece this rank's? */
bool sp_items_is_mine(sp_items *items);

/* Local. The figures [n_figures] of an item, which its rank fills; finite. */
double *sp_items_figures(const sp_items *items, size_t method, size_t item);

/* Local. Notes a text of an item of the unit in work, bytes of any kind. */
SP_NODISCARD sp_status sp_items_note(sp_items *items, size_t method, size_t item, const char *text,
                                     size_t n_bytes);

/* Local. The unit in work has all its figures and texts, of every item or of none. SP_STOPPED: a signal
   has come; the unit is kept. */
SP_NODISCARD sp_status sp_items_finish(sp_items *items, size_t method, size_t begin, size_t end);

/* Local, on every rank for every unit that is not open: rank 0 takes what is there of it. */
SP_NODISCARD sp_status sp_items_restore(sp_items *items, size_t method, size_t begin, size_t end);

/* Collective, after all units. Figures become those of all ranks, texts of all come to rank 0. */
SP_NODISCARD sp_status sp_items_gather(sp_items *items);

/* Local, after that. The sum of a figure over all items. */
double sp_items_sum(const sp_items *items, size_t method, size_t figure);

/* Local, on rank 0. The text noted, or null; owned. */
json_t *sp_items_text(const sp_items *items, size_t method, size_t item);
