#!/usr/bin/env python3
"""Makes the committed parity fixtures, tests/fixtures/{models,pcc}, from the reference
implementation: transformers (5.24), PEFT and torch in f32 on the CPU.

    pip install torch transformers peft tokenizers safetensors gguf numpy
    python tools/make_fixtures.py             # all; from the repository's root
    python tools/make_fixtures.py --only pcc  # or: models, questions, pairs, smollm2

One seed gives the same files on the same versions and CPU. SmolLM2's fixture needs the GGUF file
that tools/bootstrap unpacks to build/models. Expectations are held against a second
implementation (reference/plain.py; without transformers, in f64 but for SmolLM2) before they
are written, and that one's gradients against finite differences.

In the .safetensors files of fixtures everything is F32; ids and single numbers are in the .json
files. n = ids, L = layers, V = vocabulary, m = slots, M = all slots of the batch.

models/NAME/                    a tiny model of one of the five families as Hugging Face publishes
                                them, with a tokenizer.json that has exactly the model's vocabulary.
                                What each is there for: MODELS in reference/tiny_models.py.
models/NAME.expected.json
    text, ids                   text and its ids, without special tokens added: those of the
                                tensors below
    loss                        mean NLL of the ids after the first
    bos_never, bos_always       {ids, logprobs}: log-probability of each id after the first;
                                bos_always is null where the config has no BOS id
    short                       {text, ids, logprobs}: a text shorter than any window and any
                                original length of longrope, without BOS
    greedy                      {prompt, prompt_ids, new_ids, least_margin}: greedy continuation
                                without BOS; least_margin is the least gap between the two largest
                                logits on the way. longrope's factors are those of prompt and new
                                ids together, from the first new id on
models/NAME.expected.safetensors
    logits [16,V]               of the last rows
    hidden_states [L+1,n,d]     0: what the first layer reads; l: what layer l-1 put out; L: after
                                the final norm
    input_gradient [n,d]        of the loss, by the token embeddings
models/smollm2.json             SmolLM2-135M-Instruct from its Q4_1 GGUF, dequantised to f32:
    text, ids, logprobs         as above, without BOS
    top_ids, top_logits [n,5]   of every position, largest first
    hidden_state_norms [L+1,n]  Euclidean norms of hidden_states as above

pcc/batch.json                  a PCC: encoder, decoder (names under models/), their segments and
                                what the layout of pcc.md section 2 needs:
    memory_tokens, segment_tokens, ratio, bos, eos, lora {rank, alpha, targets}
    documents                   texts; tokenize --tokenizer ENCODER --tokenizer DECODER over them
                                gives the segments
    segments                    {doc, byte_begin, byte_len, encoder, decoder, next, n_slots};
                                next: index of the segment that completes this one, or null. The
                                batch is all segments in this order.
pcc/lora.json, pcc/full.json    encoder.train lora and full; markers trained; f32; no dropout:
    loss_reconstruction, loss_completion, loss, grad_norm       of the initial state
    n_targets                   [reconstruction, completion]
    encoder_from                full only: the model whose tensors the encoder starts with
    optimizer                   {beta1, beta2, epsilon, weight_decay, grad_clip, steps}
    constant, cosine            ten updates from the initial state, each over the whole batch:
                                {lr, loss_reconstruction, loss_completion, loss, grad_norm}, lists
                                of ten: entry s-1 has the lr of update s, and losses and norm
                                before clipping as they are before it. cosine has 3 warm-up steps
    difference                  {constant, cosine}: greatest per-tensor ||f32 - f64|| / ||f64|| of
                                the final weights' change: what rounding alone does
    generate                    lora only: {segment, prompt_rows, new_ids, least_margin}: greedy
                                reconstruction of a segment, [BOS] <mem> slots </mem> <ae> -> ids
pcc/lora.safetensors, pcc/full.safetensors
    init/NAME, grad/NAME        a trained tensor by the name that an export gives it, its initial
                                value and dL/dNAME there. full's init/ leaves out encoder tensors:
                                they are encoder_from's
    memory [M,d_enc], slots [M,d_dec]   of the batch, in its order
    constant/NAME, cosine/NAME  after ten updates (full: only constant)

pcc/questions.json              rows of fine-tuning for the PCC of batch.json, in the initial state of lora:
    questions                   {context, prompt, answer, segments [{encoder, n_slots}], prompt_ids,
                                answer_ids}
    loss_answer, grad_norm, n_targets
pcc/questions.safetensors       grad/NAME as above

pcc/pairs/NAME.json             what batch.json has, lora.targets included (null: the encoder is
                                trained in full), and of the initial state loss_reconstruction,
                                loss_completion, grad_norm, n_targets. PAIRS in reference/pcc.py
                                lists them: each family as LoRA encoder, full encoder and decoder
pcc/pairs/NAME.safetensors      init/NAME, grad/NAME, memory, slots as above, except that every
                                matrix of grad/ is [out,in]: GPT-2's own are not as its files have
                                them
"""
import argparse
import pathlib

import torch

from reference.pcc import make_finetuning, make_pairs, make_pcc
from reference.smollm2 import make_smollm2
from reference.tiny_models import make_models

PARTS = ["models", "pcc", "questions", "pairs", "smollm2"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("tests/fixtures"))
    parser.add_argument("--smollm2", type=pathlib.Path,
                        default=pathlib.Path("build/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)  # the order of sums does not depend on the machine's cores
    models_root = args.output / "models"
    if "models" in args.only:
        make_models(models_root, args.seed)
    if "pcc" in args.only:
        make_pcc(args.output / "pcc", models_root, args.seed)
    if "questions" in args.only:
        make_finetuning(args.output / "pcc", models_root, args.seed)
    if "pairs" in args.only:
        make_pairs(args.output / "pcc" / "pairs", models_root, args.seed)
    if "smollm2" in args.only:
        make_smollm2(models_root, args.smollm2)


if __name__ == "__main__":
    main()
