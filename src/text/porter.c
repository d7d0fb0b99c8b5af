#include "text/porter.h"

#include <stdbool.h>
#include <string.h>

/* The present form of the word. Steps shorten it, or lengthen what they had shortened. */
typedef struct form {
    char *letters; /* borrowed */
    size_t len;
} form;

static bool is_vowel(char letter) { return letter != '\0' && strchr("aeiou", letter) != NULL; }

/* A y is a consonant at the start and after a vowel. */
static bool is_consonant(const char *letters, size_t i) {
    bool flips = false;
    for (; i > 0 && letters[i] == 'y'; i--) flips = !flips;
    return is_vowel(letters[i]) == flips;
}

/* What the kinds of a word's letters say. */
typedef struct letter_kinds {
    size_t measure; /* m: how many times a vowel is followed by a consonant */
    bool has_vowel;
} letter_kinds;

static letter_kinds kinds_of(const char *letters, size_t len) {
    letter_kinds kinds = {0};
    bool before = true; /* whether the letter before is a consonant */
    for (size_t i = 0; i < len; i++) {
        const bool present = letters[i] == 'y' ? i == 0 || !before : !is_vowel(letters[i]);
        kinds.measure += present && !before;
        kinds.has_vowel |= !present;
        before = present;
    }
    return kinds;
}

static size_t measure(const char *letters, size_t len) { return kinds_of(letters, len).measure; }

static bool ends_double_consonant(const form *word) {
    const size_t n = word->len;
    return n >= 2 && word->letters[n - 1] == word->letters[n - 2] &&
           is_consonant(word->letters, n - 1);
}

/* *o: ends consonant, vowel, consonant other than w, x, y; or is a vowel and a consonant. */
static bool ends_cvc(const char *letters, size_t n) {
    if (n == 2) return !is_consonant(letters, 0) && is_consonant(letters, 1);
    return n >= 3 && is_consonant(letters, n - 3) && !is_consonant(letters, n - 2) &&
           is_consonant(letters, n - 1) && strchr("wxy", letters[n - 1]) == NULL;
}

static bool ends_with(const form *word, const char *suffix) {
    const size_t n = strlen(suffix);
    return word->len >= n && memcmp(word->letters + word->len - n, suffix, n) == 0;
}

static void replace(form *word, size_t suffix_len, const char *replacement) {
    const size_t n = strlen(replacement);
    word->len -= suffix_len;
    memcpy(word->letters + word->len, replacement, n);
    word->len += n;
}

typedef struct rule {
    const char *suffix, *replacement;
} rule;

/* The first rule whose suffix the word has decides: it is applied if the stem's measure is above
   `above`. */
static void apply_first(form *word, const rule *rules, size_t n_rules, size_t above) {
    for (size_t i = 0; i < n_rules; i++) {
        if (!ends_with(word, rules[i].suffix)) continue;
        const size_t suffix_len = strlen(rules[i].suffix);
        if (measure(word->letters, word->len - suffix_len) > above)
            replace(word, suffix_len, rules[i].replacement);
        return;
    }
}

#define APPLY_FIRST(word, rules, above) \
    apply_first(word, rules, sizeof rules / sizeof *rules, above)

static bool is_irregular(form *word) {
    static const rule forms[] = {
        {"sky", "sky"},        {"skies", "sky"},        {"dying", "die"},
        {"lying", "lie"},      {"tying", "tie"},        {"news", "news"},
        {"innings", "inning"}, {"inning", "inning"},    {"outings", "outing"},
        {"outing", "outing"},  {"cannings", "canning"}, {"canning", "canning"},
        {"howe", "howe"},      {"proceed", "proceed"},  {"exceed", "exceed"},
        {"succeed", "succeed"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (word->len == strlen(forms[i].suffix) && ends_with(word, forms[i].suffix)) {
            replace(word, word->len, forms[i].replacement);
            return true;
        }
    return false;
}

/* Plurals. */
static void step_1a(form *word) {
    if (ends_with(word, "ies"))
        replace(word, 3, word->len == 4 ? "ie" : "i");
    else if (ends_with(word, "sses"))
        replace(word, 4, "ss");
    else if (ends_with(word, "s") && !ends_with(word, "ss"))
        replace(word, 1, "");
}

/* What makes up for a removed -ed or -ing. */
static void restore_ending(form *word) {
    if (ends_with(word, "at") || ends_with(word, "bl") || ends_with(word, "iz"))
        replace(word, 0, "e");
    else if (ends_double_consonant(word))
        word->len -= strchr("lsz", word->letters[word->len - 1]) == NULL;
    else if (measure(word->letters, word->len) == 1 && ends_cvc(word->letters, word->len))
        replace(word, 0, "e");
}

/* Past and progressive. */
static void step_1b(form *word) {
    if (ends_with(word, "ied")) {
        replace(word, 3, word->len == 4 ? "ie" : "i");
        return;
    }
    if (ends_with(word, "eed")) {
        if (measure(word->letters, word->len - 3) > 0) replace(word, 3, "ee");
        return;
    }
    const size_t suffix_len = ends_with(word, "ed") ? 2 : ends_with(word, "ing") ? 3 : 0;
    if (suffix_len == 0 || !kinds_of(word->letters, word->len - suffix_len).has_vowel) return;
    replace(word, suffix_len, "");
    restore_ending(word);
}

/* A final y after a consonant. */
static void step_1c(form *word) {
    if (word->len > 2 && ends_with(word, "y") && is_consonant(word->letters, word->len - 2))
        replace(word, 1, "i");
}

static void step_2(form *word) {
    static const rule rules[] = {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},
                                 {"anci", "ance"},   {"izer", "ize"},    {"bli", "ble"},
                                 {"alli", "al"},     {"entli", "ent"},   {"eli", "e"},
                                 {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
                                 {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"},
                                 {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},
                                 {"iviti", "ive"},   {"biliti", "ble"},  {"fulli", "ful"}};
    if (ends_with(word, "alli") && measure(word->letters, word->len - 4) > 0)
        replace(word, 4, "al");
    if (ends_with(word, "logi")) { /* its l belongs to the stem that is measured */
        if (measure(word->letters, word->len - 3) > 0) replace(word, 4, "log");
        return;
    }
    APPLY_FIRST(word, rules, 0);
}

static void step_3(form *word) {
    static const rule rules[] = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
                                 {"ical", "ic"},  {"ful", ""},   {"ness", ""}};
    APPLY_FIRST(word, rules, 0);
}

static void step_4(form *word) {
    static const rule rules[] = {
        {"al", ""},   {"ance", ""}, {"ence", ""},  {"er", ""},   {"ic", ""},  {"able", ""},
        {"ible", ""}, {"ant", ""},  {"ement", ""}, {"ment", ""}, {"ent", ""}, {"ou", ""},
        {"ism", ""},  {"ate", ""},  {"iti", ""},   {"ous", ""},  {"ive", ""}, {"ize", ""}};
    if (ends_with(word, "ion")) {
        if (measure(word->letters, word->len - 3) > 1 &&
            strchr("st", word->letters[word->len - 4]) != NULL)
            word->len -= 3;
        return;
    }
    APPLY_FIRST(word, rules, 1);
}

/* A final e, and a double l. */
static void step_5(form *word) {
    if (ends_with(word, "e")) {
        const size_t m = measure(word->letters, word->len - 1);
        if (m > 1 || (m == 1 && !ends_cvc(word->letters, word->len - 1))) word->len--;
    }
    if (ends_with(word, "ll") && measure(word->letters, word->len - 1) > 1) word->len--;
}

size_t sp_porter_stem(char *letters, size_t len) {
    form word = {letters, len};
    if (len <= 2 || is_irregular(&word)) return word.len;
    step_1a(&word);
    step_1b(&word);
    step_1c(&word);
    step_2(&word);
    step_3(&word);
    step_4(&word);
    step_5(&word);
    return word.len;
}
