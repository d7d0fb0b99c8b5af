#include "tensor/tensor_table.h"

#include <stdlib.h>
#include <string.h>

/* Room grows by doubling: it is full whenever the count is a power of two. */
static sp_status make_room(sp_tensor_table *table) {
    const size_t n = table->n_entries;
    if ((n & (n - 1)) != 0) return SP_OK;
    const size_t capacity = n == 0 ? 1 : 2 * n;
    sp_named_tensor *entries = reallocarray(table->entries, capacity, sizeof *entries);
    if (entries == NULL)
        return sp_fail(SP_FAILURE, "no memory for a table of %zu tensors", capacity);
    table->entries = entries;
    return SP_OK;
}

sp_status sp_tensor_table_add(sp_tensor_table *table, const char *name, const sp_tensor *tensor) {
    SP_TRY(make_room(table));
    char *copy = strdup(name);
    if (copy == NULL) return sp_fail(SP_FAILURE, "no memory for the tensor name '%s'", name);
    table->entries[table->n_entries++] = (sp_named_tensor){.name = copy, .tensor = *tensor};
    return SP_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const sp_named_tensor *)a)->name, ((const sp_named_tensor *)b)->name);
}

sp_status sp_tensor_table_sort(sp_tensor_table *table) {
    if (table->n_entries == 0) return SP_OK;
    qsort(table->entries, table->n_entries, sizeof *table->entries, compare_names);
    for (size_t i = 1; i < table->n_entries; i++)
        if (compare_names(&table->entries[i - 1], &table->entries[i]) == 0)
            return sp_fail(SP_BAD_DATA, "the tensor '%s' stands twice", table->entries[i].name);
    return SP_OK;
}

const sp_tensor *sp_tensor_table_find(const sp_tensor_table *table, const char *name) {
    const sp_named_tensor wanted = {.name = (char *)name}; /* is only compared */
    if (table->n_entries == 0) return NULL;
    const sp_named_tensor *found =
        bsearch(&wanted, table->entries, table->n_entries, sizeof *table->entries, compare_names);
    return found == NULL ? NULL : &found->tensor;
}

void sp_tensor_table_free(sp_tensor_table *table) {
    for (size_t i = 0; i < table->n_entries; i++) free(table->entries[i].name);
    free(table->entries);
    *table = (sp_tensor_table){0};
}
