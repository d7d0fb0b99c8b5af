#include "base/yaml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

enum {
    MAX_BYTES = 1 << 20, /* a configuration is a page or two */
    MAX_ENTRIES = 1 << 12,
    MAX_DEPTH = 8,
    PATH_SIZE = 256,
};

typedef struct yaml_reader {
    yaml_parser_t parser;
    const char *name; /* borrowed: of the file, for messages */
    sp_yaml *yaml;    /* borrowed: what is being filled */
    char path[PATH_SIZE];
} yaml_reader;

static sp_status fail_at(const yaml_reader *reader, size_t line, const char *what) {
    return sp_fail(SP_USAGE, "'%s', line %zu: %s", reader->name, line, what);
}

static sp_status no_memory(void) {
    return sp_fail(SP_FAILURE, "no memory to read a configuration");
}

/* libyaml counts lines from 0, and an error of the reader has an offset only. */
static sp_status fail_to_parse(const yaml_reader *reader) {
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_MEMORY_ERROR) return no_memory();
    if (parser->error == YAML_READER_ERROR)
        return sp_fail(SP_USAGE, "'%s', offset %zu: %s", reader->name, parser->problem_offset,
                       parser->problem);
    return sp_fail(SP_USAGE, "'%s', line %zu, column %zu: not YAML: %s", reader->name,
                   parser->problem_mark.line + 1, parser->problem_mark.column + 1, parser->problem);
}

/* Makes the next event, to be deleted by the caller. */
static sp_status next_event(yaml_reader *reader, yaml_event_t *event) {
    return yaml_parser_parse(&reader->parser, event) ? SP_OK : fail_to_parse(reader);
}

static size_t line_of(const yaml_event_t *event) { return event->start_mark.line + 1; }

static void delete_items(char **items, size_t n_items) {
    for (size_t i = 0; i < n_items; i++) free(items[i]);
    free(items);
}

static sp_status append_item(sp_yaml_entry *entry, const char *text) {
    char **items = realloc(entry->items, (entry->n_items + 1) * sizeof *items);
    if (items == NULL) return no_memory();
    entry->items = items;
    items[entry->n_items] = strdup(text);
    if (items[entry->n_items] == NULL) return no_memory();
    entry->n_items++;
    return SP_OK;
}

/* Adds an entry at the present path; *entry is borrowed until the next one is added. */
static sp_status append_entry(yaml_reader *reader, sp_yaml_kind kind, size_t line,
                              sp_yaml_entry **entry) {
    sp_yaml *yaml = reader->yaml;
    for (size_t i = 0; i < yaml->n_entries; i++)
        if (strcmp(yaml->entries[i].path, reader->path) == 0)
            return sp_fail(SP_USAGE, "'%s', line %zu: '%s' stands in line %zu, too", reader->name,
                           line, reader->path, yaml->entries[i].line);
    if (yaml->n_entries == MAX_ENTRIES) return fail_at(reader, line, "more keys than can be meant");
    sp_yaml_entry *entries = realloc(yaml->entries, (yaml->n_entries + 1) * sizeof *entries);
    if (entries == NULL) return no_memory();
    yaml->entries = entries;
    char *path = strdup(reader->path);
    if (path == NULL) return no_memory();
    *entry = &entries[yaml->n_entries++];
    **entry = (sp_yaml_entry){.path = path, .kind = kind, .line = line};
    return SP_OK;
}

/* Refuses what gives a node a second meaning, or lets few bytes stand for many. */
static sp_status check_plainness(const yaml_reader *reader, const yaml_event_t *event) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        anchor = event->data.alias.anchor;
        break;
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (anchor != NULL) return fail_at(reader, line_of(event), "anchors and aliases are not read");
    if (tag != NULL) return fail_at(reader, line_of(event), "tags are not read");
    if (event->type == YAML_SCALAR_EVENT &&
        strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
        return fail_at(reader, line_of(event), "a NUL character");
    return SP_OK;
}

static const char *scalar_text(const yaml_event_t *event) {
    return (const char *)event->data.scalar.value;
}

/* A quoted null is a word like others. */
static bool is_null(const yaml_event_t *event) {
    static const char *const spellings[] = {"", "~", "null", "Null", "NULL"};
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++)
        if (strcmp(scalar_text(event), spellings[i]) == 0) return true;
    return false;
}

static sp_status read_scalar(yaml_reader *reader, const yaml_event_t *event, size_t line) {
    sp_yaml_entry *entry = NULL;
    SP_TRY(append_entry(reader, is_null(event) ? SP_YAML_NULL : SP_YAML_SCALAR, line, &entry));
    return entry->kind == SP_YAML_NULL ? SP_OK : append_item(entry, scalar_text(event));
}

static sp_status read_list(yaml_reader *reader, size_t line) {
    sp_yaml_entry *entry = NULL;
    SP_TRY(append_entry(reader, SP_YAML_LIST, line, &entry));
    for (bool is_open = true; is_open;) {
        yaml_event_t event;
        SP_TRY(next_event(reader, &event));
        sp_status status = check_plainness(reader, &event);
        if (status == SP_OK && event.type == YAML_SCALAR_EVENT && !is_null(&event))
            status = append_item(entry, scalar_text(&event));
        else if (status == SP_OK && event.type != YAML_SEQUENCE_END_EVENT)
            status = fail_at(reader, line_of(&event), "a list holds plain values only");
        is_open = event.type != YAML_SEQUENCE_END_EVENT;
        yaml_event_delete(&event);
        SP_TRY(status);
    }
    return SP_OK;
}

/* Puts a mapping's key at the end of the path; *path_len is the length before. */
static sp_status enter_key(yaml_reader *reader, const yaml_event_t *event, size_t *path_len) {
    *path_len = strlen(reader->path);
    if (event->type != YAML_SCALAR_EVENT || scalar_text(event)[0] == '\0')
        return fail_at(reader, line_of(event), "a key is a word");
    const char *separator = *path_len == 0 ? "" : ".";
    const int wanted = snprintf(reader->path + *path_len, PATH_SIZE - *path_len, "%s%s", separator,
                                scalar_text(event));
    if (wanted < 0 || (size_t)wanted >= PATH_SIZE - *path_len)
        return fail_at(reader, line_of(event), "a key of this length is none of ours");
    return SP_OK;
}

static sp_status read_mapping(yaml_reader *reader, size_t depth);

static sp_status read_value(yaml_reader *reader, size_t line, size_t depth) {
    yaml_event_t event;
    SP_TRY(next_event(reader, &event));
    const yaml_event_type_t type = event.type;
    sp_status status = check_plainness(reader, &event);
    if (status == SP_OK && type == YAML_SCALAR_EVENT) status = read_scalar(reader, &event, line);
    yaml_event_delete(&event);
    SP_TRY(status);
    if (type == YAML_SEQUENCE_START_EVENT) return read_list(reader, line);
    if (type != YAML_MAPPING_START_EVENT) return SP_OK;
    if (depth == MAX_DEPTH) return fail_at(reader, line, "sections nest too deep");
    sp_yaml_entry *entry = NULL;
    SP_TRY(append_entry(reader, SP_YAML_SECTION, line, &entry));
    return read_mapping(reader, depth + 1);
}

/* Reads keys and values up to the mapping's end; its start has been read. */
static sp_status read_mapping(yaml_reader *reader, size_t depth) {
    for (;;) {
        yaml_event_t event;
        SP_TRY(next_event(reader, &event));
        const bool is_end = event.type == YAML_MAPPING_END_EVENT;
        const size_t line = line_of(&event);
        size_t path_len = 0;
        sp_status status = is_end ? SP_OK : check_plainness(reader, &event);
        if (!is_end && status == SP_OK) status = enter_key(reader, &event, &path_len);
        yaml_event_delete(&event);
        if (is_end || status != SP_OK) return status;
        SP_TRY(read_value(reader, line, depth));
        reader->path[path_len] = '\0';
    }
}

/* Reads one event of a document that may hold one mapping at its top. */
static sp_status read_top(yaml_reader *reader, const yaml_event_t *event, size_t *n_documents) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if ((*n_documents)++ > 0) return fail_at(reader, line_of(event), "a second document");
        return SP_OK;
    case YAML_MAPPING_START_EVENT:
        return read_mapping(reader, 0);
    case YAML_SCALAR_EVENT:
        if (is_null(event)) return SP_OK;
        /* fall through */
    case YAML_SEQUENCE_START_EVENT:
        return fail_at(reader, line_of(event), "a configuration is a list of `key: value`");
    default:
        return SP_OK;
    }
}

sp_status sp_yaml_parse(sp_yaml *yaml, const char *text, size_t n_bytes, const char *name) {
    if (n_bytes > MAX_BYTES) return sp_fail(SP_USAGE, "'%s': too large for a configuration", name);
    yaml_reader reader = {.name = name, .yaml = yaml};
    if (!yaml_parser_initialize(&reader.parser)) return no_memory();
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, n_bytes);
    sp_status status = SP_OK;
    size_t n_documents = 0;
    for (bool is_open = true; is_open && status == SP_OK;) {
        yaml_event_t event;
        status = next_event(&reader, &event);
        if (status != SP_OK) break;
        is_open = event.type != YAML_STREAM_END_EVENT;
        status = check_plainness(&reader, &event);
        if (status == SP_OK) status = read_top(&reader, &event, &n_documents);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&reader.parser);
    if (status != SP_OK) sp_yaml_free(yaml);
    return status;
}

sp_status sp_yaml_read(sp_yaml *yaml, const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    sp_status status = SP_OK;
    /* One byte more than is allowed tells a file that is too large. */
    char *text = malloc(MAX_BYTES + 1);
    if (text == NULL) {
        status = no_memory();
        goto cleanup;
    }
    const size_t n_bytes = fread(text, 1, MAX_BYTES + 1, file);
    if (ferror(file))
        status = sp_fail(SP_IO, "'%s': %s", path, strerror(errno));
    else
        status = sp_yaml_parse(yaml, text, n_bytes, path);
cleanup:
    free(text);
    fclose(file);
    return status;
}

void sp_yaml_free(sp_yaml *yaml) {
    for (size_t i = 0; i < yaml->n_entries; i++) {
        free(yaml->entries[i].path);
        delete_items(yaml->entries[i].items, yaml->entries[i].n_items);
    }
    free(yaml->entries);
    *yaml = (sp_yaml){0};
}
