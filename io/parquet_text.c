#include "io/parquet_text.h"

#include "base/memory.h"
#include "io/parquet_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a group that are counted without having been read: a footer may claim anything, and writers
   make groups of a million rows at most. */
enum { MOST_BELIEVED_ROWS = 1 << 24 };

struct sp_parquet_text {
    char *path;
    sp_parquet *file;
    const sp_conditions *where;
    const char *name;           /* the text's column */
    sp_parquet_column *columns; /* [n_columns]: the text, the conditions', the id */
    sp_field *row;              /* [n_columns] */
    size_t n_columns;
    bool has_id;
    size_t group, end;              /* the group at hand; one beyond the last that is wanted */
    bool is_in_group;               /* its reading has begun */
    uint64_t n_group_rows;          /* of the group at hand */
    uint64_t n_rows_before, n_rows; /* of the file before the group; handed out of it */
    char *id;                       /* [id_size], owned: the row's own, or a made-up one */
    size_t id_size;
    sp_text_loss loss;
    uint64_t lost_row, n_lost_rows;
    bool gives_unwanted;
    uint64_t n_unwanted;
};

static sp_status find_columns(sp_parquet_text *text) {
    const size_t n_conditions = text->where != NULL ? text->where->n : 0;
    void *columns = NULL, *row = NULL;
    bool is_found = false;
    SP_TRY(sp_alloc_array(&columns, n_conditions + 2, sizeof *text->columns, "columns"));
    text->columns = columns;
    SP_TRY(sp_alloc_array(&row, n_conditions + 2, sizeof *text->row, "a row"));
    text->row = row;

    SP_TRY(sp_parquet_find(text->file, text->name, &text->columns[0], &is_found));
    if (!is_found) return sp_fail(SP_BAD_DATA, "no column '%s' to take the text from", text->name);
    if (text->columns[0].type != SP_FIELD_TEXT)
        return sp_fail(SP_BAD_DATA, "the column '%s' holds no strings", text->name);
    for (size_t i = 0; i < n_conditions; i++) {
        const sp_condition *condition = &text->where->items[i];
        sp_parquet_column *column = &text->columns[1 + i];
        SP_TRY(sp_parquet_find(text->file, condition->name, column, &is_found));
        if (!is_found)
            return sp_fail(SP_BAD_DATA, "no column '%s', on which there is a condition",
                           condition->name);
        SP_TRY(sp_condition_check(condition, column->type));
    }
    sp_parquet_column *id = &text->columns[1 + n_conditions];
    SP_TRY(sp_parquet_find(text->file, "id", id, &is_found));
    text->has_id = is_found && (id->type == SP_FIELD_TEXT || id->type == SP_FIELD_INTEGER);
    text->n_columns = 1 + n_conditions + text->has_id;
    return SP_OK;
}

static sp_status group_size(const sp_parquet_text *text, size_t group, uint64_t *n_rows,
                            uint64_t *n_bytes) {
    return sp_parquet_group_size(text->file, group, text->columns[0].index, n_rows, n_bytes);
}

/* The same for a group that is not read yet: one whose size is damaged has no rows until its reading says so. */
static sp_status announced_size(const sp_parquet_text *text, size_t group, uint64_t *n_rows,
                                uint64_t *n_bytes) {
    const sp_status status = group_size(text, group, n_rows, n_bytes);
    if (status != SP_BAD_DATA) return status;
    *n_rows = *n_bytes = 0;
    return SP_OK;
}

static sp_status choose_groups(sp_parquet_text *text, uint64_t begin, uint64_t end) {
    const size_t n_groups = sp_parquet_n_groups(text->file);
    text->end = end < n_groups ? (size_t)end : n_groups;
    text->group = begin < text->end ? (size_t)begin : text->end;
    for (size_t i = 0; i < text->group; i++) {
        uint64_t n_rows = 0, n_bytes = 0;
        SP_TRY(announced_size(text, i, &n_rows, &n_bytes));
        text->n_rows_before += n_rows; /* wraps where no such file can be, as in leave_group */
    }
    return SP_OK;
}

static sp_status reserve_id(sp_parquet_text *text, size_t size) {
    if (size <= text->id_size) return SP_OK;
    char *larger = realloc(text->id, size);
    if (larger == NULL) return sp_fail(SP_FAILURE, "no memory for an id of %zu bytes", size);
    text->id = larger;
    text->id_size = size;
    return SP_OK;
}

sp_status sp_parquet_text_open(sp_parquet_text **text, const char *path, uint64_t begin,
                               uint64_t end, const sp_text_options *options) {
    void *block = NULL;
    SP_TRY(sp_alloc(&block, sizeof **text, "a text reader"));
    sp_parquet_text *made = block;
    made->path = strdup(path);
    made->where = options->where;
    made->gives_unwanted = options->gives_unwanted;
    made->name = options->column;
    sp_status status = made->path != NULL
                           ? reserve_id(made, strlen(path) + sizeof ":18446744073709551615")
                           : sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    if (status == SP_OK) status = sp_parquet_open(&made->file, path, SP_PARQUET_MOST_BYTES);
    if (status == SP_OK) {
        status = find_columns(made);
        if (status == SP_OK) status = choose_groups(made, begin, end);
        if (status != SP_OK) status = sp_fail(status, "'%s': %s", path, sp_message());
    }
    if (status == SP_OK)
        *text = made;
    else
        sp_parquet_text_close(made);
    return status;
}

void sp_parquet_text_close(sp_parquet_text *text) {
    if (text == NULL) return;
    sp_parquet_close(text->file);
    free(text->id);
    free(text->row);
    free(text->columns);
    free(text->path);
    free(text);
}

static void leave_group(sp_parquet_text *text) {
    text->n_rows_before += text->n_group_rows;
    text->n_group_rows = text->n_rows = 0;
    text->is_in_group = false;
    text->group++;
}

/* Moves to the next row of any group; *end after the last. */
static sp_status next_row(sp_parquet_text *text, bool *end) {
    for (;;) {
        *end = text->group == text->end;
        if (*end) return SP_OK;
        if (!text->is_in_group) {
            uint64_t n_bytes = 0;
            SP_TRY(group_size(text, text->group, &text->n_group_rows, &n_bytes));
            SP_TRY(sp_parquet_begin(text->file, text->group, text->columns, text->n_columns));
            text->is_in_group = true;
        }
        bool is_group_end = false;
        SP_TRY(sp_parquet_next(text->file, text->row, &is_group_end));
        if (!is_group_end) break;
        leave_group(text);
    }
    text->n_rows++;
    return SP_OK;
}

static uint64_t believed(uint64_t n_rows) { return n_rows <= MOST_BELIEVED_ROWS ? n_rows : 0; }

static sp_status lose_group(sp_parquet_text *text, sp_status status) {
    text->loss = SP_LOST_GROUP;
    text->lost_row = text->n_rows_before + text->n_rows + 1;
    const uint64_t n_group_rows = believed(text->n_group_rows);
    text->n_lost_rows = n_group_rows > text->n_rows ? n_group_rows - text->n_rows : 0;
    status = sp_fail(status, "'%s', row group %zu, from row %ju on: %s", text->path, text->group,
                     (uintmax_t)(text->n_rows_before + text->n_rows + 1), sp_message());
    if (status == SP_BAD_DATA) leave_group(text);
    return status;
}

static sp_status lose_row(sp_parquet_text *text, const char *column, const char *what) {
    text->loss = SP_LOST_ROW;
    text->lost_row = text->n_rows_before + text->n_rows;
    text->n_lost_rows = 1;
    return sp_fail(SP_BAD_DATA, "'%s', row %ju: '%s' %s", text->path, (uintmax_t)text->lost_row,
                   column, what);
}

/* Writes the row's own id, if it has one. */
static sp_status take_own_id(sp_parquet_text *text, bool *has_one) {
    const sp_field *id = &text->row[text->n_columns - 1];
    *has_one = text->has_id && (id->type == SP_FIELD_INTEGER || id->n_bytes > 0);
    if (!*has_one) return SP_OK;
    if (id->type == SP_FIELD_INTEGER) {
        snprintf(text->id, text->id_size, "%jd", (intmax_t)id->integer);
        return SP_OK;
    }
    if (memchr(id->text, '\0', id->n_bytes) != NULL) return lose_row(text, "id", "has a NUL in it");
    SP_TRY(reserve_id(text, id->n_bytes + 1));
    memcpy(text->id, id->text, id->n_bytes);
    text->id[id->n_bytes] = '\0';
    return SP_OK;
}

const char *sp_parquet_text_row_id(sp_parquet_text *text, uint64_t row) {
    snprintf(text->id, text->id_size, "%s:%ju", text->path, (uintmax_t)row);
    return text->id;
}

sp_status sp_parquet_text_next(sp_parquet_text *text, sp_document *document, bool *end) {
    static const sp_conditions none = {0};
    bool is_wanted = false;
    while (!is_wanted) {
        const sp_status status = next_row(text, end);
        if (status != SP_OK) return lose_group(text, status);
        if (*end) return SP_OK;
        /* The types have passed the check. */
        SP_TRY(sp_conditions_hold(text->where != NULL ? text->where : &none, text->row + 1,
                                  &is_wanted));
        text->n_unwanted += !is_wanted;
        if (!is_wanted && text->gives_unwanted) break;
    }
    if (is_wanted && text->row[0].type == SP_FIELD_NULL)
        return lose_row(text, text->name, "is null");
    const uint64_t row = text->n_rows_before + text->n_rows;
    bool has_own_id = false;
    const sp_status status = take_own_id(text, &has_own_id);
    /* A bad id of a row that is not wanted is no damage. */
    if (status != SP_OK && (is_wanted || status != SP_BAD_DATA)) return status;
    if (!has_own_id || status != SP_OK) sp_parquet_text_row_id(text, row);
    *document = (sp_document){.text = is_wanted ? text->row[0].text : "",
                              .n_bytes = is_wanted ? text->row[0].n_bytes : 0,
                              .id = text->id,
                              .has_own_id = has_own_id && status == SP_OK,
                              .is_unwanted = !is_wanted,
                              .row = row};
    return SP_OK;
}

void sp_parquet_text_lost_rows(const sp_parquet_text *text, uint64_t *row, uint64_t *n_rows) {
    *row = text->lost_row;
    *n_rows = text->n_lost_rows;
}

sp_text_loss sp_parquet_text_loss(const sp_parquet_text *text) { return text->loss; }

uint64_t sp_parquet_text_n_unwanted(const sp_parquet_text *text) { return text->n_unwanted; }

static sp_status list_groups(sp_text_unit **units, size_t *n, const sp_parquet_text *text) {
    const size_t n_groups = sp_parquet_n_groups(text->file);
    void *block = NULL;
    SP_TRY(sp_alloc_array(&block, n_groups, sizeof **units, "row groups"));
    sp_text_unit *made = block;
    for (size_t i = 0; i < n_groups; i++) {
        const sp_status status = announced_size(text, i, &made[i].n_rows, &made[i].n_bytes);
        if (status != SP_OK) {
            free(made);
            return sp_fail(status, "'%s', row group %zu: %s", text->path, i, sp_message());
        }
        made[i].n_rows = believed(made[i].n_rows);
        made[i].begin = i;
        made[i].end = i + 1;
    }
    *units = made;
    *n = n_groups;
    return SP_OK;
}

sp_status sp_parquet_text_units(sp_text_unit **units, size_t *n, const char *path,
                                const sp_text_options *options) {
    sp_parquet_text *text = NULL;
    SP_TRY(sp_parquet_text_open(&text, path, 0, UINT64_MAX, options));
    const sp_status status = list_groups(units, n, text);
    sp_parquet_text_close(text);
    return status;
}
