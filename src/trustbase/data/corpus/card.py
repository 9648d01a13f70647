"""The corpus card: where the texts come from, whose they are, and what stayed after every step, as JSON and as a page to read.

Counts only; the few dropped documents that serve as examples lie in a file of their own, which never leaves the run folder.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from trustbase.data.corpus.counts import STEPS
from trustbase.data.corpus.faults import Faults
from trustbase.data.corpus.language import HOW
from trustbase.data.corpus.options import CorpusOptions, SourceOptions
from trustbase.data.corpus.sources import SourceFile, card_name, sample_of
from trustbase.data.corpus.survey import Survey
from trustbase.data.samples import is_sample

SCHEMA = "trustbase/corpus-card/1"
_SHOWN = 20  # documents that overlap with a test set and are named on the page


def source_cards(
    options: CorpusOptions, files: Sequence[SourceFile], surveys: Sequence[Survey], revisions: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Where each source comes from."""
    found = []
    for index, source in enumerate(options.sources):
        own = [(file, seen) for file, seen in zip(files, surveys, strict=True) if file.source == index]
        found.append(
            {
                "name": card_name(source.name or source.files[0])
                if len(source.files) == 1 or source.name
                else ", ".join(map(card_name, source.files)),
                "weight": source.weight,
                "licence": _licence(source),
                "attribution": [sample_of(name).attribution for name in source.files if is_sample(name)],
                "part": source.part.model_dump() if source.part else None,
                "revisions": {name: revisions[name] for name in source.files if name in revisions},
                "files": [{"name": card_name(file.name), "bytes": seen.size, "digest": seen.digest} for file, seen in own],
            }
        )
    return found


def _licence(source: SourceOptions) -> str:
    stated = [sample_of(name).licence for name in source.files if is_sample(name)]
    return source.licence or "; ".join(dict.fromkeys(stated)) or "not stated"


def corpus_card(
    options: CorpusOptions,
    *,
    sources: Sequence[Mapping[str, Any]],
    passed_over: Sequence[str],
    counts: Mapping[str, Any],
    faults: Faults,
    contamination: Mapping[str, Any] | None,
    result: Mapping[str, Any],
    digest: str,
    seed: int,
) -> dict[str, Any]:
    """Everything worth knowing about a corpus before a model learns from it."""
    total = _joined(counts)
    return {
        "schema": SCHEMA,
        "digest": digest,
        "seed": seed,
        "unicode": unicodedata.unidata_version,
        "options": _said(options),
        "sources": [
            {**source, "steps": steps_of(counts, str(index)), "languages": counts["languages"].get(str(index), {})}
            for index, source in enumerate(sources)
        ],
        "steps": steps_of(total, "all"),
        "languages": {"how": HOW, "documents": _ranked(total["languages"].get("all", {}))},
        "scrubbed": total["scrubbed"].get("all", {}),
        "contamination": contamination,
        "faults": {
            "count": faults.count,
            "kinds": _ranked(faults.kinds),
            "listed": [f"{card_name(fault.name)}:{fault.line}: {fault.kind}" for fault in faults.listed],
        },
        "passed_over": [card_name(name) for name in passed_over],
        "result": dict(result),
    }


def _said(options: CorpusOptions) -> dict[str, Any]:
    """The options, without where anything stands on somebody's machine."""
    kept = options.model_dump(mode="json", exclude={"sources", "workers", "contamination"})
    return {**kept, "contamination": options.contamination.model_dump(mode="json", exclude={"sets"}) if options.contamination else None}


def steps_of(counts: Mapping[str, Any], source: str) -> list[dict[str, Any]]:
    """What came in, what fell at each step, and what was left: `{step, documents, characters, left, left_characters}`."""
    documents, characters = counts["read"].get(source, [0, 0])
    rows = [{"step": "read", "documents": documents, "characters": characters, "left": documents, "left_characters": characters}]
    fallen = counts["dropped"].get(source, {})
    for reason in sorted(fallen, key=_order):
        documents, characters = documents - fallen[reason][0], characters - fallen[reason][1]
        row = {"step": reason, "documents": fallen[reason][0], "characters": fallen[reason][1]}
        rows.append({**row, "left": documents, "left_characters": characters})
    return rows


def _order(reason: str) -> tuple[int, str]:
    return STEPS.index(reason.partition(":")[0]), reason


def _joined(counts: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of all sources together, as those of a source called `all`."""
    read = [sum(pair[place] for pair in counts["read"].values()) for place in (0, 1)]
    dropped: dict[str, list[int]] = {}
    for reasons in counts["dropped"].values():
        for reason, pair in reasons.items():
            known = dropped.setdefault(reason, [0, 0])
            known[0], known[1] = known[0] + pair[0], known[1] + pair[1]
    found: dict[str, Any] = {"read": {"all": read}, "dropped": {"all": dropped}}
    for name in ("languages", "scrubbed"):
        sums: dict[str, int] = {}
        for entries in counts[name].values():
            for key, count in entries.items():
                sums[key] = sums.get(key, 0) + count
        found[name] = {"all": sums}
    return found


def _ranked(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card as a Markdown page."""
    parts = [_about(card), _sources(card), _steps("What stayed", card["steps"])]
    parts += (
        [_steps(f"What stayed of {_plain(source['name'])}", source["steps"]) for source in card["sources"]]
        if len(card["sources"]) > 1
        else []
    )
    parts += [_languages(card), _scrubbed(card), _contamination(card), _faults(card)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(card: Mapping[str, Any]) -> str:
    result = card["result"]
    lines = [
        "# Corpus card",
        "",
        f"- **Digest**: `{card['digest']}`",
        f"- **For training**: {result['train']['documents']:,} documents, {result['train']['bytes']:,} bytes of UTF-8",
        f"- **Held out** by content hash: {result['held_out']['documents']:,} documents, {result['held_out']['bytes']:,} bytes",
        f"- **Deduplicated**: {card['options']['deduplicate']}"
        + (
            f", from an estimated similarity of {card['options']['near']['similarity']:g}"
            if card["options"]["deduplicate"] == "near"
            else ""
        ),
    ]
    return "\n".join(lines)


def _sources(card: Mapping[str, Any]) -> str:
    rows, notes = [], []
    for source in card["sources"]:
        size = sum(file["bytes"] for file in source["files"])
        rows.append([_plain(source["name"]), _plain(source["licence"]), f"{source['weight']:g}", f"{len(source['files']):,}", f"{size:,}"])
        notes += [f"- {_plain(text)}" for text in source["attribution"]]
        notes += [f"- {_plain(source['name'])}: only its {source['part']['name']} part"] if source["part"] else []
        notes += [f"- {_plain(name)}: revision `{revision}`" for name, revision in source["revisions"].items()]
    notes += [f"- passed over, since it is no text: {_plain(name)}" for name in card["passed_over"]]
    return "\n\n".join(filter(None, [_table("Sources", ["source", "licence", "weight", "files", "bytes"], rows), "\n".join(notes)]))


def _steps(title: str, steps: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            row["step"] if row["step"] == "read" else f"less: {row['step']}",
            *(f"{row[key]:,}" for key in ("documents", "characters", "left", "left_characters")),
        ]
        for row in steps
    ]
    return _table(title, ["step", "documents", "characters", "documents left", "characters left"], rows)


def _languages(card: Mapping[str, Any]) -> str:
    found = card["languages"]["documents"]
    rows = [[name, f"{count:,} ({count / max(1, sum(found.values())):.1%})"] for name, count in found.items()]
    return _table("Languages, before any filter", ["language", "documents"], rows) + f"\n\nHow: {card['languages']['how']}." if rows else ""


def _scrubbed(card: Mapping[str, Any]) -> str:
    if not card["options"]["scrub"]:
        return ""
    rows = [[kind, f"{card['scrubbed'].get(kind, 0):,}"] for kind in card["options"]["scrub"]]
    page = _table("Personal data replaced by placeholders", ["kind", "pieces"], rows)
    return page + "\n\nFound by pattern and checksum; what has no fixed form (names, addresses) is not recognised and stays."


def _contamination(card: Mapping[str, Any]) -> str:
    found = card["contamination"]
    if not found:
        return ""
    rows = [
        [_plain(name), f"{entry['texts']:,}", f"{entry['found']:,} ({entry['share']:.2%})", f"{entry['documents']:,}"]
        for name, entry in found["sets"].items()
    ]
    what = "and were left out" if found["action"] == "remove" else "and stay in the corpus"
    header = ["test set", "test texts", "of them found in the corpus", "documents that hold some"]
    lines = [
        f"- {_plain(where)}:{line}: {count:,} test texts of {_plain(name)}" for where, line, name, count in found["offenders"][:_SHOWN]
    ]
    more = max(entry["documents"] for entry in found["sets"].values()) - len(lines)
    lines += [f"- and {more:,} more; corpus.json lists up to 200"] if lines and more > 0 else []
    page = _table(f"Test sets in the corpus ({found['ngram']} units in a row)", header, rows)
    return page + (f"\n\nThese documents overlap {what}:\n\n" + "\n".join(lines) if lines else "")


def _faults(card: Mapping[str, Any]) -> str:
    found = card["faults"]
    if not found["count"]:
        return "## Faults in the files\n\nNone."
    rows = [[_plain(kind), f"{count:,}"] for kind, count in found["kinds"].items()]
    listed = "\n".join(f"- {_plain(line)}" for line in found["listed"])
    more = found["count"] - len(found["listed"])
    return (
        _table("Faults in the files, passed over", ["reason", "faults"], rows)
        + f"\n\n{listed}"
        + (f"\n- and {more:,} more" if more > 0 else "")
    )


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [header, ["---"] * len(header), *rows]]
    return f"## {title}\n\n" + "\n".join(lines)


def _plain(text: str) -> str:
    """Words of the data on one line, without meaning to Markdown or HTML."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, "\\" + sign) if sign != "<" else text.replace("<", "&lt;")
    return " ".join(text.split())
