"""How many successes of an attack keep the meaning, and how many of these does the filter know? Somebody reads them and says.

    python benchmarks/attack_reading.py MODEL --data FILE --text COL --label COL --write FILE [--rows 400] [--seed 0]
    python benchmarks/attack_reading.py --read FILE --marks MARKS.json --part raw [--json benchmarks/results/attack_reading.json]
    python benchmarks/attack_reading.py --read FILE --marks MARKS.json --part passed [--json …]

The first form attacks rows as the audit does (words, default candidates and budget) and writes each first success, and those within the
rules, with what rules and judge say of it, for a reader; the file holds texts and stays where it is. MARKS.json holds what the reader
found: `{"read": [numbers], "kept": [numbers], "nearly": [numbers], "notes": …}`, kept where somebody who knows the field takes both texts
for the same statement, nearly where they would guess it. The other forms count: of first successes read as they came, the share that keep
the meaning (`raw`), and how many of these the filter passes; of all that the filter passes in another file, the share that do (`passed`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from trustbase.audit import stats


def write(arguments: argparse.Namespace) -> None:
    """Attack, and write what was found."""
    from trustbase.audit.robustness import meaning
    from trustbase.audit.robustness.attack import Outcome, attack, margins
    from trustbase.audit.robustness.candidates import neighbours
    from trustbase.audit.robustness.judge import open_judge
    from trustbase.audit.robustness.targets import Rows, word_spans
    from trustbase.audit.robustness.words_attack import space_of, targets_of, words_at
    from trustbase.model.predict import Predictor

    rows = [json.loads(line) for line in Path(arguments.data).read_text(encoding="utf-8").splitlines()]
    rng = np.random.default_rng(arguments.seed)
    chosen = [rows[place] for place in rng.permutation(len(rows))[: arguments.rows]]
    texts = [str(row[arguments.text]) for row in chosen]
    found: list[dict[str, Any]] = []
    with Predictor.open(arguments.model) as predictor, open_judge(arguments.judge) as judge:
        names = predictor.info.labels.names
        truth = np.array([names.index(str(row[arguments.label])) for row in chosen])
        scores = predictor.class_scores(texts)
        drawn = Rows(texts, np.arange(len(texts)), truth, scores.argmax(axis=1) == truth)
        spans = [(own, list(range(len(own)))) for own in map(word_spans, texts)]
        assert not isinstance(judge, str), judge
        lexicon = list(dict.fromkeys(text[slice(*span)] for text, (own, _) in zip(texts, spans, strict=True) for span in own))
        unread = judge.unreadable(texts)

        class Of:
            pass

        context: Any = Of()
        context.predictor = predictor
        near = neighbours(space_of(context, None if unread else judge), words_at(drawn, spans), lexicon=lexicon)
        options = [
            {place: near[word] for place in places if (word := text[slice(*own[place])]) in near}
            for text, (own, places) in zip(texts, spans, strict=True)
        ]
        targets = targets_of(drawn, spans, options, None if unread else judge)
        kept = [place for place in np.flatnonzero(drawn.right).tolist() if targets[place] is not None]
        one = attack(predictor, budget=100, labels=predictor.info.labels.to_json(), decision=predictor.info.decision.to_json())
        items = [
            {"target": targets[place].to_json(), "truth": int(truth[place]), "margin": float(margins(scores[[place]], truth[place])[0])}  # type: ignore[union-attr]
            for place in kept
        ]
        outcomes = [Outcome.of(each) for each in predictor.gather(one(item) for item in items)]
        for place, outcome in zip(kept, outcomes, strict=True):
            target = targets[place]
            assert target is not None
            for kind, changes in (("first", outcome.changes), *(("within", changes) for changes in outcome.within)):
                if changes is None or (kind == "within" and changes == outcome.changes):
                    continue
                rules = [
                    meaning.why_not(target.text[slice(*target.words[p])], word, target.text[: target.words[p][0]])
                    for p, word in changes.items()
                ]
                nearness = [] if unread else judge.measured([(target, changes)])[0].round(3).tolist()
                found.append(
                    {
                        "number": len(found),
                        "kind": kind,
                        "text": target.text,
                        "changed": target.changed(changes),
                        "swaps": [[target.text[slice(*target.words[p])], word] for p, word in changes.items()],
                        "rules": rules,
                        "few": len(changes) <= target.most,
                        "nearness": nearness,
                    }
                )
    Path(arguments.write).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), encoding="utf-8")
    firsts = sum(row["kind"] == "first" for row in found)
    print(f"{len(kept)} rows attacked, {firsts} turned; {len(found)} successes in {arguments.write}")


def passes(row: dict[str, Any]) -> bool:
    """Whether the filter passes a success, by the rules as they are now."""
    from trustbase.audit.robustness import meaning
    from trustbase.audit.robustness.judge import WHOLE, WINDOW, WORD

    near = all(value >= limit for value, limit in zip(row["nearness"], (WHOLE, WINDOW, WORD), strict=True))
    return near and row["few"] and not any(row["rules"]) and not any(meaning.why_not(old, new) for old, new in row["swaps"])


def share(count: int, n: int) -> dict[str, Any]:
    """A share with its interval; nothing where there is nothing."""
    if n == 0:
        return {"value": None, "n": 0}
    interval = stats.proportion(count, n)
    return {"value": interval.value, "low": interval.low, "high": interval.high, "count": count, "n": n}


def read(arguments: argparse.Namespace) -> dict[str, Any]:
    """Counts of what a reader found."""
    rows = [json.loads(line) for line in Path(arguments.read).read_text(encoding="utf-8").splitlines()]
    marks = json.loads(Path(arguments.marks).read_text(encoding="utf-8"))
    kept, nearly = set(marks["kept"]), set(marks["kept"]) | set(marks["nearly"])
    firsts = [row for row in rows if row["kind"] == "first"]
    passing = [row for row in rows if passes(row)]
    pool = {"first_successes": len(firsts), "successes": len(rows), "passed_by_the_filter": len(passing), "notes": marks["notes"]}
    seen = [row for row in (firsts if arguments.part == "raw" else passing) if row["number"] in set(marks["read"])]
    assert len(seen) == len(marks["read"]), "a number was marked that is not there, or that the filter does not pass"
    told = {
        name: share(sum(row["number"] in good for row in seen), len(seen)) for name, good in (("kept", kept), ("kept_or_nearly", nearly))
    }
    if arguments.part == "raw":
        told["of_the_kept_passed_by_the_filter"] = share(sum(passes(row) for row in seen if row["number"] in kept), len(kept))
    return {**pool, **told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    for name in ("data", "text", "label", "write", "read", "marks", "json", "judge"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--part", choices=("raw", "passed"), default="raw")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments)
        return
    found = read(arguments)
    print(json.dumps(found, indent=1))
    if arguments.json:
        path = Path(arguments.json)
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        path.write_text(json.dumps({**told, arguments.part: found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
