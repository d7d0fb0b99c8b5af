/* Documents from the rows of a Parquet file: what io/text_reader does with a .parquet. */
#pragma once

#include "io/text_reader.h"

typedef struct sp_parquet_text sp_parquet_text; /* opaque */

/* Opens row groups [begin, end) of `path`; an `end` beyond the last is the last. As
   sp_text_reader_open(). */
SP_NODISCARD sp_status sp_parquet_text_open(sp_parquet_text **text, const char *path,
                                            uint64_t begin, uint64_t end,
                                            const sp_text_options *options);
void sp_parquet_text_close(sp_parquet_text *text); /* NULL is fine */

/* As sp_text_reader_next(), and its companions. */
SP_NODISCARD sp_status sp_parquet_text_next(sp_parquet_text *text, sp_document *document,
                                            bool *end);
sp_text_loss sp_parquet_text_loss(const sp_parquet_text *text);
void sp_parquet_text_lost_rows(const sp_parquet_text *text, uint64_t *row, uint64_t *n_rows);
const char *sp_parquet_text_row_id(sp_parquet_text *text, uint64_t row);
uint64_t sp_parquet_text_n_unwanted(const sp_parquet_text *text);

/* Lists the row groups, as sp_text_units(). */
SP_NODISCARD sp_status sp_parquet_text_units(sp_text_unit **units, size_t *n, const char *path,
                                             const sp_text_options *options);
