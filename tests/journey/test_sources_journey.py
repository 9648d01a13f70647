"""The whole journey from a folder of compressed files, divided by entity: what the rows allow to say reaches log, report and cards."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from toy import write_world

import trustbase
from hurry import time_quickly
from trustbase.data.load import load
from trustbase.errors import DataError, StaleRunError
from trustbase.recipe.read import read_recipe


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy's rows with three to a customer, in two compressed files, and its recipe over them."""
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)
    recipe = write_world(tmp_path, rows=900)
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as handle:
        header, *rows = csv.reader(handle)
    (tmp_path / "rows").mkdir()
    for part, own in enumerate((rows[:500], rows[500:])):
        lines = [",".join([*header, "customer"]), *(",".join([*row, f"c{int(row[0].split()[-1]) // 3}"]) for row in own)]
        with gzip.open(tmp_path / "rows" / f"{part}.csv.gz", "wt", encoding="utf-8") as packed:
            packed.write("\n".join(lines) + "\n")
    wanted = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    wanted["data"] |= {"train": "rows/", "split": {"by": {"entity": "customer"}}}
    recipe.write_text(yaml.safe_dump(wanted), encoding="utf-8")
    return recipe


def test_a_run_from_a_folder_divided_by_customer(world: Path) -> None:
    folder = world.parent
    result = trustbase.run(world, out=folder / "run")
    assert result.exit_code == 0
    card = json.loads((result.folder / "data_card.json").read_text())
    parts = card["splits"]
    assert sum(part["order"]["entities"] for part in parts.values()) == 300 and card["order"]["shared"] == dict.fromkeys(card["overlap"], 0)
    assert card["sources"]["train"]["files"] == 2 and parts["test"]["order"]["rows_per_entity"] == 3.0
    events = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    assert any(event["event"] == "warning" and "entities are drawn, not rows" in event["text"] for event in events)
    assert "too narrow" in (result.folder / "report.html").read_text() and "**Warning**" in (result.folder / "data_card.md").read_text()
    assert "too narrow" in (result.bundle.folder / "README.md").read_text()
    assert not trustbase.run(world, out=folder / "run").computed
    check_an_audit_of_other_rows(result.bundle.folder, folder)
    with gzip.open(folder / "rows" / "2.csv.gz", "wt", encoding="utf-8") as packed:
        packed.write("text,label,sex,customer\nthe good film 900,yes,f,c300\n")
    with pytest.raises(StaleRunError, match="sources"):
        trustbase.run(world, out=folder / "run")


def check_an_audit_of_other_rows(bundle: Path, folder: Path) -> None:
    """Whom rows are about is known from the recipe, and said to be unknown where the file does not tell it."""
    lines = [f"the {['bad', 'good'][row // 3 % 2]} film {row},{['no', 'yes'][row // 3 % 2]},f,c{row // 3}" for row in range(180)]
    (folder / "new.csv").write_text("\n".join(["text,label,sex,customer", *lines]), encoding="utf-8")
    (folder / "bare.csv").write_text("\n".join(line.rpartition(",")[0] for line in ["text,label,sex,customer", *lines]), encoding="utf-8")
    told: list[str] = []

    def methods(name: str, **more: str) -> set[bool]:
        made = trustbase.audit(
            bundle, data=folder / name, label="label", only=["quality"], out=folder / f"audit-{name}-{len(told)}", emit=listen, **more
        )
        return {"of 60 entities" in finding.method for finding in made.report.findings if finding.id == "quality.log_loss"}

    def listen(event: str, /, **fields: object) -> None:
        told.append(str(fields.get("text", "")))

    assert methods("new.csv") == {True} and methods("new.csv", entity="customer") == {True}
    assert not any("no such column" in text for text in told)
    assert methods("bare.csv") == {False} and any("by 'customer', and this file has no such column" in text for text in told)


def test_rows_that_change_while_they_are_read_are_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trustbase.data import load as module

    real = module.source_digests
    monkeypatch.setattr(module, "source_digests", lambda *given, **more: {**real(*given, **more), "train": "sha256:other"})
    with pytest.raises(DataError, match=r"data\.train changed while being read"):
        trustbase.run(world, out=world.parent / "run")


def test_a_run_from_a_database_reads_the_same_rows(world: Path) -> None:
    pytest.importorskip("sqlalchemy")
    folder = world.parent
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as handle, closing(sqlite3.connect(folder / "rows.db")) as connection:
        _, *rows = csv.reader(handle)
        connection.execute("create table rows (id integer primary key, text, label, sex, customer)")
        found = [(*row, f"c{int(row[0].split()[-1]) // 3}") for row in rows]
        connection.executemany("insert into rows (text, label, sex, customer) values (?, ?, ?, ?)", found)
        connection.commit()
    database = ("data.train=sqlite:///rows.db", "data.query=select text, label, sex, customer from rows order by id")
    result = trustbase.run(world, [*database, "train.max_steps=2"], out=folder / "run")
    same = load(read_recipe(world).finetune.data, root=folder, seed=0)
    assert json.loads((result.folder / "data_card.json").read_text())["digest"] == same.digest
    place = next(place for place in ("bundle", "rejected") if (result.folder / place).is_dir())
    (recipe,) = (result.folder / place).rglob("recipe*.yaml")
    assert yaml.safe_load(recipe.read_text())["data"]["train"] == "sqlite:///rows.db"
