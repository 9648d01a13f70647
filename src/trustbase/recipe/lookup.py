"""The one registry: what a recipe may name, and where it lives. Filled by hand; imports nothing.

Each entry is (import string, one line that says what it is). Audits are registered under dimension × answer kind;
"*" stands for every answer kind, and an empty cell yields `not_applicable` by rule.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A registered thing: `module:attribute` and its one-line description."""

    target: str
    about: str


TASKS: dict[str, Entry] = {
    "text-classification": Entry("trustbase.model.task:TEXT_CLASSIFICATION", "one label for each text, of two or more"),
}

ADAPTATIONS: dict[str, Entry] = {
    "full": Entry("trustbase.model.adapt:full", "every parameter is trained"),
    "frozen": Entry("trustbase.model.adapt:frozen", "the body stays as it is; only the head is trained, on outputs computed once"),
    "lora": Entry("trustbase.model.adapt:lora", "low-rank updates of chosen layers, merged before release (LoRA, DoRA, rsLoRA, PiSSA)"),
}

SOURCES: dict[str, Entry] = {
    "csv": Entry("trustbase.data.source:read_delimited", "comma-separated values with a header"),
    "tsv": Entry("trustbase.data.source:read_delimited", "tab-separated values with a header"),
    "jsonl": Entry("trustbase.data.source:read_jsonl", "one JSON object a line"),
    "parquet": Entry("trustbase.data.source:read_parquet", "Apache Parquet"),
    "sample": Entry("trustbase.data.samples:read_sample", "a data set that ships with Trustbase, such as sample:census-income"),
}

OBJECTIVES: dict[str, Entry] = {
    "classification": Entry("trustbase.train.objective:classification", "cross-entropy of the true label"),
}

AUDITS: dict[tuple[str, str], Entry] = {
    ("quality", "classes"): Entry("trustbase.audit.quality:audit_classes", "how often and how surely the answers are right"),
    ("fairness", "classes"): Entry("trustbase.audit.fairness:audit_classes", "how answers and errors differ between groups"),
    ("efficiency", "*"): Entry("trustbase.audit.efficiency:audit_any", "bytes, parameters, latency, throughput, memory, cost"),
}

RIVALS: dict[str, Entry] = {
    "majority": Entry("trustbase.audit.rivals:majority", "always the most frequent training label"),
    "bag_of_words": Entry("trustbase.audit.rivals:bag_of_words", "word counts and logistic regression"),
    "boosting": Entry("trustbase.audit.rivals:boosting", "gradient boosting on the raw columns"),
}

RUNTIMES: dict[str, Entry] = {
    "torch": Entry("trustbase.model.runtime_torch:TorchRuntime", "PyTorch, in fp32 or bf16"),
    "onnx": Entry("trustbase.model.runtime_onnx:OnnxRuntime", "ONNX Runtime, in fp32"),
}

MITIGATIONS: dict[str, Entry] = {}

COMPRESSORS: dict[str, Entry] = {
    "export": Entry("trustbase.compress.export:make_artifact", "the artefact that is shipped: runtime, precision, parity with fp32"),
}
