"""pcc/: memory, losses, gradients, ten updates and a reconstruction of the tiny PCC."""
import json
import math

import torch
from safetensors.torch import save_file

from .compressor import (DOCUMENTS, LORA_ALPHA, LORA_RANK, LORA_TARGETS, MEMORY_TOKENS, RATIO,
                         SEGMENT_TOKENS, compress, cut_segments, plain_compressor, prefix_rows,
                         reference_compressor)
from .llama import eos_ids_of, greedy, load_tokenizer
from .record import relative_difference, rounded, write_json

STEPS, WARMUP_STEPS, LR, GRAD_CLIP = 10, 3, 3e-4, 0.5


def gradients(compressor):
    for tensor in compressor.trained.values():
        tensor.grad = None
    compressor.loss().backward()
    return {n: t.grad.detach().clone() if t.grad is not None else torch.zeros_like(t)
            for n, t in compressor.trained.items()}


def check_gradients(mode, grads, plain):
    """f32 gradients against f64's, tensor by tensor as the issue compares them, and two entries of
    each of those against finite differences."""
    exact = gradients(plain)
    norm_of_all = math.sqrt(sum(g.pow(2).sum().item() for g in exact.values()))
    worst = max((grads[n].double() - g).norm().item() / max(g.norm().item(), 1e-6 * norm_of_all)
                for n, g in exact.items())
    generator, step, worst_fd = torch.Generator().manual_seed(1), 1e-5, 0.0
    with torch.no_grad():
        for name, tensor in plain.trained.items():
            for i in torch.randint(tensor.numel(), (2,), generator=generator).tolist():
                flat = tensor.view(-1)
                value, losses = flat[i].item(), []
                for sign in (1, -1):
                    flat[i] = value + sign * step
                    losses.append(plain.loss().item())
                flat[i] = value
                slope, entry = (losses[0] - losses[1]) / (2 * step), exact[name].view(-1)[i].item()
                worst_fd = max(worst_fd, abs(slope - entry) / max(abs(entry), 1e-3))
    print(f"pcc {mode}: gradients: f32 against f64 {worst:.1e}, f64 against differences",
          f"{worst_fd:.1e}")
    assert worst < 1e-4 and worst_fd < 1e-5


def learning_rate(schedule, step):
    """Of update `step`, from 1 (pcc.md section 4)."""
    if schedule == "constant":
        return LR
    if step <= WARMUP_STEPS:
        return LR * step / WARMUP_STEPS
    return LR * 0.5 * (1 + math.cos(math.pi * (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)))


def train(compressor, schedule):
    """Ten updates in place; returns what was logged before each."""
    parameters = list(compressor.trained.values())
    optimizer = torch.optim.AdamW(parameters, lr=LR, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=0.0, foreach=False)
    log = {k: [] for k in ("lr", "loss_reconstruction", "loss_completion", "loss", "grad_norm")}
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = learning_rate(schedule, step)
        optimizer.zero_grad(set_to_none=True)
        _, _, reconstruction, completion, _ = compressor.forward()
        loss = 0.5 * reconstruction + 0.5 * completion
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, GRAD_CLIP)
        optimizer.step()
        for key, value in (("lr", learning_rate(schedule, step)),
                           ("loss_reconstruction", reconstruction.item()),
                           ("loss_completion", completion.item()), ("loss", loss.item()),
                           ("grad_norm", norm.item())):
            log[key].append(rounded(value))
    return log


def weights_of(compressor):
    return {n: t.detach().clone().contiguous() for n, t in compressor.trained.items()}


def restore(compressor, weights):
    with torch.no_grad():
        for name, tensor in compressor.trained.items():
            tensor.copy_(weights[name])


def train_both_ways(mode, root, compressor, schedule):
    """Trains in f32 and in f64 from the present state, which is restored; returns the f32 log and
    weights, and how far rounding alone drives the two apart, relative to what training moved."""
    before = weights_of(compressor)
    plain = plain_compressor(mode, root, compressor.batch, compressor.trained)
    log, exact_log = train(compressor, schedule), train(plain, schedule)
    after, exact = weights_of(compressor), weights_of(plain)
    restore(compressor, before)
    difference = max(relative_difference(after[n] - before[n], exact[n] - before[n].double())
                     for n in after)
    loss_gap = max(abs(a / b - 1) for a, b in zip(log["loss"], exact_log["loss"]))
    norm_gap = max(abs(a / b - 1) for a, b in zip(log["grad_norm"], exact_log["grad_norm"]))
    print(f"pcc {mode}, {schedule}: f32 against f64: losses {loss_gap:.1e}, norms {norm_gap:.1e},",
          f"weights' change {difference:.1e}; loss {log['loss'][0]:.4f} -> {log['loss'][-1]:.4f}")
    assert loss_gap < 1e-5 and norm_gap < 1e-4
    return log, after, rounded(difference, 3)


@torch.no_grad()
def generate_reference(compressor, segment_index, eos_ids):
    segment = compressor.batch["segments"][segment_index]
    _, slots = compress(compressor.trained, compressor.encoder, segment)
    prompt = torch.cat([
        prefix_rows(compressor.trained, compressor.decoder, slots, compressor.batch["bos"]),
        compressor.trained["markers"][2:]])
    return {"segment": segment_index, "prompt_rows": len(prompt),
            **greedy(compressor.decoder, prompt, eos_ids)}


def make_pcc_mode(mode, root, models_root, batch, seed):
    compressor = reference_compressor(mode, models_root, batch, seed)
    memory, slots, reconstruction, completion, counts = compressor.forward()
    grads = gradients(compressor)
    check_gradients(mode, grads, plain_compressor(mode, models_root, batch, compressor.trained))

    stored = {n for n in compressor.trained if mode == "lora" or not n.startswith("model.")}
    init = weights_of(compressor)
    tensors = {f"init/{n}": init[n] for n in stored}
    tensors |= {f"grad/{n}": g for n, g in grads.items()}
    tensors |= {"memory": memory.detach(), "slots": slots.detach()}
    logs, differences = {}, {}
    for schedule in ("constant", "cosine"):
        logs[schedule], after, differences[schedule] = train_both_ways(
            mode, models_root, compressor, schedule)
        if mode == "lora" or schedule == "constant":
            tensors |= {f"{schedule}/{n}": t for n, t in after.items()}

    numbers = {
        "loss_reconstruction": rounded(reconstruction.item()),
        "loss_completion": rounded(completion.item()),
        "loss": rounded(0.5 * reconstruction.item() + 0.5 * completion.item()),
        "grad_norm": logs["constant"]["grad_norm"][0], "n_targets": counts,
    }
    if mode == "full":
        numbers["encoder_from"] = batch["encoder"]
    numbers |= {
        "optimizer": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0,
                      "grad_clip": GRAD_CLIP, "steps": STEPS},
        **logs, "difference": differences,
    }
    if mode == "lora":
        decoder_config = json.loads((models_root / batch["decoder"] / "config.json").read_text())
        numbers["generate"] = generate_reference(compressor, 0, eos_ids_of(decoder_config))
    write_json(root / f"{mode}.json", numbers)
    save_file({n: tensors[n].contiguous() for n in sorted(tensors)}, root / f"{mode}.safetensors")


def make_pcc(root, models_root, seed):
    root.mkdir(parents=True, exist_ok=True)
    encoder, decoder = "llama-tiny", "llama-tied-bf16"
    config = json.loads((models_root / decoder / "config.json").read_text())
    segments = cut_segments(load_tokenizer(models_root / encoder),
                            load_tokenizer(models_root / decoder))
    batch = {
        "encoder": encoder, "decoder": decoder, "memory_tokens": MEMORY_TOKENS,
        "segment_tokens": SEGMENT_TOKENS, "ratio": RATIO, "bos": config["bos_token_id"],
        "eos": eos_ids_of(config)[0],
        "lora": {"rank": LORA_RANK, "alpha": LORA_ALPHA, "targets": LORA_TARGETS},
        "documents": DOCUMENTS, "segments": segments,
    }
    print("pcc: segments of", [len(s["encoder"]) for s in segments], "encoder and",
          [len(s["decoder"]) for s in segments], "decoder tokens")
    write_json(root / "batch.json", batch)
    for mode in ("lora", "full"):
        make_pcc_mode(mode, root, models_root, batch, seed)
