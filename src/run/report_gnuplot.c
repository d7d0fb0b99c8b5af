#include "run/report_gnuplot.h"

#include "base/read_all.h"
#include "io/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Cairo's PNG is the finer one; every gnuplot has SVG. The script comes twice. */
static const char preamble[] =
    "set encoding utf8\n"
    "is_png = %d\n"
    "if (is_png) {\n"
    "  if (strstrt(GPVAL_TERMINALS, ' pngcairo ')) {\n"
    "    set terminal pngcairo noenhanced size 1200,750 font 'sans-serif,16' linewidth 2\n"
    "  } else {\n"
    "    set terminal png noenhanced size 1200,750\n"
    "  }\n"
    "  set output 'plot.png'\n"
    "} else {\n"
    "  set terminal svg noenhanced size %d,%d font 'sans-serif,14'\n"
    "  set output 'plot.svg'\n"
    "}\n"
    "set border 3 linecolor rgb '#808080'\n"
    "set tics nomirror\n"
    "set grid linecolor rgb '#b0b0b0' linetype 1 linewidth 0.5\n"
    "if (is_png) {set key tmargin center horizontal noenhanced} else {unset key}\n";

static sp_status no_memory(void) { return sp_fail(SP_FAILURE, "no memory to draw"); }

/* Runs gnuplot in `folder`, both its outputs going to the file `log` there. */
static sp_status run_in(const char *folder, bool *is_missing) {
    static char program[] = "gnuplot", no_defaults[] = "-d", script[] = "script.gp";
    char *const arguments[] = {program, no_defaults, script, NULL};
    posix_spawn_file_actions_t actions;
    pid_t process = 0;
    int state = 0;
    if (posix_spawn_file_actions_init(&actions) != 0) return no_memory();
    int error = posix_spawn_file_actions_addchdir_np(&actions, folder);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "log",
                                                 O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    if (error == 0) error = posix_spawnp(&process, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    *is_missing = error == ENOENT;
    if (error != 0) return sp_fail(SP_FAILURE, "cannot run gnuplot: %s", strerror(error));
    while (waitpid(process, &state, 0) < 0)
        if (errno != EINTR) return sp_fail(SP_FAILURE, "gnuplot: %s", strerror(errno));
    *is_missing = WIFEXITED(state) && WEXITSTATUS(state) == 127; /* an older C library's way */
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return SP_OK;
    return sp_fail(SP_FAILURE, "gnuplot failed");
}

static char *path_in(const char *folder, const char *name) {
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static sp_status read_file(const char *folder, const char *name, char **text, size_t *n_bytes) {
    char *path = path_in(folder, name);
    if (path == NULL) return no_memory();
    FILE *file = fopen(path, "r");
    sp_status status = file != NULL ? sp_read_all(text, n_bytes, file, path)
                                    : sp_fail(SP_IO, "cannot open '%s': %s", path, strerror(errno));
    if (file != NULL) fclose(file); /* was only read */
    free(path);
    return status;
}

static sp_status write_script(const char *folder, const char *script) {
    char *path = path_in(folder, "script.gp");
    if (path == NULL) return no_memory();
    FILE *file = fopen(path, "w");
    bool is_written = file != NULL;
    for (int is_png = 0; is_written && is_png < 2; is_png++) {
        fprintf(file, preamble, is_png, SP_DRAWING_WIDTH, SP_DRAWING_HEIGHT);
        is_written = fprintf(file, "%s\nunset output\nreset\n", script) > 0;
    }
    if (file != NULL) is_written = fclose(file) == 0 && is_written;
    const sp_status status =
        is_written ? SP_OK : sp_fail(SP_IO, "cannot write '%s': %s", path, strerror(errno));
    free(path);
    return status;
}

/* Puts the last line that gnuplot printed behind the message. */
static sp_status explain(sp_status status, const char *folder) {
    char *text = NULL, before[SP_MESSAGE_SIZE];
    size_t n = 0;
    snprintf(before, sizeof before, "%s", sp_message());
    if (read_file(folder, "log", &text, &n) != SP_OK) return sp_fail(status, "%s", before);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' ')) text[--n] = '\0';
    const char *line = strrchr(text, '\n');
    status = n > 0 ? sp_fail(status, "%.300s: %.300s", before, line != NULL ? line + 1 : text)
                   : sp_fail(status, "%s", before);
    free(text);
    return status;
}

/* ---- an SVG file within a page ----

   A page holds many: ids would come twice, and titles show up as tips. */

static bool begins(const char *line, const char *text) {
    return strncmp(line + strspn(line, " \t"), text, strlen(text)) == 0;
}

/* Writes a line without its id="..." and its <title>. */
static void write_line(FILE *out, const char *line, size_t n) {
    const char *end = line + n;
    const char *title = memmem(line, n, "<title>", 7);
    if (title != NULL) end = title;
    const char *id = memmem(line, (size_t)(end - line), " id=\"", 5);
    const char *id_end = id != NULL ? memchr(id + 5, '"', (size_t)(end - id - 5)) : NULL;
    if (id_end != NULL) {
        fwrite(line, 1, (size_t)(id - line), out);
        line = id_end + 1;
    }
    fwrite(line, 1, (size_t)(end - line), out);
    fputc('\n', out);
}

static void write_parts(FILE *svg, FILE *definitions, char *text) {
    char *body = strstr(text, "<g id=\"gnuplot_canvas\"");
    bool is_definition = false;
    for (char *line = body, *next; line != NULL; line = next) {
        char *end = strchr(line, '\n');
        next = end != NULL ? end + 1 : NULL;
        const size_t n = end != NULL ? (size_t)(end - line) : strlen(line);
        if (end != NULL) *end = '\0';
        if (begins(line, "<defs>")) is_definition = true;
        const bool is_point = strstr(line, "id='gp") != NULL;
        const bool is_background = begins(line, "<rect x=\"0\" y=\"0\"");
        if (is_definition && is_point) fprintf(definitions, "%s\n", line);
        if (!is_definition && !is_background && n > 0 && !begins(line, "</svg>"))
            write_line(svg, line, n);
        if (begins(line, "</defs>")) is_definition = false;
    }
}

static sp_status embed(sp_drawing *drawing, char *text) {
    size_t n_svg = 0, n_definitions = 0;
    FILE *svg = open_memstream(&drawing->svg, &n_svg);
    FILE *definitions = open_memstream(&drawing->definitions, &n_definitions);
    if (svg != NULL && definitions != NULL) write_parts(svg, definitions, text);
    const bool is_svg = svg != NULL && fclose(svg) == 0;
    const bool has_definitions = definitions != NULL && fclose(definitions) == 0;
    if (!is_svg || !has_definitions) return no_memory();
    return n_svg > 0 ? SP_OK : sp_fail(SP_FAILURE, "gnuplot drew nothing");
}

static sp_status draw_in(sp_drawing *drawing, const char *folder, const char *script,
                         bool *is_missing) {
    char *text = NULL;
    size_t n = 0;
    SP_TRY(write_script(folder, script));
    sp_status status = run_in(folder, is_missing);
    if (status != SP_OK) return *is_missing ? status : explain(status, folder);
    status = read_file(folder, "plot.svg", &text, &n);
    if (status == SP_OK) status = embed(drawing, text);
    if (status == SP_OK) status = read_file(folder, "plot.png", &drawing->png, &drawing->png_bytes);
    free(text);
    return status;
}

sp_status sp_drawing_make(sp_drawing *drawing, const char *script, bool *is_missing) {
    const char *place = getenv("TMPDIR");
    char *folder =
        path_in(place != NULL && *place != '\0' ? place : "/tmp", "slotpress-plot.XXXXXX");
    *is_missing = false;
    if (folder == NULL) return no_memory();
    if (mkdtemp(folder) == NULL) {
        const sp_status status =
            sp_fail(SP_IO, "cannot make a folder '%s': %s", folder, strerror(errno));
        free(folder);
        return status;
    }
    const sp_status status = draw_in(drawing, folder, script, is_missing);
    sp_discard_folder(folder);
    free(folder);
    if (status != SP_OK) sp_drawing_free(drawing);
    return status;
}

void sp_drawing_free(sp_drawing *drawing) {
    free(drawing->svg);
    free(drawing->definitions);
    free(drawing->png);
    *drawing = (sp_drawing){0};
}
