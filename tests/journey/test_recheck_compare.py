"""A toy release measured again, and compared with another training: through the command line, and with every part tampered with."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy import write_rows, write_world
from typer.testing import CliRunner

import trustbase
from hurry import time_quickly
from trustbase import files
from trustbase.cli.main import app
from trustbase.errors import DataError, TrustbaseError, UsageError, VerificationError
from trustbase.gate.ledger import read_looks


@dataclass(frozen=True)
class Toys:
    folder: Path
    run: Path  # released
    other: Path  # the same rows, hardly trained, not released

    @property
    def bundle(self) -> Path:
        return self.run / "bundle"

    @property
    def rows(self) -> Path:
        return self.folder / "rows.csv"


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toys]:
    import torch

    folder = tmp_path_factory.mktemp("toys")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTBASE_HOME", str(folder / "home"))
        time_quickly(patch)
        torch.set_num_threads(1)
        recipe = write_world(folder / "world")
        made = Toys(folder / "world", folder / "world/run", folder / "world/other")
        assert trustbase.run(recipe, out=made.run).exit_code == 0
        assert trustbase.run(recipe, ["train.max_steps=6"], out=made.other).exit_code == 3
        yield made
    torch.set_num_threads(threads)


def command(*arguments: str | Path) -> tuple[int, str, BaseException | None]:
    """Exit code and standard output; what a command raises has the exit code that `main` gives it."""
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
    code = answer.exception.exit_code if isinstance(answer.exception, TrustbaseError) else answer.exit_code
    return code, answer.stdout, answer.exception


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def outcomes(found: trustbase.recheck_command.Recheck) -> dict[str, str]:  # type: ignore[name-defined]
    return {row.id: row.outcome for row in found.rows}


# --- recheck -----------------------------------------------------------------------------------------------------------------


def test_a_run_and_its_bundle_are_found_again(toys: Toys, tmp_path: Path) -> None:
    looks = len(read_looks())
    code, said, _ = command("recheck", toys.run)
    lines, recorded = said.splitlines(), files.read_json(toys.run / "audit.json")["findings"]
    assert code == 0 and lines[0].startswith("SAME: ") and "0 different" in lines[0] and lines[1].startswith("from stored scores")
    assert len(lines) < 15 < len(recorded), "reasons, not findings"
    again = trustbase.recheck(toys.run).rows
    why = {row.reason: sum(each.reason == row.reason for each in again) for row in again if row.outcome == "not recomputable"}
    assert set(lines[3:-1]) == {f"  {count}: {reason}" for reason, count in why.items()} and "--all" in lines[-1]
    code, said, _ = command("recheck", toys.run, "--all")
    assert code == 0 and said.splitlines()[:2] == lines[:2] and all(f"  {finding['id']}" in said for finding in recorded)
    assert len(said.splitlines()) == 3 + len(recorded)
    code, said, _ = command("recheck", toys.bundle, "--data", toys.rows, "--json", tmp_path / "again.json")
    assert code == 0 and "from new answers: probabilities may differ by 0.0001" in said
    told = files.read_json(tmp_path / "again.json")
    recorded = files.read_json(toys.bundle / "audit.json")["findings"]
    assert told["schema"] == "trustbase/recheck/1" and told["different"] == 0
    assert [row["id"] for row in told["findings"]] == [finding["id"] for finding in recorded]  # each in exactly one of three
    assert told["same"] + told["not_recomputable"] == len(recorded)
    by = {row["id"]: row for row in told["findings"]}
    assert by["quality.gain_over_bag_of_words"]["outcome"] == "same"  # the whole file has the training rows as well
    assert by["quality.accuracy"]["tolerance"] == 1e-9 and by["efficiency.artifact_bytes"]["tolerance"] == 0
    assert all(row["reason"] for row in told["findings"] if row["outcome"] == "not recomputable")
    assert {row["id"].split(".")[0] for row in told["findings"] if row["outcome"] == "not recomputable"} == {"efficiency"}
    assert len(read_looks()) == looks  # nothing is told that is not on record


def test_the_test_rows_alone_in_any_order(toys: Toys, tmp_path: Path) -> None:
    numbers = pq.read_table(toys.run / "scores.parquet")["row"].to_pylist()
    with toys.rows.open(encoding="utf-8") as handle:
        head, *rows = list(csv.reader(handle))
    alone = tmp_path / "test.csv"
    with alone.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([head, *[rows[number - 1] for number in reversed(numbers)]])
    found = trustbase.recheck(toys.bundle, data=alone)
    by = outcomes(found)
    assert found.exit_code == 0 and by["quality.accuracy"] == by["quality.log_loss"] == by["quality.auroc"] == "same"
    assert by["quality.ks"] == "not recomputable"  # its bounds were drawn by the order of the rows
    assert by["quality.gain_over_bag_of_words"] == "not recomputable"  # its training rows are not here


def test_another_file_is_refused_with_both_digests(toys: Toys, tmp_path: Path) -> None:
    code, said, error = command("recheck", toys.bundle, "--data", write_rows(tmp_path / "new.csv", 200, seed=9))
    assert code == 2 and isinstance(error, DataError) and not said
    audited = files.read_json(toys.bundle / "audit.json")["data"]["digest"]
    assert audited in str(error) and len(set(re.findall(r"sha256:\w{64}", str(error)))) == 3
    assert command("recheck", toys.bundle)[0] == 2 and command("recheck", toys.run, "--data", toys.rows)[0] == 2


def changed_scores(run: Path, row: int, by: float) -> None:
    """Move probability between the two labels in one stored row."""
    table = pq.read_table(run / "scores.parquet")
    for name, sign in (("score:yes", 1), ("score:no", -1)):
        values = table[name].to_numpy().copy()
        values[row] += sign * by
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, run / "scores.parquet")


def test_a_single_score_that_was_changed_is_found(toys: Toys, tmp_path: Path) -> None:
    run = copy(toys.run, tmp_path / "run")
    scores = pq.read_table(run / "scores.parquet")["score:yes"].to_numpy()
    row = int(np.abs(scores - 0.7).argmin())  # far from its decision, so that no answer turns
    changed_scores(run, row, -1e-3)
    code, said, _ = command("recheck", run)
    assert code == 4 and said.startswith("DIFFERENT: ")
    assert "  quality.log_loss: differs by" in said and "quality.accuracy" not in said
    by = outcomes(trustbase.recheck(run))
    assert by["quality.log_loss"] == by["quality.brier"] == "different" and by["quality.accuracy"] == "same"


def test_stored_answers_must_follow_from_stored_scores(toys: Toys, tmp_path: Path) -> None:
    run = copy(toys.run, tmp_path / "run")
    table = pq.read_table(run / "scores.parquet")
    turned = table["predicted"].to_pylist()
    turned[0] = "no" if turned[0] == "yes" else "yes"
    truth = table["label"].to_pylist()[1:] + table["label"].to_pylist()[:1]
    for name, values in (("predicted", turned), ("label", truth)):
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    pq.write_table(table, run / "scores.parquet")
    with pytest.raises(VerificationError) as error:
        trustbase.recheck(run)
    assert len(error.value.problems) == 2 and "1 values of column 'predicted' do not follow" in str(error.value)
    pq.write_table(table.drop_columns(["score:yes"]).slice(5), run / "scores.parquet")
    with pytest.raises(VerificationError, match="has no column 'score:yes'"):
        trustbase.recheck(run)
    (run / "scores.parquet").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        trustbase.recheck(run)


def test_a_record_that_was_changed_is_found(toys: Toys, tmp_path: Path) -> None:
    def better(path: Path) -> None:
        audit = files.read_json(path)
        for finding in audit["findings"]:
            if finding["id"] == "quality.accuracy":
                finding.update(value=0.99, high=0.999)
        path.write_text(json.dumps(audit), encoding="utf-8")

    run = copy(toys.run, tmp_path / "run")
    better(run / "bundle/audit.json")
    assert command("recheck", run / "bundle", "--data", toys.rows)[0] == 4  # the signature no longer holds
    run = copy(toys.run, tmp_path / "again")
    better(run / "audit.json")
    with pytest.raises(VerificationError, match="is not what the signed bundle says"):
        trustbase.recheck(run)
    other = copy(toys.other, tmp_path / "other")
    better(other / "audit.json")  # nobody signed it, so only measuring shows it
    found = trustbase.recheck(other)
    assert found.exit_code == 4 and [id for id, outcome in outcomes(found).items() if outcome == "different"] == ["quality.accuracy"]
    audit = files.read_json(toys.other / "audit.json")
    audit["findings"] = [finding for finding in audit["findings"] if finding["id"] != "quality.macro_f1"]
    (other / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    assert [row.id for row in trustbase.recheck(other).rows if row.outcome == "different"] == ["quality.macro_f1"]


def test_other_rows_and_another_model_in_a_run_are_both_told(toys: Toys, tmp_path: Path) -> None:
    other = copy(toys.other, tmp_path / "other")
    shutil.rmtree(other / "artifact")
    copy(toys.run / "artifact", other / "artifact")
    audit = files.read_json(other / "audit.json")
    audit["data"]["digest"] = "sha256:" + "0" * 64
    (other / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    with pytest.raises(VerificationError) as error:
        trustbase.recheck(other)
    assert [problem.where for problem in error.value.problems] == ["data/", "artifact/"]


# --- compare -----------------------------------------------------------------------------------------------------------------


def test_champion_and_challenger(toys: Toys, tmp_path: Path) -> None:
    fresh = write_rows(tmp_path / "fresh.csv", 400, seed=5)
    looks = len(read_looks())
    out = tmp_path / "out"
    code, said, _ = command("compare", toys.bundle, toys.other, "--data", fresh, "--out", out, "--calls", "40")
    assert code == 0 and "accuracy: -" in said and "champion ahead" in said
    assert "400 rows, not looked at before; this is one look of each model" in said
    assert len(read_looks()) == looks + 2  # one of each model
    told = files.read_json(out / "compare.json")
    assert told["schema"] == "trustbase/compare/1" and told["data"]["groups"] == ["sex"] and told["data"]["positive"] == "yes"
    assert [item["metric"] for item in told["metrics"]] == ["accuracy", "macro_f1", "auroc", "log_loss", "brier", "expected_cost"]
    for item in told["metrics"]:
        assert item["difference"] == pytest.approx(item["challenger"] - item["champion"], abs=1e-12) and item["method"] and item["source"]
        assert item["low"] <= item["difference"] <= item["high"] and item["outcome"] == "champion ahead"
    alone, accuracy = told["mcnemar"], told["metrics"][0]
    assert (alone["challenger_only_right"] - alone["champion_only_right"]) / 400 == pytest.approx(accuracy["difference"])
    assert {item["group"]: item["n"] for item in told["groups"]}.keys() == {"f", "m"} and sum(item["n"] for item in told["groups"]) == 400
    assert any(gap["id"] == "fairness.accuracy_difference[sex]" for gap in told["gaps"])
    assert told["latency"]["n"] == 40 and told["latency"]["low"] <= told["latency"]["ratio"] <= told["latency"]["high"]
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert "champion better" in page and "challenger better" not in page and "sex = f" in page and "<script" not in page
    assert "no look at these rows before this comparison" in page and (told["data"]["looks"], told["data"]["looks_now"]) == (2, 2)
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page) and "default-src 'none'" in html.unescape(page)

    swapped = trustbase.compare(toys.other, toys.bundle, data=fresh, out=tmp_path / "zh", lang="zh", calls=0)
    assert swapped.contrast("accuracy")["difference"] == -accuracy["difference"]  # type: ignore[index]
    assert swapped.contrast("accuracy")["low"] == pytest.approx(-accuracy["high"])  # type: ignore[index]
    page = (tmp_path / "zh/compare.html").read_text(encoding="utf-8")
    assert "挑战模型更好" in page and "没有测量延迟" in page and 'lang="zh' in page
    assert "已被查看 2 次；本次比较计为两个模型各再查看一次" in page and swapped.facts["data"]["looks"] == 4


def test_one_artefact_twice_differs_by_exactly_nothing(toys: Toys, tmp_path: Path) -> None:
    twin = copy(toys.bundle, tmp_path / "twin")
    found = trustbase.compare(toys.bundle, twin, data=toys.rows, out=tmp_path / "out", calls=0)
    assert found.facts["same_artefact"] and found.facts["data"]["looks_now"] == 1
    for item in (*found.facts["metrics"], *found.facts["groups"]):
        assert (item["low"], item["difference"], item["high"]) == (0, 0, 0) and item["outcome"] == "no difference shown"
        assert item["champion"] == item["challenger"]
    assert found.facts["mcnemar"]["p_value"] == 1
    assert "Both are the same artefact" in (tmp_path / "out/compare.html").read_text(encoding="utf-8")


def test_few_rows_and_small_groups_claim_nothing(toys: Toys, tmp_path: Path) -> None:
    with write_rows(tmp_path / "all.csv", 70, seed=3).open(encoding="utf-8") as handle:
        head, *rows = list(csv.reader(handle))
    few = tmp_path / "few.csv"
    with few.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([head, *[[text, label, "f" if number < 6 else "m"] for number, (text, label, _) in enumerate(rows)]])
    found = trustbase.compare(toys.bundle, toys.other, data=few, out=tmp_path / "out", calls=0)
    small = next(item for item in found.facts["groups"] if item["group"] == "f")
    assert small["outcome"] == "not enough evidence" and small["champion"] is None and small["reason"] == "6 rows, fewer than 30"
    gap = next(gap for gap in found.facts["gaps"] if gap["id"] == "fairness.accuracy_difference[sex]")
    assert gap["champion"]["status"] == gap["challenger"]["status"] == "insufficient"
    assert "The rows do not bound this difference" in (tmp_path / "out/compare.html").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_refused_with_every_problem(toys: Toys, tmp_path: Path) -> None:
    plain = copy(toys.other / "artifact", tmp_path / "plain")  # a model that says neither what it reads nor what it answers alike
    facts = files.read_json(plain / "artifact.json")
    facts["labels"].update(names=["bad", "good"], positive="good", favourable="good")
    facts["text"] = None
    (plain / "artifact.json").write_text(json.dumps(facts), encoding="utf-8")
    looks = len(read_looks())
    with pytest.raises(UsageError) as error:
        trustbase.compare(plain, toys.bundle, data=toys.rows, calls=-1, out=tmp_path / "out")
    assert [problem.where for problem in error.value.problems] == ["--text", "labels", "--calls"]
    with pytest.raises(UsageError) as error:
        trustbase.compare(plain, plain, data=toys.rows, out=tmp_path / "out")
    assert [problem.where for problem in error.value.problems] == ["--label", "--text", "--text"]
    code, _, raised = command(
        "compare", toys.bundle, toys.other, "--data", toys.rows, "--label", "sax", "--groups", "sex,age", "--out", tmp_path / "o"
    )
    assert code == 2 and isinstance(raised, DataError) and "'sax'" in str(raised) and "'age'" in str(raised)
    assert command("compare", toys.bundle, toys.other, "--data", toys.rows, "--out", toys.run)[0] == 2  # its evidence would be replaced
    assert command("compare", toys.bundle, toys.other, "--data", toys.rows, "--lang", "fr")[0] == 2
    altered = copy(toys.bundle, tmp_path / "altered")
    (altered / "labels.json").write_text("{}", encoding="utf-8")
    assert command("compare", toys.bundle, altered, "--data", toys.rows, "--out", tmp_path / "o")[0] == 4
    assert len(read_looks()) == looks and not (tmp_path / "out").exists()  # refused before anybody looked


def test_models_whose_labels_stand_in_another_order_are_compared_by_name(toys: Toys, tmp_path: Path) -> None:
    """The same weights with their head turned round answer the same, under labels in the other order."""
    from safetensors.numpy import load_file, save_file

    turned = copy(toys.bundle / "model", tmp_path / "turned")
    facts = files.read_json(turned / "artifact.json")
    facts["labels"]["names"].reverse()
    (turned / "artifact.json").write_text(json.dumps(facts), encoding="utf-8")
    config = files.read_json(turned / "config.json")
    config["id2label"] = {"0": facts["labels"]["names"][0], "1": facts["labels"]["names"][1]}
    config["label2id"] = {name: int(index) for index, name in config["id2label"].items()}
    (turned / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = load_file(turned / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = np.ascontiguousarray(weights[name][::-1])
    save_file(weights, turned / "model.safetensors", metadata={"format": "pt"})
    found = trustbase.compare(toys.bundle, turned, data=toys.rows, out=tmp_path / "out", calls=0)
    assert not found.facts["same_artefact"] and found.facts["mcnemar"]["champion_only_right"] == 0
    for item in found.facts["metrics"]:
        assert item["difference"] == pytest.approx(0, abs=1e-6) and item["outcome"] != "challenger ahead", item["metric"]


def test_which_label_is_positive_must_be_known_and_can_be_said(toys: Toys, tmp_path: Path) -> None:
    """A copy that takes `no` for positive answers the same rows alike, once its threshold is the other way round."""
    other = copy(toys.bundle / "model", tmp_path / "other")
    facts = files.read_json(other / "artifact.json")
    facts["labels"].update(positive="no", positive_assumed=False)
    facts["decision"].update(threshold=None if facts["decision"]["threshold"] is None else 1 - facts["decision"]["threshold"])
    (other / "artifact.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(UsageError) as error:
        trustbase.compare(toys.bundle, other, data=toys.rows, out=tmp_path / "out", calls=0)
    assert [problem.where for problem in error.value.problems] == ["--positive"] and "no, yes" in str(error.value)
    with pytest.raises(UsageError, match="'maybe' is no label"):
        trustbase.compare(toys.bundle, other, data=toys.rows, positive="maybe", out=tmp_path / "out", calls=0)
    areas = [
        trustbase.compare(toys.bundle, other, data=toys.rows, positive=name, out=tmp_path / name, calls=0).contrast("auroc")
        for name in ("yes", "no")
    ]
    assert areas[0]["champion"] == pytest.approx(areas[1]["champion"])  # type: ignore[index]
    assert areas[0]["difference"] == pytest.approx(0, abs=1e-9)  # type: ignore[index]
