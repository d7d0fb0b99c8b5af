#!/usr/bin/env python3
"""Loads `slotpress export` into transformers and lets a decoder read slots through inputs_embeds.

    from pcc_hf import Compressor
    pcc = Compressor("exported", encoder="models/encoder", decoder="models/decoder",
                     segment_tokens=256, ratio=4)
    slots = pcc.compress(text)                    # one [n, d_dec] a segment
    ids = pcc.generate(pcc.prompt(slots, "Question: ..."), max_new_tokens=30)

As a command, it prints what `slotpress generate --json` prints for the same text. Needs torch,
transformers, safetensors and, for an adapter, peft.
"""
import argparse
import json
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast


def load_tokenizer(folder):
    """As tokenizer.json has it; AutoTokenizer may put a model's class over it."""
    return PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"))


def adapted_layers(export):
    """One more than the last layer that an adapter is of: of encoder.layers there are no others."""
    with safe_open(Path(export) / "adapter_model.safetensors", "pt") as file:
        found = (re.search(r"\.(?:layers|h)\.(\d+)\.", name) for name in file.keys())
        return max((int(layer[1]) + 1 for layer in found if layer), default=None)


def load_encoder(export, encoder, **options):
    """The transformer without its head: base model with adapter, trained in full (or merged), or
    the base model as it is. `num_hidden_layers` cuts a base model; an adapter says so itself."""
    export = Path(export)
    if (export / "adapter_config.json").exists():
        from peft import PeftModel
        layers = adapted_layers(export)
        if layers is not None:
            options.setdefault("num_hidden_layers", layers)
        base = AutoModelForCausalLM.from_pretrained(encoder, **options)
        return PeftModel.from_pretrained(base, str(export)).get_base_model().base_model.eval()
    folder = export if (export / "model.safetensors").exists() else encoder
    return AutoModel.from_pretrained(folder, **options).eval()


def cut_segments(tokenizer, text, most):
    """Ids of at most `most` each; a character split over tokens stays in one segment."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, spans, begin = encoded["input_ids"], encoded["offset_mapping"], 0
    while begin < len(ids):
        end = min(begin + most, len(ids))
        while begin + 1 < end < len(ids) and spans[end][0] < spans[end - 1][1]:
            end -= 1
        yield ids[begin:end]
        begin = end


class Compressor:
    """A trained PCC: encoder, converter, markers, and the frozen decoder."""

    def __init__(self, export, encoder, decoder, segment_tokens, ratio, dtype=torch.float32,
                 boundaries=True):
        self.segment_tokens, self.ratio, self.boundaries = segment_tokens, ratio, boundaries
        told = Path(export) / "pcc_config.json"
        ratios = json.loads(told.read_text())["segment"]["ratio"] if told.exists() else [ratio]
        if ratio not in ratios:
            raise ValueError(f"ratio {ratio}, but '{told}' was trained for {ratios}")
        self.encoder_tokens, self.decoder_tokens = load_tokenizer(encoder), load_tokenizer(decoder)
        self.encoder = load_encoder(export, encoder, dtype=dtype)
        self.decoder = AutoModelForCausalLM.from_pretrained(decoder, dtype=dtype).eval()
        self.pcc = {name: tensor.to(dtype)
                    for name, tensor in load_file(Path(export) / "pcc.safetensors").items()}

    def segments(self, text):
        return cut_segments(self.encoder_tokens, text, self.segment_tokens)

    def convert(self, memory):
        x = F.rms_norm(memory, memory.shape[-1:], self.pcc["converter.norm.weight"], eps=1e-6)
        x = F.gelu(F.linear(x, self.pcc["converter.in.weight"], self.pcc["converter.in.bias"]))
        return F.linear(x, self.pcc["converter.out.weight"], self.pcc["converter.out.bias"])

    @torch.no_grad()
    def memory(self, ids):
        """The encoder's last hidden states at the memory tokens of one segment, [n, d_enc]; without
        memory tokens, the means of those of `ratio` tokens each, or the sums of their products with
        the merger's matrices, one for each place."""
        if "memory_tokens" not in self.pcc:
            hidden = self.encoder(input_ids=torch.tensor([ids])).last_hidden_state[0]
            chunks = hidden.split(self.ratio)
            if "merger.weight" not in self.pcc:
                return torch.stack([chunk.mean(0) for chunk in chunks])
            merger = self.pcc["merger.weight"]
            return torch.stack([merger[:, :chunk.numel()] @ chunk.flatten() for chunk in chunks])
        memory_tokens = self.pcc["memory_tokens"][:-(-len(ids) // self.ratio)]
        rows = torch.cat([self.encoder.get_input_embeddings()(torch.tensor(ids)), memory_tokens])
        hidden = self.encoder(inputs_embeds=rows[None]).last_hidden_state[0]
        return hidden[-len(memory_tokens):]

    @torch.no_grad()
    def compress(self, text):
        """Slots [n, d_dec] of each segment, from memory rounded to f16, as slot files hold it."""
        return [self.convert(self.memory(ids).half().to(self.pcc["markers"].dtype))
                for ids in self.segments(text)]

    def prompt(self, slots, text=None):
        """Rows [n, d_dec]: BOS, each segment's slots between markers, then the text; without a
        text <ae>, which asks for the (one) segment again."""
        mem, end_mem, ae = self.pcc["markers"].unsqueeze(1)
        bos, table = self.decoder.config.bos_token_id, self.decoder.get_input_embeddings()
        rows = [] if bos is None else [table(torch.tensor([bos]))]
        for of_segment in slots:
            rows += [mem, of_segment, end_mem] if self.boundaries else [of_segment]
        if text is None:
            return torch.cat([*rows, ae])
        ids = self.decoder_tokens.encode(text, add_special_tokens=False)
        return torch.cat([*rows, table(torch.tensor(ids, dtype=torch.long))])

    @torch.no_grad()
    def generate(self, rows, max_new_tokens):
        """Greedy ids after the rows, without the EOS at their end."""
        ids = self.decoder.generate(
            inputs_embeds=rows[None], attention_mask=torch.ones(1, len(rows), dtype=torch.long),
            max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0)[0].tolist()
        eos = self.decoder.generation_config.eos_token_id
        ends = eos if isinstance(eos, list) else [eos]
        return ids[:-1] if ids and ids[-1] in ends else ids

    def reconstruct(self, text, max_new_tokens):
        return [token for slots in self.compress(text)
                for token in self.generate(self.prompt([slots]), max_new_tokens)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option in ("export", "encoder", "decoder"):
        parser.add_argument(f"--{option}", required=True, metavar="DIR")
    parser.add_argument("--segment-tokens", type=int, default=256)
    parser.add_argument("--ratio", type=int, default=4)
    parser.add_argument("--no-boundaries", action="store_true",
                        help="of a run with decoder.boundaries: false")
    parser.add_argument("--prompt", help="go on after this text; without it: reconstruct")
    parser.add_argument("--max-new-tokens", type=int, default=300)
    parser.add_argument("file", metavar="TEXT.txt")
    options = parser.parse_args()
    pcc = Compressor(options.export, options.encoder, options.decoder, options.segment_tokens,
                     options.ratio, boundaries=not options.no_boundaries)
    text = Path(options.file).read_text(encoding="utf-8")
    if options.prompt is None:
        ids = pcc.reconstruct(text, options.max_new_tokens)
    else:
        ids = pcc.generate(pcc.prompt(pcc.compress(text), options.prompt), options.max_new_tokens)
    print(json.dumps({"text": pcc.decoder_tokens.decode(ids), "ids": ids}))


if __name__ == "__main__":
    main()
