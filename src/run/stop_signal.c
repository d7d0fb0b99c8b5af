#include "run/stop_signal.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t seen; /* the one thing that a handler may touch */

static void note(int signal) {
    (void)signal;
    seen = 1;
}

void sp_stop_signal_watch(void) {
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

bool sp_stop_signal_seen(void) { return seen != 0; }
