"""pcc/: memory, losses, gradients, ten updates and a reconstruction of the tiny PCC."""
import json
import math

import torch
from safetensors.torch import save_file

from .compressor import (DOCUMENTS, LORA_ALPHA, LORA_RANK, MEMORY_TOKENS, RATIO, SEGMENT_TOKENS,
                         Questions, compress, cut_segments, make_questions, plain_compressor,
                         prefix_rows, reference_compressor)
from .language_models import eos_ids_of, greedy, load_tokenizer
from .record import relative_difference, rounded, write_json

STEPS, WARMUP_STEPS, LR, GRAD_CLIP = 10, 3, 3e-4, 0.5
NEW_TOKENS = 24  # of the greedy reconstruction

# Each family encodes by LoRA and in full, and decodes; encoder and decoder have other widths,
# vocabularies and splits. A LoRA encoder has its targets here.
EVERY_ROLE = ["q", "k", "v", "o", "gate", "up", "down", "embed", "head"]
PAIRS = {
    "gpt2-full-phi3": ("gpt2-tiny", "phi3-longrope", None),
    "gpt2-lora-mistral": ("gpt2-bare", "mistral-window", EVERY_ROLE),
    "llama-full-mistral": ("llama-biased", "mistral-wide", None),
    "llama-lora-qwen2": ("llama-biased", "qwen2-window", ["o", "gate", "embed"]),
    "mistral-full-gpt2": ("mistral-window", "gpt2-tiny", None),
    "mistral-lora-llama": ("mistral-window", "llama-biased", ["q", "down", "embed"]),
    "qwen2-full-phi3": ("qwen2-window", "phi3-partial", None),
    "qwen2-lora-gpt2": ("qwen2-yarn", "gpt2-bare", EVERY_ROLE),
    "phi3-full-llama": ("phi3-partial", "llama-tied-bf16", None),
    "phi3-lora-qwen2": ("phi3-partial", "qwen2-tiny", ["k", "up", "embed", "head"]),
}


def gradients(compressor):
    for tensor in compressor.trained.values():
        tensor.grad = None
    compressor.loss().backward()
    return {n: t.grad.detach().clone() if t.grad is not None else torch.zeros_like(t)
            for n, t in compressor.trained.items()}


def check_gradients(name, grads, plain):
    """f32 gradients against f64's, tensor by tensor as the issue compares them, and two entries of
    each of those against finite differences."""
    exact = gradients(plain)
    norm_of_all = math.sqrt(sum(g.pow(2).sum().item() for g in exact.values()))
    worst = max((grads[n].double() - g).norm().item() / max(g.norm().item(), 1e-6 * norm_of_all)
                for n, g in exact.items())
    generator, step, worst_fd = torch.Generator().manual_seed(1), 1e-5, 0.0
    with torch.no_grad():
        for tensor_name, tensor in plain.trained.items():
            for i in torch.randint(tensor.numel(), (2,), generator=generator).tolist():
                flat = tensor.view(-1)
                value, losses = flat[i].item(), []
                for sign in (1, -1):
                    flat[i] = value + sign * step
                    losses.append(plain.loss().item())
                flat[i] = value
                slope = (losses[0] - losses[1]) / (2 * step)
                entry = exact[tensor_name].view(-1)[i].item()
                worst_fd = max(worst_fd, abs(slope - entry) / max(abs(entry), 1e-3))
    print(f"pcc {name}: gradients: f32 against f64 {worst:.1e}, f64 against differences",
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
    plain = plain_compressor(root, compressor.batch, compressor.trained)
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
            **greedy(compressor.decoder, prompt, eos_ids, NEW_TOKENS)}


def make_pcc_mode(mode, root, models_root, batch, seed):
    compressor = reference_compressor(mode, models_root, batch, seed)
    memory, slots, reconstruction, completion, counts = compressor.forward()
    grads = gradients(compressor)
    check_gradients(mode, grads, plain_compressor(models_root, batch, compressor.trained))

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


def make_batch(models_root, encoder, decoder, targets):
    config = json.loads((models_root / decoder / "config.json").read_text())
    return {
        "encoder": encoder, "decoder": decoder, "memory_tokens": MEMORY_TOKENS,
        "segment_tokens": SEGMENT_TOKENS, "ratio": RATIO, "bos": config["bos_token_id"],
        "eos": eos_ids_of(config)[0],
        "lora": {"rank": LORA_RANK, "alpha": LORA_ALPHA, "targets": targets},
        "documents": DOCUMENTS,
        "segments": cut_segments(load_tokenizer(models_root / encoder),
                                 load_tokenizer(models_root / decoder)),
    }


def output_first(name, tensor):
    """A matrix as [out, in]: GPT-2's own lie the other way round."""
    is_conv1d = name.startswith("transformer.h.") and tensor.dim() == 2
    return tensor.T if is_conv1d else tensor


def make_pair(root, models_root, name, seed):
    encoder, decoder, targets = PAIRS[name]
    batch = make_batch(models_root, encoder, decoder, targets)
    compressor = reference_compressor("full" if targets is None else "lora", models_root, batch,
                                      seed)
    memory, slots, reconstruction, completion, counts = compressor.forward()
    grads = gradients(compressor)
    check_gradients(name, grads, plain_compressor(models_root, batch, compressor.trained))
    tensors = {f"init/{n}": t for n, t in weights_of(compressor).items()
               if not n.startswith(("model.", "transformer."))}
    tensors |= {f"grad/{n}": output_first(n, g) for n, g in grads.items()}
    tensors |= {"memory": memory.detach(), "slots": slots.detach()}
    write_json(root / f"{name}.json", {
        **batch, "loss_reconstruction": rounded(reconstruction.item()),
        "loss_completion": rounded(completion.item()),
        "grad_norm": rounded(math.sqrt(sum(g.pow(2).sum().item() for g in grads.values()))),
        "n_targets": counts})
    save_file({n: tensors[n].contiguous() for n in sorted(tensors)}, root / f"{name}.safetensors")


def make_pcc(root, models_root, seed):
    root.mkdir(parents=True, exist_ok=True)
    batch = make_batch(models_root, "llama-tiny", "llama-tied-bf16",
                       ["q", "k", "v", "o", "gate", "up", "down"])
    print("pcc: segments of", [len(s["encoder"]) for s in batch["segments"]], "encoder and",
          [len(s["decoder"]) for s in batch["segments"]], "decoder tokens")
    write_json(root / "batch.json", batch)
    for mode in ("lora", "full"):
        make_pcc_mode(mode, root, models_root, batch, seed)


def make_finetuning(root, models_root, seed):
    """questions.*: loss and gradients of rows of fine-tuning, from the initial state of lora.*."""
    batch = json.loads((root / "batch.json").read_text())
    batch["questions"] = make_questions(load_tokenizer(models_root / batch["encoder"]),
                                        load_tokenizer(models_root / batch["decoder"]))
    compressor = reference_compressor("lora", models_root, batch, seed, Questions)
    loss, count = compressor.forward()
    grads = gradients(compressor)
    check_gradients("questions", grads,
                    plain_compressor(models_root, batch, compressor.trained, Questions))
    write_json(root / "questions.json", {
        "questions": batch["questions"], "loss_answer": rounded(loss.item()), "n_targets": count,
        "grad_norm": rounded(math.sqrt(sum(g.pow(2).sum().item() for g in grads.values())))})
    save_file({f"grad/{n}": grads[n].contiguous() for n in sorted(grads)},
              root / "questions.safetensors")


def make_pairs(root, models_root, seed):
    root.mkdir(parents=True, exist_ok=True)
    for name in PAIRS:
        make_pair(root, models_root, name, seed)
