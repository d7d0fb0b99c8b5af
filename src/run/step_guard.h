/* Steps that must not be made: those whose loss or gradient is not finite, and spikes, whose
   gradient's norm is more than train.spike_factor times the running average of accepted steps.

   What is judged has been summed over all ranks before, so every rank comes to the same end without a
   word. A skipped step changes no weight and no moment; its number and its samples are used up.

   average += (norm - average) * max(1 / n, 1 / 50) after the n-th accepted step: the mean at first,
   then an exponential one over some 50 steps. Spikes are looked for after 20 accepted steps. */
#pragma once

#include "base/json.h"
#include "run/run_config.h"
#include "run/samples.h"

typedef struct sp_step_guard {
    double average; /* of gradient norms */
    uint64_t n_accepted, n_skipped;
    uint64_t n_skipped_in_row; /* up to the present step */
} sp_step_guard;               /* all zero: before the first step */

typedef struct sp_step_facts {
    uint64_t step;
    double loss, grad_norm; /* of the whole step, over all ranks, before clipping */
    uint64_t begin, end;    /* its samples, as positions in the stream */
} sp_step_facts;

/* Local, the same on every rank. *is_skipped: is the step not to be made? It is logged then, with its
   samples and their segments. SP_NUMERIC: more than train.max_skipped steps in a row. */
SP_NODISCARD sp_status sp_step_guard_judge(sp_step_guard *guard, bool *is_skipped,
                                           const sp_run_config *config, const sp_samples *samples,
                                           const sp_step_facts *facts);

/* Makes an object, owned, from which the guard can be had back to the last bit. SP_FAILURE: no
   memory. */
SP_NODISCARD sp_status sp_step_guard_to_json(json_t **object, const sp_step_guard *guard);

/* The guard that the object was made of; all zero if it is NULL. SP_BAD_DATA: it is no such object;
   `where` names it in the message. */
SP_NODISCARD sp_status sp_step_guard_from_json(sp_step_guard *guard, const json_t *object,
                                               const char *where);
