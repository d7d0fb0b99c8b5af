#include "run/evaluate_contexts.h"

#include "io/atomic_file.h"
#include "text/json_text.h"

#include <stdlib.h>

static sp_status no_memory(void) { return sp_fail(SP_FAILURE, "no memory for contexts"); }

sp_status sp_contexts_file_begin(sp_contexts_file *file) {
    *file = (sp_contexts_file){0};
    file->lines = open_memstream(&file->bytes, &file->n_bytes);
    return file->lines != NULL ? SP_OK : no_memory();
}

sp_status sp_contexts_file_add(sp_contexts_file *file, size_t number, sp_answer_text text) {
    char id[32];
    if (text.n_bytes == 0) return SP_OK;
    (void)snprintf(id, sizeof id, "context-%zu", number);
    json_t *line =
        json_pack("{s:s, s:o}", "id", id, "text", sp_json_from_bytes(text.text, text.n_bytes));
    if (line == NULL) return no_memory();
    (void)json_dumpf(line, file->lines, JSON_COMPACT);
    (void)fputc('\n', file->lines);
    json_decref(line);
    file->n++;
    return SP_OK;
}

sp_status sp_contexts_file_end(sp_contexts_file *file, sp_status status, const char *path,
                               const char *task, const char *data, size_t n_items,
                               json_t **result) {
    if (file->lines != NULL && fclose(file->lines) != 0 && status == SP_OK) status = no_memory();
    if (status == SP_OK) status = sp_atomic_write(path, file->bytes, file->n_bytes);
    if (status == SP_OK) {
        *result = json_pack("{s:s, s:s, s:I, s:I, s:s}", "task", task, "data", data, "count",
                            (json_int_t)n_items, "contexts", (json_int_t)file->n, "written", path);
        if (*result == NULL) status = sp_fail(SP_FAILURE, "no memory for a result");
    }
    free(file->bytes);
    *file = (sp_contexts_file){0};
    return status;
}
