#include "text/version.h"

#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

void sp_pcre2_version(char *text, size_t size) {
    char whole[64] = ""; /* pcre2_config() needs 24 */
    pcre2_config(PCRE2_CONFIG_VERSION, whole);
    snprintf(text, size, "%s", whole);
}
