#!/usr/bin/env python3
"""The encoder's forward pass in PyTorch + transformers (+ PEFT), a peer of bench_compress.c: 320 rows a
segment, the last 64 of them memory tokens, four segments a pass. SmolLM2-135M's shape, random weights.
One JSON line: rows/s.

    compress_torch.py f32|bf16|int8 none|lora RUNS [--threads N] [--segments 8]

bf16 is autocast; int8 is dynamic quantisation of the linear layers."""
import argparse
import json
import os
import warnings

import torch
import transformers
from timing import Runs, peak_rss_bytes

SEGMENT, SLOTS, TOGETHER = 256, 64, 4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("precision", choices=["f32", "bf16", "int8"])
    parser.add_argument("encoder", choices=["none", "lora"])
    parser.add_argument("runs", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--segments", type=int, default=8, help="a run")
    return parser.parse_args()


def make_encoder(options):
    config = transformers.LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=49152, max_position_embeddings=8192, rope_theta=100000.0,
        rms_norm_eps=1e-5, attn_implementation="sdpa", use_cache=False)
    encoder = transformers.LlamaModel(config).eval()
    if options.encoder == "lora":
        import peft

        peft.inject_adapter_in_model(
            peft.LoraConfig(r=64, lora_alpha=64, lora_dropout=0.0,
                            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj",
                                            "up_proj", "down_proj"]), encoder)
    if options.precision == "int8":
        encoder = torch.ao.quantization.quantize_dynamic(encoder, {torch.nn.Linear}, torch.qint8)
    return encoder


def encode(encoder, memory_tokens, segments):
    taken = []
    for begin in range(0, len(segments), TOGETHER):
        ids = segments[begin:begin + TOGETHER]
        rows = torch.cat([encoder.embed_tokens(ids), memory_tokens.expand(len(ids), -1, -1)], 1)
        taken.append(encoder(inputs_embeds=rows).last_hidden_state[:, -SLOTS:])
    return taken


def main():
    options = arguments()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    encoder = make_encoder(options)
    memory_tokens = torch.randn(SLOTS, 576) * 0.02
    runs = Runs(options.threads)
    is_bf16 = options.precision == "bf16"
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16):
        encode(encoder, memory_tokens, torch.randint(0, 49152, (TOGETHER, SEGMENT)))  # warm
        for _ in range(options.runs):
            segments = torch.randint(0, 49152, (options.segments, SEGMENT))
            runs.time(lambda: encode(encoder, memory_tokens, segments))
    print(json.dumps({"precision": options.precision, "encoder": options.encoder,
                      "torch": torch.__version__,
                      **runs.rates("rows", options.segments * (SEGMENT + SLOTS)),
                      "peak_rss_bytes": peak_rss_bytes()}))


main()
