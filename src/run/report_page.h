/* A report as one HTML page, which needs nothing from outside: styles and drawings are in it. It follows
   the reader's light or dark colours, and any width from a phone's on. */
#pragma once

#include "run/report_figures.h"

#include <stdio.h>

/* Writes the page to `out`, whose errors the caller checks. SP_FAILURE: no memory. */
SP_NODISCARD sp_status sp_report_page(FILE *out, const sp_report_matter *matter,
                                      const sp_report_figures *figures);
