#include "io/version.h"

#include "io/parquet_file.h"

#include <stdio.h>

#include <openssl/crypto.h>
#include <zlib.h>
#include <zstd.h>

void sp_zlib_version(char *text, size_t size) { snprintf(text, size, "%s", zlibVersion()); }

void sp_zstd_version(char *text, size_t size) { snprintf(text, size, "%s", ZSTD_versionString()); }

void sp_libcrypto_version(char *text, size_t size) {
    snprintf(text, size, "%s", OpenSSL_version(OPENSSL_VERSION));
}

void sp_arrow_version(char *text, size_t size) { snprintf(text, size, "%s", sp_parquet_library()); }
