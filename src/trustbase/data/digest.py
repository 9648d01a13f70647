"""What rows are, as one digest: texts, labels and groups, whatever file they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def digest_rows(texts: Sequence[str], labels: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str:
    """`sha256:…` over the rows in order; label names rather than codes, so that it does not depend on a label schema.

    Args:
        texts: `(rows,)`.
        labels: label names, `(rows,)`.
        groups: column → group of each row, `(rows,)`; the order of columns does not matter.
    """
    total = hashlib.sha256(b"trustbase/rows/1\0")
    columns = [("text", texts), ("label", labels), *((f"group:{name}", groups[name]) for name in sorted(groups))]
    for name, values in columns:
        encoded = [value.encode("utf-8") for value in values]
        lengths: NDArray[np.int64] = np.fromiter(map(len, encoded), np.dtype("<i8"), len(encoded))
        header = f"{len(name.encode())}:{name}:{len(encoded)}\0".encode()
        for part in (header, lengths.tobytes(), b"".join(encoded)):  # lengths first: ("ab", "c") is not ("a", "bc")
            total.update(part)
    return "sha256:" + total.hexdigest()


def digest_numbers(numbers: ArrayLike) -> str:
    """`sha256:…` over whole numbers in order."""
    return "sha256:" + hashlib.sha256(np.asarray(numbers, dtype="<i8").tobytes()).hexdigest()


def digest_set(texts: Sequence[str], labels: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str:
    """`sha256:…` over the same rows in whatever order they stand; arguments as of `digest_rows`.

    With it a file can be known as the audited rows where somebody wrote them out in another order.
    """
    columns = [texts, labels, *(groups[name] for name in sorted(groups))]
    names = "\0".join(["trustbase/row-set/1", *sorted(groups)]).encode("utf-8")
    rows = []
    for cells in zip(*columns, strict=True):
        row = hashlib.sha256()
        for cell in cells:
            data = str(cell).encode("utf-8")
            row.update(f"{len(data)}:".encode() + data)
        rows.append(row.digest())
    return "sha256:" + hashlib.sha256(f"{len(names)}:".encode() + names + b"".join(sorted(rows))).hexdigest()


def digest_positions(source: str, row_numbers: Sequence[int] | NDArray[np.integer], labels: Sequence[str]) -> str:
    """`sha256:…` over which rows of which file these are, and their labels: blind to template and group columns.

    The ledger counts looks by it too, so that the same rows written out otherwise are not taken for unseen ones. Rows
    copied into another file, or another part of the same rows, are other rows to it.

    Args:
        source: digest of the file.
        row_numbers: `(rows,)`.
        labels: label names, `(rows,)`.
    """
    order = np.argsort(np.asarray(row_numbers, dtype=np.int64), kind="stable")
    numbers = np.asarray(row_numbers, dtype="<i8")[order]
    total = hashlib.sha256(b"trustbase/positions/1\0" + source.encode() + b"\0" + numbers.tobytes())
    for row in order:
        name = labels[int(row)].encode("utf-8")
        total.update(f"{len(name)}:".encode() + name)
    return "sha256:" + total.hexdigest()
