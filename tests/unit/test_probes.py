"""Linear probes: what they find in embeddings, and that a model in training is left as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from trustbase.train.pretrain_options import ProbeOptions
from trustbase.train.probes import ProbeSet, live_probe, probe_hits, read_probe


def labelled(rows: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    return [f"{'yes' if label else 'no'} {rng.integers(1000)}" for label in labels], labels


def test_a_probe_finds_what_embeddings_hold_and_nothing_else() -> None:
    probe = ProbeSet("p", labelled(300, 0), labelled(200, 1), ("no", "yes"), "sha256:x")

    def telling(texts: list[str]) -> np.ndarray:
        rng = np.random.default_rng(len(texts))
        return np.column_stack([[text.startswith("yes") for text in texts], rng.normal(size=(len(texts), 5))])

    def silent(texts: list[str]) -> np.ndarray:
        return np.random.default_rng(len(texts)).normal(size=(len(texts), 6))

    assert probe_hits(telling, probe).mean() == 1
    assert 0.35 < probe_hits(silent, probe).mean() < 0.65


def test_a_set_is_divided_as_a_fine_tuning_recipe_divides_it(tmp_path: Path) -> None:
    texts, labels = labelled(1500, 2)
    (tmp_path / "rows.csv").write_text(
        "text,label\n" + "".join(f"{t} {i},{'ab'[y]}\n" for i, (t, y) in enumerate(zip(texts, labels, strict=True)))
    )
    options = ProbeOptions(name="p", data="rows.csv", rows=200)
    probe = read_probe(options, root=tmp_path, seed=3)
    assert len(probe.train[0]) == 200 and 100 < len(probe.test[0]) <= 200 and not set(probe.train[0]) & set(probe.test[0])
    assert read_probe(options, root=tmp_path, seed=3).digest == probe.digest != read_probe(options, root=tmp_path, seed=4).digest

    from trustbase.data.load import load
    from trustbase.data.options import DataOptions

    whole = load(DataOptions(train="rows.csv", text="text", label="label"), root=tmp_path, seed=3)
    assert set(probe.test[0]) <= set(whole.splits["validation"].texts)


def test_a_live_probe_leaves_the_model_as_it_was(tiny_folder: Path) -> None:
    from trustbase.model.continued import continue_model
    from trustbase.model.load import resolve_base
    from trustbase.model.tokenizer import load_tokenizer

    model, _ = continue_model(resolve_base(str(tiny_folder)), ("masked",), seed=0)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    state = torch.get_rng_state()
    probe = ProbeSet("p", labelled(200, 0), labelled(100, 1), ("no", "yes"), "sha256:x")
    found = live_probe(model, load_tokenizer(tiny_folder), [probe], context=16, device="cpu")
    assert set(found) == {"quality.probe_accuracy[p]"} and 0 <= found["quality.probe_accuracy[p]"] <= 1
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert live_probe(model, load_tokenizer(tiny_folder), [probe], context=16, device="cpu") == found
