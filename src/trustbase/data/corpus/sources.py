"""Which files a source means: paths, globs, folders, samples of packages, data sets of a hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trustbase.data.corpus.options import HUB, CorpusOptions, TextSourceOptions
from trustbase.data.facts import public_name
from trustbase.data.listing import list_files, name_of
from trustbase.data.reference import COMPRESSIONS
from trustbase.data.samples import RUNNING_TEXTS, SAMPLES, Sample, is_sample
from trustbase.errors import DataError, Problem, problems_of

KINDS = {
    **dict.fromkeys((".txt", ".text", ".md"), "text"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
TABLES = {".csv": "table", ".tsv": "table", ".tab": "table"}  # labelled rows; read for test sets only
_ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        source: which source, by its place in the recipe.
        path: where it is.
        name: how messages call it: as the recipe does.
        kind: text, jsonl, parquet, table (csv, tsv), articles or reviews (samples).
        compression: gz, bz2, xz, zst, or "".
        column: column of the text, where there are columns.
        part: `[name, test, validation]` of a labelled set, or empty for all of it.
    """

    source: int
    path: str
    name: str
    kind: str
    compression: str
    column: str
    part: tuple[str | float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SourceFile:
        return cls(**{**value, "part": tuple(value["part"])})


@dataclass(frozen=True)
class Found:
    """The files of all sources, in order, and those of a folder that are no texts."""

    files: list[SourceFile]
    passed_over: list[str]
    revisions: dict[str, str]  # of hub data sets


def find_files(sources: Sequence[TextSourceOptions], root: Path, *, section: str = "corpus", tables: bool = False) -> Found:
    """Every file that the sources name.

    Args:
        sources: as the recipe has them.
        root: where relative paths start.
        section: the recipe's section, for messages.
        tables: whether csv and tsv files are wanted too.

    Raises:
        DataError: a reference that means no file, or a file of an unknown kind; all of them.
    """
    found: list[SourceFile] = []
    passed: list[str] = []
    revisions: dict[str, str] = {}
    problems: list[Problem] = []
    for index, source in enumerate(sources):
        seen: set[Path] = set()
        for reference in source.files:
            try:
                if is_sample(reference):
                    found.append(_sample_file(index, source, reference))
                    continue
                base, named = _resolve(reference, root, revisions)
                listed = _listed(base, reference, root)
            except DataError as error:
                problems += [replace(item, where=section, message=item.said) for item in problems_of(error, "")]
                continue
            for path in listed:
                if path.resolve() in seen:
                    continue
                seen.add(path.resolve())
                name = name_of(path, base, named)
                kind, compression = kind_of(path, source.format, tables=tables)
                if kind:
                    found.append(_file(index, source, path, name, kind, compression))
                elif base.is_dir():
                    passed.append(name)
                else:
                    problems.append(Problem(name, *_unknown(path, tables)))
    if problems:
        raise DataError(f"the files of {section} are not as described", problems=problems)
    return Found(found, passed, revisions)


def check_files(options: CorpusOptions, root: Path) -> list[Problem]:
    """What is wrong with the files of a corpus as far as their names show it; cheap enough for reading a recipe, so no hub is asked."""
    problems: list[Problem] = []
    tests = options.contamination.sets if options.contamination else []
    parts: list[tuple[str, Sequence[TextSourceOptions]]] = [("corpus", options.sources), ("corpus.contamination", tests)]
    for section, sources in parts:
        local = [
            source.model_copy(update={"files": names})
            for source in sources
            if (names := [name for name in source.files if not name.startswith(HUB)])
        ]
        try:
            find_files(local, root, section=section, tables=section != "corpus")
        except DataError as error:
            problems += error.problems
    return problems


def kind_of(path: Path, given: str | None, *, tables: bool = False) -> tuple[str, str]:
    """Kind and compression of a file by its name, or by the recipe's word; `("", …)` where neither says it."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    inner = suffixes[:-1] if compression else suffixes
    known = {**KINDS, **TABLES} if tables else KINDS
    return given or (known.get(inner[-1], "") if inner else ""), compression


def sample_of(reference: str) -> Sample:
    """The sample that a corpus names, labelled or not."""
    name = reference.removeprefix("sample:")
    return RUNNING_TEXTS.get(name) or SAMPLES[name]


def _sample_file(index: int, source: TextSourceOptions, reference: str) -> SourceFile:
    sample = sample_of(reference)
    kind = "articles" if sample.name in RUNNING_TEXTS else "reviews"
    if source.part is not None and kind == "articles":
        raise DataError(f"{reference} has no labels, so it has no part '{source.part.name}'", hint="leave part out")
    return _file(index, source, sample.path, reference, kind, "")


def _file(index: int, source: TextSourceOptions, path: Path, name: str, kind: str, compression: str) -> SourceFile:
    part = (source.part.name, source.part.test, source.part.validation) if source.part else ()
    return SourceFile(index, str(path), name, kind, compression, source.text, part)


def _resolve(reference: str, root: Path, revisions: dict[str, str]) -> tuple[Path, str]:
    """The path that a reference means, and how messages call it."""
    if not reference.startswith(HUB):
        return root / Path(reference).expanduser(), reference
    folder, revision = _hub_folder(reference.removeprefix(HUB))
    revisions[reference] = revision
    return folder, reference


def _listed(base: Path, reference: str, root: Path) -> list[Path]:
    """The files of a path, a folder or a glob, sorted.

    Raises:
        DataError: there are none, or none that is a text.
    """
    found = list_files(base, reference, root)
    if base.is_dir() and not any(kind_of(path, None)[0] for path in found):
        raise DataError(f"{reference} holds no text, jsonl or parquet files", hint=f"looked at {base}: {len(found):,} other files")
    return found


def card_name(name: str) -> str:
    """A file as a card may name it: never where it stands on somebody's machine."""
    return name if is_sample(name) or name.startswith(HUB) else public_name(name)


def _unknown(path: Path, tables: bool) -> tuple[str, str]:
    if path.suffix.lower() in _ARCHIVES:
        return "is an archive of files", "unpack it into a folder, and name the folder"
    if path.suffix.lower() in TABLES:
        return "is a table; a corpus is made of text, jsonl and parquet files", "save it as jsonl or parquet"
    known = ", ".join([*KINDS, *(TABLES if tables else {})])
    return "does not say what it is", f"name it with one of {known} (also with .gz, .bz2, .xz, .zst behind), or give format"


def _hub_folder(reference: str) -> tuple[Path, str]:
    """A data set of a hub, fetched or from its cache, and its revision.

    Raises:
        DataError: the hub does not have it, or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name, _, revision = reference.partition("@")
    patterns = [f"*{kind}{more}" for kind in KINDS if kind != ".md" for more in ("", *COMPRESSIONS)]
    try:
        folder = snapshot_download(name, repo_type="dataset", revision=revision or None, allow_patterns=patterns)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = "check the name; HF_ENDPOINT names another hub, HF_TOKEN a key, HF_HUB_OFFLINE=1 uses what was fetched before"
        raise DataError(f"{HUB}{reference} cannot be fetched: {first}", hint=hint) from error
    return Path(folder), Path(folder).name
