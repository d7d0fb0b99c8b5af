#!/usr/bin/env python3
"""Writes tests/unit/kernel_fixtures.h: what torch and transformers compute, for our kernels' tests.

    python3 tools/make_kernel_fixtures.py > tests/unit/kernel_fixtures.h
"""
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding


def array(name, values):
    text = ", ".join(f"{v:.9g}" for v in values)
    print(f"static const double {name}[] = {{{text}}};")


def adamw():
    """Ten steps of clipped gradients. Gradients follow from a formula that C repeats exactly."""
    n = 7
    weight = torch.nn.Parameter(torch.tensor([(i - 3) / 4 for i in range(n)]))
    optimiser = torch.optim.AdamW([weight], lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    norms = []
    for step in range(1, 11):
        weight.grad = torch.tensor([((step * 7 + i * 5) % 11 - 5) / 8 for i in range(n)])
        norms.append(float(torch.nn.utils.clip_grad_norm_([weight], 0.5)))
        optimiser.step()
    state = optimiser.state[weight]
    array("adamw_norms", norms)
    array("adamw_weight", weight.tolist())
    array("adamw_m", state["exp_avg"].tolist())
    array("adamw_v", state["exp_avg_sq"].tolist())


def rope():
    for name, theta, scaling in (
        ("default", 100000.0, None),
        ("llama3", 500000.0, dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                  original_max_position_embeddings=8192)),
    ):
        parameters = dict(rope_type=name, rope_theta=theta, **(scaling or {}))
        config = LlamaConfig(hidden_size=128, num_attention_heads=2, head_dim=64,
                             max_position_embeddings=131072, rope_parameters=parameters)
        embedding = LlamaRotaryEmbedding(config)
        array(f"rope_{name}_inv_freq", embedding.inv_freq.tolist())
        cos, sin = embedding(torch.zeros(1), torch.tensor([[777]]))
        array(f"rope_{name}_cos_777", cos[0, 0, :32].tolist())
        array(f"rope_{name}_sin_777", sin[0, 0, :32].tolist())


print("/* Made by tools/make_kernel_fixtures.py, from torch", torch.__version__.split("+")[0], "*/")
print("#pragma once\n\n/* clang-format off */")
adamw()
rope()
