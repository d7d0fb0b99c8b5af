"""models/smollm2.json: SmolLM2-135M-Instruct, dequantised from its GGUF file."""
import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from .language_models import encode_text, load_reference, log_probs
from .plain import Plain
from .record import relative_difference, rounded, write_json

SMOLLM2_TEXT = (
    "When the ferry finally reached the island, most of the passengers had fallen asleep, and "
    "only the captain noticed that the lights of the village, usually visible from far away, "
    "had all gone out at the same moment."
)


def gguf_tokenizer(reader):
    """The GGUF file's own vocabulary and merges with the splits that `smollm` names."""
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = reader.fields["tokenizer.ggml.merges"].contents()
    tokenizer = Tokenizer(models.BPE(
        vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gguf_plain(reader, config):
    """The dequantised tensors under transformers' names; rows of q and k are put from pairs
    (2i, 2i+1), as the file has them, into halves (i, i + head_dim/2)."""
    from gguf.quants import dequantize

    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm",
             "output": "lm_head", "attn_norm": "input_layernorm",
             "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
             "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj",
             "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    tensors = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type)))
        *block, name, _ = tensor.name.split(".")
        if name in ("attn_q", "attn_k"):
            head_dim = config["hidden_size"] // config["num_attention_heads"]
            pairs = values.reshape(-1, head_dim // 2, 2, values.shape[1])
            values = pairs.transpose(1, 2).reshape(values.shape)
        prefix = f"model.layers.{block[1]}." if block else ""
        tensors[f"{prefix}{names[name]}.weight"] = values.float()
    return Plain(tensors, config)


@torch.no_grad()
def make_smollm2(root, path):
    from gguf import GGUFReader

    reader = GGUFReader(path)
    tokenizer = gguf_tokenizer(reader)
    ids = encode_text(tokenizer, SMOLLM2_TEXT)
    assert tokenizer.decode(ids) == SMOLLM2_TEXT

    reference = load_reference(path.parent, gguf_file=path.name)
    out = reference(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    logits, states = out.logits[0], torch.stack(out.hidden_states)[:, 0]
    config = reference.config.to_dict()
    plain = gguf_plain(reader, config)
    rows = plain.embedding()[ids]
    print(f"smollm2: {len(ids)} ids; transformers against Plain:",
          f"{relative_difference(logits, plain.logits(rows)):.1e}")
    assert relative_difference(logits, plain.logits(rows)) < 1e-5
    top = logits.topk(5)
    write_json(root / "smollm2.json", {
        "text": SMOLLM2_TEXT, "ids": ids, "logprobs": log_probs(logits, ids),
        "top_ids": top.indices.tolist(), "top_logits": rounded(top.values),
        "hidden_state_norms": rounded(states.norm(dim=-1)),
    })
