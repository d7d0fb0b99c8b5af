/* What every comparison of contexts has in common: its methods (the full context, none, and compressed
   by each checkpoint at each of its ratios), items that groups of ranks share, and figures of each item that come together on
   every rank, added in the items' order whatever the number of ranks. */
#pragma once

#include "base/json.h"
#include "base/progress.h"
#include "mpi/world.h"
#include "run/evaluate_compressors.h"
#include "run/evaluate_reader.h"

/* Consecutive items that one rank generates for at once, of n_items: enough for decoding to refill the
   places of those that end, few enough for ranks to share the work. A matter of the items alone, so
   that what stands in a pass, and with it every bit, does not depend on the ranks. */
size_t sp_methods_group_size(size_t n_items);

typedef struct sp_method {
    sp_context_form form;
    size_t compressor; /* that works it: the full context and none are the first one's */
} sp_method;

typedef struct sp_methods {
    sp_world *world;
    sp_methods_options options;
    sp_compressor_choices compressors;
    sp_context_reader *reader; /* of the compressor in use */
    size_t compressor;
    sp_method *methods; /* [n_methods], owned */
    size_t n_methods, n_items, n_figures;
    double *figures;      /* [n_methods, n_items, n_figures], owned */
    json_t *noted;        /* this rank's texts: [[method, item, text]] */
    json_t *gathered;     /* rank 0's, of all */
    const json_t **texts; /* [n_methods, n_items] borrowed from these; NULL where none was noted */
    sp_progress progress;
    bool has_progress; /* begun, and not ended */
} sp_methods;          /* all zero: empty */

/* Local. Opens the first compressor. Errors as of sp_compressor_choices_make(), too. */
SP_NODISCARD sp_status sp_methods_open(sp_methods *methods, sp_world *world,
                                       const sp_methods_options *options);
void sp_methods_close(sp_methods *methods);

/* Local. Makes room for n_items of n_figures each, all 0, and begins the progress over them. */
SP_NODISCARD sp_status sp_methods_begin(sp_methods *methods, size_t n_items, size_t n_figures);

/* Collective. Brings a compressor into use. */
SP_NODISCARD sp_status sp_methods_use(sp_methods *methods, size_t compressor);

/* Local. Whether this rank is to work on a group of items: they are dealt in turn. */
bool sp_methods_is_mine(const sp_methods *methods, size_t group);

/* Local. Items before `item_end` are done with the compressor in use. */
void sp_methods_update(sp_methods *methods, size_t item_end);

/* Local. The figures [n_figures] of an item, which its rank fills. */
double *sp_methods_figures(const sp_methods *methods, size_t method, size_t item);

/* Local. Notes a text of an item, bytes of any kind. */
SP_NODISCARD sp_status sp_methods_note(sp_methods *methods, size_t method, size_t item,
                                       const char *text, size_t n_bytes);

/* Collective, after all compressors. Figures become those of all ranks, texts of all come to rank 0. */
SP_NODISCARD sp_status sp_methods_gather(sp_methods *methods);

/* Local, after that. The sum of a figure over all items. */
double sp_methods_sum(const sp_methods *methods, size_t method, size_t figure);

/* Local, on rank 0. The text noted, or null; owned. */
json_t *sp_methods_text(const sp_methods *methods, size_t method, size_t item);

/* Local, on rank 0. Adds an item's texts to an object: full, none, and compressed, an array. */
void sp_methods_add_texts(const sp_methods *methods, json_t *object, size_t item);

/* {method, and of a compressed context ratio and checkpoint}, owned; NULL without memory. */
json_t *sp_methods_describe(const sp_methods *methods, size_t method);
