/* Between parquet_file.c and the shared object with Arrow in it, slotpress-parquet.so, which is built
   of parquet_arrow.cc and loaded when the first Parquet file is opened: no other process carries
   Arrow's 60 MB and its thread, or fails to start where a module with Arrow is not loaded. */
#pragma once

#include "io/parquet_file.h"

typedef sp_status sp_fail_function(sp_status status, const char *format, ...);

/* As parquet_file.h declares them; what comes in is not checked again. */
typedef struct sp_parquet_calls {
    const char *library; /* its version, static */
    sp_status (*open)(sp_parquet **file, const char *path, size_t most_bytes);
    void (*close)(sp_parquet *file);
    size_t (*n_groups)(const sp_parquet *file);
    sp_status (*find)(const sp_parquet *file, const char *name, sp_parquet_column *column,
                      bool *is_found);
    sp_status (*group_size)(const sp_parquet *file, size_t group, size_t column, uint64_t *n_rows,
                            uint64_t *n_bytes);
    sp_status (*begin)(sp_parquet *file, size_t group, const sp_parquet_column *columns,
                       size_t n_columns);
    sp_status (*next)(sp_parquet *file, sp_field *row, bool *end);
} sp_parquet_calls;

/* The one name that the shared object gives: returns its calls, static, which record failures by
   `fail`. Its number goes up whenever anything here changes. */
#define SP_PARQUET_ENTRY sp_parquet_arrow_calls_1
typedef const sp_parquet_calls *sp_parquet_entry(sp_fail_function *fail);
