"""models/NAME: tiny models as Hugging Face publishes them, and what transformers makes of them."""
import json

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

from .language_models import (Reference, Unsettled, encode_text, eos_ids_of, greedy,
                              load_reference, load_tokenizer, log_probs)
from .plain import load_plain
from .record import relative_difference, rounded, write_json

LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|begin|>", "<|end|>"]  # ids 0, 1, 2

SPLITS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "llama3": pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_REGEX), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]),
    "smollm": pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]),
}

# What the config.json of every model of a family begins with.
FAMILIES = {
    "llama": dict(
        architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
        max_position_embeddings=256, attention_bias=False, mlp_bias=False,
    ),
    # As published: the head is tied by omission, and dropouts are there to be ignored.
    "gpt2": dict(
        activation_function="gelu_new", architectures=["GPT2LMHeadModel"], attn_pdrop=0.1,
        embd_pdrop=0.1, model_type="gpt2", n_ctx=128, n_positions=128, resid_pdrop=0.1,
        bos_token_id=0, eos_token_id=0,
    ),
    "mistral": dict(
        architectures=["MistralForCausalLM"], model_type="mistral", hidden_act="silu",
        max_position_embeddings=256, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
    ),
    "qwen2": dict(
        architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_act="silu",
        attention_dropout=0.0, max_position_embeddings=256, rms_norm_eps=1e-6, eos_token_id=2,
    ),
    "phi3": dict(
        architectures=["Phi3ForCausalLM"], model_type="phi3", hidden_act="silu",
        attention_bias=False, attention_dropout=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
        rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    ),
}

# Everything that the shapes of one model could hide is shown by another: sizes are odd, head_dim
# is or is not d_model / n_heads, heads share keys in threes, all, or not at all. Windows and
# longrope's original lengths are shorter than the text of the expectations, unless said otherwise.
MODELS = {
    # Untied F32; explicit head_dim, wider than d_model / n_heads; older dialect of config.json.
    "llama-tiny": dict(
        family="llama",
        config=dict(
            hidden_size=42, intermediate_size=70, num_hidden_layers=3, num_attention_heads=6,
            num_key_value_heads=2, head_dim=10, vocab_size=307, tie_word_embeddings=False,
            rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=None, torch_dtype="float32",
            bos_token_id=1, eos_token_id=2,
        ),
        dtype=torch.float32, split="gpt2",
    ),
    # Tied BF16; one kv head; head_dim left to be derived; llama3 scaling in the older dialect,
    # with wavelengths on both sides of and between its bounds; several EOS ids.
    "llama-tied-bf16": dict(
        family="llama",
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
        dtype=torch.bfloat16, split="llama3",
    ),
    # Untied F16 in three shards with an index; a kv head for each head; the newer dialect; no BOS.
    "llama-f16-sharded": dict(
        family="llama",
        config=dict(
            hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4, head_dim=6, vocab_size=320, tie_word_embeddings=False,
            rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=25000.0),
            dtype="float16", bos_token_id=None, eos_token_id=2,
        ),
        dtype=torch.float16, n_shards=3, split="smollm",
    ),
    # Biases on all seven matrices of a layer; linear scaling by the older "type"; head_dim null.
    "llama-biased": dict(
        family="llama",
        config=dict(
            hidden_size=30, intermediate_size=37, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=1, head_dim=None, vocab_size=281, tie_word_embeddings=False,
            rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=dict(type="linear", factor=4.0),
            attention_bias=True, mlp_bias=True, torch_dtype="float32", bos_token_id=1,
            eos_token_id=2,
        ),
        dtype=torch.float32, split="llama3",
    ),
    # Names with "transformer." in front; three heads; n_inner null: four times d_model.
    "gpt2-tiny": dict(
        family="gpt2",
        config=dict(layer_norm_epsilon=1e-5, n_embd=24, n_head=3, n_inner=None, n_layer=2,
                    vocab_size=275, torch_dtype="float32"),
        dtype=torch.float32, split="gpt2",
    ),
    # F16; names as OpenAI's first upload has them, bare, with the causal masks among the tensors;
    # n_inner set, and an epsilon that shows.
    "gpt2-bare": dict(
        family="gpt2",
        config=dict(layer_norm_epsilon=1e-2, n_embd=35, n_head=5, n_inner=51, n_layer=2,
                    vocab_size=290),
        dtype=torch.float16, n_shards=2, is_bare=True, split="gpt2",
    ),
    # BF16; a short window; explicit head_dim, wider than d_model / n_heads; older dialect.
    "mistral-window": dict(
        family="mistral",
        config=dict(
            hidden_size=28, intermediate_size=45, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=10, vocab_size=277, rms_norm_eps=1e-5,
            rope_theta=10000.0, sliding_window=11, torch_dtype="bfloat16",
        ),
        dtype=torch.bfloat16, split="llama3",
    ),
    # F32; a window longer than the text; head_dim narrower than d_model / n_heads; newer dialect.
    "mistral-wide": dict(
        family="mistral",
        config=dict(
            hidden_size=27, intermediate_size=33, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=3, head_dim=6, vocab_size=284, rms_norm_eps=1e-6,
            rope_parameters=dict(rope_type="default", rope_theta=1000.0), sliding_window=96,
            dtype="float32",
        ),
        dtype=torch.float32, split="smollm",
    ),
    # F16 in shards; no window, by an explicit null; head_dim null, and so is rope_scaling.
    "mistral-unwindowed": dict(
        family="mistral",
        config=dict(
            hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
            num_key_value_heads=2, head_dim=None, vocab_size=270, rms_norm_eps=1e-5,
            rope_theta=1000000.0, rope_scaling=None, sliding_window=None, torch_dtype="float16",
        ),
        dtype=torch.float16, n_shards=2, split="gpt2",
    ),
    # Untied BF16; a window that is not used; no BOS.
    "qwen2-tiny": dict(
        family="qwen2",
        config=dict(
            hidden_size=30, intermediate_size=44, num_hidden_layers=2, num_attention_heads=5,
            num_key_value_heads=1, vocab_size=286, tie_word_embeddings=False, bos_token_id=None,
            rope_theta=1000000.0, sliding_window=8, use_sliding_window=False,
            max_window_layers=1, torch_dtype="bfloat16",
        ),
        dtype=torch.bfloat16, split="llama3",
    ),
    # Tied F32; a window from the second of three layers on, by max_window_layers.
    "qwen2-window": dict(
        family="qwen2",
        config=dict(
            hidden_size=24, intermediate_size=39, num_hidden_layers=3, num_attention_heads=3,
            num_key_value_heads=3, vocab_size=273, tie_word_embeddings=True, bos_token_id=1,
            rope_theta=10000.0, rope_scaling=None, sliding_window=9, use_sliding_window=True,
            max_window_layers=1, torch_dtype="float32",
        ),
        dtype=torch.float32, split="smollm",
    ),
    # Tied BF16; layer_types, which win over max_window_layers; yarn; newer dialect.
    "qwen2-yarn": dict(
        family="qwen2",
        config=dict(
            hidden_size=36, intermediate_size=41, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=1, vocab_size=279, tie_word_embeddings=True, bos_token_id=None,
            rope_parameters=dict(
                rope_type="yarn", rope_theta=10000.0, factor=4.0,
                original_max_position_embeddings=64,
            ),
            sliding_window=13, use_sliding_window=True, max_window_layers=0,
            layer_types=["sliding_attention", "full_attention"], dtype="bfloat16",
        ),
        dtype=torch.bfloat16, split="gpt2",
    ),
    # F16; no scaling; partial rotary and a window, both in the older dialect.
    "phi3-tiny": dict(
        family="phi3",
        config=dict(
            hidden_size=32, intermediate_size=43, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4, vocab_size=272, max_position_embeddings=256,
            original_max_position_embeddings=256, rope_theta=10000.0, rope_scaling=None,
            partial_rotary_factor=0.5, sliding_window=12, torch_dtype="float16",
        ),
        dtype=torch.float16, split="gpt2",
    ),
    # BF16 in shards; longrope with the attention factor that follows from the lengths; a window
    # longer than the text; older dialect.
    "phi3-longrope": dict(
        family="phi3",
        config=dict(
            hidden_size=36, intermediate_size=35, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=1, vocab_size=288, max_position_embeddings=256,
            original_max_position_embeddings=32, rope_theta=10000.0,
            rope_scaling=dict(
                type="longrope", short_factor=[1.0, 1.05, 1.2, 1.3, 1.55, 1.9],
                long_factor=[1.1, 1.7, 2.4, 3.9, 5.0, 7.2],
            ),
            sliding_window=2047, torch_dtype="bfloat16",
        ),
        dtype=torch.bfloat16, n_shards=2, split="llama3",
    ),
    # F32; longrope with an attention factor of its own, partial rotary and a window; newer dialect.
    "phi3-partial": dict(
        family="phi3",
        config=dict(
            hidden_size=30, intermediate_size=38, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=3, vocab_size=276, max_position_embeddings=128,
            original_max_position_embeddings=28,
            rope_parameters=dict(
                rope_type="longrope", rope_theta=1000.0, partial_rotary_factor=0.8,
                attention_factor=1.2, short_factor=[1.0, 1.1, 1.25, 1.5],
                long_factor=[1.2, 2.0, 3.5, 6.0], original_max_position_embeddings=28,
            ),
            sliding_window=20, dtype="float32",
        ),
        dtype=torch.float32, split="smollm",
    ),
}

TOKENIZER_TEXT = """The harbour was quiet before the morning tide came in. A long line of small
boats lay along the wall, and the men who sailed them had not yet come down from the town.
In 1904 the old lighthouse was rebuilt at a cost of 12,350 pounds; it has stood there ever since.
"Where are the nets?" she asked. They're drying on the stones, he said, and I'll bring them soon.
The reader of a context sees the memory and not the text: naïve, café, Zürich, 東京, 🙂.
"""

MODEL_TEXT = "The café by the harbour opened in 1904, and it's been there ever since: 東京 or not."
SHORT_TEXT = "The nets dry"  # fewer ids than any window or original length
# Greedy continuations are of the first of these that settles.
PROMPT_TEXTS = ["The old lighthouse", "The tide", "In the town", "A small boat", "They asked",
                "Bring the nets", "The memory", "She said"]
NEW_TOKENS = 64
LOGIT_ROWS = 16  # the last ones; hidden states and log-probabilities are there of all


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


def random_tensors(folder, generator):
    """Values for the tensors that transformers makes for the folder's config.json, wide enough that
    attention is far from flat and logits far from uniform."""
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    tensors = {}
    for name, parameter in model.named_parameters():  # a tied head is not among them
        if parameter.dim() == 2 or name.endswith(".bias"):
            tensors[name] = 0.2 * torch.randn(parameter.shape, generator=generator)
        else:
            tensors[name] = 0.5 + torch.rand(parameter.shape, generator=generator)
    return tensors


def bare(tensors):
    """As OpenAI's GPT-2 was first uploaded: no name of the body, and causal masks, which belong to
    no parameter; these are smaller than theirs."""
    renamed = {n.removeprefix("transformer."): t for n, t in tensors.items()}
    for name in [n for n in renamed if n.endswith("attn.c_attn.weight")]:
        attention = name.removesuffix("c_attn.weight")
        renamed[attention + "bias"] = torch.ones(1, 1, 16, 16).tril()
        renamed[attention + "masked_bias"] = torch.tensor(-1e4)
    return renamed


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
    config = {**FAMILIES[spec["family"]], **spec["config"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    eos = {"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]}
    (folder / "generation_config.json").write_text(json.dumps(eos) + "\n")
    tokenizer = make_tokenizer(SPLITS[spec["split"]], config["vocab_size"])
    tokenizer.save(str(folder / "tokenizer.json"))
    bos = config["bos_token_id"]
    names = {"tokenizer_class": "PreTrainedTokenizerFast",
             "eos_token": SPECIAL_TOKENS[eos_ids_of(config)[0]],
             "bos_token": SPECIAL_TOKENS[bos] if bos is not None else None}
    (folder / "tokenizer_config.json").write_text(json.dumps(names) + "\n")
    tensors = {n: t.to(spec["dtype"]) for n, t in random_tensors(folder, generator).items()}
    write_tensors(folder, bare(tensors) if spec.get("is_bare") else tensors,
                  spec.get("n_shards", 1))


def losses_slope(model, ids):
    """Mean NLL of the ids after the first, and its gradient by the token embeddings."""
    rows = model.embed(ids).detach().requires_grad_()
    loss = F.cross_entropy(model.logits(rows)[:-1], torch.tensor(ids[1:]))
    loss.backward()
    return loss.item(), rows.grad


def settled_greedy(model, tokenizer, eos_ids):
    for prompt in PROMPT_TEXTS:
        prompt_ids = encode_text(tokenizer, prompt)
        try:
            found = greedy(model, model.embed(prompt_ids), eos_ids, NEW_TOKENS)
        except Unsettled:
            continue
        return {"prompt": prompt, "prompt_ids": prompt_ids, **found}
    raise Unsettled("no prompt settles: choose another seed")


@torch.no_grad()
def write_model_expectations(folder):
    config = json.loads((folder / "config.json").read_text())
    tokenizer, model, plain = (load_tokenizer(folder), Reference(load_reference(folder)),
                               load_plain(folder))

    def checked_logits(ids):
        logits = model.logits(model.embed(ids))
        assert relative_difference(logits, plain.logits(plain.embed(ids))) < 1e-5
        return logits

    def scored(ids):
        return {"ids": ids, "logprobs": log_probs(checked_logits(ids), ids)}

    ids = encode_text(tokenizer, MODEL_TEXT)
    assert tokenizer.decode(ids, skip_special_tokens=False) == MODEL_TEXT
    out = model.causal_lm(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    states = torch.stack(out.hidden_states)[:, 0]
    exact = torch.stack(plain.hidden_states(plain.embed(ids)))
    with torch.enable_grad():
        (loss, slope), (_, exact_slope) = losses_slope(model, ids), losses_slope(plain, ids)
    differences = [relative_difference(out.logits[0], checked_logits(ids)),
                   relative_difference(states, exact), relative_difference(slope, exact_slope)]
    greedy_continuation = settled_greedy(model, tokenizer, eos_ids_of(config))
    print(f"{folder.name}: {len(ids)} ids; f32 against f64: hidden states {differences[1]:.1e},",
          f"gradient {differences[2]:.1e}; margin {greedy_continuation['least_margin']:.1e}")
    assert max(differences) < 1e-5

    bos = config["bos_token_id"]
    write_json(folder.with_name(folder.name + ".expected.json"), {
        "text": MODEL_TEXT, "ids": ids, "loss": rounded(loss),
        "bos_never": scored(ids), "bos_always": None if bos is None else scored([bos] + ids),
        "short": {"text": SHORT_TEXT, **scored(encode_text(tokenizer, SHORT_TEXT))},
        "greedy": greedy_continuation,
    })
    save_file({"logits": out.logits[0][-LOGIT_ROWS:].contiguous(),
               "hidden_states": states.contiguous(), "input_gradient": slope},
              folder.with_name(folder.name + ".expected.safetensors"))


def make_models(root, seed):
    for i, (name, spec) in enumerate(MODELS.items()):
        write_model(root / name, spec, torch.Generator().manual_seed(seed + i))
        write_model_expectations(root / name)
