#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

/* The one terminal of the process, and what is on it: state that no caller could hold. */
static sp_log_level shown_level = SP_LOG_INFO;
static bool has_live_line;

static void erase_live_line(void) {
    if (has_live_line) fputs("\r\x1b[K", stderr); /* ANSI: clear to the end of the line */
    has_live_line = false;
}

void sp_log_set_level(sp_log_level most) { shown_level = most; }

bool sp_log_shows(sp_log_level level) { return level > SP_LOG_QUIET && level <= shown_level; }

void sp_log(sp_log_level level, const char *format, ...) {
    if (!sp_log_shows(level)) return;
    char message[2048]; /* a longer one is cut; written whole, lines of several processes stay so */
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    erase_live_line();
    fprintf(stderr, "%s%s\n", level == SP_LOG_WARNING ? "warning: " : "", message);
}

void sp_log_live_line(const char *text) {
    erase_live_line();
    if (text != NULL) fputs(text, stderr);
    has_live_line = text != NULL;
    fflush(stderr);
}
