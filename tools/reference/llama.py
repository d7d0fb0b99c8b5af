"""Llamas read twice: through transformers, and by a second implementation in f64."""
import json
import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from .record import rounded

NEW_TOKENS = 24  # of greedy continuations


class Plain:
    """A Llama from its tensors and config.json, as the equations say; any dtype."""

    def __init__(self, tensors, config):
        self.w, self.c = tensors, config

    def with_tensors(self, changed):
        return Plain({**self.w, **changed}, self.c)

    def rope_frequencies(self):
        c = self.c
        rope = c.get("rope_parameters") or {**(c.get("rope_scaling") or {}),
                                            "rope_theta": c["rope_theta"]}
        half = self.head_dim() // 2
        frequencies = rope["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
        if rope.get("rope_type", "default") == "default":
            return frequencies
        turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        smooth = ((turns - low) / (high - low)).clamp(0, 1)
        return frequencies * (smooth + (1 - smooth) / rope["factor"])

    def head_dim(self):
        return self.c.get("head_dim") or self.c["hidden_size"] // self.c["num_attention_heads"]

    def norm(self, x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["rms_norm_eps"]) * weight

    def rotated(self, x):
        """x [n, heads, head_dim]; row r stands at position r."""
        angles = torch.arange(len(x), dtype=torch.float64)[:, None] * self.rope_frequencies()
        cos, sin = angles.cos().to(x.dtype)[:, None], angles.sin().to(x.dtype)[:, None]
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, x, layer):
        c, hd = self.c, self.head_dim()
        q, k, v = ((x @ self.w[f"{layer}.self_attn.{p}_proj.weight"].T).unflatten(-1, (-1, hd))
                   for p in "qkv")
        repeat = c["num_attention_heads"] // c["num_key_value_heads"]
        q, k, v = self.rotated(q), self.rotated(k), v
        k, v = (t.repeat_interleave(repeat, 1) for t in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(hd)
        future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        mixed = torch.einsum("hqk,khd->qhd", weights, v).flatten(1)
        return mixed @ self.w[f"{layer}.self_attn.o_proj.weight"].T

    def hidden_states(self, x):
        """The list that hidden_states above is: x, after each layer but the last, final norm."""
        states = [x]
        for i in range(self.c["num_hidden_layers"]):
            layer = f"model.layers.{i}"
            x = x + self.attention(self.norm(x, self.w[f"{layer}.input_layernorm.weight"]), layer)
            h = self.norm(x, self.w[f"{layer}.post_attention_layernorm.weight"])
            gate, up = (h @ self.w[f"{layer}.mlp.{p}_proj.weight"].T for p in ("gate", "up"))
            x = x + (F.silu(gate) * up) @ self.w[f"{layer}.mlp.down_proj.weight"].T
            states.append(x)
        states[-1] = self.norm(x, self.w["model.norm.weight"])
        return states

    def embedding(self):
        return self.w["model.embed_tokens.weight"]

    def encode(self, x):
        return self.hidden_states(x)[-1]

    def logits(self, x):
        head = "model.embed_tokens" if self.c["tie_word_embeddings"] else "lm_head"
        return self.encode(x) @ self.w[f"{head}.weight"].T


class Reference:
    """The same three calls on transformers' model, bare or wrapped by PEFT."""

    def __init__(self, model):
        self.model = model
        self.causal_lm = model.base_model.model if hasattr(model, "peft_config") else model

    def embedding(self):
        return self.causal_lm.model.embed_tokens.weight

    def encode(self, x):
        return self.causal_lm.model(inputs_embeds=x[None], use_cache=False).last_hidden_state[0]

    def logits(self, x):
        return self.causal_lm(inputs_embeds=x[None], use_cache=False).logits[0]


def load_reference(folder, **how):
    model = LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **how)
    return model.eval().requires_grad_(False)


def load_plain(folder, dtype=torch.float64):
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= {n: t.to(dtype) for n, t in load_file(file).items()}
    return Plain(tensors, json.loads((folder / "config.json").read_text()))


def load_tokenizer(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def encode_text(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def log_probs(logits, ids):
    picked = logits[:-1].double().log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
    return rounded(picked[:, 0])


def greedy(model, prompt_rows, eos_ids):
    """Continues embedded rows; refuses a prompt whose continuation hangs on rounding or ends."""
    rows, new_ids, margins = prompt_rows, [], []
    for _ in range(NEW_TOKENS):
        best = model.logits(rows)[-1].topk(2)
        margins.append((best.values[0] - best.values[1]).item())
        new_ids.append(best.indices[0].item())
        rows = torch.cat([rows, model.embedding()[new_ids[-1:]]])
    assert min(margins) > 1e-3, f"least margin {min(margins)}: choose another seed"
    assert not set(new_ids) & set(eos_ids), "EOS was generated: choose another seed"
    assert len(set(new_ids)) > 3, "the continuation is a short loop: choose another seed"
    return {"new_ids": new_ids, "least_margin": rounded(min(margins), 3)}


def eos_ids_of(config):
    eos = config["eos_token_id"]
    return eos if isinstance(eos, list) else [eos]
