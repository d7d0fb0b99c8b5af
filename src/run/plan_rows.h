/* Batches of fine-tuning's rows for a plan: typical ones for time, the largest for memory. */
#pragma once

#include "run/plan_chain.h"

/* Fills a batch (release with sp_batch_free()) with *n rows, evenly taken from all that are trained on. */
SP_NODISCARD sp_status sp_plan_typical_rows(sp_batch *batch, size_t *n, const sp_plan_chain *chain);

/* Fills a batch likewise with the heaviest n_samples rows that follow each other in the run's stream,
   or, where the run validates, in what is held out: whatever the ranks' shares are, no micro-batch of
   the run is heavier. Of a stream of more than a million rows the first million is looked through. */
SP_NODISCARD sp_status sp_plan_largest_rows(sp_batch *batch, const sp_plan_chain *chain,
                                            size_t n_samples);
