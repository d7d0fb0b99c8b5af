#include "io/text_reader.h"

#include "base/memory.h"
#include "io/byte_stream.h"
#include "io/json_line.h"
#include "io/parquet_file.h"
#include "io/parquet_text.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FIRST_BUFFER_BYTES = 1 << 18 };

typedef enum shard_kind { UNKNOWN, TEXT_FILE, JSON_LINES, PARQUET } shard_kind;

struct sp_text_reader {
    char *path;
    shard_kind kind;
    sp_parquet_text *parquet; /* does it all for a .parquet; what follows is for the others */
    sp_json_wanted wanted;    /* its fields are owned */
    sp_byte_stream *stream;
    char *buffer; /* [capacity]; one byte beyond `end` is always free */
    size_t capacity, begin, end;
    bool at_end;             /* the stream has no more */
    uint64_t n_lines;        /* passed so far, from the unit's first on; a text file is one */
    uint64_t position;       /* in the file, of the next line; of .jsonl not packed */
    uint64_t unit_end;       /* lines that begin here or later are another unit's */
    uint64_t n_lines_before; /* the unit's first; NOT_COUNTED */
    uint64_t first_line;     /* its position */
    char *id;                /* [id_size], owned: the made-up id */
    size_t id_size;
    sp_text_loss loss;
    uint64_t n_lost_rows;
    bool gives_unwanted;
    sp_text_rows rows;
    uint64_t n_unwanted;
};

#define NOT_COUNTED UINT64_MAX

/* ---- names ---- */

static bool name_ends_in(const char *path, size_t n, const char *end) {
    const size_t end_len = strlen(end);
    return n > end_len && memcmp(path + n - end_len, end, end_len) == 0;
}

static shard_kind kind_of_name(const char *path, bool *is_packed) {
    const size_t n = sp_unpacked_name_len(path, is_packed);
    if (name_ends_in(path, n, ".txt")) return TEXT_FILE;
    if (name_ends_in(path, n, ".jsonl")) return JSON_LINES;
    /* Parquet packs its pages; what is packed as a whole would have to be unpacked to a disk. */
    return !*is_packed && name_ends_in(path, n, ".parquet") ? PARQUET : UNKNOWN;
}

static sp_status find_kind(shard_kind *kind, bool *is_packed, const char *path) {
    *kind = kind_of_name(path, is_packed);
    if (*kind != UNKNOWN) return SP_OK;
    return sp_fail(SP_BAD_DATA,
                   "'%s': unknown kind of text; known are .parquet, .txt and .jsonl, the last two "
                   "also with .gz or .zst",
                   path);
}

bool sp_text_has_known_name(const char *path) {
    bool is_packed = false;
    return kind_of_name(path, &is_packed) != UNKNOWN;
}

static sp_status refuse_parquet(const char *path) {
    sp_parquet *file = NULL;
    return sp_parquet_open(&file, path, SP_PARQUET_MOST_BYTES); /* which says what to do */
}

sp_status sp_text_file_size(const char *path, uint64_t *n_bytes) {
    struct stat info;
    shard_kind kind;
    bool is_packed = false;
    SP_TRY(find_kind(&kind, &is_packed, path));
    if (stat(path, &info) != 0)
        return sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return sp_fail(SP_IO, "cannot read '%s': not a regular file", path);
    if (kind == PARQUET && !sp_parquet_is_supported()) return refuse_parquet(path);
    *n_bytes = (uint64_t)info.st_size;
    return SP_OK;
}

/* ---- opening ---- */

static sp_status pass_over(sp_text_reader *reader, uint64_t limit);

/* A line that began before the unit is the unit's before. One that ends behind this unit is not read
   to its end: else each unit within a long line would read all that is left of it. */
static sp_status begin_unit(sp_text_reader *reader, const sp_text_unit *unit) {
    assert(reader->kind == JSON_LINES && unit->begin <= unit->end);
    reader->unit_end = unit->end;
    if (unit->begin == 0) return SP_OK;
    SP_TRY(sp_byte_stream_begin_at(reader->stream, unit->begin - 1));
    reader->position = unit->begin - 1;
    SP_TRY(pass_over(reader, unit->end));
    if (reader->begin < reader->end && reader->buffer[reader->begin] == '\n') {
        reader->begin++;
        reader->position++;
    }
    reader->first_line = reader->position;
    reader->n_lines_before = unit->n_rows_before > 0 ? unit->n_rows_before : NOT_COUNTED;
    return SP_OK;
}

static sp_status open_stream(sp_text_reader *reader, const sp_text_unit *unit,
                             const sp_text_options *options) {
    const size_t n_fields = options->where != NULL ? options->where->n : 0;
    void *buffer = NULL, *id = NULL, *fields = NULL;
    if (reader->kind == TEXT_FILE && n_fields > 0)
        return sp_fail(SP_USAGE, "'%s' has no field '%s': text files cannot be asked conditions",
                       reader->path, options->where->items[0].name);
    reader->id_size = strlen(reader->path) + sizeof ":18446744073709551615";
    SP_TRY(sp_alloc(&id, reader->id_size, "a document's id"));
    reader->id = id;
    SP_TRY(sp_alloc_array(&fields, n_fields, sizeof(sp_field), "fields"));
    reader->wanted = (sp_json_wanted){options->column, options->where, fields};
    SP_TRY(sp_alloc(&buffer, FIRST_BUFFER_BYTES, "text"));
    reader->buffer = buffer;
    reader->capacity = FIRST_BUFFER_BYTES;
    reader->unit_end = UINT64_MAX;
    SP_TRY(sp_byte_stream_open(&reader->stream, reader->path));
    const bool is_whole = unit->begin == 0 && unit->end == UINT64_MAX;
    return is_whole ? SP_OK : begin_unit(reader, unit);
}

sp_status sp_text_reader_open(sp_text_reader **reader, const char *path, const sp_text_unit *unit,
                              const sp_text_options *options) {
    static const sp_text_unit whole = {.begin = 0, .end = UINT64_MAX};
    sp_text_options used = options != NULL ? *options : (sp_text_options){0};
    shard_kind kind;
    bool is_packed = false;
    void *block = NULL;
    if (used.column == NULL) used.column = "text";
    if (unit == NULL) unit = &whole;
    SP_TRY(find_kind(&kind, &is_packed, path));
    SP_TRY(sp_alloc(&block, sizeof **reader, "a text reader"));
    sp_text_reader *made = block;
    made->kind = kind;
    made->gives_unwanted = used.gives_unwanted;
    made->rows = used.rows;
    made->path = strdup(path);
    sp_status status = SP_OK;
    if (made->path == NULL)
        status = sp_fail(SP_FAILURE, "no memory for the path '%s'", path);
    else if (kind == PARQUET)
        status = sp_parquet_text_open(&made->parquet, path, unit->begin, unit->end, &used);
    else
        status = open_stream(made, unit, &used);
    if (status == SP_OK)
        *reader = made;
    else
        sp_text_reader_close(made);
    return status;
}

void sp_text_reader_close(sp_text_reader *reader) {
    if (reader == NULL) return;
    sp_parquet_text_close(reader->parquet);
    sp_byte_stream_close(reader->stream);
    free(reader->wanted.fields);
    free(reader->id);
    free(reader->buffer);
    free(reader->path);
    free(reader);
}

/* ---- bytes and lines ---- */

static bool is_too_long(const sp_text_reader *reader) {
    return reader->end - reader->begin >= SP_TEXT_MOST_BYTES;
}

/* Makes room behind the buffered text, which is not too long, at its front or in a larger buffer. */
static sp_status make_room(sp_text_reader *reader) {
    if (reader->begin > 0) {
        memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
        reader->end -= reader->begin;
        reader->begin = 0;
    }
    if (reader->end + 1 < reader->capacity) return SP_OK;
    char *larger = realloc(reader->buffer, 2 * reader->capacity);
    if (larger == NULL)
        return sp_fail(SP_FAILURE, "'%s': no memory for a line or text of %zu bytes", reader->path,
                       2 * reader->capacity);
    reader->buffer = larger;
    reader->capacity *= 2;
    return SP_OK;
}

static void lose(sp_text_reader *reader, sp_text_loss loss, uint64_t n_rows) {
    reader->loss = loss;
    reader->n_lost_rows = n_rows;
}

/* Adds to the buffered text, or finds the end of the stream. A stream that is damaged is at its end,
   and what was buffered of it is gone. */
static sp_status fill(sp_text_reader *reader) {
    size_t n_read = 0;
    SP_TRY(make_room(reader));
    const sp_status status = sp_byte_stream_read(reader->stream, reader->buffer + reader->end,
                                                 reader->capacity - 1 - reader->end, &n_read);
    reader->end += n_read;
    reader->at_end = n_read == 0;
    if (status == SP_OK) return SP_OK;
    lose(reader, SP_LOST_FILE, reader->kind == TEXT_FILE);
    reader->begin = reader->end = 0;
    return status;
}

/* Goes to where the line's newline stands, or to position `limit` at least if it stands later. */
static sp_status pass_over(sp_text_reader *reader, uint64_t limit) {
    for (;;) {
        const char *text = reader->buffer + reader->begin;
        const size_t n_buffered = reader->end - reader->begin;
        const char *newline = memchr(text, '\n', n_buffered);
        const size_t n_passed = newline != NULL ? (size_t)(newline - text) : n_buffered;
        reader->begin += n_passed;
        reader->position += n_passed;
        if (newline != NULL || reader->at_end || reader->position >= limit) return SP_OK;
        SP_TRY(fill(reader));
    }
}

/* Takes the next line without its newline; *line is NULL at the end of the stream. A line that is
   too long is passed over: it is as long as the buffer, and its text is lost. */
static sp_status take_line(sp_text_reader *reader, char **line, size_t *n_bytes) {
    size_t n_searched = 0;
    const char *newline = NULL;
    for (;;) {
        const size_t n_buffered = reader->end - reader->begin;
        const char *text = reader->buffer + reader->begin;
        newline = memchr(text + n_searched, '\n', n_buffered - n_searched);
        if (newline != NULL || reader->at_end || is_too_long(reader)) break;
        n_searched = n_buffered;
        SP_TRY(fill(reader));
    }
    const size_t n_buffered = reader->end - reader->begin;
    *line = n_buffered > 0 ? reader->buffer + reader->begin : NULL;
    *n_bytes = newline != NULL ? (size_t)(newline - *line) : n_buffered;
    if (newline == NULL && !reader->at_end) {
        SP_TRY(pass_over(reader, UINT64_MAX));
        newline = reader->begin < reader->end ? reader->buffer + reader->begin : NULL;
        *line = reader->buffer;
    } else {
        reader->begin += *n_bytes;
        reader->position += *n_bytes;
    }
    reader->begin += newline != NULL;
    reader->position += newline != NULL;
    return SP_OK;
}

/* ---- documents ---- */

static const char *row_id(sp_text_reader *reader, uint64_t row) {
    if (reader->kind == TEXT_FILE)
        snprintf(reader->id, reader->id_size, "%s", reader->path);
    else
        snprintf(reader->id, reader->id_size, "%s:%ju", reader->path, (uintmax_t)row);
    return reader->id;
}

/* The whole file is the document. */
static sp_status next_text(sp_text_reader *reader, sp_document *document, bool *end) {
    *end = reader->n_lines > 0;
    if (*end) return SP_OK;
    reader->n_lines = 1;
    while (!reader->at_end && !is_too_long(reader)) SP_TRY(fill(reader));
    if (is_too_long(reader)) {
        lose(reader, SP_LOST_FILE, 1);
        return sp_fail(SP_BAD_DATA,
                       "'%s': a text of %d bytes or more; cut it, or make it lines of a .jsonl",
                       reader->path, (int)SP_TEXT_MOST_BYTES);
    }
    *document = (sp_document){.text = reader->buffer + reader->begin,
                              .n_bytes = reader->end - reader->begin,
                              .id = row_id(reader, 1),
                              .row = 1};
    return SP_OK;
}

static bool is_blank(const char *line, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    return true;
}

/* Counts the lines in front of a range of bytes, once: that reads the file up to there. */
static sp_status count_lines_before(sp_text_reader *reader) {
    if (reader->n_lines_before != NOT_COUNTED) return SP_OK;
    sp_byte_stream *stream = NULL;
    void *block = NULL;
    uint64_t n_lines = 0, n_left = reader->first_line;
    SP_TRY(sp_alloc(&block, FIRST_BUFFER_BYTES, "text"));
    const char *buffer = block;
    sp_status status = sp_byte_stream_open(&stream, reader->path);
    while (status == SP_OK && n_left > 0) {
        size_t n_read = 0;
        const size_t n_wanted =
            n_left < FIRST_BUFFER_BYTES ? (size_t)n_left : (size_t)FIRST_BUFFER_BYTES;
        status = sp_byte_stream_read(stream, block, n_wanted, &n_read);
        for (size_t i = 0; i < n_read; i++) n_lines += buffer[i] == '\n';
        n_left -= n_read;
        if (n_read == 0) break; /* somebody cut the file */
    }
    sp_byte_stream_close(stream);
    free(block);
    if (status == SP_OK) reader->n_lines_before = n_lines;
    return status;
}

/* 0: nobody counted. */
static uint64_t this_line(const sp_text_reader *reader) {
    const bool is_counted = reader->n_lines_before != NOT_COUNTED;
    return is_counted ? reader->n_lines_before + reader->n_lines : 0;
}

static sp_status lose_line(sp_text_reader *reader, sp_status status) {
    char what[SP_MESSAGE_SIZE];
    snprintf(what, sizeof what, "%s", sp_message());
    if (reader->rows != SP_ROWS_UNNEEDED) SP_TRY(count_lines_before(reader));
    lose(reader, SP_LOST_ROW, 1);
    if (reader->n_lines_before == NOT_COUNTED)
        return sp_fail(status, "'%s', line %ju after byte %ju: %s", reader->path,
                       (uintmax_t)reader->n_lines, (uintmax_t)reader->first_line, what);
    return sp_fail(status, "'%s', line %ju: %s", reader->path, (uintmax_t)this_line(reader), what);
}

/* Takes the next line of the unit that is not blank. */
static sp_status next_full_line(sp_text_reader *reader, char **line, size_t *n_bytes, bool *end) {
    do {
        *end = reader->position >= reader->unit_end;
        if (*end) return SP_OK;
        SP_TRY(take_line(reader, line, n_bytes));
        *end = *line == NULL;
        if (*end) return SP_OK;
        reader->n_lines++;
        if (*n_bytes >= SP_TEXT_MOST_BYTES) return SP_OK; /* there is no line to look at */
        const bool is_first = reader->n_lines == 1 && reader->first_line == 0;
        if (is_first && *n_bytes >= 3 && memcmp(*line, "\xEF\xBB\xBF", 3) == 0) {
            *line += 3; /* a byte order mark */
            *n_bytes -= 3;
        }
    } while (is_blank(*line, *n_bytes));
    return SP_OK;
}

static sp_status next_line(sp_text_reader *reader, sp_document *document, bool *end) {
    sp_json_line fields = {0};
    bool is_given = false;
    while (!is_given) {
        char *line = NULL;
        size_t n_bytes = 0;
        SP_TRY(next_full_line(reader, &line, &n_bytes, end));
        if (*end) return SP_OK;
        const sp_status status =
            n_bytes >= SP_TEXT_MOST_BYTES
                ? sp_fail(SP_BAD_DATA, "%d bytes or more", (int)SP_TEXT_MOST_BYTES)
                : sp_json_line_parse(&fields, &reader->wanted, line, n_bytes);
        if (status != SP_OK) return lose_line(reader, status);
        reader->n_unwanted += !fields.is_wanted;
        is_given = fields.is_wanted || reader->gives_unwanted;
    }
    if (fields.id == NULL && reader->rows == SP_ROWS_NEEDED) SP_TRY(count_lines_before(reader));
    const uint64_t row = this_line(reader);
    *document = (sp_document){.text = fields.is_wanted ? fields.text : "",
                              .n_bytes = fields.text_len,
                              .id = fields.id != NULL ? fields.id : row_id(reader, row),
                              .has_own_id = fields.id != NULL,
                              .is_unwanted = !fields.is_wanted,
                              .row = row};
    return SP_OK;
}

sp_status sp_text_reader_next(sp_text_reader *reader, sp_document *document, bool *end) {
    switch (reader->kind) {
    case PARQUET:
        return sp_parquet_text_next(reader->parquet, document, end);
    case TEXT_FILE:
        return next_text(reader, document, end);
    default:
        return next_line(reader, document, end);
    }
}

sp_text_loss sp_text_reader_loss(const sp_text_reader *reader) {
    return reader->kind == PARQUET ? sp_parquet_text_loss(reader->parquet) : reader->loss;
}

void sp_text_reader_lost_rows(const sp_text_reader *reader, uint64_t *row, uint64_t *n_rows) {
    if (reader->kind == PARQUET) {
        sp_parquet_text_lost_rows(reader->parquet, row, n_rows);
        return;
    }
    *row = this_line(reader);
    *n_rows = reader->n_lost_rows;
}

const char *sp_text_reader_row_id(sp_text_reader *reader, uint64_t row) {
    return reader->kind == PARQUET ? sp_parquet_text_row_id(reader->parquet, row)
                                   : row_id(reader, row);
}

uint64_t sp_text_reader_n_lines(const sp_text_reader *reader) { return reader->n_lines; }

uint64_t sp_text_reader_n_unwanted(const sp_text_reader *reader) {
    return reader->kind == PARQUET ? sp_parquet_text_n_unwanted(reader->parquet)
                                   : reader->n_unwanted;
}

/* ---- units ---- */

/* Ranges of a file of n_bytes; an empty file is one range. */
static sp_status list_ranges(sp_text_unit **units, size_t *n, uint64_t n_bytes,
                             uint64_t range_bytes) {
    const uint64_t n_ranges = n_bytes / range_bytes + (n_bytes % range_bytes != 0 || n_bytes == 0);
    void *block = NULL;
    if (n_ranges > SIZE_MAX) return sp_fail(SP_FAILURE, "more ranges than memory can list");
    SP_TRY(sp_alloc_array(&block, (size_t)n_ranges, sizeof **units, "ranges"));
    sp_text_unit *made = block;
    for (size_t i = 0; i < n_ranges; i++) {
        const uint64_t begin = i * range_bytes, left = n_bytes - begin;
        const uint64_t size = left < range_bytes ? left : range_bytes;
        made[i] = (sp_text_unit){
            .begin = begin, .end = i + 1 < n_ranges ? begin + size : UINT64_MAX, .n_bytes = size};
    }
    *units = made;
    *n = (size_t)n_ranges;
    return SP_OK;
}

sp_status sp_text_units(sp_text_unit **units, size_t *n, const char *path, uint64_t range_bytes,
                        const sp_text_options *options) {
    sp_text_options used = options != NULL ? *options : (sp_text_options){0};
    shard_kind kind;
    bool is_packed = false;
    uint64_t n_bytes = 0;
    if (used.column == NULL) used.column = "text";
    SP_TRY(find_kind(&kind, &is_packed, path));
    if (kind == PARQUET) return sp_parquet_text_units(units, n, path, &used);
    SP_TRY(sp_text_file_size(path, &n_bytes));
    const bool is_divisible = kind == JSON_LINES && !is_packed;
    return list_ranges(units, n, n_bytes, is_divisible ? range_bytes : UINT64_MAX);
}
