"""Holds `slotpress evaluate` against transformers and PEFT: called by test_evaluate.sh, prints one line a
check and exits with 1 if one failed.

    evaluate.py FOLDER ENCODER DECODER

FOLDER holds run.export, the data that were evaluated (dialogues.jsonl, wsc.jsonl, questions.jsonl) and
what came out as roleplay.json, icl.json and answers.jsonl. It needs what exchange.py does.
"""
import json
import logging
import math
import sys
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from pcc_hf import Compressor  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
logging.disable(logging.WARNING)

TOLERANCE = 1e-4  # architecture.md §5: losses of f32
SEGMENT_TOKENS, RATIO = 16, 4
failed = False


def check(name, ok, detail=""):
    global failed
    failed = failed or not ok
    print(f"{'ok    ' if ok else 'FAILED'} {name} {detail}")


class Reader:
    def __init__(self, folder, encoder, decoder):
        self.pcc = Compressor(folder / "run.export", encoder, decoder, SEGMENT_TOKENS, RATIO)
        self.table = self.pcc.decoder.get_input_embeddings()
        eos = self.pcc.decoder.config.eos_token_id
        self.eos = eos[0] if isinstance(eos, list) else eos

    def ids(self, text):
        return self.pcc.decoder_tokens.encode(text, add_special_tokens=False)

    @torch.no_grad()
    def rows(self, form, context, joint, prompt):
        """Input rows of a context in a form, then the prompt. Memory stays f32, as in an evaluation."""
        if form == "compressed":
            slots = [self.pcc.convert(self.pcc.memory(ids)) for ids in self.pcc.segments(context)]
            return self.pcc.prompt(slots, prompt)
        before = self.ids(context) + self.ids(joint + prompt) if form == "full" else self.ids(prompt)
        return self.table(torch.tensor([self.pcc.decoder.config.bos_token_id] + before))

    @torch.no_grad()
    def nll(self, rows, target):
        both = torch.cat([rows, self.table(torch.tensor(target))])
        scores = self.pcc.decoder(inputs_embeds=both[None]).logits[0].double().log_softmax(-1)
        return -sum(scores[len(rows) - 1 + i, token].item() for i, token in enumerate(target))


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check_roleplay(folder, reader):
    for method in json.loads((folder / "roleplay.json").read_text())["methods"]:
        nll = n = 0
        for item in lines(folder / "dialogues.jsonl"):
            target = reader.ids(item["answer"]) + [reader.eos]
            nll += reader.nll(reader.rows(method["method"], item["context"], "\n", item["prompt"]), target)
            n += len(target)
        ratio = method["perplexity"] / math.exp(nll / n)
        check(f"perplexity, {method['method']}", abs(ratio - 1) < TOLERANCE and n == method["tokens"], f"{ratio - 1:.1e}")


def wsc_prompt(item, text):
    target = item["target"]
    return (f'Question: In the sentence "{text}", does the pronoun \'{target["span2_text"]}\' refer to '
            f'{target["span1_text"]}?\nAnswer:')


def check_icl(folder, reader):
    result, items = json.loads((folder / "icl.json").read_text()), lines(folder / "wsc.jsonl")
    labels = [False, True]
    shown = [next(item for item in items if item["label"] is label) for label in labels]
    context = "".join(wsc_prompt(item, item["text"]) + (" yes" if item["label"] else " no") + "\n\n" for item in shown)
    for form in ("full", "none", "compressed"):
        same, margins = 0, []
        for item, sample in zip(items, result["samples"]):
            scores = []
            for option in (" no", " yes"):
                target = reader.ids(option)
                with_text, without = (reader.nll(reader.rows(form, context, "", wsc_prompt(item, text)), target)
                                      for text in (item["text"], "N/A"))
                scores.append((with_text - without) / len(target))
            margins.append(abs(scores[0] - scores[1]))
            made = sample[form][0] if form == "compressed" else sample[form]
            same += made == (" no" if scores[0] <= scores[1] else " yes")
        check(f"options, {form}", same == len(items) == len(result["samples"]), f"{same}, least margin {min(margins):.1e}")


def check_qa(folder, reader):
    items = {item["id"]: item for item in lines(folder / "questions.jsonl")}
    for form in ("full", "none", "compressed"):
        same = n = 0
        for line in lines(folder / "answers.jsonl"):
            if line["method"] != form:
                continue
            item = items[line["id"]]
            ids = reader.pcc.generate(
                reader.rows(form, item["context"], "\n\n", f"Question: {item['question']}\n\nAnswer: "), 6)
            # Bytes that are no characters: as many marks as bytes there, as many as pieces here.
            made, wanted = line["prediction"], reader.pcc.decoder_tokens.decode(ids, skip_special_tokens=True)
            same += made.replace("\ufffd", "") == wanted.replace("\ufffd", "")
            n += 1
        check(f"answers, {form}", same == n == len(items), f"{same} of {n}")


def main():
    folder, encoder, decoder = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    reader = Reader(folder, encoder, decoder)
    check_roleplay(folder, reader)
    check_icl(folder, reader)
    check_qa(folder, reader)
    return failed


if __name__ == "__main__":
    sys.exit(main())
