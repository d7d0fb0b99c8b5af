#include "run/evaluate_dialogues.h"

#include "run/evaluate_values.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Relations that hold or do not; the other members of a relation are numbers. */
static const char *const relations[] = {"friend",           "classmate", "teacher",  "family",
                                        "immediate family", "lover",     "opponent", "colleague",
                                        "teammate",         "enemy"};

/* ---- members by any spelling ---- */

/* The next character of a name that counts, in lower case: hyphens, underscores and blanks do not. */
static char next_letter(const char **name) {
    while (**name == '-' || **name == '_' || **name == ' ') ++*name;
    return **name != '\0' ? (char)tolower((unsigned char)*(*name)++) : '\0';
}

static bool is_named(const char *key, const char *name) {
    for (;;) {
        const char a = next_letter(&key), b = next_letter(&name);
        if (a != b) return false;
        if (a == '\0') return true;
    }
}

static json_t *find(json_t *object, const char *name) {
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) if (is_named(key, name)) return value;
    return NULL;
}

/* ---- a session as text ---- */

/* A text, a number, or several of them with `between`; what is neither is left out. */
static void print_value(FILE *out, const json_t *value, const char *between) {
    const json_t *part;
    size_t i;
    if (json_is_string(value))
        (void)fputs(json_string_value(value), out);
    else if (json_is_number(value))
        (void)fprintf(out, "%g", json_number_value(value));
    json_array_foreach(value, i, part) {
        if (i > 0) (void)fputs(between, out);
        if (!json_is_array(part)) print_value(out, part, between);
    }
}

static bool says_something(const json_t *value) {
    return json_is_number(value) || (json_is_array(value) && json_array_size(value) > 0) ||
           json_string_length(value) > 0;
}

/* Empty members apart. */
static void print_line(FILE *out, const char *name, const json_t *value) {
    if (!says_something(value)) return;
    (void)fprintf(out, "%s: ", name);
    print_value(out, value, " ");
    (void)fputc('\n', out);
}

static void print_attributes(FILE *out, json_t *speakers) {
    const char *speaker, *key;
    json_t *attributes, *value;
    json_object_foreach(speakers, speaker, attributes) {
        const char *before = ": ";
        (void)fputs(speaker, out);
        json_object_foreach(attributes, key, value) {
            if (is_named(key, "name") || !says_something(value)) continue;
            (void)fprintf(out, "%s%s ", before, key);
            print_value(out, value, ", ");
            before = "; ";
        }
        (void)fputc('\n', out);
    }
}

static bool is_relation(const char *key) {
    for (size_t i = 0; i < sizeof relations / sizeof *relations; i++)
        if (is_named(key, relations[i])) return true;
    return false;
}

static void print_relations(FILE *out, json_t *speakers) {
    const char *speaker, *key;
    json_t *members, *value;
    json_object_foreach(speakers, speaker, members) {
        const char *before = ": ";
        (void)fprintf(out, "%s and Harry", speaker);
        json_object_foreach(members, key, value) {
            const bool holds_or_not = is_relation(key);
            if (is_named(key, "name") || !says_something(value)) continue;
            if (holds_or_not && json_number_value(value) == 0) continue;
            (void)fprintf(out, "%s%s", before, key);
            if (!holds_or_not) {
                (void)fputc(' ', out);
                print_value(out, value, ", ");
            }
            before = "; ";
        }
        (void)fputc('\n', out);
    }
}

static void print_context(FILE *out, json_t *session) {
    print_line(out, "Position", find(session, "position"));
    print_line(out, "Scene", find(session, "scene"));
    (void)fputc('\n', out);
    print_attributes(out, find(session, "attributes"));
    (void)fputc('\n', out);
    print_relations(out, find(session, "relations with harry"));
}

static void print_prompt(FILE *out, json_t *session) {
    const json_t *utterance;
    size_t i;
    json_array_foreach(find(session, "dialogue"), i, utterance) {
        print_value(out, utterance, " ");
        (void)fputc('\n', out);
    }
    (void)fputs("Harry:", out);
}

static void print_answer(FILE *out, json_t *session) {
    (void)fputc(' ', out);
    print_value(out, find(session, "positive response"), " ");
}

static sp_status make_text(char **text, json_t *session,
                           void (*print)(FILE *out, json_t *session)) {
    size_t n_bytes = 0;
    FILE *out = open_memstream(text, &n_bytes);
    if (out != NULL) print(out, session);
    if (out != NULL && fclose(out) == 0) return SP_OK;
    return sp_fail(SP_FAILURE, "no memory for a dialogue");
}

/* ---- files ---- */

static sp_status add_dialogue(sp_dialogues *d, sp_dialogue **added) {
    if (d->n == d->capacity) {
        const size_t capacity = 2 * d->n + 16;
        sp_dialogue *grown = realloc(d->items, capacity * sizeof *grown);
        if (grown == NULL) return sp_fail(SP_FAILURE, "no memory for %zu dialogues", capacity);
        d->items = grown;
        d->capacity = capacity;
    }
    d->items[d->n] = (sp_dialogue){0};
    *added = &d->items[d->n++];
    return SP_OK;
}

static sp_status add_session(sp_dialogues *d, const char *path, const char *name, json_t *session) {
    sp_dialogue *made = NULL;
    if (!json_is_array(find(session, "dialogue")))
        return sp_fail(SP_BAD_DATA, "'%s', %s: no dialogue", path, name);
    if (!says_something(find(session, "positive response"))) {
        d->n_passed_over++;
        return SP_OK;
    }
    SP_TRY(add_dialogue(d, &made));
    SP_TRY(make_text(&made->context, session, print_context));
    SP_TRY(make_text(&made->prompt, session, print_prompt));
    return make_text(&made->answer, session, print_answer);
}

static sp_status add_sessions(sp_dialogues *d, const char *path, json_t *sessions, size_t limit) {
    const char *name;
    json_t *session;
    d->form = "HPD";
    json_object_foreach(sessions, name, session) {
        if (limit > 0 && d->n == limit) break;
        SP_TRY(add_session(d, path, name, session));
    }
    return SP_OK;
}

static sp_status copy_member(char **out, json_t *line, const char *name, const char *path,
                             const sp_value_stream *stream) {
    const json_t *value = json_object_get(line, name);
    if (!json_is_string(value))
        return sp_fail(SP_BAD_DATA, "'%s', line %zu: '%s' is no text", path,
                       sp_value_stream_line(stream), name);
    *out = strdup(json_string_value(value));
    return *out != NULL ? SP_OK : sp_fail(SP_FAILURE, "no memory for a dialogue");
}

static sp_status add_line(sp_dialogues *d, const char *path, json_t *line,
                          const sp_value_stream *stream) {
    sp_dialogue *made = NULL;
    d->form = "lines";
    SP_TRY(add_dialogue(d, &made));
    SP_TRY(copy_member(&made->context, line, "context", path, stream));
    SP_TRY(copy_member(&made->prompt, line, "prompt", path, stream));
    return copy_member(&made->answer, line, "answer", path, stream);
}

/* Members of HPD's object are objects themselves. */
static bool holds_sessions(json_t *value) {
    const char *key;
    json_t *member;
    if (!json_is_object(value) || json_object_size(value) == 0) return false;
    json_object_foreach(value, key, member) if (!json_is_object(member)) return false;
    return true;
}

static sp_status read_values(sp_dialogues *d, const char *path, sp_value_stream *stream,
                             size_t limit) {
    while (limit == 0 || d->n < limit) {
        json_t *value = NULL;
        SP_TRY(sp_value_stream_next(stream, &value));
        if (value == NULL) break;
        const sp_status status = holds_sessions(value) ? add_sessions(d, path, value, limit)
                                                       : add_line(d, path, value, stream);
        json_decref(value);
        SP_TRY(status);
    }
    if (d->n > 0) return SP_OK;
    return sp_fail(SP_BAD_DATA, "'%s': no dialogue with a reply; %zu without", path,
                   d->n_passed_over);
}

sp_status sp_dialogues_read(sp_dialogues *dialogues, const char *path, size_t limit) {
    sp_value_stream *stream = NULL;
    sp_dialogues made = {0};
    *dialogues = made;
    SP_TRY(sp_value_stream_open(&stream, path));
    const sp_status status = read_values(&made, path, stream, limit);
    sp_value_stream_close(stream);
    if (status == SP_OK)
        *dialogues = made;
    else
        sp_dialogues_free(&made);
    return status;
}

void sp_dialogues_free(sp_dialogues *d) {
    for (size_t i = 0; i < d->n; i++) {
        free(d->items[i].context);
        free(d->items[i].prompt);
        free(d->items[i].answer);
    }
    free(d->items);
    *d = (sp_dialogues){0};
}
