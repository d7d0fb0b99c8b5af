/* What products of matrices reach on a rank, by which its share of the peak (MFU) is told. */
#pragma once

#include "run/run_config.h"

/* Local. Measures the best rate of products of a frozen weight with some hundred rows a thread, FLOP/s of
   this rank's threads together, in bf16 where a frozen model of the run is computed so, else in f32.
   Takes a tenth of a second. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_product_peak_measure(double *flop_per_second,
                                               const sp_run_config *config);
