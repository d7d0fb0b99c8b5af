#!/usr/bin/env python3
"""Makes tests/fixtures/answers from the reference scripts of question answering.

    pip install sacrebleu rouge_score
    python tools/make_answer_fixtures.py SCRIPTS        # from the repository's root

SCRIPTS is a folder with SQuAD's own evaluate-v1.1.py and evaluate-v2.0.py
(https://rajpurkar.github.io/SQuAD-explorer/) as they are published.

scores.json: a list of
    prediction, answers           texts
    squad_1, squad_2              [F1, exact match] of each script, the best over the answers
squad-1.json, squad-2.json, hotpotqa.json, nq.jsonl, nq-documents.jsonl
    small invented files in the layouts of SQuAD v1.1 and v2.0, HotpotQA, NQ-open and simplified NQ
NAME.predictions.jsonl            predictions for each, with ids that are missing and unknown
reconstruction.predictions.jsonl  pairs of prediction and reference
expected.json: by NAME what the references make of these files
"""
import importlib.util
import json
import os
import random
import sys

import sacrebleu
from rouge_score import rouge_scorer

FOLDER = "tests/fixtures/answers"

WORDS = ["a", "an", "the", "The", "THE", "A", "cat", "Cat", "cat's", "U.S.", "the-cat", "a_b", "_a_", "1,234", "½", "²",
         "the²", "Ⅷ", "the\u0301", "a\u0308", "\u0301a", "naïve", "NAÏVE", "İstanbul", "istanbul", "ΟΔΟΣ", "οδος", "οδός",
         "ΟΔΟΣ.", "Σ", "σ", "ς", "ΣΑΣ", "ΑΣ'Σ", "ΑΣ\u00ad", "ΑΣ\u0301Β", "1Σ", "ⅠΣ", "ªΣ", "ʰΣ", "Straße", "STRASSE",
         "ẞ", "ß", "ǅ", "ǆ", "Ⱥ", "ⱥ", "Ω", "ω", "K", "k", "東京", "東京 は", "the東", "东a京", "“the”", "the—an", "–",
         "don't", "dont", "don’t", "…", "!!!", "'", "", "😀", "a😀", "the\u200dcat", "\u00a0", "\u3000the\u3000cat",
         "\x1cthe\x1da", "\u200bthe", "e\u0301", "é", "हिन्दी", "ก็", "ﬁ", "Å", "å", "Ǣ", "𐐀", "𐐨", "Ა", "ა"]

PAIRS = [("", [""]), ("the", ["a"]), ("the", [""]), ("!", ["the"]), ("cat", []), ("", []), ("the", []), ("x", ["", "x"]),
         ("x", ["", "the"]), ("", ["", "x"]), ("The cat sat.", ["cat sat", "a cat"]), ("b a", ["a b"]),
         ("cat cat dog", ["cat dog dog", "cat"]), ("Théâtre", ["THÉÂTRE"]), ("over 5,000 cats", ["5000 cats"])]


def load(folder, name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, f"evaluate-{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw(rng, most):
    return rng.choice([" ", " ", "  ", "-", "\n"]).join(rng.choice(WORDS) for _ in range(rng.randint(0, most)))


def random_pair(rng):
    """A text and answers that often share words with it."""
    answer = draw(rng, 5)
    words = answer.split(" ")
    rng.shuffle(words)
    prediction = rng.choice([answer, answer.upper(), answer.lower(), " ".join(words), draw(rng, 4)])
    return prediction, [answer] + [draw(rng, 4) for _ in range(rng.randint(0, 2))]


def one_question(prediction, answers):
    return [{"paragraphs": [{"context": "", "qas": [{"id": "q", "answers": [{"text": a} for a in answers]}]}]}], {
        "q": prediction}


def score_pair(scripts, prediction, answers):
    dataset, predictions = one_question(prediction, answers)
    if answers:
        first = scripts["v1.1"].evaluate(dataset, predictions)
        squad_1 = [first["f1"] / 100, first["exact_match"] / 100]
    else:
        squad_1 = [0, 0]  # the script has no maximum over nothing
    exact, f1 = scripts["v2.0"].get_raw_scores(dataset, predictions)
    return {"prediction": prediction, "answers": answers, "squad_1": squad_1, "squad_2": [f1["q"], exact["q"]]}


def squad_file(rng, version, has_unanswerable):
    articles, n = [], 0
    for title in ("One", "Two"):
        paragraphs = []
        for _ in range(3):
            qas = []
            for _ in range(3):
                qa = {"id": f"{version}-{n}", "question": f"What is {n}?",
                      "answers": [{"text": t, "answer_start": 0} for t in random_pair(rng)[1]]}
                if has_unanswerable:
                    qa["is_impossible"] = n % 3 == 0
                    if qa["is_impossible"]:
                        qa["answers"] = []
                qas.append(qa)
                n += 1
            paragraphs.append({"context": f"A paragraph before {n}.", "qas": qas})
        articles.append({"title": title, "paragraphs": paragraphs})
    return {"version": version, "data": articles}


def predict(rng, questions):
    """Of (id, answers): all but every seventh, in another order, and two that nobody asked for."""
    rows = [{"id": "unknown", "prediction": "x"}]
    for i, (name, answers) in enumerate(questions):
        if i % 7 != 5:
            made = rng.choice(answers).upper() if answers and rng.random() < 0.7 else draw(rng, 2)
            rows.append({"id": name, "prediction": made})
    rows.append({"id": 17, "prediction": ""})
    rng.shuffle(rows)
    return rows


def questions_of(squad):
    return [(qa["id"], [a["text"] for a in qa["answers"]])
            for article in squad for paragraph in article["paragraphs"] for qa in paragraph["qas"]]


def as_squad(questions):
    return [{"paragraphs": [{"context": "", "qas": [
        {"id": str(i), "answers": [{"text": a} for a in answers]} for i, answers in questions]}]}]


def by_id(rows):
    return {str(row["id"]): row["prediction"] for row in rows}


def missing_and_unknown(questions, rows):
    ids = {str(i) for i, _ in questions}
    return {"missing": len(ids - set(by_id(rows))), "unknown": len(set(by_id(rows)) - ids)}


def write_json(name, value):
    with open(os.path.join(FOLDER, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=0, separators=(",", ":"))
        file.write("\n")


def write_lines(name, rows):
    with open(os.path.join(FOLDER, name), "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=rows.index(row) % 2 == 0) + "\n")


def hotpotqa(rng):
    return [{"_id": f"h{i}", "question": f"Which {i}?", "answer": random_pair(rng)[1][0] or "yes", "type": "bridge",
             "level": "hard", "supporting_facts": [["T", 0]],
             "context": [["T", [f"Sentence {i}.", " Another."]], ["U", ["Third."]]]} for i in range(12)]


def nq_open(rng):
    return [{"question": f"who is number {i}", "answer": [t or "x" for t in random_pair(rng)[1]]} for i in range(9)]


def nq_documents():
    rows = []
    for i, answer in enumerate(["Paris", "the red house", "nobody", "Ω Σ"]):
        tokens = ["<H1>", "Page", str(i), "</H1>", "<P>", "It", "is"] + answer.split() + [".", "</P>"]
        end = 7 + len(answer.split())
        rows.append({"document_text": " ".join(tokens), "question_text": f"where is {i}", "example_id": 100 + i,
                     "long_answer_candidates": [{"start_token": 4, "end_token": len(tokens), "top_level": True}],
                     "annotations": [{"yes_no_answer": "NO" if i == 2 else "NONE",
                                      "long_answer": {"start_token": 4, "end_token": len(tokens), "candidate_index": 0},
                                      "short_answers": [] if i == 2 else [{"start_token": 7, "end_token": end}]}]})
    answers = [["Paris"], ["the red house"], ["no"], ["Ω Σ"]]
    return rows, [(row["example_id"], a) for row, a in zip(rows, answers)]


def reconstruction():
    pairs = [("The cat sat on the mat.", "The cat sat on the mat."), ("The cat sat on a mat", "The cat is on the mat."),
             ("", "Nothing was written."), ("Über die Straße, 3.5 % teurer", "Über die Straße: 3,5 % teurer"),
             ("東京は大きい。", "東京 は 大きい 。"), ("same\nlines\nhere", "same lines here")]
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    return [{"prediction": p, "reference": r} for p, r in pairs], {
        "bleu": sacrebleu.corpus_bleu([p for p, _ in pairs], [[r for _, r in pairs]]).score,
        "rouge_l": sum(scorer.score(r, p)["rougeL"].fmeasure for p, r in pairs) / len(pairs),
        "exact_match": sum(p == r for p, r in pairs) / len(pairs), "count": len(pairs)}


def main():
    rng = random.Random(11)
    scripts = {name: load(sys.argv[1], name) for name in ("v1.1", "v2.0")}
    os.makedirs(FOLDER, exist_ok=True)
    pairs = PAIRS + [random_pair(rng) for _ in range(150)]
    pairs += [(a, [b]) for a, b in zip(WORDS, WORDS[1:])] + [(w.upper(), [w]) for w in WORDS]
    write_json("scores.json", [score_pair(scripts, p, a) for p, a in pairs])
    expected = {}

    def evaluate_1(name, questions, rows):
        result = scripts["v1.1"].evaluate(as_squad(questions), by_id(rows))
        expected[name] = {"f1": result["f1"], "em": result["exact_match"], "count": len(questions),
                          **missing_and_unknown(questions, rows)}
        write_lines(f"{name}.predictions.jsonl", rows)

    squad_1 = squad_file(rng, "1.1", False)
    write_json("squad-1.json", squad_1)
    evaluate_1("squad-1", questions_of(squad_1["data"]), predict(rng, questions_of(squad_1["data"])))

    squad_2 = squad_file(rng, "v2.0", True)
    questions, rows = questions_of(squad_2["data"]), predict(rng, questions_of(squad_2["data"]))
    exact, f1 = scripts["v2.0"].get_raw_scores(squad_2["data"], by_id(rows))
    result = scripts["v2.0"].make_eval_dict(exact, f1)
    write_json("squad-2.json", squad_2)
    write_lines("squad-2.predictions.jsonl", rows)
    expected["squad-2"] = {"f1": result["f1"], "em": result["exact"], "count": result["total"],
                           **missing_and_unknown(questions, rows)}

    hotpot = hotpotqa(rng)
    write_json("hotpotqa.json", hotpot)
    questions = [(q["_id"], [q["answer"]]) for q in hotpot]
    evaluate_1("hotpotqa", questions, predict(rng, questions))

    nq = nq_open(rng)
    write_lines("nq.jsonl", nq)
    questions = [(q["question"], q["answer"]) for q in nq]
    evaluate_1("nq", questions, predict(rng, questions))

    documents, questions = nq_documents()
    write_lines("nq-documents.jsonl", documents)
    evaluate_1("nq-documents", questions,
               [{"id": 100, "prediction": "paris"}, {"id": "101", "prediction": "a red barn"},
                {"id": 102, "prediction": "No."}, {"id": 999, "prediction": "x"}])

    rows, expected["reconstruction"] = reconstruction()
    write_lines("reconstruction.predictions.jsonl", rows)
    write_json("expected.json", expected)


if __name__ == "__main__":
    sys.exit(main())
