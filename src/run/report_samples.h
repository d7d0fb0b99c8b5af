/* Samples of evaluations as part of a page: reconstructions beside their texts with what differs marked,
   and answers beside those that are accepted. */
#pragma once

#include "run/report_results.h"

#include <stdio.h>

/* Writes nothing if there is none. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_report_samples(FILE *out, const sp_report_results *results);
