/* What a slot file says of itself in attributes, with the groups of its datasets. For files in io/
   only; called with io's lock held. */
#pragma once

#include "io/hdf5_internal.h"
#include "io/slots_file.h"

/* What a slot's values are in a file. */
sp_hdf5_kind sp_slots_value_kind(sp_slots_dtype dtype);

/* Writes groups and attributes, the digests of contents apart. */
SP_NODISCARD sp_status sp_slots_header_write(const sp_hdf5_file *file, const sp_slots_info *info,
                                             bool is_part);

/* Reads the attributes; strings are copied to their places in *header. SP_BAD_DATA: not such a
   file. */
typedef struct sp_slots_header {
    sp_slots_info info; /* borrows from what follows */
    char compressor_digest[128], digest[64], job_digest[64];
} sp_slots_header;
SP_NODISCARD sp_status sp_slots_header_read(sp_slots_header *header, const sp_hdf5_file *file);
