/* Porter's stemmer (M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980), with
   the extensions of NLTK's PorterStemmer, its default mode. */
#pragma once

#include <stddef.h>

/* Reduces a word of lower-case ASCII letters and digits to its stem in place; returns the stem's
   length, which is not above len. */
size_t sp_porter_stem(char *word, size_t len);
