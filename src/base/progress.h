/* How far a loop is: a bar on a terminal, a plain line every 30 s elsewhere, nothing at a level
   below SP_LOG_INFO, which is how ranks beyond the first and --quiet keep silent.

       tokenize [=======>      ]  52 %  1.40M/2.70M tokens  340k tokens/s  loss 3.21  ETA 0:04
       tokenize: 52 %, 1.40M/2.70M tokens, 340k tokens/s, loss 3.21, ETA 0:04

   All calls are local and print at most ten times a second, so a loop may update at every turn. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sp_progress {
    const char *what, *unit; /* borrowed until the end: "tokenize", "tokens" */
    uint64_t total;          /* in units; 0: not known, so no bar and no ETA */
    uint64_t done_before;    /* in units, by an earlier run: no part of the rate; 0 after begin() */
    uint64_t done;
    double begin_s, shown_s; /* of base/clock: the begin, and the last line shown */
    bool is_terminal, is_quiet;
    bool has_news;  /* since the last line that stays */
    char extra[96]; /* the last update's */
} sp_progress;

/* Starts the clock. Set done_before afterwards where a run is resumed. */
void sp_progress_begin(sp_progress *progress, const char *what, uint64_t total, const char *unit);

/* `done` units of the total are done, those of an earlier run included. `extra` is printed as it
   is, such as "loss 3.21  MFU 41 %"; it is copied, cut at 95 bytes; NULL: none. */
void sp_progress_update(sp_progress *progress, uint64_t done, const char *extra);

/* Shows the last state and leaves the line. Belongs on every path out of the loop, so that an error
   message starts a line of its own. Without an update it prints nothing. */
void sp_progress_end(sp_progress *progress);

/* Writes the line for the present state `seconds` after the begin into text [n_bytes], NUL included;
   with n_columns > 0 as a bar that fits them, with 0 as the plain form. */
void sp_progress_format(char *text, size_t n_bytes, const sp_progress *progress, double seconds,
                        size_t n_columns);
