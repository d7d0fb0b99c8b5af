#!/usr/bin/env python3
"""Turns the PCC authors' published checkpoints into a folder that `slotpress import` reads.

    Lite     convert_published.py --encoder LITE --converter LITE/memory_converter.bin
                 --markers MARKERS.pt --output OUT
    Large    convert_published.py --encoder ADAPTER --table RESIZED_LLAMA
                 --converter ADAPTER/memory_converter.bin --markers MARKERS.pt --output OUT

Lite is a GPT-2 folder whose table ends in the memory tokens. Large is a PEFT adapter over a Llama
whose table does: the rows as they were before the adapter come from that folder (--table; only they
are read), or from the adapter's file where PEFT saved its table there. The adapter keeps its columns
for them; the import folds those in.

What is written: model.safetensors and config.json, or adapter_model.safetensors and
adapter_config.json, with the tensors as they are; and pcc.safetensors, with the converter and the
markers under slotpress's names and in its order. Needs torch and safetensors. Pickles are loaded
with weights_only, so that they cannot run anything.
"""
import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

CONVERTER = {
    "RMSNorm.weight": "converter.norm.weight",
    "dense_in.weight": "converter.in.weight", "dense_in.bias": "converter.in.bias",
    "dense_out.weight": "converter.out.weight", "dense_out.bias": "converter.out.bias",
}
MODEL_FILES = ("model.safetensors", "pytorch_model.bin")
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
MARKERS = ["<mem>", "</mem>", "<ae>"]  # the order of slotpress
TABLES = ("transformer.wte.weight", "wte.weight", "model.embed_tokens.weight",
          "embed_tokens.weight", "base_model.model.model.embed_tokens.base_layer.weight",
          "base_model.model.model.embed_tokens.weight")
HEADS = ("lm_head.weight", "base_model.model.lm_head.weight",
         "base_model.model.lm_head.base_layer.weight")


def load(path):
    """The tensors of a safetensors file or a pickle, mapped rather than read where possible."""
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def find_files(folder, names):
    """The files of a model or adapter: one of those names, or the shards that its index lists."""
    for name in names:
        if (folder / name).exists():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.exists():
            shards = json.loads(index.read_text())["weight_map"].values()
            return [folder / shard for shard in sorted(set(shards))]
    sys.exit(f"{folder}: neither {' nor '.join(names)}")


def last_rows_of_folder(folder, n):
    """The last n rows of a model's table; nothing else of its files is read."""
    for path in find_files(folder, MODEL_FILES):
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                for name in set(TABLES) & set(file.keys()):
                    rows = file.get_slice(name)
                    return rows[rows.get_shape()[0] - n:]
        else:
            tensors = load(path)
            for name in set(TABLES) & set(tensors):
                return tensors[name][-n:]
    sys.exit(f"{folder}: no embedding table")


def convert_encoder(options):
    """Writes the encoder's files. Returns the table's last rows, if they are in them."""
    is_adapter = (options.encoder / "adapter_config.json").exists()
    names = ADAPTER_FILES if is_adapter else MODEL_FILES
    tensors = {}
    for path in find_files(options.encoder, names):
        tensors.update(load(path))
    rows = [tensors[name][-options.memory_tokens:].clone() for name in TABLES if name in tensors]
    dropped = HEADS + TABLES if is_adapter else HEADS  # an adapter's are the base model's
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()
               if name not in dropped}, options.output / names[0], {"format": "pt"})
    config = "adapter_config.json" if is_adapter else "config.json"
    shutil.copyfile(options.encoder / config, options.output / config)
    return rows[0] if rows else None


def convert_markers(path):
    """The rows in our order; the file tells its own."""
    saved = load(path)
    return saved["embedding"][[list(saved["tokens"]).index(token) for token in MARKERS]]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, required=True, help="GPT-2 or adapter folder")
    parser.add_argument("--table", type=Path, help="model folder whose table ends in memory tokens")
    parser.add_argument("--converter", type=Path, required=True, help="memory_converter.bin")
    parser.add_argument("--markers", type=Path, required=True, help="tokens, embedding, lm_head")
    parser.add_argument("--memory-tokens", type=int, default=64, metavar="N")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    rows = convert_encoder(options)
    if options.table is not None:
        rows = last_rows_of_folder(options.table, options.memory_tokens)
    if rows is None:
        parser.error("--table: the adapter's file has no table; name the model under it")
    pcc = {CONVERTER[name]: tensor for name, tensor in load(options.converter).items()}
    pcc |= {"memory_tokens": rows, "markers": convert_markers(options.markers)}
    save_file({name: tensor.contiguous() for name, tensor in pcc.items()},
              options.output / "pcc.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
