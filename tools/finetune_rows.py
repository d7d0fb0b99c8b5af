#!/usr/bin/env python3
"""Turns published data sets into the rows that `slotpress finetune` reads, JSON lines.

    python3 tools/finetune_rows.py squad train-v2.0.json --output ROWS.jsonl
    python3 tools/finetune_rows.py gsm8k train.jsonl     --output ROWS.jsonl --validation HELD_OUT.jsonl
    python3 tools/finetune_rows.py hpd en_train_set.json --output ROWS.jsonl --validation HELD_OUT.jsonl

squad   SQuAD 1.1 or 2.0, AdversarialQA: a row a question that has an answer, which is the first one.
        The prompt is `Question: QUESTION\\n\\nAnswer: `.
gsm8k   The context is a number of other problems with their solutions (--demonstrations), which are
        some 750 tokens; they come from the rows to train on. Prompt and context are spelled alike.
hpd     A row a session: the context is the scene, who speaks, and how they stand to Harry; the messages
        are what is said up to Harry's reply, his lines being the assistant's. In the test file the reply
        is `positive_response`, in the train file the last line of Harry's that answers somebody.

--validation takes a share of the rows: of gsm8k 748 in 7,473, of hpd 110 in 1,097. Which ones, and which
problems go together, follows from their texts alone: the same file gives the same rows.
"""
import argparse
import hashlib
import itertools
import json
import sys

VALIDATION = {"gsm8k": (748, 7473), "hpd": (110, 1097)}
RELATIONS = ("friend", "classmate", "teacher", "family", "immediate family", "lover", "opponent",
             "colleague", "teammate", "enemy")


def rank(text):
    """A number that orders texts at random, and always alike."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


# ---- SQuAD ----

def squad_rows(file):
    for article in json.load(file)["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = question.get("answers") or []
                if question.get("is_impossible") or not answers:
                    continue
                yield {"id": question["id"], "context": paragraph["context"],
                       "prompt": f"Question: {question['question']}\n\nAnswer: ",
                       "answer": answers[0]["text"]}


# ---- GSM8K ----

def problem_prompt(problem):
    return f"Question: {problem['question']}\nAnswer: "


def with_demonstrations(problem, pool, count):
    """The next `count` problems of the pool, which is in the order of their ranks, from a place on that
    the problem's own text gives."""
    start = rank("after " + problem["question"]) % len(pool)
    others = (pool[(start + i) % len(pool)] for i in range(len(pool)))
    chosen = list(itertools.islice((p for p in others if p is not problem), count))
    return {"context": "".join(f"{problem_prompt(p)}{p['answer']}\n\n" for p in chosen),
            "prompt": problem_prompt(problem), "answer": problem["answer"]}


# ---- HPD ----

def spelled_alike(session):
    """Members under lower-case names: files differ in `Positive-Response` and `positive_response`."""
    return {k.lower().replace("- ", "-").replace("-", "_"): v for k, v in session.items()}


def describe_speaker(name, attributes, relation):
    facts = [f"{k}: {v}" for k, v in attributes.items() if k != "name" and v]
    ties = [tie for tie in RELATIONS if relation.get(tie)]
    if ties:
        facts.append("to Harry: " + ", ".join(ties))
    facts += [f"{k}: {v}" for k, v in relation.items()
              if k not in RELATIONS and k != "name" and v not in ("", None)]
    return f"{name}. " + "; ".join(facts) if facts else f"{name}."


def hpd_context(session):
    scene = session.get("scene") or ""
    scene = " ".join(scene) if isinstance(scene, list) else scene
    attributes = session.get("attributes") or {}
    relations = session.get("relations with harry") or {}
    speakers = [describe_speaker(s, attributes.get(s) or {}, relations.get(s) or {})
                for s in session.get("speakers") or []]
    return "\n".join(part for part in [f"Scene: {scene}" if scene else "", *speakers] if part)


def hpd_lines(session):
    """(speaker, utterance) of each line, up to Harry's reply."""
    lines = [tuple(part.strip() for part in line.partition(":")[::2])
             for line in session.get("dialogue") or []]
    if session.get("positive_response"):
        return lines + [("Harry", session["positive_response"].strip())]
    while lines and (lines[-1][0] != "Harry" or len(lines) < 2 or lines[-2][0] == "Harry"):
        lines.pop()
    return lines


def hpd_messages(lines):
    """Others' lines name their speaker; Harry's are the assistant's, but for one that comes first."""
    messages = []
    for speaker, utterance in lines:
        is_harry = speaker == "Harry" and bool(messages)
        role = "assistant" if is_harry else "user"
        text = utterance if is_harry else f"{speaker}: {utterance}"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n" + text
        else:
            messages.append({"role": role, "content": text})
    return messages


def hpd_rows(file):
    for name, session in json.load(file).items():
        session = spelled_alike(session)
        messages = hpd_messages(hpd_lines(session))
        context = hpd_context(session)
        if context and len(messages) >= 2 and all(m["content"].strip() for m in messages):
            yield {"id": name, "context": context, "messages": messages}


# ---- files ----

def split(items, text_of, share):
    """(to train on, held out), in their order."""
    held_out = sorted(range(len(items)), key=lambda i: rank(text_of(items[i])))
    held_out = set(held_out[:round(len(items) * share)])
    return ([x for i, x in enumerate(items) if i not in held_out],
            [x for i, x in enumerate(items) if i in held_out])


def make_rows(args):
    """(rows to train on, rows held out)."""
    numerator, denominator = VALIDATION.get(args.format, (0, 1))
    share = numerator / denominator if args.validation else 0
    with open(args.input, encoding="utf-8") as file:
        if args.format == "gsm8k":
            problems = [json.loads(line) for line in file if line.strip()]
            parts = split(problems, lambda p: p["question"], share)
            pool = sorted(parts[0], key=lambda p: rank(p["question"]))
            return [[with_demonstrations(p, pool, args.demonstrations) for p in part]
                    for part in parts]
        rows = list((squad_rows if args.format == "squad" else hpd_rows)(file))
    return split(rows, lambda row: json.dumps(row, sort_keys=True), share)


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{path}: {len(rows)} rows", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format", choices=["squad", "gsm8k", "hpd"])
    parser.add_argument("input")
    parser.add_argument("--output", required=True)
    parser.add_argument("--validation", help="of gsm8k and hpd: file for the rows that are held out")
    parser.add_argument("--demonstrations", type=int, default=5, help="of gsm8k, in a context (5)")
    args = parser.parse_args()
    if args.format == "squad" and args.validation:
        parser.error("--validation: SQuAD's held-out rows come from its own dev file")
    rows, held_out = make_rows(args)
    write_rows(args.output, rows)
    if args.validation:
        write_rows(args.validation, held_out)


if __name__ == "__main__":
    main()
