#include "base/config.h"

#include "base/nearest.h"
#include "base/yaml.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_SIZE = 256 }; /* for what a message says of a key; more is cut */

static sp_status no_memory(void) { return sp_fail(SP_FAILURE, "no memory for a configuration"); }

static void *member_of(void *config, const sp_config_key *key) {
    return (char *)config + key->offset;
}

static const void *const_member_of(const void *config, const sp_config_key *key) {
    return (const char *)config + key->offset;
}

/* ---- numbers ---- */

/* Decimal notation only: strtod() would take spaces, hexadecimal and names, too. */
static bool parse_real(double *value, const char *text) {
    char *end = NULL;
    if (text[0] == '\0' || strspn(text, "+-.0123456789eE") != strlen(text)) return false;
    *value = strtod(text, &end);
    return end != text && *end == '\0';
}

/* A suffix is read as an exponent, so that 1.1G is exact. */
static bool parse_count(double *value, const char *text) {
    static const struct {
        char suffix;
        const char *exponent;
    } scales[] = {{'K', "e3"}, {'M', "e6"}, {'G', "e9"}, {'B', "e9"}, {'T', "e12"}};
    char scaled[64];
    const size_t len = strlen(text);
    if (len == 0 || len + 4 > sizeof scaled) return false;
    memcpy(scaled, text, len + 1);
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++)
        if (text[len - 1] == scales[i].suffix) strcpy(scaled + len - 1, scales[i].exponent);
    return parse_real(value, scaled) && *value == floor(*value);
}

static sp_status fail_number(const sp_config_key *key, const char *text) {
    const bool is_real = key->type == SP_KEY_REAL;
    const char *or_auto = key->type == SP_KEY_COUNT_OR_AUTO ? ", and not 'auto' or 'null'" : "";
    if (key->max >= SP_COUNT_LIMIT)
        return sp_fail(SP_USAGE, "%s: '%s' is not a %s of at least %.15g%s", key->name, text,
                       is_real ? "number" : "count", key->min, or_auto);
    return sp_fail(SP_USAGE, "%s: '%s' is not a %s from %.15g to %.15g%s", key->name, text,
                   is_real ? "number" : "count", key->min, key->max, or_auto);
}

static bool parse_number(double *value, const sp_config_key *key, const char *text) {
    const bool is_number =
        key->type == SP_KEY_REAL ? parse_real(value, text) : parse_count(value, text);
    return is_number && *value >= key->min && *value <= key->max;
}

static sp_status set_number(void *config, const sp_config_key *key, const char *text) {
    double value = 0;
    if (!parse_number(&value, key, text)) return fail_number(key, text);
    if (key->type == SP_KEY_REAL)
        *(double *)member_of(config, key) = value;
    else
        *(size_t *)member_of(config, key) = (size_t)value;
    return SP_OK;
}

/* ---- words and lists ---- */

/* Index of `text` in words, or -1. */
static int find_word(const char *const *words, const char *text) {
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(words[i], text) == 0) return i;
    return -1;
}

/* Writes "a, b, c" to text; what does not fit is left out. */
static void join_words(char text[TEXT_SIZE], const char *const *words, const char *separator) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; words[i] != NULL && used < TEXT_SIZE; i++)
        used += (size_t)snprintf(text + used, TEXT_SIZE - used, "%s%s", i == 0 ? "" : separator,
                                 words[i]);
}

static sp_status fail_word(const sp_config_key *key, const char *text) {
    char allowed[TEXT_SIZE];
    join_words(allowed, key->words, ", ");
    return sp_fail(SP_USAGE, "%s: '%s' is not one of %s", key->name, text, allowed);
}

static sp_status set_choice(void *config, const sp_config_key *key, const char *text) {
    const int index = find_word(key->words, text);
    if (index < 0) return fail_word(key, text);
    *(int *)member_of(config, key) = index;
    return SP_OK;
}

static sp_status set_bool(void *config, const sp_config_key *key, const char *text) {
    const bool is_true = strcmp(text, "true") == 0;
    if (!is_true && strcmp(text, "false") != 0)
        return sp_fail(SP_USAGE, "%s: '%s' is not one of true, false", key->name, text);
    *(bool *)member_of(config, key) = is_true;
    return SP_OK;
}

/* `text` is NULL for no value. */
static sp_status set_string(void *config, const sp_config_key *key, const char *text) {
    char *copy = text == NULL ? NULL : strdup(text);
    if (text != NULL && copy == NULL) return no_memory();
    char **member = member_of(config, key);
    free(*member);
    *member = copy;
    return SP_OK;
}

static void free_list(sp_string_list *list) {
    for (size_t i = 0; i < list->n_items; i++) free(list->items[i]);
    free(list->items);
    *list = (sp_string_list){0};
}

static sp_status append_item(sp_string_list *list, const char *text, size_t text_len) {
    char **items = realloc(list->items, (list->n_items + 1) * sizeof *items);
    if (items == NULL) return no_memory();
    list->items = items;
    items[list->n_items] = strndup(text, text_len);
    if (items[list->n_items] == NULL) return no_memory();
    list->n_items++;
    return SP_OK;
}

static sp_status check_list(const sp_config_key *key, const sp_string_list *list) {
    for (size_t i = 0; i < list->n_items; i++) {
        if (key->words != NULL && find_word(key->words, list->items[i]) < 0)
            return fail_word(key, list->items[i]);
        for (size_t j = 0; j < i; j++)
            if (strcmp(list->items[i], list->items[j]) == 0)
                return sp_fail(SP_USAGE, "%s: '%s' is there twice", key->name, list->items[i]);
    }
    if ((double)list->n_items < key->min || (double)list->n_items > key->max)
        return sp_fail(SP_USAGE, "%s: %zu items are not from %.15g to %.15g", key->name,
                       list->n_items, key->min, key->max);
    return SP_OK;
}

/* Moves *list into its member, or releases it. */
static sp_status set_list(void *config, const sp_config_key *key, sp_string_list *list) {
    const sp_status status = check_list(key, list);
    if (status != SP_OK) {
        free_list(list);
        return status;
    }
    sp_string_list *member = member_of(config, key);
    free_list(member);
    *member = *list;
    *list = (sp_string_list){0};
    return SP_OK;
}

static sp_status set_list_from_items(void *config, const sp_config_key *key, char *const *items,
                                     size_t n_items) {
    sp_string_list list = {0};
    for (size_t i = 0; i < n_items; i++) {
        const sp_status status = append_item(&list, items[i], strlen(items[i]));
        if (status == SP_OK) continue;
        free_list(&list);
        return status;
    }
    return set_list(config, key, &list);
}

/* Drops spaces at both ends of [*begin, *end). */
static void trim(const char **begin, const char **end) {
    while (*begin < *end && isspace((unsigned char)**begin)) ++*begin;
    while (*end > *begin && isspace((unsigned char)(*end)[-1])) --*end;
}

/* Splits "[a, b]" or "a,b" into an empty list, which is released if that fails. */
static sp_status split_list(sp_string_list *list, const char *text) {
    const char *begin = text, *end = text + strlen(text);
    trim(&begin, &end);
    const bool has_brackets = end - begin >= 2 && *begin == '[' && end[-1] == ']';
    if (has_brackets) begin++, end--;
    trim(&begin, &end);
    while (begin < end) {
        const char *comma = memchr(begin, ',', (size_t)(end - begin));
        const char *item = begin, *item_end = comma == NULL ? end : comma;
        trim(&item, &item_end);
        const sp_status status = append_item(list, item, (size_t)(item_end - item));
        if (status != SP_OK) {
            free_list(list);
            return status;
        }
        begin = comma == NULL ? end : comma + 1;
    }
    return SP_OK;
}

static sp_status set_list_from_text(void *config, const sp_config_key *key, const char *text) {
    sp_string_list list = {0};
    SP_TRY(split_list(&list, text));
    return set_list(config, key, &list);
}

/* ---- counts ---- */

/* Puts a count in its place. */
static sp_status add_count(sp_count_list *list, const sp_config_key *key, const char *text) {
    double value = 0;
    if (!parse_number(&value, key, text)) return fail_number(key, text);
    const size_t count = (size_t)value;
    size_t place = list->n_items;
    while (place > 0 && list->items[place - 1] > count) place--;
    if (place > 0 && list->items[place - 1] == count)
        return sp_fail(SP_USAGE, "%s: %zu is there twice", key->name, count);
    if (list->n_items == SP_MOST_COUNTS)
        return sp_fail(SP_USAGE, "%s: more than %d items", key->name, (int)SP_MOST_COUNTS);
    memmove(list->items + place + 1, list->items + place,
            (list->n_items++ - place) * sizeof *list->items);
    list->items[place] = count;
    return SP_OK;
}

static sp_status read_counts(sp_count_list *list, const sp_config_key *key, char *const *items,
                             size_t n_items) {
    sp_count_list made = {0};
    if (n_items == 0) return sp_fail(SP_USAGE, "%s: needs a value", key->name);
    for (size_t i = 0; i < n_items; i++) SP_TRY(add_count(&made, key, items[i]));
    *list = made;
    return SP_OK;
}

static sp_status read_counts_text(sp_count_list *list, const sp_config_key *key, const char *text) {
    sp_string_list items = {0};
    SP_TRY(split_list(&items, text));
    const sp_status status = read_counts(list, key, items.items, items.n_items);
    free_list(&items);
    return status;
}

/* ---- one member ---- */

static sp_status set_null(void *config, const sp_config_key *key) {
    switch (key->type) {
    case SP_KEY_COUNT_OR_AUTO:
        *(size_t *)member_of(config, key) = SP_COUNT_AUTO;
        return SP_OK;
    case SP_KEY_STRING:
        return set_string(config, key, NULL);
    case SP_KEY_LIST:
        return set_list_from_items(config, key, NULL, 0);
    default:
        return sp_fail(SP_USAGE, "%s: needs a value", key->name);
    }
}

static sp_status set_text(void *config, const sp_config_key *key, const char *text) {
    switch (key->type) {
    case SP_KEY_COUNT_OR_AUTO:
        if (strcmp(text, "auto") == 0) return set_null(config, key);
        return set_number(config, key, text);
    case SP_KEY_COUNT:
    case SP_KEY_REAL:
        return set_number(config, key, text);
    case SP_KEY_BOOL:
        return set_bool(config, key, text);
    case SP_KEY_STRING:
        return set_string(config, key, text);
    case SP_KEY_CHOICE:
        return set_choice(config, key, text);
    case SP_KEY_COUNTS:
        return read_counts_text(member_of(config, key), key, text);
    case SP_KEY_LIST:
        return set_list_from_text(config, key, text);
    }
    return sp_fail(SP_FAILURE, "%s: its table is wrong", key->name);
}

/* ---- names ---- */

static const sp_config_key *find_key(const sp_config_table *table, const char *name) {
    for (size_t i = 0; i < table->n_keys; i++)
        if (strcmp(name, table->keys[i].name) == 0) return &table->keys[i];
    return NULL;
}

/* Is `path` a section: are there keys below it? */
static bool is_section(const sp_config_table *table, const char *path) {
    const size_t len = strlen(path);
    for (size_t i = 0; i < table->n_keys; i++)
        if (strncmp(table->keys[i].name, path, len) == 0 && table->keys[i].name[len] == '.')
            return true;
    return false;
}

static sp_status fail_unknown_key(const sp_config_table *table, const char *name) {
    const char *nearest = "";
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < table->n_keys; i++) {
        const size_t distance = sp_edit_distance(name, table->keys[i].name);
        if (distance >= least) continue;
        least = distance;
        nearest = table->keys[i].name;
    }
    return sp_fail(SP_USAGE, "unknown key '%s'; did you mean '%s'?", name, nearest);
}

static sp_status fail_unknown_section(const sp_config_table *table, const char *path) {
    char nearest[TEXT_SIZE] = "", section[TEXT_SIZE];
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < table->n_keys; i++) {
        snprintf(section, sizeof section, "%s", table->keys[i].name);
        for (char *dot = strrchr(section, '.'); dot != NULL; dot = strrchr(section, '.')) {
            *dot = '\0';
            const size_t distance = sp_edit_distance(path, section);
            if (distance >= least) continue;
            least = distance;
            memcpy(nearest, section, sizeof nearest);
        }
    }
    return sp_fail(SP_USAGE, "unknown key '%s'; did you mean '%s'?", path, nearest);
}

static sp_status fail_name(const sp_config_table *table, const char *name) {
    if (is_section(table, name))
        return sp_fail(SP_USAGE, "'%s' is a section: set the keys below it", name);
    return fail_unknown_key(table, name);
}

/* ---- files ---- */

static sp_status set_entry(void *config, const sp_config_table *table, const sp_yaml_entry *entry) {
    const sp_config_key *key = find_key(table, entry->path);
    const bool names_section = is_section(table, entry->path);
    if (entry->kind == SP_YAML_SECTION) {
        if (names_section) return SP_OK;
        if (key == NULL) return fail_unknown_section(table, entry->path);
        return sp_fail(SP_USAGE, "%s: is a value, not a section", key->name);
    }
    if (entry->kind == SP_YAML_NULL && names_section) return SP_OK; /* a section without keys */
    if (key == NULL) return fail_name(table, entry->path);
    if (entry->kind == SP_YAML_NULL) return set_null(config, key);
    if (entry->kind == SP_YAML_SCALAR) return set_text(config, key, entry->items[0]);
    if (key->type == SP_KEY_COUNTS)
        return read_counts(member_of(config, key), key, entry->items, entry->n_items);
    if (key->type != SP_KEY_LIST) return sp_fail(SP_USAGE, "%s: is one value, no list", key->name);
    return set_list_from_items(config, key, entry->items, entry->n_items);
}

static sp_status set_entries(void *config, const sp_config_table *table, const sp_yaml *yaml,
                             const char *name) {
    for (size_t i = 0; i < yaml->n_entries; i++) {
        const sp_status status = set_entry(config, table, &yaml->entries[i]);
        if (status != SP_OK)
            return sp_fail(status, "'%s', line %zu: %s", name, yaml->entries[i].line, sp_message());
    }
    return SP_OK;
}

/* ---- the dump ---- */

/* A new reference; NULL without memory. */
static json_t *dump_list(const sp_string_list *list) {
    json_t *array = json_array();
    for (size_t i = 0; i < list->n_items && array != NULL; i++)
        if (json_array_append_new(array, json_string(list->items[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    return array;
}

/* One is no list, as a configuration without lists has it. A new reference; NULL without memory. */
static json_t *dump_counts(const sp_count_list *list) {
    if (list->n_items == 1) return json_integer((json_int_t)list->items[0]);
    json_t *array = json_array();
    for (size_t i = 0; i < list->n_items && array != NULL; i++)
        if (json_array_append_new(array, json_integer((json_int_t)list->items[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    return array;
}

/* A new reference; NULL without memory, or for a string that is not UTF-8. */
static json_t *dump_member(const void *config, const sp_config_key *key) {
    const void *member = const_member_of(config, key);
    switch (key->type) {
    case SP_KEY_COUNT_OR_AUTO:
        if (*(const size_t *)member == SP_COUNT_AUTO)
            return strcmp(key->initial, "auto") == 0 ? json_string("auto") : json_null();
        return json_integer((json_int_t) * (const size_t *)member);
    case SP_KEY_COUNT:
        return json_integer((json_int_t) * (const size_t *)member);
    case SP_KEY_REAL:
        return json_real(*(const double *)member);
    case SP_KEY_BOOL:
        return json_boolean(*(const bool *)member);
    case SP_KEY_STRING: {
        const char *text = *(char *const *)member;
        return text == NULL ? json_null() : json_string(text);
    }
    case SP_KEY_CHOICE:
        return json_string(key->words[*(const int *)member]);
    case SP_KEY_COUNTS:
        return dump_counts(member);
    case SP_KEY_LIST:
        return dump_list(member);
    }
    return NULL;
}

/* The object for the section of `name` below `root`, made where it is missing; borrowed. *leaf is
   the last component. NULL without memory. */
static json_t *open_section(json_t *root, const char *name, const char **leaf) {
    json_t *object = root;
    const char *begin = name;
    for (const char *dot = strchr(begin, '.'); dot != NULL; dot = strchr(begin, '.')) {
        char component[TEXT_SIZE];
        snprintf(component, sizeof component, "%.*s", (int)(dot - begin), begin);
        json_t *inner = json_object_get(object, component);
        if (inner == NULL) {
            inner = json_object();
            if (json_object_set_new(object, component, inner) != 0) return NULL;
        }
        object = inner;
        begin = dot + 1;
    }
    *leaf = begin;
    return object;
}

/* ---- the interface ---- */

sp_status sp_config_init(void *config, const sp_config_table *table) {
    for (size_t i = 0; i < table->n_keys; i++)
        SP_TRY(sp_config_set(config, table, table->keys[i].name, table->keys[i].initial));
    return SP_OK;
}

void sp_config_free(void *config, const sp_config_table *table) {
    for (size_t i = 0; i < table->n_keys; i++) {
        const sp_config_key *key = &table->keys[i];
        if (key->type == SP_KEY_LIST) free_list(member_of(config, key));
        if (key->type == SP_KEY_STRING) {
            char **member = member_of(config, key);
            free(*member);
            *member = NULL;
        }
    }
}

sp_status sp_config_set(void *config, const sp_config_table *table, const char *name,
                        const char *text) {
    const sp_config_key *key = find_key(table, name);
    if (key == NULL) return fail_name(table, name);
    const bool is_null = text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
    return is_null ? set_null(config, key) : set_text(config, key, text);
}

sp_status sp_config_assign(void *config, const sp_config_table *table, const char *assignment) {
    char name[TEXT_SIZE];
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || (size_t)(equals - assignment) >= sizeof name)
        return sp_fail(SP_USAGE, "--set '%s': write KEY=VALUE, as in --set train.lr=1e-4",
                       assignment);
    snprintf(name, sizeof name, "%.*s", (int)(equals - assignment), assignment);
    const sp_status status = sp_config_set(config, table, name, equals + 1);
    return status == SP_OK ? SP_OK : sp_fail(status, "--set '%s': %s", assignment, sp_message());
}

sp_status sp_config_load_file(void *config, const sp_config_table *table, const char *path) {
    sp_yaml yaml = {0};
    SP_TRY(sp_yaml_read(&yaml, path));
    const sp_status status = set_entries(config, table, &yaml, path);
    sp_yaml_free(&yaml);
    return status;
}

size_t sp_config_find_line(const char *path, const char *name) {
    sp_yaml yaml = {0};
    size_t line = 0;
    if (sp_yaml_read(&yaml, path) != SP_OK) return 0;
    for (size_t i = 0; i < yaml.n_entries; i++)
        if (strcmp(yaml.entries[i].path, name) == 0) line = yaml.entries[i].line;
    sp_yaml_free(&yaml);
    return line;
}

sp_status sp_config_load_json(void *config, const sp_config_table *table, const json_t *object,
                              const char *where) {
    if (!json_is_object(object)) return sp_fail(SP_USAGE, "'%s': no configuration", where);
    char *text = json_dumps(object, JSON_REAL_PRECISION(17));
    if (text == NULL) return no_memory();
    sp_yaml yaml = {0};
    sp_status status = sp_yaml_parse(&yaml, text, strlen(text), where);
    if (status == SP_OK) status = set_entries(config, table, &yaml, where);
    sp_yaml_free(&yaml);
    free(text);
    return status;
}

sp_status sp_config_dump(json_t **object, const void *config, const sp_config_table *table) {
    json_t *root = json_object();
    for (size_t i = 0; i < table->n_keys; i++) {
        const char *leaf = NULL;
        json_t *section = open_section(root, table->keys[i].name, &leaf);
        if (section == NULL ||
            json_object_set_new(section, leaf, dump_member(config, &table->keys[i])) != 0) {
            json_decref(root);
            return sp_fail(SP_FAILURE, "%s: no memory for it, or not UTF-8", table->keys[i].name);
        }
    }
    *object = root;
    return SP_OK;
}

sp_status sp_config_parse_counts(sp_count_list *list, const char *name, const char *text) {
    const sp_config_key key = {
        .name = name, .type = SP_KEY_COUNTS, .min = 1, .max = SP_COUNT_LIMIT};
    return read_counts_text(list, &key, text);
}

void sp_config_counts_text(char *text, size_t size, const sp_count_list *list) {
    size_t used = 0;
    if (size > 0) text[0] = '\0';
    for (size_t i = 0; i < list->n_items && used < size; i++)
        used +=
            (size_t)snprintf(text + used, size - used, "%s%zu", i == 0 ? "" : ", ", list->items[i]);
}

void sp_config_print_help(FILE *out, const sp_config_table *table) {
    for (size_t i = 0; i < table->n_keys; i++) {
        const sp_config_key *key = &table->keys[i];
        fprintf(out, "  %-26s %s", key->name, key->help);
        if (key->words != NULL) {
            char words[TEXT_SIZE];
            join_words(words, key->words, " | ");
            fprintf(out, ": %s", words);
        }
        fprintf(out, " [%s]\n", key->initial);
    }
}
