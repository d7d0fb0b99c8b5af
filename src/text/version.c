#include "text/version.h"

#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

void sp_pcre2_version(char *text, size_t size) {
    char whole[64] = ""; /* pcre2_config() needs 24 */
    pcre2_config(PCRE2_CONFIG_VERSION, whole);
    snprintf(text, size, "%s", whole);
}

void sp_utf8proc_version(char *text, size_t size) {
    snprintf(text, size, "%s", utf8proc_version());
}
