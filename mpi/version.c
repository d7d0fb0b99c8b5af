#include "mpi/version.h"

#include <stdio.h>
#include <string.h>

#include <mpi.h>

void sp_mpi_version(char *text, size_t size) {
    char whole[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int len = 0;
    MPI_Get_library_version(whole, &len);
    /* What follows the first comma or line is where and when it was built. */
    snprintf(text, size, "%.*s", (int)strcspn(whole, ",\n"), whole);
}
