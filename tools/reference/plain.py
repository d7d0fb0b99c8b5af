"""A second implementation of the five families, as their equations say; any dtype."""
import json
import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

LLAMA = dict(
    body="model.", layers="layers", embedding="embed_tokens", positions=None, final_norm="norm",
    attention_norm="input_layernorm", ffn_norm="post_attention_layernorm",
    qkv=["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], o="self_attn.o_proj",
    into_ffn=["mlp.gate_proj", "mlp.up_proj"], out_of_ffn="mlp.down_proj", is_input_first=False)
FAMILIES = {
    "llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA,
    "phi3": LLAMA | dict(qkv=["self_attn.qkv_proj"], into_ffn=["mlp.gate_up_proj"]),
    "gpt2": dict(
        body="transformer.", layers="h", embedding="wte", positions="wpe", final_norm="ln_f",
        attention_norm="ln_1", ffn_norm="ln_2", qkv=["attn.c_attn"], o="attn.c_proj",
        into_ffn=["mlp.c_fc"], out_of_ffn="mlp.c_proj", is_input_first=True),
}
GPT2_KEYS = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer",
             "num_attention_heads": "n_head", "num_key_value_heads": "n_head",
             "max_position_embeddings": "n_positions"}


class Rope:
    """How positions turn pairs of a head's numbers, from a config.json of either dialect."""

    def __init__(self, config, head_dim):
        self.c = config
        self.p = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
        self.kind = self.p.get("rope_type") or self.p.get("type") or "default"
        self.theta = self.p.get("rope_theta") or config.get("rope_theta") or 10000.0
        part = self.p.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1
        self.n_turned = int(head_dim * part)
        self.original_length = (config.get("original_max_position_embeddings")
                                or self.p.get("original_max_position_embeddings"))

    def yarn_share(self):
        """Of each frequency, the share that is interpolated (arXiv 2309.00071, section 3.2)."""
        def pair_that_turns(n_times):
            return (self.n_turned * math.log(self.original_length / (n_times * 2 * math.pi))
                    / (2 * math.log(self.theta)))

        low = max(math.floor(pair_that_turns(self.p.get("beta_fast") or 32)), 0)
        high = min(math.ceil(pair_that_turns(self.p.get("beta_slow") or 1)), self.n_turned - 1)
        pairs = torch.arange(self.n_turned // 2, dtype=torch.float64)
        return ((pairs - low) / max(high - low, 1e-3)).clamp(0, 1)

    def frequencies(self, n_rows):
        """Angles a position, and what both cosine and sine are multiplied with, in a sequence of
        n_rows in all."""
        half, p = self.n_turned // 2, self.p
        plain = self.theta ** (-torch.arange(half, dtype=torch.float64) / half)
        if self.kind == "default":
            return plain, 1.0
        if self.kind == "linear":
            return plain / p["factor"], 1.0
        if self.kind == "llama3":
            turns = self.original_length * plain / (2 * math.pi)
            low, high = p["low_freq_factor"], p["high_freq_factor"]
            smooth = ((turns - low) / (high - low)).clamp(0, 1)
            return plain * (smooth + (1 - smooth) / p["factor"]), 1.0
        if self.kind == "yarn":
            share = self.yarn_share()
            factor = p.get("attention_factor") or 0.1 * math.log(p["factor"]) + 1
            return plain * (1 - share) + plain / p["factor"] * share, factor
        assert self.kind in ("longrope", "su"), self.kind
        ratio = self.c["max_position_embeddings"] / self.original_length
        factor = p.get("attention_factor") or math.sqrt(
            1 + math.log(ratio) / math.log(self.original_length))
        which = "long_factor" if n_rows > self.original_length else "short_factor"
        return plain / torch.tensor(p[which], dtype=torch.float64), factor


class Plain:
    """A model from its tensors by AutoModelForCausalLM's names, and its config.json."""

    def __init__(self, tensors, config):
        self.w, self.c, self.names = tensors, config, FAMILIES[config["model_type"]]

    def with_tensors(self, changed):
        return Plain({**self.w, **changed}, self.c)

    def size(self, key):
        return self.c[GPT2_KEYS[key] if self.c["model_type"] == "gpt2" else key]

    def head_dim(self):
        return self.c.get("head_dim") or (self.size("hidden_size")
                                          // self.size("num_attention_heads"))

    def window(self, layer):
        """How many rows a row sees, itself included; None: all before it."""
        if self.c["model_type"] not in ("mistral", "qwen2", "phi3"):
            return None
        if self.c["model_type"] == "qwen2":
            if not self.c.get("use_sliding_window"):
                return None
            kinds = self.c.get("layer_types")
            if kinds is None and layer < self.c["max_window_layers"]:
                return None
            if kinds is not None and kinds[layer] == "full_attention":
                return None
        return self.c["sliding_window"]

    def linear(self, x, name):
        weight, bias = self.w[f"{name}.weight"], self.w.get(f"{name}.bias")
        y = x @ (weight if self.names["is_input_first"] else weight.T)
        return y if bias is None else y + bias

    def norm(self, x, name):
        weight, bias = self.w[f"{name}.weight"], self.w.get(f"{name}.bias")
        if bias is not None:
            return F.layer_norm(x, x.shape[-1:], weight, bias, self.c["layer_norm_epsilon"])
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["rms_norm_eps"]) * weight

    def turned(self, x):
        """x [n, heads, head_dim]; row r stands at position r."""
        if self.names["positions"]:
            return x
        rope = Rope(self.c, self.head_dim())
        frequencies, factor = rope.frequencies(len(x))
        angles = torch.arange(len(x), dtype=torch.float64)[:, None] * frequencies
        cos, sin = (factor * t.to(x.dtype)[:, None] for t in (angles.cos(), angles.sin()))
        a, b = x[..., :rope.n_turned].chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin, x[..., rope.n_turned:]], -1)

    def attention(self, x, name, window):
        head_dim, n_heads = self.head_dim(), self.size("num_attention_heads")
        n_kv_heads = self.size("num_key_value_heads")
        qkv = torch.cat([self.linear(x, f"{name}.{m}") for m in self.names["qkv"]], -1)
        q, k, v = qkv.unflatten(-1, (-1, head_dim)).split([n_heads, n_kv_heads, n_kv_heads], 1)
        k, v = (t.repeat_interleave(n_heads // n_kv_heads, 1) for t in (self.turned(k), v))
        scores = torch.einsum("qhd,khd->hqk", self.turned(q), k) / math.sqrt(head_dim)
        seen = torch.ones(len(x), len(x), dtype=torch.bool).tril()
        if window is not None:
            seen = seen.triu(1 - window)
        weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
        mixed = torch.einsum("hqk,khd->qhd", weights, v).flatten(1)
        return self.linear(mixed, f"{name}.{self.names['o']}")

    def ffn(self, x, name):
        h = torch.cat([self.linear(x, f"{name}.{m}") for m in self.names["into_ffn"]], -1)
        if self.c["model_type"] == "gpt2":
            h = F.gelu(h, approximate="tanh")
        else:
            gate, up = h.chunk(2, -1)
            h = F.silu(gate) * up
        return self.linear(h, f"{name}.{self.names['out_of_ffn']}")

    def hidden_states(self, x):
        """Of token embeddings x: the first layer's input, what each layer but the last puts out,
        and the final norm."""
        names, body = self.names, self.names["body"]
        if names["positions"]:
            x = x + self.w[f"{body}{names['positions']}.weight"][:len(x)]
        states = [x]
        for i in range(self.size("num_hidden_layers")):
            name = f"{body}{names['layers']}.{i}"
            h = self.norm(x, f"{name}.{names['attention_norm']}")
            x = x + self.attention(h, name, self.window(i))
            x = x + self.ffn(self.norm(x, f"{name}.{names['ffn_norm']}"), name)
            states.append(x)
        states[-1] = self.norm(x, f"{body}{names['final_norm']}")
        return states

    def embedding(self):
        return self.w[f"{self.names['body']}{self.names['embedding']}.weight"]

    def embed(self, ids):
        return self.embedding()[ids]

    def encode(self, x):
        return self.hidden_states(x)[-1]

    def logits(self, x):
        is_tied = self.c.get("tie_word_embeddings", self.c["model_type"] == "gpt2")
        return self.encode(x) @ (self.embedding() if is_tied else self.w["lm_head.weight"]).T


def load_plain(folder, dtype=torch.float64):
    """From a folder whose names are AutoModelForCausalLM's or leave out the body's."""
    config, tensors = json.loads((folder / "config.json").read_text()), {}
    body = FAMILIES[config["model_type"]]["body"]
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            name = name if name.startswith((body, "lm_head.")) else body + name
            if not name.endswith((".attn.bias", ".attn.masked_bias")):  # GPT-2's causal masks
                tensors[name] = tensor.to(dtype)
    return Plain(tensors, config)
