#include "base/progress.h"

#include "base/clock.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const double terminal_period_s = 0.1; /* faster than that nobody reads */
static const double plain_period_s = 30;
enum {
    LINE_BYTES = 512,
    BAR_COLUMNS = 30,   /* of a bar with room */
    LEAST_COLUMNS = 20, /* a terminal that claims fewer does not know */
    USUAL_COLUMNS = 80, /* for those */
    PIECE_BYTES = 64,
};

/* "950", "1.40M", "52.1G": three digits that count and a decimal unit. */
static void format_count(char text[PIECE_BYTES], double count) {
    static const char units[] = " kMGTPE";
    size_t unit = 0;
    while (count >= 999.5 && unit + 2 < sizeof units) {
        count /= 1000;
        unit++;
    }
    const int n_decimals = unit == 0 ? 0 : count < 9.995 ? 2 : count < 99.95 ? 1 : 0;
    snprintf(text, PIECE_BYTES, "%.*f%.*s", n_decimals, count, unit > 0, units + unit);
}

/* A rate below ten, such as of steps, needs its decimals. */
static void format_rate(char text[PIECE_BYTES], double rate) {
    if (rate < 10)
        snprintf(text, PIECE_BYTES, "%.2f", rate);
    else
        format_count(text, rate);
}

/* "0:07", "12:34", "3:25:45" */
static void format_duration(char text[PIECE_BYTES], double seconds) {
    const double most = 359999999; /* 99999 hours; beyond, nobody waits */
    const unsigned long whole = (unsigned long)(seconds < most ? seconds + 0.5 : most);
    if (whole < 3600)
        snprintf(text, PIECE_BYTES, "%lu:%02lu", whole / 60, whole % 60);
    else
        snprintf(text, PIECE_BYTES, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
}

static double rate_of(const sp_progress *progress, double seconds) {
    if (seconds <= 0 || progress->done < progress->done_before) return 0;
    return (double)(progress->done - progress->done_before) / seconds;
}

static void append(char *text, size_t n_bytes, const char *separator, const char *piece) {
    const size_t used = strlen(text);
    if (piece[0] != '\0')
        snprintf(text + used, n_bytes - used, "%s%s", used > 0 ? separator : "", piece);
}

/* Everything behind the percentage: counts, rate, extra, and the time left or taken. */
static void format_details(char *text, size_t n_bytes, const sp_progress *progress, double seconds,
                           const char *separator) {
    char piece[3 * PIECE_BYTES], done[PIECE_BYTES], total[PIECE_BYTES], number[PIECE_BYTES];
    text[0] = '\0';
    format_count(done, (double)progress->done);
    format_count(total, (double)progress->total);
    if (progress->total > 0)
        snprintf(piece, sizeof piece, "%s/%s %.32s", done, total, progress->unit);
    else
        snprintf(piece, sizeof piece, "%s %.32s", done, progress->unit);
    append(text, n_bytes, separator, piece);

    const double rate = rate_of(progress, seconds);
    if (rate > 0) {
        format_rate(number, rate);
        snprintf(piece, sizeof piece, "%s %.32s/s", number, progress->unit);
        append(text, n_bytes, separator, piece);
    }
    append(text, n_bytes, separator, progress->extra);
    if (rate > 0 && progress->done < progress->total) {
        format_duration(number, (double)(progress->total - progress->done) / rate);
        snprintf(piece, sizeof piece, "ETA %s", number);
        append(text, n_bytes, separator, piece);
    } else if (progress->total > 0 && progress->done >= progress->total) {
        format_duration(number, seconds);
        snprintf(piece, sizeof piece, "in %s", number);
        append(text, n_bytes, separator, piece);
    }
}

static unsigned percent_of(const sp_progress *progress) {
    if (progress->done >= progress->total) return 100;
    return (unsigned)(100 * ((double)progress->done / (double)progress->total));
}

/* "[=====>    ]", as wide as the room allows, or nothing. */
static void format_bar(char *text, size_t n_bytes, const sp_progress *progress, size_t room) {
    enum { LEAST_BAR = 5 };
    text[0] = '\0';
    const size_t width = room < BAR_COLUMNS ? room : BAR_COLUMNS;
    if (width < LEAST_BAR || width + 3 > n_bytes) return;
    const size_t full = width * percent_of(progress) / 100;
    text[0] = '[';
    memset(text + 1, ' ', width);
    memset(text + 1, '=', full);
    if (full < width) text[1 + full] = '>';
    memcpy(text + 1 + width, "]", 2);
}

static void format_for_terminal(char *text, size_t n_bytes, const sp_progress *progress,
                                const char *details, size_t n_columns) {
    char bar[BAR_COLUMNS + 3];
    if (progress->total == 0) {
        snprintf(text, n_bytes, "%s  %s", progress->what, details);
    } else {
        const size_t around = strlen(progress->what) + strlen(" []  100 %  ") + strlen(details);
        format_bar(bar, sizeof bar, progress, around < n_columns ? n_columns - around : 0);
        snprintf(text, n_bytes, "%s %s %3u %%  %s", progress->what, bar, percent_of(progress),
                 details);
    }
    /* A line that wraps could not be taken back. Text of ours is ASCII: bytes are columns. */
    if (strlen(text) > n_columns) text[n_columns] = '\0';
}

void sp_progress_format(char *text, size_t n_bytes, const sp_progress *progress, double seconds,
                        size_t n_columns) {
    char details[LINE_BYTES];
    if (n_columns > 0) {
        format_details(details, sizeof details, progress, seconds, "  ");
        format_for_terminal(text, n_bytes, progress, details, n_columns);
        return;
    }
    format_details(details, sizeof details, progress, seconds, ", ");
    if (progress->total > 0)
        snprintf(text, n_bytes, "%s: %u %%, %s", progress->what, percent_of(progress), details);
    else
        snprintf(text, n_bytes, "%s: %s", progress->what, details);
}

/* Columns of the terminal behind a file descriptor, 0 where there is none. One less than it has, for
   the cursor that stands behind the line. */
static size_t columns_of(int fd) {
    struct winsize size = {0};
    if (isatty(fd) != 1) return 0;
    const bool known = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= LEAST_COLUMNS;
    return (known ? size.ws_col : USUAL_COLUMNS) - 1u;
}

/* mpirun reads our stderr through a pipe and writes to its own: on its node that is where we look. */
static size_t launcher_columns(void) {
    char path[PIECE_BYTES];
    struct stat about;
    if (getenv("OMPI_COMM_WORLD_RANK") == NULL) return 0;
    snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)getppid(), STDERR_FILENO);
    if (stat(path, &about) != 0 || !S_ISCHR(about.st_mode)) return 0;
    const int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return 0;
    const size_t n_columns = columns_of(fd);
    close(fd);
    return n_columns;
}

static size_t terminal_columns(void) {
    const size_t n_columns = columns_of(STDERR_FILENO);
    return n_columns > 0 ? n_columns : launcher_columns();
}

static void format_now(char line[LINE_BYTES], const sp_progress *progress, double now_s) {
    const size_t n_columns = progress->is_terminal ? terminal_columns() : 0;
    sp_progress_format(line, LINE_BYTES, progress, now_s - progress->begin_s, n_columns);
}

void sp_progress_begin(sp_progress *progress, const char *what, uint64_t total, const char *unit) {
    const double now_s = sp_clock_seconds();
    *progress = (sp_progress){.what = what,
                              .unit = unit,
                              .total = total,
                              .begin_s = now_s,
                              .shown_s = now_s,
                              .is_terminal = terminal_columns() > 0,
                              .is_quiet = !sp_log_shows(SP_LOG_INFO)};
}

void sp_progress_update(sp_progress *progress, uint64_t done, const char *extra) {
    char line[LINE_BYTES];
    progress->done = done;
    progress->has_news = true;
    snprintf(progress->extra, sizeof progress->extra, "%s", extra != NULL ? extra : "");
    if (progress->is_quiet) return;
    const double now_s = sp_clock_seconds();
    const double period_s = progress->is_terminal ? terminal_period_s : plain_period_s;
    if (now_s - progress->shown_s < period_s) return;
    progress->shown_s = now_s;
    format_now(line, progress, now_s);
    if (progress->is_terminal) {
        sp_log_live_line(line);
        return;
    }
    sp_log(SP_LOG_INFO, "%s", line);
    progress->has_news = false;
}

void sp_progress_end(sp_progress *progress) {
    char line[LINE_BYTES];
    if (progress->is_quiet || !progress->has_news) return;
    format_now(line, progress, sp_clock_seconds());
    sp_log(SP_LOG_INFO, "%s", line); /* as a message it stays above whatever comes next */
    progress->has_news = false;
}
