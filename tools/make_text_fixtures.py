#!/usr/bin/env python3
"""Makes tests/fixtures/text from the reference implementations of tokenizers and text metrics.

    pip install tokenizers sacrebleu rouge_score nltk
    python tools/make_text_fixtures.py        # from the repository's root

Texts that JSON strings cannot hold here (with NULs) are given as `hex`, the UTF-8 bytes.

tokenizer_gpt2.json, tokenizer_llama3.json, tokenizer_phi3.json
    small tokenizers of those kinds, trained on LICENSE and the phrases below
encodings.json: a list of
    name, base        what is tried, and which of these tokenizers it starts from
    members           members of tokenizer.json to replace (those of `model` one by one)
    parse_special     false: encoded with encode_special_tokens
    is_continuation   the texts go on from another
    encodings         list of {text | hex, ids}; for phi3 with what they decode to as `decoded`, unless
                      that is the text (null: the reference cannot show it)
real_files.json: what the tokenizers in $BUILD/tokenizers (tools/bootstrap) make of texts
    pieces, recipes   the texts, by recipes that make_text() follows; pieces and repeated units are
                      hexadecimal
    expected          by tokenizer and recipe: number of ids, FNV-1a of the ids as little-endian i32,
                      FNV-1a of what they decode to (null: it is not UTF-8)
metrics.json
    pairs             list of {hypothesis, reference, bleu_sentence, rouge_l, rouge_l_stem}
    corpora           list of {pairs: indices, bleu}
    stems             word: Porter stem
"""
import copy
import json
import math
import os
import random
import re
import struct
import sys
import warnings

import sacrebleu
from nltk.stem.porter import PorterStemmer
from nltk.translate.bleu_score import sentence_bleu
from rouge_score import rouge_scorer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

FOLDER = "tests/fixtures/text"

PHRASES = [
    "It's a fine day, isn't it? They're sure we've seen what I'm told you'll say he'd do.",
    "In 1984 about 12,345.67 people paid $3.50 for 2 of 100 tickets (50% off).",
    "def f(x):\n    return x + 1\n\n\nfor i in range(10):\n\tprint(f(i))\n",
    "Der Süden ist schön, größer als gedacht; l'été à Noël, garçon, mañana, Übermut.",
    "Привет, мир! Как дела? 你好,世界。今天天气很好。 こんにちは世界 안녕하세요 שלום עולם مرحبا بالعالم",
    "हिन्दी में लिखा हुआ पाठ। ภาษาไทยไม่เว้นวรรค",
    "😀 😀😀 👩‍👩‍👧 🇩🇪 ✓ → ∞ “quotes” — dashes… ½ ² Ⅷ ٣",
]

LLAMA3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
                  r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXTS = PHRASES + [
    "",
    " ",
    "a",
    "\n",
    "  two  spaces   and more    here     ",
    "tabs\t\tand\r\nline\n\n ends \n \n",
    "'s 'S 'll 'LL 're'Re don't DON'T 'sss ''s",
    "1 12 123 1234 12345 1234567890 1.5e-10 ²½Ⅷ٣४",
    "a\0b\0\0c",
    "e\u0301 \u0301 a\u0323\u0307 \u0915\u093c \u0958 \u212b \u2126 \uac01 \u1100\u1161\u11a8",
    "\u00a0\u00a0x\u2003\u3000y\u2028z\u0085\u180e\u200b\u200d\ufeff end",
    "<|endoftext|>", "a<|endoftext|>b <|endoftext|> c<|endoftext", "<|eot|><|eot|> <|start|>user",
    "word" * 60, " " * 100 + "x", "7" * 100, "a" * 1000, "!?" * 80, "\n" * 50,
    "the License of the Work, and Derivative Works thereof",
]


def training_texts():
    with open("LICENSE", encoding="utf-8") as file:
        return [file.read()] + PHRASES * 3


def train(pre_tokenizer, special_tokens, vocab_size, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special_tokens,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(training_texts(), trainer)
    return tokenizer


def gpt2():
    """Merges as "a b", special tokens in the vocabulary."""
    tokenizer = train(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"], 600)
    result = json.loads(tokenizer.to_str())
    result["model"]["merges"] = [" ".join(pair) for pair in result["model"]["merges"]]
    return result


def llama3():
    """Merges as pairs, special tokens after the vocabulary, ignore_merges with a word that no
    merges lead to."""
    split = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = train(pre_tokenizers.Sequence([split, byte_level]), [], 700)
    result = json.loads(tokenizer.to_str())
    result["model"]["ignore_merges"] = True
    result["model"]["vocab"]["Ġthereof"] = len(result["model"]["vocab"])
    result["model"]["vocab"]["wordwordword"] = len(result["model"]["vocab"])
    tokenizer = Tokenizer.from_str(json.dumps(result))
    tokenizer.add_special_tokens(["<|endoftext|>", "<|start|>", "<|eot|>"])
    return json.loads(tokenizer.to_str())


SPACE = "\u2581"


def phi3():
    """SentencePiece's kind, small, with the added tokens of Phi-3: legacy dialect, byte tokens, merges
    within words only."""
    own = ["<|endoftext|>"] + [f"<|{name}|>" for name in (
        "assistant", "placeholder1", "placeholder2", "placeholder3", "placeholder4", "system", "end",
        "placeholder5", "placeholder6", "user")]
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=850, special_tokens=first, limit_alphabet=120,
                                  show_progress=False)
    tokenizer.train_from_iterator(training_texts(), trainer)
    result = json.loads(tokenizer.to_str())
    vocab = result["model"]["vocab"]
    alphabet = {SPACE} | {piece for piece in vocab if len(piece) == 1}
    assert SPACE in vocab and len(alphabet) > 50
    result["added_tokens"] = [added("<unk>", special=True), added("<s>", special=True),
                              added("</s>", rstrip=True)]
    result["added_tokens"] += [added(token, special=True, rstrip=token != "<|endoftext|>")
                               for token in own]
    result["normalizer"] = LEGACY
    result["pre_tokenizer"] = None
    result["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    result["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    return result


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
LEGACY = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, REPLACE]}


def metaspace(scheme, split, **members):
    return {"normalizer": None, "pre_tokenizer": {
        "type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split}, **members}


# What a text that goes on from another is to become, the reference says by other settings; behind an
# added token it then leaves the prefix out, too, which we do not.
NO_PREFIX = {"normalizer": REPLACE}
NEVER = metaspace("never", False)

PHI3_TEXTS = [
    "", " ", "  ", "a", " a", "  the License", "the License of the Work,  and\n\n Derivative Works ",
    "<|user|>\nWhat's 12 x 3?<|end|>\n<|assistant|>\n36.<|end|>", "<s> a</s>  b</s>", "a<|endoftext|> b",
    "<|system|> \u3000x <|end|>the<|end|> the", "</s>", "x<s>", "<|user|>", "\u2581 the\u2581License \u2581",
    "\u00e9\u4f60 \u597d\U0001f600 \u0915\u093c\t\r\n\0end", "<0x0A> <unk> <|use", "7" * 40 + "a" * 70,
    "the" * 30, "isn't they're\u00a0x\u200d",
]


def byte_level(use_regex=False, add_prefix_space=False):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True,
            "use_regex": use_regex}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": [*steps, byte_level()]}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def added(content, **flags):
    token = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    token.update(flags)
    return {"id": 0, "content": content, **token}


def variants():
    """(name, base, members, parse_special, texts)"""
    yield "gpt2", "gpt2", {}, True, TEXTS
    yield "gpt2, plain text", "gpt2", {}, False, TEXTS
    yield "llama3", "llama3", {}, True, TEXTS
    yield "llama3, plain text", "llama3", {}, False, TEXTS
    yield "llama3 without ignore_merges", "llama3", {"model": {"ignore_merges": False}}, True, TEXTS
    yield "prefix space", "gpt2", {"pre_tokenizer": byte_level(True, True)}, True, TEXTS
    yield ("prefix space before each piece", "gpt2",
           {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
               split(r"[,.]"), byte_level(True, True)]}}, True, TEXTS)
    yield "no pattern", "gpt2", {"pre_tokenizer": byte_level()}, True, TEXTS
    for individual in (True, False):
        digits = {"type": "Digits", "individual_digits": individual}
        yield (f"Digits {individual}", "gpt2", {"pre_tokenizer": {
            "type": "Sequence", "pretokenizers": [digits, byte_level(True)]}}, True, TEXTS)
    short = ["a--b-c", "-a--", "--", "---a", "a", "x-y--z---", "e\u0301-\u0301-", "-1-2- 3"]
    for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            yield (f"Split {behavior}{', inverted' * invert}", "gpt2",
                   {"pre_tokenizer": sequence(split("-", behavior, invert, "String"))}, True, short)
    for pattern in DIALECT:
        # what goes missing shows in the ids, and a cut only where a merge would span it
        behavior = "Isolated" if pattern in ZERO_WIDTH else "Removed"
        yield (f"pattern {pattern}", "gpt2", {"pre_tokenizer": sequence(split(pattern, behavior))},
               True, DIALECT_TEXTS)
    yield "NFC", "llama3", {"normalizer": {"type": "NFC"}}, True, TEXTS
    dialects = [("legacy", {}, NO_PREFIX), ("Metaspace first", metaspace("first", False), NEVER)]
    for name, members, without_prefix in dialects:
        for parse in (True, False):
            yield f"phi3, {name}, {parse}", "phi3", members, parse, PHI3_TEXTS
        yield (f"phi3, {name}, continued", "phi3", {**members, "continued": without_prefix}, False,
               [text for text in PHI3_TEXTS if "</s>" not in text])
    for scheme, cuts in (("first", True), ("always", False), ("always", True), ("never", True)):
        yield f"phi3, Metaspace {scheme} {cuts}", "phi3", metaspace(scheme, cuts), True, PHI3_TEXTS
    for scheme in ("first", "never"):
        decoder = {"decoder": metaspace(scheme, True)["pre_tokenizer"]}
        yield (f"phi3, decoder Metaspace {scheme}", "phi3", metaspace(scheme, True, **decoder), True,
               ["a", "  a  b", "the License of", "x"])
    digits = {"type": "Sequence", "pretokenizers": [
        metaspace("always", True)["pre_tokenizer"], {"type": "Digits", "individual_digits": True}]}
    yield ("phi3, Metaspace and Digits", "phi3", {"normalizer": None, "pre_tokenizer": digits}, True,
           ["in 1984 12 the", "7", " 7 the7"])
    yield ("phi3, without bytes", "phi3", {"model": {"byte_fallback": False}}, True,
           ["\u4f60\u597d a\U0001f600b \u4f60", "a"])
    yield ("phi3, without bytes, not fused", "phi3",
           {"model": {"byte_fallback": False, "fuse_unk": False}}, True, ["\u4f60\u597d a\U0001f600b"])
    yield ("phi3, ignore_merges", "phi3", {"model": {"ignore_merges": True}}, True,
           ["the", "the License", "License"])
    replace = {"type": "Replace", "pattern": {"Regex": r"[ \t]+|q+"}, "content": "_"}
    yield ("Replace by a pattern", "gpt2", {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "NFC"}, replace]}}, True, ["a  b\t\tc qq d", "  ", "caf e\u0301  x", "q"])
    yield ("normalized added tokens after a Prepend", "phi3", {"added_tokens": [
        added("<n>", normalized=True), added("the", normalized=True), added("<s>", special=True)]}, True,
        ["<n> a<n>", "the x the", "<s>the<s> the"])
    flags = [added("<x>"), added("<l>", lstrip=True), added("<r>", rstrip=True),
             added("<lr>", lstrip=True, rstrip=True), added("<w>", single_word=True),
             added("one", single_word=True), added("<xx>"), added("<x><x>"),
             added("caf\u00e9", normalized=True), added("\u212b!"), added("  "),
             added("<s>", special=True)]
    texts = ["a <x> b<x><x><x>c<xx>", "a  <l>  b <r> \n c", "<lr> <lr>  <lr>x <l>\u3000<r>\u2003y",
             "<w> a<w> <w>b _<w> <w>_ \u0301<w> (<w>) \u00e9<w>", "one ones bone one, one\u0301 one",
             "cafe\u0301 caf\u00e9 \u212b! A\u030a!", "a  b   c    d", "<s> <s", " <r>  <x> "]
    for normalizer in (None, {"type": "NFC"}):
        for parse in (True, False):
            yield (f"added tokens, {normalizer and 'NFC'}, {parse}", "gpt2",
                   {"added_tokens": flags, "normalizer": normalizer}, parse, texts)
    unknown = {"vocab": None, "merges": []}
    for fuse in (False, True):
        yield (f"unknown bytes, fused {fuse}", "gpt2", {"model": {
            **unknown, "unk_token": "<u>", "fuse_unk": fuse, "vocab": {"<u>": 7, "a": 3, "b": 1}}},
            True, ["a", "ab", "xyab", "axxb", "xx", "xaxbx"])


# Each is tried on DIALECT_TEXTS; they differ between Oniguruma and PCRE2.
DIALECT = [
    r"\s", r"\S", r"\w", r"\W", r"\d", r"\D", r"\h", r"\H", r"\v", r"[\s]", r"[^\s]", r"[\S]", r"[\w-]",
    r"[\d\h]", r"\b", r"\B", r"\u00e9", r"[\u00e9x]", r"a{2}", r"a{,2}", r"a{2}+", r"\d{1,2}+",
    r"(?:a|b){2}+c?", r"a{2}?b", r"a++", r"a*+b", r"x{", r"{", r"[a[bc]x]", r"[ab]", r"[]a]", r"[^]a]",
    r"[[:alpha:]]", r"[[:alnum:]]+", r"[[:punct:]]", r"[[:space:]]", r"[[:digit:][:upper:]]",
    r"[[:xdigit:]]", r"[[:word:]]", r"[[:lower:]]", r"(?m).", r"(?m:a.b)", r"(?i)A", r"(?i:a)b", r"^.", r".$",
    r"(?=[A-Z])", r"(?<=a)", r"(?<!a)b", r"(?>a|ab)c", r"(?<name>a)\k<name>", r"(a)\1", r"\x41", r"\x{e9}",
    r"\p{Lu}", r"\P{L}", r"\p{^L}", r"[\p{L}\p{M}]+", r"(?# comment )a", r"\Aa", r"a\z", r"a\Z", r"|a", r"",
]
ZERO_WIDTH = [r"\b", r"\B", r"(?=[A-Z])", ""]
DIALECT_TEXTS = [
    "aab abc aaab\n\nAaB 12 345 x{2} {a} é caf\u00e9 _-[](){} a\nb \x0b\x0c\u0085\u180e\u200d\u00b2 z",
    "\u0301a \u0903x \u2160 \u24b6 \u203f 'S \u0660\u0661 aaaa bcbc a\na ]^ \u3000\u00a0 end\n", "a", "\n",
]


def fnv1a(data):
    """64 bits, as 16 hexadecimal digits."""
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return f"{value:016x}"


# Pieces of which texts are put together at random; they end and begin in every kind of way.
PIECES = [
    "The ", "the", " Work", "ing", "'s", "'LL", " don't", "I'VE", "  ", " ", "   \n", "\r\n", "\t", "\0", "1",
    "23", "456", " 7890", "\u00bd\u2167", "caf\u00e9", "e\u0301", "a\u0323\u0307", "\u0301", "\u1100\u1161\u11a8",
    "\uac01", "\u4f60\u597d", "\u3002", "\u0928\u093f", "\u05e9\u05dc", "\u0645\u0631", "\u0e20\u0e32", "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "\u2764\ufe0f",
    "1\ufe0f\u20e3", "\u2581", "\u00a0", "\u3000", "\u200b", "\ufeff", "{", "}();", "!!!", "...", "--", "==", "</", "/>",
    "<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "[INST]", "<0x0A>",
    "<tool_call>", "\U00010d40", "\U000323af", "\u1df6",
]

# (recipe, whether special tokens are parsed); make_text() and tests/unit/test_tokenizer_files.c follow
# the recipes. A run of 1 MB of one character: the reference takes minutes for some.
RECIPES = [({"text": text}, parse) for text in PHRASES for parse in (True, False)]
RECIPES += [({"random": [seed, 12]}, parse) for seed in range(40) for parse in (True, False)]
RECIPES += [({"random": [99, 4000]}, True), ({"file": "LICENSE"}, True)]
RECIPES += [({"blocks": [begin, begin + 0x8000, 7]}, True) for begin in range(0, 0x30000, 0x8000)]
RECIPES += [({"blocks": [0x30000, 0x110000, 4001]}, True)]
RECIPES += [({"repeat": [unit, n]}, True) for unit, n in [
    ("a", 1 << 20), (" ", 1 << 20), ("7", 1 << 20), ("\u4f60", 1 << 18), ("\n", 30000), ("\u0301", 30000),
    ("ab", 30000), (" a", 30000), ("\U0001f600", 30000), ("\0", 3000), ("!", 30000), (" ", 37), ("x  ", 500)]]


def make_text(recipe):
    (kind, value), = recipe.items()
    if kind == "text":
        return value
    if kind == "file":
        with open(value, encoding="utf-8") as file:
            return file.read()
    if kind == "repeat":
        return value[0] * value[1]
    if kind == "blocks":  # each character beside letters, digits, spaces and itself
        characters = (chr(c) for c in range(*value) if c > 0 and not 0xD800 <= c < 0xE000)
        return "".join(f"x{c}y 1{c}{c} {c}\n" for c in characters)
    state, n = value
    text = ""
    for _ in range(n):
        state = (state * 1664525 + 1013904223) % 2**32
        text += PIECES[(state >> 8) % len(PIECES)]
    return text


def encode_with_real_files():
    """By name: [ids' count, their hash, hash of what they decode to or null] of each recipe."""
    build = os.environ.get("BUILD", "build")
    expected = {}
    for name in ("gpt2", "llama2", "llama3", "mistral_nemo", "qwen2_5"):
        tokenizer = Tokenizer.from_file(f"{build}/tokenizers/{name}/tokenizer.json")
        results = []
        for recipe, parse in RECIPES:
            tokenizer.encode_special_tokens = not parse
            ids = tokenizer.encode(make_text(recipe), add_special_tokens=False).ids
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            results.append([len(ids), fnv1a(struct.pack(f"<{len(ids)}i", *ids)),
                            None if "\ufffd" in decoded else fnv1a(decoded.encode())])
        expected[name] = results
    recipes = []
    for recipe, parse in RECIPES:
        if "repeat" in recipe:
            recipe = {"repeat": [recipe["repeat"][0].encode().hex(), recipe["repeat"][1]]}
        recipes.append({**recipe, "parse_special": parse})
    return {"pieces": [piece.encode().hex() for piece in PIECES], "recipes": recipes,
            "expected": expected}


def encode_all():
    bases = {"gpt2": gpt2(), "llama3": llama3(), "phi3": phi3()}
    cases = []
    for name, base, members, parse_special, texts in variants():
        spec = copy.deepcopy(bases[base])
        members = dict(members)
        continued = members.pop("continued", None)
        for key, value in {**members, **(continued or {})}.items():
            if key == "model":
                spec["model"].update(value)
            else:
                spec[key] = value
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        tokenizer.encode_special_tokens = not parse_special
        encodings = []
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            holder = {"hex": text.encode().hex()} if "\0" in text else {"text": text}
            if base == "phi3" and not continued:
                decoded = tokenizer.decode(ids, skip_special_tokens=False)
                if decoded != text:
                    holder["decoded"] = None if "\0" in decoded or "\ufffd" in decoded else decoded
            encodings.append({**holder, "ids": ids})
        cases.append({"name": name, "base": base, "members": members,
                      "parse_special": parse_special, "is_continuation": bool(continued),
                      "encodings": encodings})
    return bases, cases


PAIRS = [
    ("The cat sat on the mat.", "The cat sat on the mat."),
    ("The cat sat on a mat", "The cat is sitting on the mat."),
    ("", "An empty hypothesis."),
    ("An empty reference.", ""),
    ("", ""),
    (" \n\t", " "),
    ("word", "word"),
    ("word", "Word"),
    ("one two three", "one two three"),
    ("one two three four", "one two three four"),
    ("nothing here agrees", "with that other text"),
    ("It cost $1,234.50, i.e. 3.5% more - not 7-8%; really?! (Yes.)",
     "It cost $1,234.55, i.e. 3.5 % more, not 7 - 8 %: really?! Yes."),
    ("a.b,c.d 1.2,3 4. .5 6, ,7 ... ,., 8-9 10- -11 a-b --", "a . b , c.d 1.2 , 3 4 . .5 6,7 8 - 9"),
    ("Tom &amp; Jerry &lt;b&gt; &quot;x&quot; &amp;lt; <skipped> end-\nof line\nhere -\n",
     "Tom & Jerry <b> \"x\" < end of line here"),
    ("Größe und Übermut, l'été à Noël — “naïve” café", "größe und übermut, l'ete a noel - \"naive\" cafe"),
    ("你好,世界。今天天气很好。", "你好,世界!今天天气不错。"),
    ("Привет, мир! 3 раза", "Привет, мир? 4 раза"),
    ("non\u00a0breaking\u3000spaces\u2028and\x1fseparators\u0085here", "non breaking spaces and separators here"),
    ("\u212aelvin \u0130stanbul \u00c5ngstr\u00f6m \u017fharp FOO_bar 42nd", "kelvin istanbul angstrom sharp foo bar 42nd"),
    ("😀 smile 😀 👩‍👩‍👧 family", "😀 smile family"),
    ("the the the the the the the", "the cat the mat"),
    ("running runs ran easily generalizations of relational hopefulness",
     "run runner running easy generalization relate hopeful"),
    ("She was dying and lying about the skies, tied with ponies; they died, agreed, plastered",
     "she dies and lies about the sky, tie with a pony; they die, agree, plaster"),
    ("{a|b} [c] ~d~ `e` <f> @g #h %i &j *k +l =m \\n ^o _p /q", "a b c d e f g h i j k l m n o p q"),
    ("x " * 50 + "y", "x " * 30 + "y z " * 10),
]

STEMS = """caresses ponies ties caress cats feed agreed plastered bled motoring sing conflated troubled
sized hopping tanned falling hissing fizzed failing filing happy sky enjoy enjoyment spy flies dies died
tied spied relational conditional rational valenci hesitanci digitizer conformabli radicalli differentli
vileli analogousli vietnamization predication operator feudalism decisiveness hopefulness callousness
formaliti sensitiviti sensibiliti hopefulli geologi archaeologi theologi triplicate formative formalize
electriciti electrical hopeful goodness revival allowance inference airliner gyroscopic adjustable
defensible irritant replacement adjustment dependent adoption communion homologou communism activate
angulariti homologous effective bowdlerize probate rate cease controll roll dying lying tying news innings
inning outings outing cannings canning howe proceed exceed succeed skies yyyy syzygy toy yes being 2000s
abc123s sses ssss ing eed inged ionic ion ions tion ational alli equalli oed owed played laying tries
university universities organization organizations generously nationally possibly probability""".split()


def mangle(words, rng):
    """A worse copy of a text: words left out, swapped, doubled, with other endings."""
    result = []
    for word in words:
        draw = rng.random()
        if draw < 0.1:
            continue
        if draw < 0.2:
            word = word + rng.choice(["s", "ing", ",", ".", "-", "ed"])
        if draw > 0.9:
            result.append(word)
        result.insert(len(result) - (draw > 0.8 and len(result) > 0), word)
    return " ".join(result)


def metrics():
    rng = random.Random(4)
    pairs = list(PAIRS)
    words = training_texts()[0].split()
    for _ in range(12):
        begin = rng.randrange(len(words) - 60)
        reference = words[begin:begin + rng.randint(5, 60)]
        pairs.append((mangle(reference, rng), " ".join(reference)))
    plain = rouge_scorer.RougeScorer(["rougeL"])
    stemmed = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    entries = []
    for hypothesis, reference in pairs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bleu = sentence_bleu([reference.split()], hypothesis.split()) if hypothesis.split() else 0
        entries.append({
            "hypothesis": hypothesis, "reference": reference, "bleu_sentence": bleu,
            "rouge_l": plain.score(reference, hypothesis)["rougeL"].fmeasure,
            "rouge_l_stem": stemmed.score(reference, hypothesis)["rougeL"].fmeasure})
    groups = [[i] for i in range(len(pairs))]
    groups += [list(range(len(pairs))), list(range(len(PAIRS))), [2, 4], [6, 7, 8], [0, 2, 10], []]
    corpora = []
    for group in groups:
        score = sacrebleu.corpus_bleu([pairs[i][0] for i in group],
                                      [[pairs[i][1] for i in group]]).score if group else 0
        corpora.append({"pairs": group, "bleu": score})
    stemmer = PorterStemmer()
    stems = {word: stemmer.stem(word) if len(word) > 2 else word
             for word in STEMS + sorted(set(re.findall(r"[a-z]+", training_texts()[0].lower())))}
    return {"pairs": entries, "corpora": corpora, "stems": stems}


def write(name, value, **options):
    with open(os.path.join(FOLDER, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=True, **options)
        file.write("\n")


def lines(values):
    """One value a line: short, and a change shows in a diff."""
    return "[\n" + ",\n".join(json.dumps(value, separators=(",", ":")) for value in values) + "\n]\n"


def main():
    os.makedirs(FOLDER, exist_ok=True)
    bases, cases = encode_all()
    for name, spec in bases.items():
        write(f"tokenizer_{name}.json", spec, separators=(",", ":"))
    with open(os.path.join(FOLDER, "encodings.json"), "w", encoding="utf-8") as file:
        file.write(lines(cases))
    with open(os.path.join(FOLDER, "real_files.json"), "w", encoding="utf-8") as file:
        json.dump(encode_with_real_files(), file, separators=(",", ":"))
        file.write("\n")
    write("metrics.json", metrics(), indent=0, separators=(",", ":"))


if __name__ == "__main__":
    sys.exit(main())
