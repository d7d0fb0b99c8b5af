"""Language models through transformers, and what is asked of them and of plain.Plain alike."""
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from .record import rounded


class Reference:
    """plain.Plain's calls on transformers' model, bare or wrapped by PEFT."""

    def __init__(self, model):
        self.model = model
        self.causal_lm = model.base_model.model if hasattr(model, "peft_config") else model

    def embedding(self):
        return self.causal_lm.get_input_embeddings().weight

    def embed(self, ids):
        return self.causal_lm.get_input_embeddings()(torch.tensor(ids))

    def encode(self, x):
        body = self.causal_lm.base_model
        return body(inputs_embeds=x[None], use_cache=False).last_hidden_state[0]

    def logits(self, x):
        return self.causal_lm(inputs_embeds=x[None], use_cache=False).logits[0]


def load_reference(folder, **how):
    model, loaded = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **how)
    assert not loaded["missing_keys"] and not loaded["mismatched_keys"], loaded
    return model.eval().requires_grad_(False)


def load_tokenizer(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def encode_text(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def log_probs(logits, ids):
    picked = logits[:-1].double().log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
    return rounded(picked[:, 0])


class Unsettled(Exception):
    """A continuation that hangs on rounding, ends, or says nothing."""


@torch.no_grad()
def greedy(model, prompt_rows, eos_ids, n_new_tokens):
    """Continues embedded rows. They stand in a sequence as long as it will be at the end: what a
    model picks by length (longrope's factors) is fixed from that, and no row sees what follows."""
    end = len(prompt_rows) + n_new_tokens
    rows = torch.cat([prompt_rows, torch.zeros(n_new_tokens, prompt_rows.shape[1])])
    new_ids, margins = [], []
    for n in range(len(prompt_rows), end):
        best = model.logits(rows)[n - 1].topk(2)
        margins.append((best.values[0] - best.values[1]).item())
        new_ids.append(best.indices[0].item())
        rows[n] = model.embed(new_ids[-1:])[0]
    if min(margins) <= 1e-3:
        raise Unsettled(f"least margin {min(margins)}")
    if set(new_ids) & set(eos_ids):
        raise Unsettled("EOS was generated")
    if len(set(new_ids)) <= 3:
        raise Unsettled("the continuation is a short loop")
    return {"new_ids": new_ids, "least_margin": rounded(min(margins), 3)}


def eos_ids_of(config):
    eos = config["eos_token_id"]
    return eos if isinstance(eos, list) else [eos]
