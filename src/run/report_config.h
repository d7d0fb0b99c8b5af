/* The configurations of runs as a table of a page, side by side, with a mark where they differ. */
#pragma once

#include "run/report_figures.h"

#include <stdio.h>

/* Writes nothing if no run has a configuration. */
void sp_report_config(FILE *out, const sp_report_matter *matter);
