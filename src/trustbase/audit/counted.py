"""What can be counted about an artefact without running it: bytes, parameters, and operations by formula."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.errors import ModelError
from trustbase.model.ensemble import parts_of
from trustbase.records import ArtifactInfo, Finding

_ENCODERS = {"bert", "roformer", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet", "ernie", "deberta", "deberta-v2"}
_HEADER_LIMIT = 100_000_000


def folder_bytes(folder: Path) -> int:
    """Bytes of all files of an artefact, hidden ones left out."""
    names = (
        path for path in folder.rglob("*") if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return sum(path.stat().st_size for path in names)


def tensor_sizes(folder: Path) -> dict[str, int]:
    """Number of elements of every stored tensor, read from the headers of the safetensors files alone.

    Raises:
        ModelError: there are none, or a header is broken.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ModelError(f"{folder.name} holds no safetensors file to count parameters in")
    sizes: dict[str, int] = {}
    for path in paths:
        sizes |= {name: math.prod(entry["shape"]) for name, entry in _header(path).items() if name != "__metadata__"}
    return sizes


def size_findings(info: ArtifactInfo, *, confidence: float) -> tuple[list[Finding], dict[str, int] | None]:
    """Bytes and parameters of an artefact, and the sizes of its (first member's) tensors; None, and the parameters `failed`, if unread."""
    size = folder_bytes(info.folder)
    findings = [Finding.exact("efficiency.artifact_bytes", size, unit="bytes", direction="lower", method="all files of the artefact")]
    try:
        each = [tensor_sizes(folder) for folder in parts_of(info.folder)]
    except ModelError as error:
        missing = Finding.without_value("efficiency.parameters", "failed", error.message, direction="lower", confidence=confidence)
        return [*findings, missing], None
    method = "elements of the stored tensors"
    if info.facts.get("weights") == "adapter":
        method += ": the adapter and head alone, as the base is named by its digest and not stored"
    if len(each) > 1:
        method += f"; of {len(each)} members together"
    count = sum(sum(sizes.values()) for sizes in each)
    findings.append(Finding.exact("efficiency.parameters", count, unit="parameters", direction="lower", method=method))
    return findings, each[0]


def flops(config: Mapping[str, Any], sizes: Mapping[str, int], tokens: float, classes: int) -> tuple[float, str]:
    """Floating-point operations for one input of `tokens` tokens, and how they were counted.

    For a BERT-like encoder of width d, inner width f and L layers: L (8 n d² + 4 n² d + 4 n d f), the matrix products of
    projections, attention and feed-forward part, and 2 d² + 2 d c for pooler and head; a multiply and an add are two
    operations. For any other architecture 2 n per parameter outside the embedding tables, attention left out.

    Derived from the shapes and nominal: the packed runtime computes parts of the last layer for one token of each input alone, and
    padding, softmax and normalisation are not counted.

    Source: derived from the shapes; compare Kaplan et al. (2020), "Scaling laws for neural language models", section 2.1, table 1.
    """
    width = config.get("hidden_size") or config.get("dim")
    layers = config.get("num_hidden_layers") or config.get("n_layers")
    inner = config.get("intermediate_size") or config.get("hidden_dim")
    if config.get("model_type") in _ENCODERS and width and layers and inner:
        body = layers * (8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * inner)
        return body + 2 * width**2 + 2 * width * classes, "nominal: matrix products of a transformer encoder, derived from its shapes"
    active = sum(size for name, size in sizes.items() if "embed" not in name.lower())
    return 2 * tokens * active, "nominal: 2 operations per token and parameter outside the embedding tables, attention left out"


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's `config.json`, or nothing where there is none."""
    path = folder / "config.json"
    return dict(files.read_json(path)) if path.is_file() else {}


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= _HEADER_LIMIT:
            raise ModelError(f"{path.name} is no safetensors file: its header would have {length} bytes")
        try:
            return dict(json.loads(stream.read(length)))
        except ValueError as error:
            raise ModelError(f"{path.name} is no safetensors file: {error}") from error
