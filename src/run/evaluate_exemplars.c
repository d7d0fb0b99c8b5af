#include "run/evaluate_exemplars.h"

#include "base/json.h"
#include "run/evaluate_values.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const sentiments[SP_N_OPTIONS] = {" negative", " positive"};
static const char *const no_and_yes[SP_N_OPTIONS] = {" no", " yes"};

/* ---- reading ---- */

static sp_status refuse(const sp_value_stream *stream, const char *path, const char *what) {
    return sp_fail(SP_BAD_DATA, "'%s', line %zu: %s", path, sp_value_stream_line(stream), what);
}

/* Texts come from files of any size: each is made by one of these. */
__attribute__((format(printf, 2, 3))) static sp_status print(char **out, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int n = vasprintf(out, format, arguments);
    va_end(arguments);
    if (n >= 0) return SP_OK;
    *out = NULL;
    return sp_fail(SP_FAILURE, "no memory for an example");
}

static sp_status add_exemplar(sp_exemplars *e, sp_exemplar **added) {
    if (e->n == e->capacity) {
        const size_t capacity = 2 * e->n + 64;
        sp_exemplar *grown = realloc(e->items, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu examples", capacity);
        e->items = grown;
        e->capacity = capacity;
    }
    e->items[e->n] = (sp_exemplar){0};
    *added = &e->items[e->n++];
    return SP_OK;
}

static sp_status add_sentence(sp_exemplars *e, const char *sentence, size_t n_bytes, size_t label) {
    sp_exemplar *made = NULL;
    while (n_bytes > 0 && sentence[n_bytes - 1] == ' ') n_bytes--;
    if (n_bytes > INT32_MAX) return sp_fail(SP_BAD_DATA, "a sentence of %zu bytes", n_bytes);
    SP_TRY(add_exemplar(e, &made));
    made->label = label;
    SP_TRY(print(&made->prompt, "Sentence: %.*s\nSentiment:", (int)n_bytes, sentence));
    SP_TRY(print(&made->empty, "Sentence: N/A\nSentiment:"));
    return print(&made->answer, "%s", sentiments[label]);
}

/* Field `wanted` of a line of fields between tabs; false: there are not so many. */
static bool find_field(const char *line, size_t n_bytes, size_t wanted, const char **field,
                       size_t *field_len) {
    const char *end = line + n_bytes;
    for (size_t i = 0;; i++) {
        const char *tab = memchr(line, '\t', (size_t)(end - line));
        const char *stop = tab != NULL ? tab : end;
        if (i == wanted) {
            *field = line;
            *field_len = (size_t)(stop - line);
            return true;
        }
        if (tab == NULL) return false;
        line = tab + 1;
    }
}

static bool find_column(const char *header, size_t n_bytes, const char *name, size_t *column) {
    const char *field;
    size_t len;
    for (size_t i = 0; find_field(header, n_bytes, i, &field, &len); i++) {
        if (len != strlen(name) || memcmp(field, name, len) != 0) continue;
        *column = i;
        return true;
    }
    return false;
}

/* The header was read. */
static sp_status read_table(sp_exemplars *e, sp_value_stream *stream, const char *path,
                            const char *header, size_t header_len, size_t limit) {
    size_t sentence_column = 0, label_column = 0;
    if (!find_column(header, header_len, "sentence", &sentence_column))
        return refuse(stream, path, "neither JSON nor a table with a column 'sentence'");
    if (!find_column(header, header_len, "label", &label_column))
        return refuse(stream, path, "the table has no column 'label'");
    e->task = "SST-2";
    e->options = sentiments;
    while (limit == 0 || e->n < limit) {
        const char *line, *sentence, *label;
        size_t n_bytes, sentence_len, label_len;
        SP_TRY(sp_value_stream_next_line(stream, &line, &n_bytes));
        if (line == NULL) break;
        if (!find_field(line, n_bytes, sentence_column, &sentence, &sentence_len) ||
            !find_field(line, n_bytes, label_column, &label, &label_len))
            return refuse(stream, path, "fewer fields than columns");
        if (label_len != 1 || (*label != '0' && *label != '1'))
            return refuse(stream, path, "the label is neither 0 nor 1");
        SP_TRY(add_sentence(e, sentence, sentence_len, *label == '1'));
    }
    return SP_OK;
}

static const char *string_of(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

static sp_status add_schema(sp_exemplars *e, const json_t *item, const sp_value_stream *stream,
                            const char *path) {
    static const char format[] =
        "Question: In the sentence \"%s\", does the pronoun '%s' refer to %s?\nAnswer:";
    const json_t *target = json_object_get(item, "target"), *label = json_object_get(item, "label");
    const char *text = string_of(item, "text");
    const char *noun = string_of(target, "span1_text"), *pronoun = string_of(target, "span2_text");
    sp_exemplar *made = NULL;
    if (text == NULL || noun == NULL || pronoun == NULL)
        return refuse(stream, path, "no text with two spans");
    if (!json_is_boolean(label)) return refuse(stream, path, "no label");
    SP_TRY(add_exemplar(e, &made));
    made->label = json_is_true(label);
    SP_TRY(print(&made->prompt, format, text, pronoun, noun));
    SP_TRY(print(&made->empty, format, "N/A", pronoun, noun));
    return print(&made->answer, "%s", no_and_yes[made->label]);
}

static sp_status add_problem(sp_exemplars *e, const json_t *item, const sp_value_stream *stream,
                             const char *path) {
    const char *question = string_of(item, "question"), *answer = string_of(item, "answer");
    sp_exemplar *made = NULL;
    if (question == NULL || answer == NULL || strstr(answer, "####") == NULL)
        return refuse(stream, path, "no question with an answer that ends in #### NUMBER");
    SP_TRY(add_exemplar(e, &made));
    SP_TRY(print(&made->prompt, "Question: %s\nAnswer:", question));
    return print(&made->answer, " %s", answer);
}

static sp_status add_object(sp_exemplars *e, const json_t *item, const sp_value_stream *stream,
                            const char *path) {
    const bool is_schema = json_object_get(item, "target") != NULL;
    const char *task = is_schema ? "WSC" : "GSM8K";
    if (e->task != NULL && strcmp(e->task, task) != 0)
        return refuse(stream, path, "another task than on the lines before");
    e->task = task;
    e->options = is_schema ? no_and_yes : NULL;
    return is_schema ? add_schema(e, item, stream, path) : add_problem(e, item, stream, path);
}

/* The first line was read. */
static sp_status read_objects(sp_exemplars *e, sp_value_stream *stream, const char *path,
                              const char *line, size_t n_bytes, size_t limit) {
    while (line != NULL && (limit == 0 || e->n < limit)) {
        json_error_t error;
        json_t *item = json_loadb(line, n_bytes, 0, &error);
        if (item == NULL)
            return sp_fail(SP_BAD_DATA, "'%s', line %zu, column %d: not JSON: %s", path,
                           sp_value_stream_line(stream), error.column, error.text);
        const sp_status status = add_object(e, item, stream, path);
        json_decref(item);
        SP_TRY(status);
        SP_TRY(sp_value_stream_next_line(stream, &line, &n_bytes));
    }
    return SP_OK;
}

static sp_status read_file(sp_exemplars *e, sp_value_stream *stream, const char *path,
                           size_t limit) {
    const char *line = NULL;
    size_t n_bytes = 0;
    SP_TRY(sp_value_stream_next_line(stream, &line, &n_bytes));
    if (line == NULL) return sp_fail(SP_BAD_DATA, "'%s': no example in it", path);
    SP_TRY(*line == '{' ? read_objects(e, stream, path, line, n_bytes, limit)
                        : read_table(e, stream, path, line, n_bytes, limit));
    return e->n > 0 ? SP_OK : sp_fail(SP_BAD_DATA, "'%s': no example in it", path);
}

sp_status sp_exemplars_read(sp_exemplars *exemplars, const char *path, size_t limit) {
    sp_value_stream *stream = NULL;
    sp_exemplars made = {0};
    *exemplars = made;
    SP_TRY(sp_value_stream_open(&stream, path));
    const sp_status status = read_file(&made, stream, path, limit);
    sp_value_stream_close(stream);
    if (status == SP_OK)
        *exemplars = made;
    else
        sp_exemplars_free(&made);
    return status;
}

void sp_exemplars_free(sp_exemplars *e) {
    for (size_t i = 0; i < e->n; i++) {
        free(e->items[i].prompt);
        free(e->items[i].empty);
        free(e->items[i].answer);
    }
    free(e->items);
    *e = (sp_exemplars){0};
}

/* ---- demonstrations ---- */

/* The next example of a label from `at` on; n if there is none. */
static size_t next_of(const sp_exemplars *e, size_t label, size_t at) {
    while (at < e->n && e->items[at].label != label) at++;
    return at;
}

size_t sp_exemplars_order(const sp_exemplars *e, size_t *order) {
    size_t n = 0;
    if (e->options == NULL) {
        for (; n < e->n; n++) order[n] = n;
        return n;
    }
    size_t at[SP_N_OPTIONS] = {0};
    for (size_t label = 0; n < e->n; label = (label + 1) % SP_N_OPTIONS) {
        const size_t found = next_of(e, label, at[label]);
        if (found == e->n) break;
        order[n++] = found;
        at[label] = found + 1;
    }
    return n;
}

/* ---- GSM8K's numbers ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Reads a number at text, with commas between its digits; *end is behind it. */
static double read_number(const char *text, const char **end) {
    char digits[64];
    size_t n = 0;
    const char *c = text;
    if (*c == '-') digits[n++] = *c++;
    for (; n + 1 < sizeof digits; c++) {
        if (is_digit(*c) || (*c == '.' && is_digit(c[1])))
            digits[n++] = *c;
        else if (*c != ',' || !is_digit(c[1]))
            break;
    }
    digits[n] = '\0';
    *end = c;
    return strtod(digits, NULL);
}

/* The first or the last number of text [begin, end); false: there is none. */
static bool find_number(double *number, const char *begin, const char *end, bool is_last) {
    bool is_found = false;
    for (const char *c = begin; c < end;) {
        const bool is_signed = *c == '-' && is_digit(c[1]) && (c == begin || !is_digit(c[-1]));
        if (!is_digit(*c) && !is_signed) {
            c++;
            continue;
        }
        *number = read_number(c, &c);
        is_found = true;
        if (!is_last) break;
    }
    return is_found;
}

static const char *earlier(const char *text, const char *mark, const char *end) {
    const char *found = strstr(text, mark);
    return found != NULL && found < end ? found : end;
}

static bool find_answer(double *number, const char *text) {
    const char *mark = strstr(text, "####"), *end = text + strlen(text);
    if (mark != NULL && find_number(number, mark, end, false)) return true;
    while (*text == '\n' || *text == ' ') text++;
    end = earlier(text, "\n\n", end);
    end = earlier(text, "\nQuestion:", end);
    return find_number(number, text, end, true);
}

bool sp_exemplar_is_solved(const sp_exemplar *exemplar, const char *text) {
    double wanted = 0, made = 0;
    return find_answer(&wanted, exemplar->answer) && find_answer(&made, text) && wanted == made;
}
