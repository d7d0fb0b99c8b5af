/* Messages about progress and decisions, to stderr, from the first rank only.

   The process has one level. main() sets it once: SP_LOG_QUIET on every rank but the first, else
   what the user asked for. A message is one line, lower case, without a newline at its end, such as
   `resuming from 'runs/nano/step-0000100'`. Failures are not logged: they travel as a status and
   main() prints their message. Library functions are silent; the loops in run/ log.
   Threads: one at a time, which is the main thread's business. */
#pragma once

#include <stdbool.h>

typedef enum sp_log_level {
    SP_LOG_QUIET,   /* as the process's level only: nothing is printed */
    SP_LOG_WARNING, /* the result may not be what the user wants; printed after `warning: ` */
    SP_LOG_INFO,    /* decisions and milestones; the level at start; shows progress bars, too */
    SP_LOG_DEBUG,   /* what only those who look for a fault want to read */
} sp_log_level;

/* From here on messages beyond `most` are dropped. */
void sp_log_set_level(sp_log_level most);

/* Would a message of this level be printed? */
bool sp_log_shows(sp_log_level level);

/* Prints one line, printf style, if the process's level allows it. */
__attribute__((format(printf, 2, 3))) void sp_log(sp_log_level level, const char *format, ...);

/* Shows `text` as the terminal's last line, in place of the one shown before; messages pass above
   it. NULL takes it away. It has no level: base/progress, which calls this, has asked. */
void sp_log_live_line(const char *text);
