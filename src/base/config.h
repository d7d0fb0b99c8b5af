/* Configuration keys as a table.

   One row holds a key's name, type, place, default, range, words and help. Defaults, the YAML
   reader, --set, --help and the dump of an effective configuration read the same rows and cannot
   disagree; a new key is one row and one struct member. Precedence: sp_config_init(), then
   sp_config_load_file(), then sp_config_assign() in the order of the command line.

   Values as text: a count takes a decimal suffix (K, M, G or B, T: 5G is 5000000000); `null`, `~`
   and nothing at all stand for no value where a key allows that; a list is `[q, k, v]` or
   `q,k,v`. */
#pragma once

#include "base/status.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum sp_key_type {
    SP_KEY_COUNT,         /* size_t */
    SP_KEY_COUNT_OR_AUTO, /* size_t; `auto` and `null` give SP_COUNT_AUTO */
    SP_KEY_REAL,          /* double */
    SP_KEY_BOOL,          /* bool */
    SP_KEY_STRING,        /* char *, owned; `null` gives NULL */
    SP_KEY_CHOICE,        /* int or an enum: the index in `words` */
    SP_KEY_COUNTS,        /* sp_count_list: one count, or a list of them that differ */
    SP_KEY_LIST, /* sp_string_list, owned; items differ, and are of `words` if there are any */
} sp_key_type;

#define SP_COUNT_AUTO SIZE_MAX
#define SP_COUNT_LIMIT 9007199254740992.0 /* 2^53: a count, too, is read as a double */

enum { SP_MOST_COUNTS = 16 };

typedef struct sp_count_list {
    size_t items[SP_MOST_COUNTS]; /* [n_items], rising */
    size_t n_items;
} sp_count_list;

typedef struct sp_string_list {
    char **items; /* [n_items], owned like each item */
    size_t n_items;
} sp_string_list;

typedef struct sp_config_key {
    const char *name; /* full path, as in the YAML file and after --set: "train.lr" */
    sp_key_type type;
    size_t offset;            /* offsetof() its member */
    const char *initial;      /* the default, as a user would write it */
    double min, max;          /* of numbers, and each of SP_KEY_COUNTS: allowed, both ends included;
                                 of lists: their length */
    const char *const *words; /* allowed ones, NULL-terminated; NULL: any */
    const char *help;         /* one line, with the unit */
} sp_config_key;

typedef struct sp_config_table {
    const sp_config_key *keys; /* [n_keys] */
    size_t n_keys;
} sp_config_table;

/* Sets every member of the struct at `config` that the table names to its default. The struct must
   be all-zero or initialised before. */
SP_NODISCARD sp_status sp_config_init(void *config, const sp_config_table *table);

/* Releases every owned string and list; they become empty. May be called twice. */
void sp_config_free(void *config, const sp_config_table *table);

/* Sets one member from text. SP_USAGE: unknown key (the message names the nearest one) or bad
   value; the member stays as it was. */
SP_NODISCARD sp_status sp_config_set(void *config, const sp_config_table *table, const char *name,
                                     const char *text);

/* The same from the argument of --set, "train.lr=1e-4". */
SP_NODISCARD sp_status sp_config_assign(void *config, const sp_config_table *table,
                                        const char *assignment);

/* Sets the members that a YAML file names, in block or flow style. SP_IO: cannot be read; SP_USAGE
   with file and line: not YAML, unknown or repeated key, bad value. On failure some members may be
   set. */
SP_NODISCARD sp_status sp_config_load_file(void *config, const sp_config_table *table,
                                           const char *path);

/* The line of the YAML file at `path` that sets `name`; 0: none does, or the file cannot be read. */
size_t sp_config_find_line(const char *path, const char *name);

/* Sets the members that a JSON object names, such as one from sp_config_dump(); `where` stands for
   it in messages. Errors as above. */
SP_NODISCARD sp_status sp_config_load_json(void *config, const sp_config_table *table,
                                           const json_t *object, const char *where);

/* Makes a nested object of all keys and their values, in the table's order. *object is owned. */
SP_NODISCARD sp_status sp_config_dump(json_t **object, const void *config,
                                      const sp_config_table *table);

/* Reads counts as a list of text has them, "4" or "4,16": SP_USAGE names `name`; each is at least 1. */
SP_NODISCARD sp_status sp_config_parse_counts(sp_count_list *list, const char *name,
                                              const char *text);

/* Writes "4, 16" to text, as much of it as there is room for. */
void sp_config_counts_text(char *text, size_t size, const sp_count_list *list);

/* Prints one line a key: name, default, help, and the words allowed. */
void sp_config_print_help(FILE *out, const sp_config_table *table);
