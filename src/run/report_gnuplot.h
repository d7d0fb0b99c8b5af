/* Drawings by gnuplot, a program that runs beside us: as SVG for a page, and as PNG. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct sp_drawing {
    char *
        svg; /* terminated; what stands between <svg> and </svg>, without points' definitions; owned */
    char *definitions; /* of points, the same in every drawing; owned */
    char *png;         /* [png_bytes], owned */
    size_t png_bytes;
} sp_drawing; /* all zero: none */

enum { SP_DRAWING_WIDTH = 480, SP_DRAWING_HEIGHT = 300 }; /* of the SVG */

/* Runs a script that has data and ends in a plot; the terminal is set up, and gnuplot's variable
   is_png is 1 or 0. SP_FAILURE: it failed, or *is_missing: there is no gnuplot. */
SP_NODISCARD sp_status sp_drawing_make(sp_drawing *drawing, const char *script, bool *is_missing);
void sp_drawing_free(sp_drawing *drawing);
