/* How HDF5 writes our files: a virtual file driver for which writing never fails.

   HDF5 1.10 keeps dirty data until it closes an object. If that cannot be written, because the disk
   is full, the close fails by half, and the next one reads freed memory. So our driver remembers the
   first error, tells the library that all is well, and whoever finishes the file asks for the
   error. Called with io's lock held. */
#pragma once

#include "base/status.h"

#include <hdf5.h>

/* Makes files opened with these access properties use the driver. *write_errno (borrowed until the
   file is closed) becomes the errno of the first write that failed, or of the creation; it is 0 before. */
SP_NODISCARD sp_status sp_hdf5_use_driver(hid_t access, int *write_errno);
