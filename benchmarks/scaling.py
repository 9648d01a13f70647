"""Does a fit over three sizes say what a fourth will come to? `trustbase scaling` on the recipe of the Chinese base, on real text.

    python benchmarks/scaling.py [--tokens 2M] [--folder runs/base-zh-scaling] [--json FILE]

Three small sizes are trained with three seeds each and the law is fitted; the loss of a fourth, as large as the recipe's own model, is
predicted before it is trained. Both stand side by side, with the two guesses that a fit must beat to have said anything: the law
without a floor, and the loss of the largest size of the fit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import trustbase

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "base-zh.yaml"
SIZES = (
    {"layers": 1, "width": 64, "heads": 1},
    {"layers": 2, "width": 96, "heads": 2},
    {"layers": 2, "width": 160, "heads": 2},
    {"layers": 3, "width": 256, "heads": 4},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="2M")
    parser.add_argument("--folder", type=Path, default=Path("runs/base-zh-scaling"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/scaling.json"))
    options = parser.parse_args()
    result = trustbase.scaling(RECIPE, SIZES, tokens=options.tokens, out=options.folder).to_json()
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name not in {"sizes", "limits"}}, indent=1))


if __name__ == "__main__":
    main()
