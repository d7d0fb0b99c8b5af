"""A tiny PCC over two tiny models (pcc.md sections 2 and 3), over transformers and PEFT in f32 and
over plain equations in f64."""
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model

from .language_models import Reference, encode_text, load_reference
from .plain import load_plain
from .tiny_models import SPECIAL_TOKENS

# A segment ends early in the third, rather than inside a character.
DOCUMENTS = [
    "The old lighthouse stood by the harbour wall, and the men had seen its light from afar.",
    "No.",
    "In Zürich and in the café 東京 they said that the tide came in.",
]

# What fine-tuning asks: contexts of one to five segments, one of them asked about twice, without a
# prompt the second time.
QUESTIONS = [
    {"context": DOCUMENTS[0], "prompt": "Question: Where did it stand?\n\nAnswer: ",
     "answer": "by the harbour wall"},
    {"context": DOCUMENTS[1], "prompt": "Yes or no?", "answer": " No."},
    {"context": DOCUMENTS[0] + " " + DOCUMENTS[2] * 2, "prompt": "Wo? ", "answer": "In Zürich, 東京."},
    {"context": DOCUMENTS[0], "prompt": "", "answer": " The end."},
]

LORA_RANK, LORA_ALPHA, MEMORY_TOKENS, SEGMENT_TOKENS, RATIO = 4, 8, 8, 24, 4

# The module of each role of a layer, and of the embedding, as PEFT's target_modules name it. None
# names the head: it is not in the chain, so an adapter of it would have no gradient.
LLAMA_MODULES = {role: f"{role}_proj" for role in ("q", "k", "v", "o", "gate", "up", "down")} | {
    "embed": "embed_tokens"}
MODULES = {
    "llama": LLAMA_MODULES, "mistral": LLAMA_MODULES, "qwen2": LLAMA_MODULES,
    "phi3": LLAMA_MODULES | {role: "qkv_proj" for role in "qkv"} | {
        role: "gate_up_proj" for role in ("gate", "up")},
    "gpt2": {role: "attn.c_attn" for role in "qkv"} | {
        "o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj", "embed": "wte"},
}


def token_bytes(tokenizer):
    """The bytes of each id, from byte-level BPE's printable alphabet."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    return {i: bytes(byte_of[c] for c in t) for t, i in tokenizer.get_vocab().items()
            if t not in SPECIAL_TOKENS}


def cut_text(encoder, bytes_of, text):
    """Ids of each segment: at most SEGMENT_TOKENS of the encoder's tokens, cut where the text may be
    (UTF-8)."""
    ids = encode_text(encoder, text)
    while ids:
        n = min(len(ids), SEGMENT_TOKENS)
        while n < len(ids) and bytes_of[ids[n]][0] & 0xC0 == 0x80:
            n -= 1
        yield ids[:n]
        ids = ids[n:]


def cut_segments(encoder, decoder):
    """Cuts the documents; the decoder tokenizes each segment's text alone."""
    bytes_of, segments = token_bytes(encoder), []
    for doc, text in enumerate(DOCUMENTS):
        begin = 0
        for ids in cut_text(encoder, bytes_of, text):
            piece = b"".join(bytes_of[i] for i in ids)
            segments.append({
                "doc": doc, "byte_begin": begin, "byte_len": len(piece), "encoder": ids,
                "decoder": encode_text(decoder, piece.decode()), "next": len(segments) + 1,
                "n_slots": -(-len(ids) // RATIO)})
            begin += len(piece)
        segments[-1]["next"] = None
    return segments


def make_questions(encoder, decoder):
    """The rows of fine-tuning, with their segments and ids."""
    bytes_of = token_bytes(encoder)
    return [{**row,
             "segments": [{"encoder": ids, "n_slots": -(-len(ids) // RATIO)}
                          for ids in cut_text(encoder, bytes_of, row["context"])],
             "prompt_ids": encode_text(decoder, row["prompt"]),
             "answer_ids": encode_text(decoder, row["answer"])} for row in QUESTIONS]


def initial_tensors(encoder, decoder, generator):
    """Memory tokens, converter and markers as pcc.md section 4 draws them, but for a norm weight
    that is not 1."""
    def rows_like(table, n):
        rows = torch.randn(n, table.shape[1], generator=generator)
        return rows * table.std() + table.mean()

    def uniform(bound, *shape):
        return (2 * torch.rand(*shape, generator=generator) - 1) * bound

    d_enc, d_dec = encoder.embedding().shape[1], decoder.embedding().shape[1]
    return {
        "memory_tokens": rows_like(encoder.embedding(), MEMORY_TOKENS),
        "converter.norm.weight": 0.5 + torch.rand(d_enc, generator=generator),
        "converter.in.weight": uniform(d_enc ** -0.5, d_dec, d_enc),
        "converter.in.bias": uniform(d_enc ** -0.5, d_dec),
        "converter.out.weight": uniform(d_dec ** -0.5, d_dec, d_dec),
        "converter.out.bias": uniform(d_dec ** -0.5, d_dec),
        "markers": rows_like(decoder.embedding(), 3),  # <mem>, </mem>, <ae>
    }


def convert(trained, memory):
    x = memory * torch.rsqrt(memory.pow(2).mean(-1, keepdim=True) + 1e-6)
    x = x * trained["converter.norm.weight"]
    x = F.gelu(x @ trained["converter.in.weight"].T + trained["converter.in.bias"])
    return x @ trained["converter.out.weight"].T + trained["converter.out.bias"]


def compress(trained, encoder, segment):
    rows = torch.cat([encoder.embed(segment["encoder"]),
                      trained["memory_tokens"][:segment["n_slots"]]])
    memory = encoder.encode(rows)[-segment["n_slots"]:]
    return memory, convert(trained, memory)


def prefix_rows(trained, decoder, slots, bos):
    mem, end_mem, _ = trained["markers"]
    first = [] if bos is None else [decoder.embed([bos])]
    return torch.cat([*first, mem[None], slots, end_mem[None]])


def branch_nll(decoder, rows, targets):
    """Sum of the targets' NLL; they belong to the last rows, one each. Every branch is computed as
    a sequence of its own, its prefix included."""
    logits = decoder.logits(rows)[-len(targets):]
    return F.cross_entropy(logits, torch.tensor(targets), reduction="sum")


class Compressor:
    """A PCC: trained tensors by export name, and the two models that read them."""

    def __init__(self, trained, encoder, decoder, batch):
        self.trained, self.encoder, self.decoder, self.batch = trained, encoder, decoder, batch

    def forward(self):
        """Memory, slots, L_TR, L_TC over the whole batch."""
        embed, ae = self.decoder.embed, self.trained["markers"][2:]
        bos, eos = self.batch["bos"], self.batch["eos"]
        memories, all_slots, sums, counts = [], [], [0, 0], [0, 0]
        for segment in self.batch["segments"]:
            memory, slots = compress(self.trained, self.encoder, segment)
            memories.append(memory)
            all_slots.append(slots)
            prefix = prefix_rows(self.trained, self.decoder, slots, bos)
            x = segment["decoder"]
            sums[0] += branch_nll(self.decoder, torch.cat([prefix, ae, embed(x)]), x + [eos])
            counts[0] += len(x) + 1
            if segment["next"] is not None:
                y = self.batch["segments"][segment["next"]]["decoder"]
                sums[1] += branch_nll(self.decoder, torch.cat([prefix, embed(y)]), y + [eos])
                counts[1] += len(y) + 1
        return (torch.cat(memories), torch.cat(all_slots), sums[0] / counts[0],
                sums[1] / counts[1], counts)

    def loss(self):
        _, _, reconstruction, completion, _ = self.forward()
        return 0.5 * reconstruction + 0.5 * completion


class Questions(Compressor):
    """The same PCC over questions: [BOS] (<mem> slots </mem>)* prompt answer, loss on the answer and
    EOS."""

    def forward(self):
        """The mean NLL over all answers, and how many targets these are."""
        mem, end_mem, _ = self.trained["markers"]
        bos, eos = self.batch["bos"], self.batch["eos"]
        total, count = 0, 0
        for question in self.batch["questions"]:
            rows = [] if bos is None else [self.decoder.embed([bos])]
            for segment in question["segments"]:
                _, slots = compress(self.trained, self.encoder, segment)
                rows += [mem[None], slots, end_mem[None]]
            answer = question["answer_ids"]
            rows += [self.decoder.embed(ids) for ids in (question["prompt_ids"], answer) if ids]
            total += branch_nll(self.decoder, torch.cat(rows), answer + [eos])
            count += len(answer) + 1
        return total / count, count

    def loss(self):
        return self.forward()[0]


def peft_encoder(model, lora):
    """The model with adapters, none of them zero: PEFT's zeros would leave the other matrix without
    a gradient."""
    modules = {MODULES[model.config.model_type].get(role) for role in lora["targets"]}
    config = LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], lora_dropout=0.0,
                        task_type="CAUSAL_LM", target_modules=sorted(modules - {None}))
    model = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def reference_compressor(mode, root, batch, seed, kind=Compressor):
    """The compressor over transformers and PEFT, in its initial state."""
    torch.manual_seed(seed)  # PEFT draws from the global generator
    encoder_lm = load_reference(root / batch["encoder"])
    decoder = Reference(load_reference(root / batch["decoder"]))
    trained = initial_tensors(Reference(encoder_lm), decoder,
                              torch.Generator().manual_seed(seed))
    if mode == "full":
        encoder = Reference(encoder_lm)
        body = encoder_lm.base_model.requires_grad_(True)
        trained |= {f"{encoder_lm.base_model_prefix}.{n}": p for n, p in body.named_parameters()}
    else:
        model = peft_encoder(encoder_lm, batch["lora"])
        encoder = Reference(model)
        trained |= {name.replace(".default", ""): parameter
                    for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, tensor in trained.items():
        if not isinstance(tensor, torch.nn.Parameter):
            trained[name] = torch.nn.Parameter(tensor)
    return kind(trained, encoder, decoder, batch)


class PlainEncoder:
    """A model with what is trained in place of, or added to, its tensors."""

    def __init__(self, base, trained, lora):
        self.base, self.trained, self.lora = base, trained, lora

    def current(self):
        changed = {n: t for n, t in self.trained.items() if n in self.base.w}
        for name, a in self.trained.items():
            for first, second in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
                module, found, _ = name.removeprefix("base_model.model.").partition(f".{first}")
                if not found:
                    continue
                change = self.lora["alpha"] / self.lora["rank"] * (
                    self.trained[name.replace(first, second)] @ a)
                weight = self.base.w[f"{module}.weight"]
                is_input_first = first == "lora_embedding_A" or self.base.names["is_input_first"]
                changed[f"{module}.weight"] = weight + (change.T if is_input_first else change)
        return self.base.with_tensors(changed)

    def embed(self, ids):
        return self.current().embed(ids)

    def encode(self, x):
        return self.current().encode(x)


def plain_compressor(root, batch, trained, kind=Compressor):
    """The same in f64, without transformers or PEFT: LoRA is added to the weights."""
    trained = {n: t.detach().double().requires_grad_() for n, t in trained.items()}
    encoder = PlainEncoder(load_plain(root / batch["encoder"]), trained, batch["lora"])
    return kind(trained, encoder, load_plain(root / batch["decoder"]), batch)
