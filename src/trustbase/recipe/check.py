"""Is what the recipe asks for possible? Everything that can be known before the first row is read is said here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from trustbase.audit.catalogue import SEEDS, why_never
from trustbase.finding_id import OUT_OF_TIME, FindingId
from trustbase.model.plain.options import PlainOptions
from trustbase.model.shape import model_problems, tokenizer_problems
from trustbase.recipe.check_base import Found, Place, base_problems
from trustbase.recipe.check_plain import plain_problems
from trustbase.recipe.check_pretrain import pretraining_problems, unmeasured
from trustbase.recipe.check_together import together_problems
from trustbase.recipe.lookup import ADAPTATIONS, MITIGATIONS, TASKS, audited_dimensions
from trustbase.recipe.parse import Aside
from trustbase.recipe.schema import LATER_TASKS, AnyRecipe, PretrainRecipe, Recipe
from trustbase.train.options import STOPPING_OF


def check(recipe: AnyRecipe, root: Path, aside: Aside) -> list[Found]:
    """All contradictions and impossibilities of a recipe whose parts are each well-formed.

    Args:
        recipe: the parsed recipe.
        root: folder that relative paths start from.
        aside: what could not be read: nothing is said of it, nor of what only its default makes impossible.
    """
    if isinstance(recipe, Recipe):
        own = [
            *_task(recipe, aside),
            *_meaningless(recipe),
            *_stopping(recipe),
            *_base(recipe, root),
            *together_problems(recipe, answer_kind(recipe), root, aside),
            *_columns(recipe, root, aside),
            *_adaptation(recipe, aside),
            *_mitigations(recipe, aside),
        ]
    else:
        own = list(pretraining_problems(recipe, root, aside))
    found = [
        *own,
        *_training(recipe),
        *_dimensions(recipe),
        *_purpose(recipe, aside),
        *_wanted(recipe, root),
        *_shift(recipe, root),
        *_gates(recipe, root, aside),
    ]
    return [item for item in found if isinstance(item[0], str) or not aside.covers(item[0])]


def _task(recipe: Recipe, aside: Aside) -> Iterator[Found]:
    if recipe.task in TASKS:
        yield from _pair(recipe, aside)
        yield from _entities(recipe)
        return
    if recipe.task in LATER_TASKS:
        yield ("task",), f"'{recipe.task}' is a task that this version of Trustbase cannot do yet", f"it can do: {', '.join(TASKS)}"
    else:
        near = difflib.get_close_matches(recipe.task, TASKS, n=1)
        yield ("task",), f"'{recipe.task}' is no task", f"did you mean '{near[0]}'?" if near else f"known: {', '.join(TASKS)}"


def _pair(recipe: Recipe, aside: Aside) -> Iterator[Found]:
    """Whether task and data agree on how many texts there are."""
    pairs = TASKS[recipe.task].texts == 2
    if pairs and recipe.data.text_pair is None and aside.sure("data", "text_pair"):
        yield ("data",), "task text-pair-classification reads two texts, and only data.text is named", "add text_pair: COLUMN"
    if not pairs and not TASKS[recipe.task].pairs and recipe.data.text_pair is not None:
        message = f"data.text_pair is a second text, and task {recipe.task} reads one"
        yield ("data", "text_pair"), message, "write task: text-pair-classification"
    yield from _question(recipe, aside)
    choices = TASKS[recipe.task].reads == "choices"
    if choices and not recipe.data.choices and aside.sure("data", "choices"):
        yield ("data",), f"task {recipe.task} weighs choices, and none are named", "add choices: [COLUMN, COLUMN, …]"
    if not choices and recipe.data.choices:
        yield ("data", "choices"), f"data.choices are of a question, and task {recipe.task} has none", "write task: multiple-choice"


def _question(recipe: Recipe, aside: Aside) -> Iterator[Found]:
    """Whether task and data agree on whether there is a question; and what cannot be trained for it."""
    asked = TASKS[recipe.task].reads == "context"
    if asked and recipe.data.question is None and aside.sure("data", "question"):
        yield ("data",), f"task {recipe.task} asks a question about data.text, and none is named", "add question: COLUMN"
    if not asked and recipe.data.question is not None:
        message = f"data.question is asked of a text, and task {recipe.task} asks none"
        yield ("data", "question"), message, "write task: question-answering"
    if asked and recipe.adapt.method == "frozen" and recipe.adapt.layers is None:
        message = "adapt: frozen keeps one vector of each text, and here every token may be an answer"
        yield ("adapt",), message, "write adapt: {method: frozen, layers: N}, or lora"


def _entities(recipe: Recipe) -> Iterator[Found]:
    """Whether task and data agree on entities in the text."""
    wanted, named = TASKS[recipe.task].entities, [name for name in ("head", "tail") if getattr(recipe.data, name) is not None]
    if wanted and not named:
        message = f"task {recipe.task} asks about two entities in the text, and data names no columns of them"
        yield ("data",), message, "add head: COLUMN and tail: COLUMN"
    if named and not wanted:
        message = f"data.{named[0]} is an entity in the text, and task {recipe.task} asks about none"
        yield ("data", named[0]), message, "write task: relation-extraction"


def _meaningless(recipe: Recipe) -> Iterator[Found]:
    """What the recipe asks for although the task's answers have no such thing."""
    from trustbase.outputs.answers.base import answering

    for name, why in answering(answer_kind(recipe)).refuses.items():
        section, key = name.split(".")
        options = getattr(recipe, section)
        if getattr(options, key) != type(options).model_fields[key].get_default(call_default_factory=True):
            yield (section, key), f"{name} {why}", f"remove it, as task {recipe.task} has no use for it"


def _stopping(recipe: Recipe) -> Iterator[Found]:
    """A finding to watch that is not measured of such answers."""
    metric, known = recipe.train.early_stopping_metric, STOPPING_OF[answer_kind(recipe)]
    if metric is not None and metric not in known:
        message = f"'{metric}' is not measured while a model of task {recipe.task} is trained"
        yield ("train", "early_stopping_metric"), message, f"it can watch: {', '.join(known)}"


def _base(recipe: Recipe, root: Path) -> Iterator[Found]:
    """A base model that is not on this machine although it is said to be, or a shape that cannot be built."""
    if isinstance(recipe.base, str):
        yield from base_problems(recipe.base, root, ("base",))
        return
    if isinstance(recipe.base, PlainOptions):
        return
    shape, tokenizer = recipe.base.model, recipe.base.tokenizer
    for problem in [*model_problems(shape, length=recipe.train.max_length), *tokenizer_problems(tokenizer, shape.family)]:
        yield ("base", *problem.where.split(".")), f"base.{problem.where}: {problem.message}", problem.hint
    if shape.architecture == "electra":
        yield ("base", "model", "architecture"), "an untrained electra cannot be named here", "write bert, which has the same body"
    if tokenizer.from_ is not None:
        yield from base_problems(tokenizer.from_, root, ("base", "tokenizer", "from"))


def _columns(recipe: Recipe, root: Path, aside: Aside) -> Iterator[Found]:
    from trustbase.data.gather import check_columns

    if not all(aside.sure("data", name) for name in ("train", "format", "quoted")):
        return
    for problem in check_columns(recipe.data, root=root):
        path = tuple(problem.where.split("."))
        yield path, problem.message, problem.hint


def _adaptation(recipe: Recipe, aside: Aside) -> Iterator[Found]:
    if isinstance(recipe.base, PlainOptions):
        yield from plain_problems(recipe, recipe.base)
        return
    method = recipe.adapt.method
    if method not in ADAPTATIONS:
        yield ("adapt",), f"'{method}' is an adaptation that this version cannot do", f"it can do: {', '.join(ADAPTATIONS)}"
        return
    if not aside.sure("adapt", "method"):
        return
    entry, leaving = ADAPTATIONS[method], [name for name, other in ADAPTATIONS.items() if other.leaves == "adapter"]
    if recipe.release.weights == "adapter" and entry.leaves != "adapter":
        message = f"release.weights: adapter needs an adaptation that leaves an adapter, and '{method}' leaves none"
        yield ("release", "weights"), message, f"set weights: merged, or adapt: {' or '.join(leaving)}"
    if entry.needs and find_spec(entry.needs) is None:
        yield ("adapt",), f"adapt: {method} needs {entry.needs}, which is not installed", f"pip install 'trustbase[{entry.extra}]'"
    if recipe.cluster is not None and recipe.cluster.shard and entry.no_shard:
        yield ("cluster", "shard"), f"cluster.shard cannot be used: {entry.no_shard}", "remove cluster.shard"
    if recipe.cluster is not None and recipe.cluster.shard and recipe.data.features.columns:
        yield ("cluster", "shard"), "cluster.shard was never tried with data.features", "remove one of them"
    if recipe.cluster is not None and recipe.cluster.shard:
        for name, usual in (("r_drop", 0.0), ("layer_decay", 1.0), ("averaging", None)):
            if getattr(recipe.train, name) != usual:
                yield ("train", name), f"train.{name} was never tried with cluster.shard", "remove one of them"
    if recipe.train.layer_decay < 1 and method == "frozen" and recipe.adapt.layers is None and aside.sure("adapt", "layers"):
        yield ("train", "layer_decay"), "falls from layer to layer, and adapt: frozen trains the head alone", "remove train.layer_decay"
    if recipe.train.layer_decay < 1 and entry.no_layer_decay:
        yield ("train", "layer_decay"), f"falls from layer to layer, and {entry.no_layer_decay}", "remove train.layer_decay"
    if recipe.train.averaging is not None and method == "adalora":
        message = "averaging would bring back the ranks that adapt: adalora takes away"
        yield ("train", "averaging"), message, "remove train.averaging, or write adapt: lora"
    if recipe.train.gradient_checkpointing and entry.no_checkpointing:
        message = f"gradient_checkpointing cannot be used: {entry.no_checkpointing}"
        yield ("train", "gradient_checkpointing"), message, "remove train.gradient_checkpointing"


def _training(recipe: AnyRecipe) -> Iterator[Found]:
    from trustbase.train.cluster import cluster_problems
    from trustbase.train.track import missing_trackers

    length = None if isinstance(recipe, Recipe) else recipe.model.context
    for problem in (*missing_trackers(recipe.train.report_to), *cluster_problems(recipe.cluster, recipe.train, length=length)):
        yield tuple(problem.where.split(".")), problem.message, problem.hint
    if recipe.train.precision != "fp16":
        return
    from trustbase.device import choose_device

    device = choose_device()
    if str(device) == "cpu":
        message = "precision fp16 on a CPU would silently be fp32"
        yield ("train", "precision"), message, "set precision: auto, which takes bf16 where the processor has it"


def _mitigations(recipe: Recipe, aside: Aside) -> Iterator[Found]:
    for dimension, wish in recipe.mitigate.items():
        group = wish.get("group")
        named = group if isinstance(group, list) else [group] if group is not None else []
        for column in named:
            if column not in recipe.data.groups and aside.sure("data", "groups"):
                message = f"asks to mitigate for group column '{column}', which data.groups does not name"
                yield ("mitigate", dimension, "group"), message, f"data.groups: {recipe.data.groups}"
        if dimension not in MITIGATIONS:
            yield ("mitigate", dimension), f"a mitigation of {dimension} is one that this version of Trustbase cannot do yet", "remove it"


def _dimensions(recipe: AnyRecipe) -> Iterator[Found]:
    existing = audited_dimensions(answer_kind(recipe))
    for dimension in recipe.audit.dimensions or []:
        if dimension not in existing:
            hint = f"it can measure: {', '.join(sorted(existing))}"
            yield ("audit",), f"the {dimension} audit is one that this version of Trustbase cannot do yet", hint


def _purpose(recipe: AnyRecipe, aside: Aside) -> Iterator[Found]:
    """What an audit of safety needs to be told that somebody asks for by name."""
    from trustbase.audit.safety.purpose import missing_fields

    if "safety" in (recipe.audit.dimensions or []):
        for name in missing_fields(recipe.purpose.model_dump()):
            if aside.sure("purpose", name):
                yield ("purpose", name), f"purpose.{name} is needed where audit names safety, and it says nothing", "state it in your words"


def _wanted(recipe: AnyRecipe, root: Path) -> Iterator[Found]:
    """Expectations and a policy of outputs that cannot be used; whether their labels are the model's is known once rows are read."""
    from trustbase.audit.wanted import read_wanted
    from trustbase.errors import UsageError

    try:
        read_wanted(recipe.audit, root)
    except UsageError as error:
        yield from ((("audit",), problem.said, problem.hint) for problem in error.problems)


def _shift(recipe: AnyRecipe, root: Path) -> Iterator[Found]:
    """A file of texts of another kind that is not there: better said now than after training."""
    named = recipe.audit.robustness.shift
    if named is not None and not (root / Path(named).expanduser()).is_file():
        yield ("audit",), f"robustness.shift names '{named}', and there is no such file", "name a csv, tsv, jsonl or parquet file"


def answer_kind(recipe: AnyRecipe) -> str:
    """What the model that a recipe makes can be asked about."""
    if not isinstance(recipe, Recipe):
        return "language"
    return TASKS[recipe.task].answers if recipe.task in TASKS else "classes"


def _gates(recipe: AnyRecipe, root: Path, aside: Aside) -> Iterator[Found]:
    from trustbase.errors import RecipeError
    from trustbase.gate.options import FROM
    from trustbase.gate.policy import read_policy

    try:
        read_policy(recipe.gates, root=root, never=lambda id: _never(id, recipe, aside))
    except RecipeError as error:
        for problem in error.problems:
            id = FROM if problem.where == "policy" else problem.where.removeprefix("gates.")
            place: Place = ("gates", id) if id in recipe.gates.root else problem.where  # a line of the policy file
            yield place, problem.message, problem.hint


def _never(id: FindingId, recipe: AnyRecipe, aside: Aside) -> tuple[str, str] | None:
    """Why a gate on a finding can never be judged, and what to do; None where it can."""
    kind = answer_kind(recipe)
    existing = audited_dimensions(kind)
    if id.dimension not in existing:
        return f"the {id.dimension} audit is one that this version of Trustbase cannot do yet", "remove this gate"
    reasons = []
    if id.dimension not in (recipe.audit.dimensions or existing) and aside.sure("audit", "dimensions"):
        reasons.append((f"is a gate on {id.dimension}, which `audit:` does not measure", f"add {id.dimension} to audit"))
    named = [column for column, _ in id.slice]  # any group column can be right while it is not known which there are
    groups = recipe.data.groups if isinstance(recipe, Recipe) else []
    beside = isinstance(recipe, Recipe) and (recipe.data.out_of_time is not None or not aside.sure("data", "out_of_time"))
    datasets = (OUT_OF_TIME,) if beside else ()
    neutral = not isinstance(recipe, Recipe) or recipe.data.no_relation is not None or not aside.sure("data", "no_relation")
    choices = isinstance(recipe, Recipe) and recipe.task in TASKS and TASKS[recipe.task].reads == "choices"
    known = groups if aside.sure("data", "groups") else named or ["column"]
    reason = why_never(id, known, kind, datasets, neutral=neutral, choices=choices)
    if (
        reason is None
        and isinstance(recipe, Recipe)
        and id.variant == SEEDS
        and recipe.train.members == 1
        and aside.sure("train", "members")
    ):
        reason = f"{id} speaks of the seeds of several trainings, and train.members is 1", "set train.members: 3, or remove this gate"
    if reason is None and isinstance(recipe, PretrainRecipe):
        reason = unmeasured(id, recipe, aside)
    if reason is not None:
        reasons.append(reason)
    return ("; ".join(message for message, _ in reasons), "; ".join(hint for _, hint in reasons)) if reasons else None


def warnings_of(recipe: AnyRecipe) -> list[str]:
    """What is possible, but hardly wanted."""
    if recipe.gates.root:
        return []
    return ["the recipe sets no gates, so nothing can be released: the run will measure everything and end with exit code 3"]
