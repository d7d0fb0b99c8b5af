#!/usr/bin/env python3
"""Writes tests/fuzz/corpus: small files of each format, for the fuzzers to start from.

    python3 tools/make_fuzz_corpus.py     # needs gguf, numpy, safetensors

    safetensors/    shards of the tiny models, and a file with every type and odd shapes
    gguf/           the GGUF fixtures without most of their weights
    model_config/   config.json of every tiny model, in both dialects
    tokenizer/      one tokenizer.json of each kind, with some 50 tokens; a NUL; a text
    regex/          patterns that models have, and what our dialect knows; a line; a text
    text/           shards of every packing, behind the two bytes that fuzz_text.c reads first
    journal/        frames of a journal, as fuzz_journal.c reads them
    tokens/         changes to token files, as fuzz_tokens.c reads them
    parquet/        a file with a damaged row group, which is not the first, beside tests/fixtures/parquet

Files named found-* are no concern of this script: inputs that once broke a reader, kept.
"""
import gzip
import json
import struct
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save

TESTS = Path(__file__).resolve().parent.parent / "tests"
CORPUS = TESTS / "fuzz" / "corpus"
FIXTURES = TESTS / "fixtures"


def write(kind, name, content):
    (CORPUS / kind).mkdir(parents=True, exist_ok=True)
    (CORPUS / kind / name).write_bytes(content)


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# --- safetensors ----------------------------------------------------------------------------------

def every_type():
    """A file with a tensor of each type that the format has, by hand: numpy has not all of them."""
    bits = {"F32": 32, "F16": 16, "BF16": 16, "F64": 64, "I64": 64, "I32": 32, "I16": 16, "I8": 8,
            "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64, "F8_E5M2": 8,
            "F8_E4M3": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F4": 4}
    shapes = {"F32": [2, 3, 1, 2], "F16": [], "BF16": [0, 7], "F6_E2M3": [4], "I8": [1, 1, 1, 1, 2]}
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, n_bits in bits.items():
        shape = shapes.get(name, [2])
        end = at + int(np.prod(shape, dtype=int)) * n_bits // 8
        header["t." + name] = {"dtype": name, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = compact(header)
    return len(text).to_bytes(8, "little") + text + bytes(i % 251 for i in range(at))


def make_safetensors():
    shard = FIXTURES / "model_files" / "llama" / "model-00002-of-00002.safetensors"
    write("safetensors", "llama-shard", shard.read_bytes())
    write("safetensors", "every-type", every_type())
    layer = {"attn.c_attn.weight": (2, 6), "attn.c_attn.bias": (6,), "attn.c_proj.weight": (2, 2),
             "mlp.c_fc.weight": (2, 8), "mlp.c_proj.weight": (8, 2), "ln_1.weight": (2,),
             "attn.bias": (1, 1, 3, 3), "attn.masked_bias": ()}
    tensors = {f"{base}h.0.{name}": np.ones(shape, np.float16)
               for base in ("", "transformer.") for name, shape in layer.items()}
    tensors["wte.weight"] = np.ones((5, 2), np.float32)
    write("safetensors", "gpt2", save(tensors))


# --- GGUF -----------------------------------------------------------------------------------------

def cut(source, target):
    """Copies a GGUF file without the second layer, and with two columns of each plain matrix."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type)
    for tensor in reader.tensors:
        if tensor.name.startswith("blk.1."):
            continue
        has_own_type = tensor.data.dtype in (np.float32, np.float16)
        is_matrix = has_own_type and tensor.data.ndim == 2
        data = np.ascontiguousarray(tensor.data[:, :2]) if is_matrix else tensor.data
        writer.add_tensor(tensor.name, data, raw_dtype=None if has_own_type else tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_sentencepiece(target):
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "c", "ab", "bc", "\u2581a", "abc"]
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_add_space_prefix(True)
    writer.add_token_list(tokens)
    writer.add_token_types([2, 3, 3, 6] + [1] * (len(tokens) - 4))
    writer.add_token_scores([0.0] * 4 + [-9.0] * 4 + [-2.0, -1.0, -3.0, -4.0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def make_gguf():
    (CORPUS / "gguf").mkdir(parents=True, exist_ok=True)
    make_sentencepiece(CORPUS / "gguf" / "sentencepiece")
    for source in sorted((FIXTURES / "model_files").glob("*.gguf")):
        cut(source, CORPUS / "gguf" / source.stem)


# --- config.json ----------------------------------------------------------------------------------

def make_model_configs():
    for source in sorted(FIXTURES.glob("model*/*/config.json")):
        write("model_config", source.parent.name, compact(json.loads(source.read_text())))


# --- tokenizer.json -------------------------------------------------------------------------------

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def split(pattern, behavior="Isolated"):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def added(first_id, *contents, **flags):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True} | flags
    return [{"id": first_id + i, "content": content} | flags for i, content in enumerate(contents)]


def tokenizer(tokens, merges, tokens_added, **parts):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "ignore_merges": False} | parts.pop("model", {})
    model |= {"vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens_added,
            "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": BYTES,
            } | parts | {"model": model}


def make_tokenizers():
    letters = list("adehilnorstwĠĊ'12!Ã©") + ["Ġt", "he", "Ġthe", "ll", "in", "12"]
    merges = ["Ġ t", "h e", "Ġt he", "l l", "i n", "1 2"]
    n = len(letters)
    template = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                           {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                         {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    pieces = (["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in (10, 0x61, 0xC3, 0xA9, 0xFF)]
              + list("▁adehilnorstwé") + ["▁t", "he", "▁the", "ll", "▁▁"])
    piece_merges = [["▁", "t"], ["h", "e"], ["▁t", "he"], ["l", "l"], ["▁", "▁"]]
    p = len(pieces)
    kinds = {
        "gpt2": tokenizer(letters, merges, added(n, "<|endoftext|>"), pre_tokenizer=BYTES),
        "llama3": tokenizer(
            letters, [m.split() for m in merges], added(n, "<s>", "<|eot_id|>"),
            model={"ignore_merges": True}, post_processor=sequence("processors", BYTES, template),
            pre_tokenizer=sequence("pretokenizers", split(LLAMA3), BYTES | {"use_regex": False})),
        "qwen2": tokenizer(
            letters, merges, added(n, "<|im_start|>", "<|im_end|>", normalized=True)
            + added(n + 2, "<tool>", special=False), normalizer={"type": "NFC"},
            pre_tokenizer=sequence("pretokenizers", split(LLAMA3.replace("{1,3}", "")),
                                   BYTES | {"use_regex": False})),
        "smollm2": tokenizer(
            letters, merges, added(n, "<|a|>", lstrip=True, rstrip=True, single_word=True),
            model={"unk_token": "Ġ"}, pre_tokenizer=sequence(
                "pretokenizers", {"type": "Digits", "individual_digits": True}, BYTES)),
        "llama2": tokenizer(
            pieces, piece_merges, added(0, "<unk>", "<s>", "</s>"),
            model={"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
            normalizer=sequence("normalizers", {"type": "Prepend", "prepend": "▁"},
                                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
            post_processor=template,
            decoder=sequence("decoders",
                             {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                             {"type": "ByteFallback"}, {"type": "Fuse"},
                             {"type": "Strip", "content": " ", "start": 1, "stop": 0})),
        "phi3": tokenizer(
            pieces, piece_merges, added(0, "<unk>", "<s>")
            + added(p, "<|user|>", "<|end|>", rstrip=True),
            model={"unk_token": "<unk>", "byte_fallback": True},
            pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                           "split": False},
            decoder={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                     "split": False}),
    }
    kinds["replace"] = tokenizer(
        pieces, piece_merges, added(0, "<unk>", "<s>"), model={"unk_token": "<unk>"},
        normalizer={"type": "Replace", "pattern": {"Regex": " {2,}|e(?=\u0301)"}, "content": "\u2581"},
        pre_tokenizer=split("\\s+(?!\\S)|\\d", "MergedWithPrevious"),
        decoder={"type": "Replace", "pattern": {"Regex": "\u2581+"}, "content": " "})
    text = "The 12 \u00e9e\u0301 <|end|>  <s>ll\n".encode() + b"\xff\x00a"
    for name, kind in kinds.items():
        write("tokenizer", name, compact(kind) + b"\0" + text)


# --- patterns -------------------------------------------------------------------------------------

def make_patterns():
    patterns = {
        "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        "llama3": LLAMA3,
        "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|\p{N}",
        "sets": r"[[:alpha:][a-c]\h\-]|[^\W_]|[]a]|[\p{Han}-z]",
        "repeats": r"(a{1,2}+b{,3})?+|x{2}?|\v|\u00e9{3}+|(?m).(?#note)\R",
        "around": r"(?<=a)b|(?<!\d)c(?=$)|\bword\b|\A.|(?i-m:K)\z",
    }
    for name, pattern in patterns.items():
        write("regex", name, f"{pattern}\nHe's aab 12 é\u4e00 word\r\n  K".encode())


# --- text shards ----------------------------------------------------------------------------------

def make_texts():
    lines = (b'\xef\xbb\xbf{"text": "a b", "id": "x", "n": 3}\n{"text": "", "n": 1}\n\n'
             b'{"id": 7, "text": "\\u00e9\\ud83d\\ude00\\"", "n": 2.5}\r\n{"text": null}\n{"n": [1, {}]\n'
             b'{"text": "last", "n": "2", "deep": {"text": [true]}}')
    for kind in range(8):
        rest = lines
        if kind == 6:
            rest = gzip.compress(lines[:90], mtime=0) + gzip.compress(lines[90:], mtime=0)
        elif kind == 7:  # a frame of zstd with one raw block, by hand
            rest = (b"\x28\xb5\x2f\xfd\x20" + bytes([len(lines)])
                    + ((len(lines) << 3) | 1).to_bytes(3, "little") + lines)
        write("text", f"kind-{kind}", bytes([kind | (128 if kind % 2 == 0 else 0), 40]) + rest)


# --- Parquet ---------------------------------------------------------------------------------------

def make_parquet():
    sums = bytearray((FIXTURES / "parquet" / "sums.parquet").read_bytes())
    sums[6000] ^= 0x55
    write("parquet", "fourth-group", sums)


# --- journals -------------------------------------------------------------------------------------

def frame(kind, flags, payload):
    return struct.pack("<BBH", kind, flags, len(payload)) + payload


def make_journals():
    packed, has_place = 1, 2
    document = struct.pack("<IIQ", 1, 2, 77) + b"id"
    segment = (struct.pack("<IIQII", 2, 10, 0, 3, 1) + struct.pack("<iii", 1, 2, 3)
               + struct.pack("<i", 60000))
    contents = document + segment + document

    def end(index):  # counts, tallies, ids of two streams
        return frame(2, has_place, struct.pack("<6Q", index, 2, 1, 2, len(contents), 0)
                     + bytes(16 * 8) + struct.pack("<2Q", 3, 1))

    write("journal", "two-blocks", frame(1, packed, contents) + end(1) + frame(1, packed, contents) + end(0))
    write("journal", "unfinished", frame(1, packed, contents) + end(0) + frame(1, packed, contents))
    write("journal", "two-frames", frame(1, packed, contents[:9]) + frame(1, packed, contents[9:]) + end(0))


# --- token files ----------------------------------------------------------------------------------

def make_tokens():
    plain, part, n_files, n_datasets, n_kinds = 0, 2, 4, 12, 10

    def change(kind, file, item, row, power, value):
        return struct.pack("<BBBBi", kind, file + n_files * item, row, power, value)

    for item in range(n_datasets):  # a value of each dataset, none and too large
        for file, name in (plain, "plain"), (part, "part"):
            write("tokens", f"{name}-{item}-none", change(0, file, item, 5, 0, 0))
            write("tokens", f"{name}-{item}-large", change(0, file, item, 3, 40, 1))
    for kind in range(1, n_kinds):
        for file in range(n_files):
            write("tokens", f"kind-{kind}-file-{file}", b"".join(
                change(kind, file, 3 * kind + i, 1 + 64 * i, i, 5 + 40 * i) for i in range(2)))


if __name__ == "__main__":
    make_safetensors()
    make_gguf()
    make_model_configs()
    make_tokenizers()
    make_patterns()
    make_texts()
    make_parquet()
    make_journals()
    make_tokens()
