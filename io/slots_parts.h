/* Slot files in parts: one logical file of what several writers wrote.

       corpus.h5                     the index: a slot file (io/slots_file.h) whose datasets are
                                     virtual ones over the parts, with the attribute
                                     `part_digest:NAME` for each
       corpus.parts/part-0003.h5     a range of segments with their documents: the same datasets,
                                     whose numbers are those of the whole file, and the attributes
                                     `digest` and `digest_sum` of this part

   Names in the index are relative to its folder, so file and folder can be moved together. Each
   dataset of the index is the same for any number of parts. */
#pragma once

#include "io/slots_file.h"

/* Numbers in the whole file, or how many of each a part has. */
typedef struct sp_slots_counts {
    uint64_t n_documents, n_segments, n_slots, n_text_bytes;
} sp_slots_counts;

/* The folder of the parts of `output`, and a part in it: *path, owned. */
SP_NODISCARD sp_status sp_slots_parts_folder(char **path, const char *output);
SP_NODISCARD sp_status sp_slots_part_path(char **path, const char *output, size_t part);

/* Begins a part, in a folder that is there. `before`: what the parts before it hold. */
SP_NODISCARD sp_status sp_slots_writer_open_part(sp_slots_writer **writer, const char *path,
                                                 const sp_slots_info *info,
                                                 const sp_slots_counts *before, size_t longest_id);

/* Writes the index over parts 0 to n_parts - 1, each with its counts, after all of them are there.
   SP_BAD_DATA: a part is not of this job or has other counts; SP_USAGE: a name with '%', which HDF5
   keeps for itself in names of parts. */
SP_NODISCARD sp_status sp_slots_index_write(const char *output, const sp_slots_info *info,
                                            const sp_slots_counts *parts, size_t n_parts,
                                            size_t longest_id);
