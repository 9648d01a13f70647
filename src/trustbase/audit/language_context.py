"""What an audit of a base model is given: a model that knows language and no task yet, and the documents that were held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trustbase.audit.askers.asking import Alone, Askers
from trustbase.audit.context import Evidence
from trustbase.audit.options import AuditOptions
from trustbase.events import Emit, ignore
from trustbase.records import ArtifactInfo

if TYPE_CHECKING:
    from trustbase.data.corpus.pack import TokenStore
    from trustbase.data.corpus.store import CorpusStore
    from trustbase.model.predict import Predictor
    from trustbase.train.probes import ProbeSet


@dataclass(frozen=True)
class Documents:
    """What the numbers are about, for `audit.json`: the held-out documents of the corpus."""

    digest: str
    count: int

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, eq=False)
class LanguageContext:
    """Everything an audit of answer kind `language` may ask about.

    Attributes:
        artifact: the base model as it ships; its `facts` hold `objective` (weights by name) and `context` (tokens of a row).
        predictor: asks it.
        test: digest and number of the held-out documents.
        corpus: the documents, as text.
        tokens: the same documents as tokens of the model's own tokenizer.
        card: the corpus card (`corpus.json`).
        training: what the training said of itself: tokens, seconds, steps, estimate …
        evidence: where aggregates go.
        seed: of everything that is sampled.
    """

    artifact: ArtifactInfo
    predictor: Predictor
    test: Documents
    corpus: CorpusStore
    tokens: TokenStore
    card: Mapping[str, Any]
    training: Mapping[str, Any]
    evidence: Evidence
    seed: int
    options: AuditOptions = field(default_factory=AuditOptions)
    probes: Mapping[str, ProbeSet] = field(default_factory=dict)  # labelled sets by name
    contamination: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # test set → its `texts`, and how many are `found`
    canaries: Any = None  # what was planted in the training documents, where the recipe asked for it
    askers: Askers | None = None  # where several processes ask
    emit: Emit = ignore
    confidence: float = 0.95
    minimum_cell: int = 30

    @property
    def asking(self) -> Askers:
        """Asks the model many things: in several processes where there are some, and here where there are none."""
        return self.askers or Alone(self.predictor)
