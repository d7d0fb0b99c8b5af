/* A slot file as its decoder reads it: rows of the decoder's width, whichever space the file holds. */
#pragma once

#include "io/slots_file.h"
#include "run/trained.h"

typedef struct sp_converted_slots {
    sp_slots *file;            /* owned */
    sp_compressor *compressor; /* borrowed */
    sp_workspace workspace;
} sp_converted_slots; /* all zero: none */

/* Opens the slot file `path` of the compressor `trained`, which stays open longer. SP_BAD_DATA:
   another compressor made it; else as sp_slots_open(). *slots is empty then. */
SP_NODISCARD sp_status sp_converted_slots_open(sp_converted_slots *slots, const char *path,
                                               const sp_trained *trained);
void sp_converted_slots_close(sp_converted_slots *slots); /* an empty one is fine */

/* Slots of the segments [segment_begin, segment_end). Errors as of sp_slots_get_segment(). */
SP_NODISCARD sp_status sp_converted_slots_count(const sp_converted_slots *slots,
                                                size_t segment_begin, size_t segment_end,
                                                size_t *n);

/* Writes them to out [count, d_dec], through the converter where the file holds memory. */
SP_NODISCARD sp_status sp_converted_slots_read(sp_converted_slots *slots, float *out,
                                               size_t segment_begin, size_t segment_end);
