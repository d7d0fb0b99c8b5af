/* Which row of /documents an id is, without reading all ids: /documents/by_id of a slot file.

   It has a row [hash, document] for each document, hash being XXH3-64 of the id's bytes, in rising
   order of both: documents of one id follow each other in the order of the file. It lies in the file
   itself, in the index over parts too, and in small chunks, of which a look-up reads one or two. What
   it says is held against the ids that it leads to. For files in io/ only; but for adding, called
   with io's lock held. */
#pragma once

#include "io/hdf5_table.h"
#include "io/slots_file.h"

/* ---- making one ---- */

typedef struct sp_slots_lookup_row {
    uint64_t hash, document;
} sp_slots_lookup_row;

typedef struct sp_slots_lookup {
    sp_slots_lookup_row *rows; /* [n], owned */
    size_t n, capacity;
} sp_slots_lookup; /* all zero: of no documents */

/* Adds the next document. */
SP_NODISCARD sp_status sp_slots_lookup_add(sp_slots_lookup *lookup, const char *id);

/* Sorts the rows, and writes them to a file that has the group. */
SP_NODISCARD sp_status sp_slots_lookup_write(sp_slots_lookup *lookup, const sp_hdf5_file *file);

/* Sorts the rows, and holds the file's against them. SP_BAD_DATA: they differ. */
SP_NODISCARD sp_status sp_slots_lookup_compare(sp_slots_lookup *lookup, const sp_hdf5_file *file);

void sp_slots_lookup_free(sp_slots_lookup *lookup);

/* ---- reading one ---- */

/* Fails with SP_BAD_DATA: that of a file is damaged. */
SP_NODISCARD sp_status sp_slots_lookup_fail(const char *path);

/* Holds what an open file has, if it has one, against all its ids; takes the lock. SP_BAD_DATA: they
   differ. */
SP_NODISCARD sp_status sp_slots_check_lookup(const sp_slots *slots, sp_slots_lookup *lookup);

/* Whether the file has one: those of earlier versions do not. */
bool sp_slots_lookup_is_there(const sp_hdf5_file *file);

/* Finds the first document that is called `id`, whose n_documents ids are the table's column;
   *document is n_documents if none seems to be, where only a search of all ids tells. SP_BAD_DATA:
   rows that do not rise, or lead to another id. */
SP_NODISCARD sp_status sp_slots_lookup_find(sp_hdf5_table *table, size_t id_column,
                                            size_t n_documents, const char *id, size_t *document);
