#include "base/clock.h"

#include <time.h>

double sp_clock_seconds(void) {
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock exists, the address is ours */
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
