#include "base/version.h"

#include <stdio.h>

#include <jansson.h>
#include <xxhash.h>
#include <yaml.h>

void sp_jansson_version(char *text, size_t size) {
    snprintf(text, size, "%s", jansson_version_str());
}

void sp_libyaml_version(char *text, size_t size) {
    snprintf(text, size, "%s", yaml_get_version_string());
}

void sp_xxhash_version(char *text, size_t size) {
    const unsigned number = XXH_versionNumber(); /* 801 is 0.8.1 */
    snprintf(text, size, "%u.%u.%u", number / 10000, number / 100 % 100, number % 100);
}
