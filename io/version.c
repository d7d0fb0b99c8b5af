#include "io/version.h"

#include <stdio.h>

#include <zlib.h>
#include <zstd.h>

void sp_zlib_version(char *text, size_t size) { snprintf(text, size, "%s", zlibVersion()); }

void sp_zstd_version(char *text, size_t size) { snprintf(text, size, "%s", ZSTD_versionString()); }
