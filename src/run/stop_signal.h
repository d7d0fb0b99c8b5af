/* SIGTERM and SIGUSR1 ask a run to save and stop: they only set a flag, which a loop reads at its
   step boundaries. */
#pragma once

#include <stdbool.h>

/* From here on the two signals set the flag. */
void sp_stop_signal_watch(void);

/* Has either come? */
bool sp_stop_signal_seen(void);
