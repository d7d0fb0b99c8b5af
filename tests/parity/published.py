"""Small checkpoints in the layout of the authors' published ones, and what their code makes of them.

    published.py make FOLDER CORPUS     FOLDER/{lite,large,large-table,peft}/..., and NAME.npy, the hidden
                                        states at the memory tokens' ids of each segment
    published.py check FOLDER           holds slot files FOLDER/NAME.h5 against those

It needs torch, transformers, peft, h5py.
"""
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from pcc_hf import cut_segments, load_tokenizer  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
MODELS = Path(__file__).resolve().parents[1] / "fixtures/models"
MEMORY_TOKENS, SEGMENT_TOKENS, RATIO, D_DECODER = 8, 16, 4, 60
HIDDEN_TOLERANCE = 1e-4  # architecture.md §5


def resized(name):
    """The model with rows for the memory tokens at the end of its table."""
    model = AutoModelForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32)
    # Its table's length may be more than the tokenizer's.
    n_vocab = AutoConfig.from_pretrained(MODELS / name).vocab_size
    model.resize_token_embeddings(n_vocab + MEMORY_TOKENS, mean_resizing=False)
    return model.eval(), n_vocab


def write_rest(folder, d_encoder):
    """Converter and markers, as pickles."""
    torch.save({"RMSNorm.weight": torch.rand(d_encoder),
                "dense_in.weight": torch.randn(D_DECODER, d_encoder),
                "dense_in.bias": torch.randn(D_DECODER),
                "dense_out.weight": torch.randn(D_DECODER, D_DECODER),
                "dense_out.bias": torch.randn(D_DECODER)}, folder / "memory_converter.bin")
    torch.save({"tokens": ["<mem>", "<ae>", "</mem>"],
                "embedding": torch.tensor([[0.0], [2.0], [1.0]]).expand(3, D_DECODER).bfloat16(),
                "lm_head": torch.randn(3, D_DECODER).bfloat16()}, folder / "markers.pt")


def write_hidden(path, model, body, name, n_vocab, corpus):
    """Memory tokens are ids behind the vocabulary."""
    tokenizer, memory = load_tokenizer(MODELS / name), []
    for line in open(corpus, encoding="utf-8"):
        for ids in cut_segments(tokenizer, json.loads(line)["text"], SEGMENT_TOKENS):
            n = -(-len(ids) // RATIO)
            ids = torch.tensor([ids + list(range(n_vocab, n_vocab + n))])
            with torch.no_grad():
                memory.append(body(model)(input_ids=ids).last_hidden_state[0, -n:].numpy())
    np.save(path, np.concatenate(memory))


def make_lite(root, corpus):
    folder = root / "lite"
    folder.mkdir()
    model, n_vocab = resized("gpt2-tiny")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    write_rest(folder, model.config.n_embd)
    write_hidden(root / "lite.npy", model, lambda m: m.transformer, "gpt2-tiny", n_vocab, corpus)


def make_large(root, corpus):
    """With the table in the model's folder, and in the adapter's file as well; and as PEFT itself
    writes that, in bf16 where nothing is lost."""
    model, n_vocab = resized("llama-tiny")
    model.save_pretrained(root / "resized", safe_serialization=True)
    targets = [f"{role}_proj" for role in ("q", "k", "v", "o", "gate", "up", "down")]
    adapted = get_peft_model(model, LoraConfig(
        r=4, lora_alpha=8, target_modules=[*targets, "embed_tokens", "lm_head"],
        task_type="CAUSAL_LM")).eval()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
            parameter.data = parameter.data.bfloat16().float()
    for name in ("large", "large-table"):
        folder = root / name
        folder.mkdir()
        torch.save(get_peft_model_state_dict(adapted, save_embedding_layers=name == "large-table"),
                   folder / "adapter_model.bin")
        adapted.peft_config["default"].save_pretrained(folder)
        write_rest(folder, model.config.hidden_size)
        write_hidden(root / f"{name}.npy", adapted, lambda m: m.get_base_model().model,
                     "llama-tiny", n_vocab, corpus)
    adapted.save_pretrained(root / "peft", save_embedding_layers=True)
    path = root / "peft" / "adapter_model.safetensors"
    tensors = {name: tensor.bfloat16() if ".lora_" in name else tensor
               for name, tensor in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})


def convert(converter, memory):
    """As the authors' module computes it."""
    x = F.rms_norm(memory, memory.shape[-1:], converter["RMSNorm.weight"], eps=1e-6)
    x = F.gelu(F.linear(x, converter["dense_in.weight"], converter["dense_in.bias"]))
    return F.linear(x, converter["dense_out.weight"], converter["dense_out.bias"]).numpy()


def check(root):
    failed = False
    for name in ("lite", "large", "large-table"):
        theirs = np.load(root / f"{name}.npy")
        with h5py.File(root / f"{name}.h5") as slots:
            ours = slots["/slots/values"][:].astype(np.float32)
            n_first = slots["/segments/slot_begin"][1]
        half_unit = np.spacing(np.abs(ours).astype(np.float16)).astype(np.float32) / 2
        hidden = (np.abs(ours - theirs) - half_unit).clip(min=0).max() / np.abs(theirs).max()
        converter = torch.load(root / name / "memory_converter.bin", weights_only=True)
        first = np.concatenate([np.zeros((1, D_DECODER)),  # <mem>, slots, </mem>
                                convert(converter, torch.tensor(ours[:n_first])),
                                np.ones((1, D_DECODER))])
        rows = np.load(root / f"{name}.rows.npy")[:len(first)]
        slots = np.abs(rows - first).max() / np.abs(first).max()
        ok = ours.shape == theirs.shape and hidden <= HIDDEN_TOLERANCE and slots <= HIDDEN_TOLERANCE
        print(f"{'ok    ' if ok else 'FAILED'} {name}: hidden states {hidden:.1e}, rows {slots:.1e}")
        failed = failed or not ok
    sys.exit(failed)


if __name__ == "__main__":
    torch.manual_seed(1)
    if sys.argv[1] == "make":
        make_lite(Path(sys.argv[2]), sys.argv[3])
        make_large(Path(sys.argv[2]), sys.argv[3])
    else:
        check(Path(sys.argv[2]))
