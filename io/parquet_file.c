#include "io/parquet_file.h"

#include "io/parquet_calls.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define TEXT_OF(name) #name
#define NAME_OF(macro) TEXT_OF(macro)

enum { REASON_SIZE = 512 };

/* Set once. */
static const sp_parquet_calls *calls; /* NULL: it cannot be loaded, because of `reason` */
static char reason[REASON_SIZE];

/* The run path of the program says where it may lie. It stays loaded. */
static void load(void) {
    sp_parquet_entry *entry = NULL;
    void *object = dlopen("slotpress-parquet.so", RTLD_NOW | RTLD_LOCAL);
    if (object != NULL) {
        void *const symbol = dlsym(object, NAME_OF(SP_PARQUET_ENTRY));
        memcpy(&entry, &symbol, sizeof entry); /* POSIX allows it, ISO C has no cast for it */
    }
    if (entry != NULL)
        calls = entry(sp_fail);
    else
        snprintf(reason, sizeof reason, "%s", dlerror());
}

static bool is_loaded(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return calls != NULL;
}

bool sp_parquet_is_supported(void) { return is_loaded(); }

const char *sp_parquet_library(void) { return is_loaded() ? calls->library : "none"; }

sp_status sp_parquet_open(sp_parquet **file, const char *path, size_t most_bytes) {
    if (is_loaded()) return calls->open(file, path, most_bytes);
    return sp_fail(SP_USAGE,
                   "'%s': cannot load Arrow, which reads Parquet (%s); run tools/bootstrap parquet "
                   "or load a module with Arrow, and build again",
                   path, reason);
}

void sp_parquet_close(sp_parquet *file) {
    if (file != NULL) calls->close(file);
}

size_t sp_parquet_n_groups(const sp_parquet *file) { return calls->n_groups(file); }

sp_status sp_parquet_find(const sp_parquet *file, const char *name, sp_parquet_column *column,
                          bool *is_found) {
    return calls->find(file, name, column, is_found);
}

sp_status sp_parquet_group_size(const sp_parquet *file, size_t group, size_t column,
                                uint64_t *n_rows, uint64_t *n_bytes) {
    return calls->group_size(file, group, column, n_rows, n_bytes);
}

sp_status sp_parquet_begin(sp_parquet *file, size_t group, const sp_parquet_column *columns,
                           size_t n_columns) {
    return calls->begin(file, group, columns, n_columns);
}

sp_status sp_parquet_next(sp_parquet *file, sp_field *row, bool *end) {
    return calls->next(file, row, end);
}
