#!/usr/bin/env python3
"""The peer of our bench: one stage-2 step of a PCC in PyTorch + transformers + PEFT on the CPU.

    pip install torch transformers peft        (a CPU build of torch suffices)
    python tests/bench/pcc_step_torch.py --mb 2 --threads 2 [--train full] [--bf16] [--json]

The step is pcc.md's: segments of 256 random ids followed by 64 memory tokens go through the encoder
(SmolLM2-135M's shape, random weights; LoRA r=64 on the seven projections, or every weight
trained); its last 64 hidden states through RMSNorm, Linear, GELU, Linear; the slots stand between
<mem> and </mem> before the frozen decoder's two branches, reconstruction (<ae> x) and completion
(y), 257 targets each; backward; clipping at 0.5; AdamW. Both objectives share the encoder pass.
f32, or bf16 autocast (weights stay f32).

Each branch is a decoder pass with its own prefix and full logits: the library's defaults, as its
users write it. --target-logits asks the head for the rows that have targets only. Context tokens
are the segments'. The first step warms up and is not counted. Peak memory is the process's, with
its imports.
"""
import argparse
import json
import sys

import peft
import torch
import transformers
from torch import nn
from torch.nn import functional as F

from timing import Runs, peak_rss_bytes

BOS, EOS = 1, 2
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--mb", type=int, default=2, help="micro-batch, segments")
    parser.add_argument("--steps", type=int, default=3, help="timed, after one that is not")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--segment", type=int, default=256, help="tokens")
    parser.add_argument("--ratio", type=int, default=4, help="tokens a slot")
    parser.add_argument("--rank", type=int, default=64, help="of LoRA")
    parser.add_argument("--train", choices=["lora", "full"], default="lora")
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--target-logits", action="store_true",
                        help="logits of the rows with targets only")
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout, no more")
    return parser.parse_args()


class Compressor(nn.Module):
    def __init__(self, args):
        super().__init__()
        config = transformers.LlamaConfig(
            hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
            num_key_value_heads=3, vocab_size=49152, max_position_embeddings=8192,
            tie_word_embeddings=True, rope_theta=100000.0, rms_norm_eps=1e-5,
            attn_implementation="sdpa", use_cache=False)
        d, self.n_slots = config.hidden_size, -(-args.segment // args.ratio)
        self.target_logits = args.target_logits
        self.decoder = transformers.LlamaForCausalLM(config).requires_grad_(False)
        self.encoder = transformers.LlamaModel(config)
        self.encoder.load_state_dict(self.decoder.model.state_dict())
        if args.train == "lora":
            self.encoder.requires_grad_(False)
            peft.inject_adapter_in_model(
                peft.LoraConfig(r=args.rank, lora_alpha=32, lora_dropout=0.0,
                                target_modules=PROJECTIONS), self.encoder)
            self.encoder.embed_tokens = self.decoder.model.embed_tokens  # one frozen table
        self.memory_tokens = nn.Parameter(torch.randn(self.n_slots, d) * 0.02)
        self.markers = nn.Parameter(torch.randn(3, d) * 0.02)  # <mem>, </mem>, <ae>
        self.converter = nn.Sequential(
            nn.RMSNorm(d, eps=1e-6), nn.Linear(d, d), nn.GELU(), nn.Linear(d, d))

    def slots(self, x):
        memory_tokens = self.memory_tokens.expand(len(x), -1, -1)
        rows = torch.cat([self.encoder.embed_tokens(x), memory_tokens], 1)
        states = self.encoder(inputs_embeds=rows).last_hidden_state
        return self.converter(states[:, -self.n_slots:])

    def nll(self, rows, ids):
        """Of ids and EOS after rows and ids."""
        end = torch.full((len(ids), 1), EOS)
        targets = torch.cat([ids, end], 1)
        rows = torch.cat([rows, self.decoder.model.embed_tokens(ids)], 1)
        keep = targets.shape[1]
        logits = self.decoder(inputs_embeds=rows,
                              logits_to_keep=keep if self.target_logits else 0).logits
        return F.cross_entropy(logits[:, -keep:].float().flatten(0, 1), targets.flatten())

    def forward(self, x, y):
        slots = self.slots(x)
        mem, end_mem, ae = (m.expand(len(x), 1, -1) for m in self.markers[:, None].to(slots.dtype))
        bos = self.decoder.model.embed_tokens(torch.full((len(x), 1), BOS)).to(slots.dtype)
        prefix = torch.cat([bos, mem, slots, end_mem], 1)
        return 0.5 * self.nll(torch.cat([prefix, ae], 1), x) + 0.5 * self.nll(prefix, y)


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = Compressor(args)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    log = sys.stderr if args.json else sys.stdout
    print(f"{args.train}: {sum(p.numel() for p in trained) / 1e6:.2f} M trained, torch",
          f"{torch.__version__}, transformers {transformers.__version__}, {args.threads} threads,",
          f"micro-batch {args.mb}, {'bf16 autocast' if args.bf16 else 'f32'}", file=log, flush=True)

    def step(x, y):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 0.5)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    runs = Runs(args.threads)
    for i in range(args.steps + 1):
        x, y = (torch.randint(3, 49152, (args.mb, args.segment)) for _ in range(2))
        loss = (runs if i > 0 else Runs(args.threads)).time(lambda: step(x, y))
        print(f"step {i}: loss {loss:.3f}", file=log, flush=True)

    result = {
        "train": args.train, "micro_batch": args.mb, "threads": args.threads,
        "precision": "bf16" if args.bf16 else "f32",
        **runs.rates("tokens", args.mb * args.segment),
        "peak_rss_bytes": peak_rss_bytes(),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print(f"context tokens/s: best {result['tokens_per_second_best']}, median",
              f"{result['tokens_per_second_median']}; peak memory",
              f"{result['peak_rss_bytes'] / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
