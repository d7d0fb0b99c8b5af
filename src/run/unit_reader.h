/* Every document of a unit of the corpus, each with its number: those that are wanted, those that a
   condition leaves out, and the rows that damage took, where damage is skipped. */
#pragma once

#include "base/status.h"
#include "io/text_reader.h"
#include "run/blocks.h"
#include "run/corpus.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum sp_input_state {
    SP_INPUT_WANTED,
    SP_INPUT_UNWANTED, /* a condition failed */
    SP_INPUT_LOST      /* to damage; its id is made up */
} sp_input_state;

typedef struct sp_input {
    sp_input_state state;
    sp_document document; /* without text, 0 bytes, unless wanted */
} sp_input;

/* Damage that was skipped, each in one place. */
typedef struct sp_losses {
    uint64_t n_rows, n_groups, n_files;
} sp_losses;

typedef struct sp_unit_reader sp_unit_reader; /* opaque */

/* Local. Opens a unit into *reader, to be released by sp_unit_reader_close(). Corpus and unit are
   borrowed until then. `rows` as sp_text_options has it; with SP_ROWS_NEEDED, what is skipped is
   logged. n_lines_before: of the file, 0: not known. SP_IO, and without skipping, SP_BAD_DATA as
   sp_text_reader_open(). */
SP_NODISCARD sp_status sp_unit_reader_open(sp_unit_reader **reader, sp_corpus *corpus,
                                           const sp_unit *unit, sp_text_rows rows,
                                           uint64_t n_lines_before);
void sp_unit_reader_close(sp_unit_reader *reader); /* NULL is fine */

/* Local. Reads the next document; *end is true after the last. What *input borrows is there until
   the next call. Errors as sp_text_reader_next(), apart from what is skipped. */
SP_NODISCARD sp_status sp_unit_reader_next(sp_unit_reader *reader, sp_input *input, bool *end);

sp_losses sp_unit_reader_losses(const sp_unit_reader *reader); /* so far */
uint64_t sp_unit_reader_n_lines(const sp_unit_reader *reader); /* as sp_text_reader_n_lines() */
