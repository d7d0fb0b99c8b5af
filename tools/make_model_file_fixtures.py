#!/usr/bin/env python3
"""Writes tests/fixtures/model_files: model files by other hands, and what they say those hold.

    python3 tools/make_model_file_fixtures.py     # needs torch, transformers, safetensors, gguf,
                                                  # tokenizers

    quantised.gguf          a tensor of each type that slotpress reads; blocks are random bytes
    quantised.safetensors   the same as F32, dequantised by gguf.quants
    llama/                  a Hugging Face folder: shards with an index, F32, F16, BF16, a buffer of
                            integers, generation_config.json, tokenizer.json by tokenizers
    llama.gguf              the same model as llama.cpp's converter writes it, with rope_freqs.weight
    gpt2/ llama-biased/ mistral/ qwen2/ phi3/    folders of a config.json and one file, F32, F16
                            and BF16; gpt2's without "transformer." and with its buffers; rope
                            scalings linear (llama-biased), yarn (qwen2) and longrope (phi3)
    gpt2.gguf …             the same five, all F32, without a tokenizer
    pre_tokenizers.json     pre-tokenizers as tokenizers serialises them, by their names in GGUF
"""
import json
from copy import deepcopy
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

from reference.to_gguf import write_gguf

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "model_files"

QUANTISED = {  # shapes outermost first: a single block, rows of several, a vector, three dimensions
    Type.F32: [(1, 7), (5,)], Type.F16: [(3, 5)], Type.BF16: [(5, 3)],
    Type.Q8_0: [(3, 96), (32,)], Type.Q4_0: [(3, 96), (32,)], Type.Q4_1: [(2, 3, 64)],
    Type.Q5_0: [(3, 96)], Type.Q5_1: [(3, 96)], Type.Q4_K: [(3, 512)], Type.Q6_K: [(3, 512)],
}
SCALES = {  # bytes of a block that are f16 scales
    Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2],
    Type.Q4_K: [0, 2], Type.Q6_K: [208],
}


def random_f16(rng, n):
    """Finite, of any sign and size, subnormals and zeros too."""
    bits = rng.integers(0, 0x7C00, n) >> rng.integers(0, 12, n) | rng.integers(0, 2, n) << 15
    return bits.astype(np.uint16)


def random_blocks(rng, kind, shape):
    """Rows of a tensor as bytes."""
    block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    n_blocks = int(np.prod(shape)) // block
    blocks = rng.integers(0, 256, (n_blocks, n_bytes), dtype=np.uint8)
    for at in SCALES[kind]:
        blocks[:, at:at + 2] = random_f16(rng, n_blocks).view(np.uint8).reshape(n_blocks, 2)
    return blocks.reshape(*shape[:-1], shape[-1] // block * n_bytes)


def make_quantised():
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(FOLDER / "quantised.gguf", "test")
    expected = {}
    for kind, shapes in QUANTISED.items():
        for i, shape in enumerate(shapes):
            name = f"{kind.name}.{i}"
            if kind == Type.F32:
                data = rng.standard_normal(shape).astype(np.float32)
            elif kind in (Type.F16, Type.BF16):
                n = int(np.prod(shape))
                data = random_f16(rng, n).reshape(shape).view(np.uint8)
            else:
                data = random_blocks(rng, kind, shape)
            expected[name] = gguf.quants.dequantize(data, kind).astype(np.float32).reshape(shape)
            writer.add_tensor(name, data.view(np.float16) if kind == Type.F16 else data,
                              raw_dtype=None if kind in (Type.F32, Type.F16) else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, FOLDER / "quantised.safetensors")


CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 6, "intermediate_size": 12, "max_position_embeddings": 64, "rms_norm_eps": 2.0**-17,
    "rope_theta": 5000.0, "tie_word_embeddings": False, "bos_token_id": 263, "eos_token_id": 264,
    "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32",
}
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "w"), ("o", "o"), ("t", "h"), ("Ġ", "hell")]
SPECIAL = ["<|begin|>", "<|end|>", "<|turn|>"]
OWN = ["<own>"]


def make_vocabulary():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = alphabet + [a + b for a, b in MERGES] + SPECIAL + OWN
    assert len(tokens) == len(set(tokens)) == 267
    return tokens


def make_tokenizer(tokens):
    model = models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=MERGES)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = PRE_TOKENIZERS["smollm"]
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in OWN])
    return tokenizer


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated", invert=False), byte_level(False)])


# The patterns of the tokenizer.json that Meta, Qwen and Mistral publish.
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PRE_TOKENIZERS = {
    "default": byte_level(True),
    "gpt-2": byte_level(True),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                       byte_level(True)]),
    "llama-bpe": split_then_bytes(LLAMA3),
    "qwen2": split_then_bytes(LLAMA3.replace("{1,3}", "")),
    "tekken": split_then_bytes(TEKKEN),
}


def make_tensors(rng, n_tokens):
    d, n_ffn, n_kv = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_key_value_heads"]
    n_q = CONFIG["num_attention_heads"] * CONFIG["head_dim"]
    shapes = {"model.embed_tokens": (n_tokens, d), "model.norm": (d,), "lm_head": (n_tokens, d)}
    for i in range(CONFIG["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {
            layer + "input_layernorm": (d,), layer + "post_attention_layernorm": (d,),
            layer + "self_attn.q_proj": (n_q, d), layer + "self_attn.o_proj": (d, n_q),
            layer + "self_attn.k_proj": (n_kv * CONFIG["head_dim"], d),
            layer + "self_attn.v_proj": (n_kv * CONFIG["head_dim"], d),
            layer + "mlp.gate_proj": (n_ffn, d), layer + "mlp.up_proj": (n_ffn, d),
            layer + "mlp.down_proj": (d, n_ffn),
        }
    # Few enough bits for F16 and BF16 to hold them exactly.
    return {name + ".weight": (rng.integers(-63, 64, shape) / 32).astype(np.float32)
            for name, shape in shapes.items()}


def make_folder(tensors, tokenizer):
    folder = FOLDER / "llama"
    folder.mkdir(exist_ok=True)
    config = dict(CONFIG, vocab_size=len(tensors["lm_head.weight"]))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "generation_config.json").write_text('{"eos_token_id": [264, 265]}\n')
    tokenizer.save(str(folder / "tokenizer.json"))
    shards = [{}, {}]
    for i, (name, values) in enumerate(tensors.items()):
        kind = (torch.float32, torch.float16, torch.bfloat16)[i % 3]
        shards[i % 2][name] = torch.from_numpy(values).to(kind)
    shards[1]["model.position_ids"] = torch.arange(3)
    weight_map = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        save_torch_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1) + "\n")


def make_gguf(tensors, tokens):
    def add_more(writer):
        writer.add_vocab_size(len(tokens))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(tokens)
        writer.add_token_types([gguf.TokenType.CONTROL if t in SPECIAL else
                                gguf.TokenType.USER_DEFINED if t in OWN else
                                gguf.TokenType.NORMAL for t in tokens])
        writer.add_token_merges([" ".join(pair) for pair in MERGES])
        writer.add_bos_token_id(CONFIG["bos_token_id"])
        writer.add_eos_token_id(CONFIG["eos_token_id"])
        writer.add_eot_token_id(265)
        writer.add_add_bos_token(True)
        writer.add_tensor("rope_freqs.weight", np.array([1, 1.5, 8], np.float32))

    write_gguf(FOLDER / "llama.gguf", CONFIG, tensors,
               lambda name: name.endswith(("up_proj.weight", "q_proj.weight")), add_more)


ROTARY = {
    "hidden_act": "silu", "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
    "num_key_value_heads": 1, "intermediate_size": 20, "max_position_embeddings": 64,
    "rms_norm_eps": 2.0**-17, "rope_theta": 5000.0, "vocab_size": 37, "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES = {
    "gpt2": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 12, "n_layer": 2,
        "n_head": 3, "n_positions": 32, "n_ctx": 32, "n_inner": None, "layer_norm_epsilon": 2.0**-17,
        "activation_function": "gelu_new", "vocab_size": 37, "bos_token_id": 36,
        "eos_token_id": 36,
    },
    "llama-biased": ROTARY | {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "attention_bias": True,
        "mlp_bias": True, "tie_word_embeddings": False,
        "rope_scaling": {"type": "linear", "factor": 2.0},
    },
    "mistral": ROTARY | {
        "model_type": "mistral", "architectures": ["MistralForCausalLM"], "head_dim": 6,
        "sliding_window": None, "tie_word_embeddings": False,
    },
    "qwen2": ROTARY | {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True,
        "use_sliding_window": False, "sliding_window": 32, "max_window_layers": 2,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
                         "beta_fast": 16.0},
    },
    "phi3": ROTARY | {  # heads of 8, of which 6 are rotated; longrope from the 17th position on
        "model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_size": 24,
        "original_max_position_embeddings": 16, "partial_rotary_factor": 0.75,
        "sliding_window": 9, "tie_word_embeddings": False, "pad_token_id": 0,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.25, 1.5],
                         "long_factor": [1.0, 2.5, 7.0]},
    },
}


def make_family_tensors(config, rng):
    """As the family's own class names and shapes them; values as make_tensors'."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**deepcopy(config)))  # it edits
    tied = set(model.all_tied_weights_keys)
    return {name: (rng.integers(-63, 64, values.shape) / 128).astype(np.float32)
            for name, values in model.state_dict().items() if name not in tied}


def make_family(name, config, rng):
    """A folder of one file in F32, F16 and BF16, and the same as GGUF."""
    tensors = make_family_tensors(config, rng)
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    stored = {key: torch.from_numpy(values).to((torch.float32, torch.float16, torch.bfloat16)[i % 3])
              for i, (key, values) in enumerate(tensors.items())}
    if name == "gpt2":  # as OpenAI's, without the prefix and with the buffers of its time
        stored = {key.removeprefix("transformer."): values for key, values in stored.items()}
        n = config["n_positions"]
        for i in range(config["n_layer"]):
            stored[f"h.{i}.attn.bias"] = torch.tril(torch.ones(1, 1, n, n, dtype=torch.uint8))
            stored[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    save_torch_file(stored, folder / "model.safetensors", metadata={"format": "pt"})

    def add_tokens(writer):  # a list alone is no tokenizer, but says how many there are
        writer.add_token_list([f"<{i}>" for i in range(config["vocab_size"])])
        writer.add_bos_token_id(config["bos_token_id"])
        writer.add_eos_token_id(config["eos_token_id"])

    write_gguf(FOLDER / f"{name}.gguf", config, tensors, add_more=add_tokens)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    make_quantised()
    tokens = make_vocabulary()
    tensors = make_tensors(np.random.default_rng(2), len(tokens))
    make_folder(tensors, make_tokenizer(tokens))
    make_gguf(tensors, tokens)
    for name, config in FAMILIES.items():
        make_family(name, config, np.random.default_rng(3))
    by_name = {name: json.loads(one.__getstate__()) for name, one in PRE_TOKENIZERS.items()}
    (FOLDER / "pre_tokenizers.json").write_text(json.dumps(by_name, indent=1) + "\n")


if __name__ == "__main__":
    main()
