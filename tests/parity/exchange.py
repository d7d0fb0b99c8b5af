"""Holds exports against transformers and PEFT: called by test_exchange.sh, prints one line a check
and exits with 1 if one failed.

    exchange.py FOLDER DECODER NAME=BASE...

FOLDER/NAME/ holds what slotpress made over the encoder BASE: lora.export, full.export, merged, the
slot file MODE.h5 of FOLDER/NAME/corpus.jsonl, rows of it as npy and safetensors, and greedy ids as
MODE.reconstruct.json and MODE.answer.json. It needs torch, transformers, peft, safetensors, h5py.
"""
import json
import logging
import sys
from pathlib import Path

import h5py
import numpy as np
import torch
import transformers
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from pcc_hf import Compressor  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
logging.disable(logging.WARNING)

HIDDEN_TOLERANCE = 1e-4  # architecture.md §5
BF16_TOLERANCE = 2e-2    # weights rounded to 8 bits once more
SEGMENT_TOKENS, RATIO = 16, 4
failed = False


def check(name, ok, detail=""):
    global failed
    failed = failed or not ok
    print(f"{'ok    ' if ok else 'FAILED'} {name} {detail}")


def distance(name, ours, theirs, tolerance, slack=0.0):
    """Largest difference beyond slack, relative to the largest value."""
    beyond = (np.abs(ours - theirs) - slack).clip(min=0).max() / np.abs(theirs).max()
    check(name, ours.shape == theirs.shape and beyond <= tolerance, f"{beyond:.1e}")


def documents(folder):
    for line in open(folder / "corpus.jsonl", encoding="utf-8"):
        document = json.loads(line)
        yield document["id"], document["text"]


def check_memory(name, folder, mode, pcc):
    """A slot file's f16 memory lies within half a unit of its last place of the hidden states."""
    with h5py.File(folder / f"{mode}.h5") as slots:
        ours = slots["/slots/values"][:].astype(np.float32)
    theirs = np.concatenate([pcc.memory(ids).numpy() for _, text in documents(folder)
                             for ids in pcc.segments(text)])
    half_unit = np.spacing(np.abs(ours).astype(np.float16)).astype(np.float32) / 2
    distance(f"{name} {mode}: hidden states", ours, theirs, HIDDEN_TOLERANCE, half_unit)


def check_rows(name, folder, pcc):
    """Exported rows are the slots of the memory in the file; with markers around each segment."""
    with h5py.File(folder / "lora.h5") as slots:
        values = torch.tensor(slots["/slots/values"][:].astype(np.float32))
        doc, begin = slots["/segments/doc"][:], slots["/segments/slot_begin"][:]
        ids = [i.decode() for i in slots["/documents/id"][:]]
    theirs = pcc.convert(values).numpy()
    index = json.loads((folder / "npy" / "index.json").read_text())
    ours = np.concatenate([np.load(folder / "npy" / index[i]) for i in ids])
    distance(f"{name}: rows as npy", ours, theirs, 1e-5)
    tensors = load_file(folder / "rows.safetensors")
    check(f"{name}: rows as safetensors", set(tensors) == set(ids) and all(
        np.array_equal(tensors[i].numpy(), np.load(folder / "npy" / index[i])) for i in ids))
    mem, end_mem, _ = (row[None] for row in pcc.pcc["markers"].numpy())
    ends, segments = [*begin[1:], len(values)], np.flatnonzero(doc == 0)
    framed = [np.concatenate([mem, theirs[begin[s]:ends[s]], end_mem]) for s in segments]
    distance(f"{name}: rows with markers", np.load(folder / "first.npy"), np.concatenate(framed),
             1e-5)


def check_greedy(name, folder, mode, pcc):
    texts = dict(documents(folder))
    for task in ("reconstruct", "answer"):
        ours = json.loads((folder / f"{mode}.{task}.json").read_text())
        text = texts[ours["document"]]
        theirs = (pcc.reconstruct(text, 16) if task == "reconstruct" else
                  pcc.generate(pcc.prompt(pcc.compress(text), "the old boats"), 64))
        check(f"{name} {mode}: greedy {task}", ours["ids"] == theirs, f"{len(theirs)} ids")


def hidden_of(model, ids):
    with torch.no_grad():
        out = model(input_ids=ids, output_hidden_states=True)
    return out.hidden_states[-1].numpy(), out.logits.numpy()


def check_merged(name, folder, base):
    """The merged model against the adapter over its base: hidden states, and logits, whose head is
    not adapted even where it is tied to the table."""
    merged, info = AutoModelForCausalLM.from_pretrained(folder / "merged", dtype=torch.float32,
                                                        output_loading_info=True)
    check(f"{name} merged: no key is missing",
          not info["missing_keys"] and not info["unexpected_keys"], info["missing_keys"] or "")
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        str(folder / "lora.export")).eval()
    with safe_open(folder / "merged" / "model.safetensors", "pt") as file:
        dtypes = {file.get_slice(key).get_dtype() for key in file.keys()}
    tolerance = HIDDEN_TOLERANCE if dtypes == {"F32"} else BF16_TOLERANCE
    ids = torch.arange(40)[None] % 37 + 4
    for what, ours, theirs in zip(("hidden states", "logits"), hidden_of(merged.eval(), ids),
                                  hidden_of(adapted, ids)):
        distance(f"{name} merged ({', '.join(sorted(dtypes))}): {what}", ours, theirs, tolerance)


def check_adapter_file(name, folder):
    """Neither table nor head is in the file."""
    with safe_open(folder / "lora.export" / "adapter_model.safetensors", "pt") as file:
        check(f"{name} lora: A and B only", all(".lora_" in key for key in file.keys()))


def check_full_loads(name, folder):
    _, info = AutoModel.from_pretrained(folder / "full.export", output_loading_info=True)
    check(f"{name} full: no key is missing",
          not info["missing_keys"] and not info["unexpected_keys"], str(info["missing_keys"] or ""))
    _, info = AutoModelForCausalLM.from_pretrained(folder / "full.export", output_loading_info=True)
    check(f"{name} full, causal LM: at most the head is missing",
          set(info["missing_keys"]) <= {"lm_head.weight"})


def main():
    root, decoder = Path(sys.argv[1]), sys.argv[2]
    for argument in sys.argv[3:]:
        name, base = argument.split("=")
        folder = root / name
        for mode in ("lora", "full", "pooled", "merger", "cut"):
            pcc = Compressor(folder / f"{mode}.export", base, decoder, SEGMENT_TOKENS, RATIO)
            check_memory(name, folder, mode, pcc)
            check_greedy(name, folder, mode, pcc)
            if mode == "lora":
                check_rows(name, folder, pcc)
        check_adapter_file(name, folder)
        check_merged(name, folder, base)
        check_full_loads(name, folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
