#include "run/report_html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char sp_html_style[] =
    ":root{color-scheme:light dark;--ink:#1c1e21;--soft:#5b626b;--page:#fff;--box:#f5f6f8;"
    "--line:#d9dde2;--gone:#ffd9d6;--gone-ink:#8e1508;--new:#cdeed6;--new-ink:#0b5a2b;"
    "--differs:#fff1c9}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a3abb5;--page:#14161a;"
    "--box:#1d2026;--line:#353a43;--gone:#57201b;--gone-ink:#ffc4be;--new:#173f27;"
    "--new-ink:#b4f0c8;--differs:#473b14}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:1rem;max-width:82rem;background:var(--page);color:var(--ink);"
    "font:16px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.25rem;margin:2rem 0 .6rem;"
    "border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:1rem 0 .3rem}\n"
    "h1,h2,h3,figcaption,p,.note{overflow-wrap:anywhere}\n"
    "p.soft,figcaption,.soft{color:var(--soft);font-size:.875rem}\n"
    ".note{background:var(--box);border-left:4px solid #e07b00;padding:.4rem .7rem;margin:.4rem "
    "0}\n"
    ".wide{overflow-x:auto;max-width:100%}\n"
    "table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;"
    "vertical-align:top;max-width:30rem;overflow-wrap:break-word}\n"
    ".sample table{width:100%}.sample td{white-space:nowrap;max-width:none}"
    ".sample td.text{width:100%;white-space:pre-wrap;overflow-wrap:anywhere}\n"
    "td.n,th.n{text-align:right;white-space:nowrap}th{font-weight:600}\n"
    "th.run{min-width:6rem}tr.paper td{color:var(--soft);font-style:italic}"
    "tr.differs{background:var(--differs)}\n"
    ".plots{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr)"
    ")}\n"
    "figure{margin:0;padding:.6rem;background:var(--box);border-radius:6px;min-width:0}\n"
    "figure h3{margin:0}figure svg{display:block;width:100%;height:auto;color:var(--ink)}\n"
    "figure svg text{fill:var(--ink)}figure .gridline{opacity:.45}\n"
    ".swatch{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .35em 0 0}\n"
    ".label{display:inline-block;margin-right:1em}\n"
    ".sample{background:var(--box);border-radius:6px;padding:.6rem;margin:.6rem 0}\n"
    ".sides{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),"
    "1fr))}\n"
    ".text{white-space:pre-wrap;overflow-wrap:anywhere}\n"
    "del{background:var(--gone);color:var(--gone-ink);text-decoration:line-through}\n"
    "ins{background:var(--new);color:var(--new-ink);text-decoration:underline}\n"
    "details{margin:.5rem 0}summary{cursor:pointer}\n";

/* The bytes of the UTF-8 character at text; 0: none is there. */
static size_t character_length(const unsigned char *text, size_t n) {
    const size_t length = text[0] < 0x80                       ? 1
                          : text[0] >= 0xC2 && text[0] < 0xE0  ? 2
                          : (text[0] & 0xF0) == 0xE0           ? 3
                          : text[0] >= 0xF0 && text[0] <= 0xF4 ? 4
                                                               : 0;
    if (length > n) return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    return length;
}

static void write_single(FILE *out, unsigned char c) {
    switch (c) {
    case '&':
        fputs("&amp;", out);
        return;
    case '<':
        fputs("&lt;", out);
        return;
    case '>':
        fputs("&gt;", out);
        return;
    case '"':
        fputs("&quot;", out);
        return;
    case '\'':
        fputs("&#39;", out);
        return;
    case '\n':
    case '\t':
        fputc(c, out);
        return;
    default:
        if (c < ' ') /* its picture, from U+2400 on */
            fprintf(out, "&#%d;", 0x2400 + c);
        else if (c == 0x7f)
            fputs("&#9249;", out);
        else
            fputc(c, out);
    }
}

void sp_html_text(FILE *out, const char *text, size_t n_bytes) {
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t i = 0; i < n_bytes;) {
        const size_t n = character_length(bytes + i, n_bytes - i);
        if (n == 1)
            write_single(out, bytes[i]);
        else if (n == 0)
            fputs("\xEF\xBF\xBD", out);
        else
            fwrite(bytes + i, 1, n, out);
        i += n > 0 ? n : 1;
    }
}

void sp_html_string(FILE *out, const char *text) {
    if (text != NULL) sp_html_text(out, text, strlen(text));
}

void sp_html_value(FILE *out, const json_t *value) {
    if (json_is_string(value)) {
        sp_html_text(out, json_string_value(value), json_string_length(value));
    } else if (json_is_real(value)) {
        fprintf(out, "%.6g", json_real_value(value));
    } else if (value != NULL && !json_is_null(value)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        sp_html_string(out, text);
        free(text);
    }
}
