/* What every comparison of contexts has in common: its methods (the full context, none, and compressed
   by each checkpoint at each of its ratios), and the items that they are compared on. */
#pragma once

#include "base/progress.h"
#include "run/evaluate_compressors.h"
#include "run/evaluate_items.h"
#include "run/evaluate_reader.h"

/* Consecutive items that one rank generates for at once, of n_items: enough for decoding to refill the
   places of those that end, few enough for ranks to share the work. A matter of the items alone, so
   that what stands in a pass, and with it every bit, does not depend on the ranks. */
size_t sp_methods_group_size(size_t n_items);

typedef struct sp_method {
    sp_context_form form;
    size_t compressor; /* that works it: the full context and none are the first one's */
    char *decoder;     /* that reads it, as its configuration names it; owned */
} sp_method;

typedef struct sp_methods {
    sp_world *world;
    sp_methods_options options;
    sp_compressor_choices compressors;
    sp_context_reader *reader; /* of the compressor in use */
    size_t compressor;
    sp_method *methods; /* [n_methods], owned */
    size_t n_methods;
    sp_items items;
    sp_progress progress;
    bool has_progress; /* begun, and not ended */
} sp_methods;          /* all zero: empty */

/* Local. Opens the first compressor. Errors as of sp_compressor_choices_make(), too. */
SP_NODISCARD sp_status sp_methods_open(sp_methods *methods, sp_world *world,
                                       const sp_methods_options *options);
void sp_methods_close(sp_methods *methods);

/* Local. Makes room for n_items of n_figures each, all 0, and begins the progress over them. */
SP_NODISCARD sp_status sp_methods_begin(sp_methods *methods, size_t n_items, size_t n_figures);

/* Collective, after that. Goes on from what the folder options.work has of the same evaluation, and keeps
   there what is answered; without such a folder nothing happens. Of the files `data` [n_data] the
   contents tell evaluations apart, of `settings`, moved, its members. Errors as of sp_items_resume(). */
SP_NODISCARD sp_status sp_methods_resume(sp_methods *methods, const char *task,
                                         const char *const *data, size_t n_data, json_t *settings);

/* Collective. Brings a compressor into use. */
SP_NODISCARD sp_status sp_methods_use(sp_methods *methods, size_t compressor);

/* Local, by every rank for each group [begin, end) in turn, with each compressor. *is_mine: this rank is
   to answer what is not answered of the group. */
SP_NODISCARD sp_status sp_methods_deal(sp_methods *methods, size_t begin, size_t end,
                                       bool *is_mine);

/* Local. Is the group to be answered by that method, now that its compressor is in use? */
bool sp_methods_asks(const sp_methods *methods, size_t method, size_t begin, size_t end);

/* Local. Items before `item_end` are done with the compressor in use. */
void sp_methods_update(sp_methods *methods, size_t item_end);

/* Collective, after all compressors, as sp_items_gather(). */
SP_NODISCARD sp_status sp_methods_gather(sp_methods *methods);

/* Local, on rank 0. Adds an item's texts to an object: full, none, and compressed, an array. */
void sp_methods_add_texts(const sp_methods *methods, json_t *object, size_t item);

/* {method, decoder, and of a compressed context ratio and checkpoint}, owned; NULL without memory. */
json_t *sp_methods_describe(const sp_methods *methods, size_t method);
