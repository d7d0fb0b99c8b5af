/* Time that never runs backwards: for durations, rates and time limits. */
#pragma once

/* Seconds since some fixed moment of this boot, to a microsecond or better. */
double sp_clock_seconds(void);
