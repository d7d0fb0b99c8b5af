/* YAML files as a flat list of paths and values, with their lines.

   What a configuration needs of YAML, and no more: one document, mappings, scalars and lists of
   scalars, in block or flow style. Nested mappings become paths joined by dots. Anchors, aliases,
   tags, repeated keys, lists of anything but scalars and files beyond 1 MiB are refused; JSON text
   is YAML, too. */
#pragma once

#include "base/status.h"

#include <stddef.h>

typedef enum sp_yaml_kind {
    SP_YAML_SECTION, /* a mapping; its members are entries of their own */
    SP_YAML_NULL,    /* null, ~ or nothing */
    SP_YAML_SCALAR,  /* items [1] */
    SP_YAML_LIST,    /* items [n_items] */
} sp_yaml_kind;

typedef struct sp_yaml_entry {
    char *path; /* owned, "train.lr" */
    sp_yaml_kind kind;
    char **items; /* [n_items], owned like each item */
    size_t n_items;
    size_t line; /* of the key, from 1 */
} sp_yaml_entry;

/* Entries in the file's order; a section comes before its members. */
typedef struct sp_yaml {
    sp_yaml_entry *entries; /* [n_entries], owned */
    size_t n_entries;
} sp_yaml;

/* Reads a file into *yaml, which must be empty. SP_IO: cannot be read; SP_USAGE with file and line:
   not YAML, or YAML of a kind that is refused. */
SP_NODISCARD sp_status sp_yaml_read(sp_yaml *yaml, const char *path);

/* The same from n_bytes of text; `name` stands for it in messages. */
SP_NODISCARD sp_status sp_yaml_parse(sp_yaml *yaml, const char *text, size_t n_bytes,
                                     const char *name);

void sp_yaml_free(sp_yaml *yaml);
