#include "base/memory_limit.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { LINE_SIZE = 4608, PATH_SIZE = 2 * LINE_SIZE }; /* a group's path is of 4096 at most */

static void set_source(sp_memory_limit *limit, const char *path) {
    const size_t len = strlen(path);
    const bool is_long = len >= SP_MEMORY_SOURCE_SIZE;
    strcpy(limit->source, is_long ? path + len - (SP_MEMORY_SOURCE_SIZE - 1) : path);
}

/* One number, or none: "max" and a file that is not there. */
static bool read_number(uint64_t *number, const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    const bool is_read = fscanf(file, "%" SCNu64, number) == 1;
    fclose(file); /* was only read */
    return is_read;
}

static void lower_to(sp_memory_limit *limit, uint64_t n_bytes, const char *source) {
    if (n_bytes >= limit->n_bytes) return;
    limit->n_bytes = n_bytes;
    set_source(limit, source);
}

/* The limits of a group and of all around it. In a container the group's path may be one of the
   machine outside, of which only the upper end is there. */
static void read_group(sp_memory_limit *limit, const char *root, const char *hierarchy,
                       const char *group, const char *name) {
    char place[LINE_SIZE], path[PATH_SIZE];
    snprintf(place, sizeof place, "%s", group);
    for (;;) {
        const size_t len = strlen(place);
        if (len > 0 && place[len - 1] == '/') place[len - 1] = '\0';
        uint64_t n_bytes = 0;
        const int n = snprintf(path, sizeof path, "%s%s%s/%s", root, hierarchy, place, name);
        if (n < PATH_SIZE && read_number(&n_bytes, path)) lower_to(limit, n_bytes, path);
        char *parent = strrchr(place, '/');
        if (parent == NULL) return;
        *parent = '\0';
    }
}

/* Does the list "cpu,memory" have the controller? */
static bool has_memory(const char *controllers) {
    static const char wanted[] = "memory";
    for (const char *at = controllers; at != NULL; at = strchr(at, ',')) {
        if (*at == ',') at++;
        const size_t len = strcspn(at, ",");
        if (len == sizeof wanted - 1 && strncmp(at, wanted, len) == 0) return true;
    }
    return false;
}

/* Lines are ID:CONTROLLERS:PATH; the one of version 2 names no controllers. */
static void read_groups(sp_memory_limit *limit, const char *root) {
    char line[LINE_SIZE], path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "r");
    if (file == NULL) return; /* a kernel without control groups */
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL) continue;
        *group++ = '\0';
        controllers++;
        if (controllers[0] == '\0')
            read_group(limit, root, "/sys/fs/cgroup", group, "memory.max");
        else if (has_memory(controllers))
            read_group(limit, root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
    }
    fclose(file);
}

static void read_machine(sp_memory_limit *limit, const char *root) {
    char line[LINE_SIZE], path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *file = fopen(path, "r");
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL) {
        uint64_t kib = 0; /* the file says kB and means KiB */
        if (sscanf(line, "MemTotal: %" SCNu64, &kib) == 1 && kib < UINT64_MAX / 1024) {
            limit->machine_bytes = kib * 1024;
            lower_to(limit, kib * 1024, path);
        }
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1 && kib < UINT64_MAX / 1024)
            limit->available_bytes = kib * 1024;
    }
    fclose(file);
}

sp_status sp_memory_limit_read(sp_memory_limit *limit, const char *root) {
    sp_memory_limit found = {.n_bytes = UINT64_MAX};
    read_machine(&found, root);
    read_groups(&found, root);
    if (found.n_bytes == UINT64_MAX)
        return sp_fail(
            SP_FAILURE,
            "neither '%s/proc/meminfo' nor a control group says how much memory there is", root);
    *limit = found;
    return SP_OK;
}
