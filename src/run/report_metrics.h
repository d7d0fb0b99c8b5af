/* metrics.jsonl (run/metrics.h) line by line, for a reader who wants what is there: damaged lines are
   counted and passed over, and a last line without its end is still being written. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a line may measure. */
typedef enum sp_measure {
    SP_MEASURE_LOSS, /* three in the order of the losses, here and below */
    SP_MEASURE_GRAD_NORM = 3,
    SP_MEASURE_LR,
    SP_MEASURE_TOKENS_PER_SECOND,
    SP_MEASURE_FLOPS_PER_SECOND,
    SP_MEASURE_MFU,
    SP_MEASURE_SECONDS,
    SP_MEASURE_VALIDATION_LOSS,
    SP_MEASURE_VALIDATION_ACCURACY = SP_MEASURE_VALIDATION_LOSS + 3,
    SP_N_MEASURES = SP_MEASURE_VALIDATION_ACCURACY + 3
} sp_measure;

/* Their keys in the file. */
extern const char *const sp_measure_keys[SP_N_MEASURES];

typedef struct sp_metrics_line {
    uint64_t step;
    uint64_t tokens; /* trained on up to here, this step's too */
    bool is_validation, is_skipped;
    double values[SP_N_MEASURES]; /* NaN: not on this line */
} sp_metrics_line;

typedef struct sp_metrics_reader sp_metrics_reader; /* opaque */

/* Tells the line's MFU by another peak, FLOP/s, than the run has measured. */
void sp_metrics_line_use_peak(sp_metrics_line *line, double peak);

/* Opens a run's file into *reader, owned, or NULL where the run has none. SP_IO: cannot be read. */
SP_NODISCARD sp_status sp_metrics_reader_open(sp_metrics_reader **reader, const char *run_dir);
void sp_metrics_reader_close(sp_metrics_reader *reader); /* NULL is fine */

/* Reads the next line that is whole; *is_end, and *line untouched, after the last. */
SP_NODISCARD sp_status sp_metrics_reader_next(sp_metrics_reader *reader, sp_metrics_line *line,
                                              bool *is_end);

/* Lines that were passed over: no JSON object with a step, or a step that was there before; and the
   first of them, from 1. */
size_t sp_metrics_reader_n_damaged(const sp_metrics_reader *reader);
size_t sp_metrics_reader_first_damaged(const sp_metrics_reader *reader);
