"""models/NAME: tiny Llamas as Hugging Face publishes them, and what transformers makes of them."""
import json

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .llama import (Reference, encode_text, eos_ids_of, greedy, load_plain, load_reference,
                    load_tokenizer, log_probs)
from .record import relative_difference, write_json

LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|begin|>", "<|end|>"]  # ids 0, 1, 2

# Everything that the shapes of one model could hide is shown by another: sizes are odd, head_dim
# is or is not d_model / n_heads, heads share keys in threes, all, or not at all.
MODELS = {
    # Untied F32; explicit head_dim, wider than d_model / n_heads; older dialect of config.json.
    "llama-tiny": dict(
        config=dict(
            hidden_size=42, intermediate_size=70, num_hidden_layers=3, num_attention_heads=6,
            num_key_value_heads=2, head_dim=10, vocab_size=307, tie_word_embeddings=False,
            rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=None, torch_dtype="float32",
            bos_token_id=1, eos_token_id=2,
        ),
        dtype=torch.float32, n_shards=1,
        split=pre_tokenizers.ByteLevel(add_prefix_space=False),
    ),
    # Tied BF16; one kv head; head_dim left to be derived; llama3 scaling in the older dialect,
    # with wavelengths on both sides of and between its bounds; several EOS ids.
    "llama-tied-bf16": dict(
        config=dict(
            hidden_size=60, intermediate_size=88, num_hidden_layers=2, num_attention_heads=5,
            num_key_value_heads=1, vocab_size=300, tie_word_embeddings=True, rms_norm_eps=1e-6,
            rope_theta=1000.0,
            rope_scaling=dict(
                rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
            torch_dtype="bfloat16", bos_token_id=1, eos_token_id=[2, 0],
        ),
        dtype=torch.bfloat16, n_shards=1,
        split=pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(LLAMA3_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]),
    ),
    # Untied F16 in three shards with an index; a kv head for each head; the newer dialect; no BOS.
    "llama-f16-sharded": dict(
        config=dict(
            hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4, head_dim=6, vocab_size=320, tie_word_embeddings=False,
            rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=25000.0),
            dtype="float16", bos_token_id=None, eos_token_id=2,
        ),
        dtype=torch.float16, n_shards=3,
        split=pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]),
    ),
}

TOKENIZER_TEXT = """The harbour was quiet before the morning tide came in. A long line of small
boats lay along the wall, and the men who sailed them had not yet come down from the town.
In 1904 the old lighthouse was rebuilt at a cost of 12,350 pounds; it has stood there ever since.
"Where are the nets?" she asked. They're drying on the stones, he said, and I'll bring them soon.
The reader of a context sees the memory and not the text: naïve, café, Zürich, 東京, 🙂.
"""

MODEL_TEXT = "The café by the harbour opened in 1904, and it's been there ever since: 東京 or not."
PROMPT_TEXT = "The old lighthouse"


def make_tokenizer(split, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL_TOKENS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([TOKENIZER_TEXT], trainer)
    assert tokenizer.get_vocab_size() == vocab_size
    return tokenizer


def random_tensors(config, generator):
    """Weights wide enough that attention is far from flat and logits far from uniform."""
    d, ffn, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    head_dim = config.get("head_dim") or d // config["num_attention_heads"]
    q = config["num_attention_heads"] * head_dim
    kv = config["num_key_value_heads"] * head_dim
    shapes = {"model.embed_tokens.weight": [vocab, d]}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {
            layer + "self_attn.q_proj.weight": [q, d], layer + "self_attn.k_proj.weight": [kv, d],
            layer + "self_attn.v_proj.weight": [kv, d], layer + "self_attn.o_proj.weight": [d, q],
            layer + "mlp.gate_proj.weight": [ffn, d], layer + "mlp.up_proj.weight": [ffn, d],
            layer + "mlp.down_proj.weight": [d, ffn],
            layer + "input_layernorm.weight": [d], layer + "post_attention_layernorm.weight": [d],
        }
    shapes["model.norm.weight"] = [d]
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = [vocab, d]
    return {
        name: 0.2 * torch.randn(shape, generator=generator) if len(shape) == 2
        else 0.5 + torch.rand(shape, generator=generator)
        for name, shape in shapes.items()
    }


def write_tensors(folder, tensors, n_shards):
    if n_shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    weight_map = {}
    for i in range(n_shards):
        file = f"model-{i + 1:05d}-of-{n_shards:05d}.safetensors"
        shard = {n: tensors[n] for n in names[i::n_shards]}
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    n_bytes = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": n_bytes}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def write_model(folder, spec, generator):
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "max_position_embeddings": 256, "attention_bias": False, "mlp_bias": False,
              **spec["config"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    eos = {"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]}
    (folder / "generation_config.json").write_text(json.dumps(eos) + "\n")
    tokenizer = make_tokenizer(spec["split"], config["vocab_size"])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL_TOKENS[2],
             "bos_token": SPECIAL_TOKENS[1] if config["bos_token_id"] is not None else None}
    (folder / "tokenizer_config.json").write_text(json.dumps(names) + "\n")
    tensors = {n: t.to(spec["dtype"]) for n, t in random_tensors(config, generator).items()}
    write_tensors(folder, tensors, spec["n_shards"])


@torch.no_grad()
def write_model_expectations(folder):
    config = json.loads((folder / "config.json").read_text())
    tokenizer, model = load_tokenizer(folder), Reference(load_reference(folder))
    ids = encode_text(tokenizer, MODEL_TEXT)
    assert tokenizer.decode(ids, skip_special_tokens=False) == MODEL_TEXT

    out = model.causal_lm(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    logits, states = out.logits[0], torch.stack(out.hidden_states)[:, 0]
    plain = load_plain(folder)
    rows = plain.embedding()[ids]
    assert relative_difference(logits, plain.logits(rows)) < 1e-5
    assert relative_difference(states, torch.stack(plain.hidden_states(rows))) < 1e-5

    def scored(ids):
        return {"ids": ids, "logprobs": log_probs(model.logits(model.embedding()[ids]), ids)}

    bos, prompt_ids = config["bos_token_id"], encode_text(tokenizer, PROMPT_TEXT)
    write_json(folder.with_name(folder.name + ".expected.json"), {
        "text": MODEL_TEXT, "ids": ids,
        "bos_never": scored(ids), "bos_always": None if bos is None else scored([bos] + ids),
        "greedy": {"prompt": PROMPT_TEXT, "prompt_ids": prompt_ids,
                   **greedy(model, model.embedding()[prompt_ids], eos_ids_of(config))},
    })
    save_file({"logits": logits.contiguous(), "hidden_states": states.contiguous()},
              folder.with_name(folder.name + ".expected.safetensors"))


def make_models(root, seed):
    for i, (name, spec) in enumerate(MODELS.items()):
        write_model(root / name, spec, torch.Generator().manual_seed(seed + i))
        write_model_expectations(root / name)
