"""Rows of a database: what a query gives, as text; by content in digests; and a password nowhere."""

from __future__ import annotations

import datetime
import json
import sqlite3
import traceback
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from trustbase.bundle.portable import portable_recipe
from trustbase.data import database
from trustbase.data.gather import check_columns
from trustbase.data.load import load, source_digests
from trustbase.data.options import DataOptions
from trustbase.data.reference import without_secrets
from trustbase.data.source import read_table
from trustbase.errors import DataError, RecipeError
from trustbase.recipe.read import read_recipe

QUERY = "select text, label, customer from rows order by id"
SECRET = "s3cr3t/p@ss:word"


def fill(path: Path, count: int = 80) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table rows (id integer primary key, text, label, customer)")
        rows = [(i, f"text {i}", "yes" if i % 2 else "no", f"c{i // 2}") for i in range(count)]
        connection.executemany("insert into rows values (?, ?, ?, ?)", rows)
        connection.commit()
    return path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def opts(**more):
    return DataOptions(**{"train": "sqlite:///rows.db", "query": QUERY, "text": "text", "label": "label", **more})


@pytest.fixture
def filled(tmp_path):
    pytest.importorskip("sqlalchemy")
    fill(tmp_path / "rows.db")
    return tmp_path


def test_a_query_reads_as_the_file_of_its_rows_does(filled):
    lines = [f"text {i},{'yes' if i % 2 else 'no'},c{i // 2}" for i in range(80)]
    (filled / "rows.csv").write_text("\n".join(["text,label,customer", *lines]) + "\n")
    split = {"by": {"entity": "customer"}}
    found = load(opts(split=split), root=filled, seed=0)
    assert found.digest == load(opts(train="rows.csv", query=None, split=split), root=filled, seed=0).digest
    assert found.facts["sources"]["train"]["name"] == "sqlite:///rows.db" and found.facts["notes"] == []
    assert load(opts(train=f"sqlite:///{filled}/rows.db"), root=Path("/"), seed=0).facts["sources"]["train"]["name"] == "sqlite:///rows.db"
    unordered = load(opts(query="select text, label from rows"), root=filled, seed=0)
    assert any("no ORDER BY" in note for note in unordered.facts["notes"])


def test_the_digest_follows_the_rows_and_the_order_not_the_file(filled):
    def digest(query=QUERY):
        return source_digests(opts(query=query), root=filled)["train"]

    first = digest()
    assert first == load(opts(), root=filled, seed=0).facts["sources"]["train"]["digest"]
    change(filled / "rows.db", "create table other (x)")
    assert digest() == first
    assert len({first, digest(QUERY + " desc"), digest(QUERY.replace("customer", "id")), digest(QUERY + " limit 79")}) == 4
    change(filled / "rows.db", "update rows set label = 'maybe' where id = 3")
    changed = digest()
    change(filled / "rows.db", "update rows set text = null where id = 4")
    assert len({first, changed, digest()}) == 3


def test_bad_rows_are_named_by_their_place_in_the_result(filled):
    change(filled / "rows.db", "update rows set label = 1.5 where id = 7")
    change(filled / "rows.db", "update rows set text = x'ff', customer = 12.0 where id = 8")
    change(filled / "rows.db", "update rows set label = '' where id = 9")
    with pytest.raises(DataError) as caught:
        load(opts(split={"by": {"entity": "customer"}}), root=filled, seed=0)
    assert [str(item) for item in caught.value.problems] == [
        "sqlite:///rows.db:8: column 'label' is not text: the number 1.5; cast it in the query",
        "sqlite:///rows.db:9: column 'text' is not UTF-8; column 'customer' is not text: the number 12.0; cast it in the query",
        "sqlite:///rows.db:10: column 'label' (label) is empty",
    ]


def test_values_of_every_kind_become_text():
    day = datetime.datetime(2024, 5, 31, 10, 0, 0)
    given = [("a", "a"), ("", None), (None, None), (True, "true"), (12, "12"), (0.5, "0.5"), (float("nan"), None), (day, day.isoformat())]
    given += [
        (Decimal("1E+2"), "100"),
        (Decimal("NaN"), None),
        (Decimal("sNaN"), None),
        (day.date(), "2024-05-31"),
        (b"\xe4\xb8\xad", "中"),
        (b"\xff", "ff"),
    ]
    given += [(Decimal("sNaN"), None), (Decimal("1.50"), "1.50")]
    assert [database._text(value) for value, _ in given] == [text for _, text in given]


@pytest.mark.parametrize(
    ("train", "query", "words"),
    [
        ("sqlite:///rows.db", "select none from rows", "no such column: none"),
        ("sqlite:///rows.db", "select text, text, label from rows", "'text' is given twice"),
        ("sqlite:///rows.db", "select text from rows", "label"),
        ("sqlite:///rows.db", None, "no query says which rows"),
        ("sqlite:///rows.db", "with x as (select 1) delete from rows", "readonly"),
        ("sqlite:///none.db", QUERY, "there is no such file"),
        ("oracle://host/db", QUERY, "needs the package"),
        ("postgresql://host:port/db", QUERY, "cannot be read: "),
        ("postgresql+nothing://host/db", QUERY, "cannot be read: "),
        ("rows.csv", QUERY, "stands beside rows.csv, which is no database"),
    ],
)
def test_what_cannot_be_asked_is_told(train, query, words, filled):
    told = " ".join(map(str, check_columns(opts(train=train, query=query), filled)))
    assert words in told, told
    assert not (filled / "none.db").exists() and len(read_table("sqlite:///rows.db", root=filled, query=QUERY)) == 80


def test_percent_and_colon_are_signs_of_a_query_like_any_other(filled):
    found = read_table(
        "sqlite:///rows.db", root=filled, query="select text from rows where text like 'text 1%' and ':a' <> '%s' order by id"
    )
    assert len(found) == 11


def test_a_missing_package_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(database, "find_spec", lambda name: None)
    (problem,) = check_columns(opts(), tmp_path)
    assert "'sqlalchemy', which is not installed" in str(problem) and "trustbase[sql]" in str(problem)


URLS = (
    f"postgresql://ann:{SECRET}@host/db",
    f"postgresql+psycopg2://ann:{SECRET}@host:5432/db?sslmode=require",
    f"postgresql://:{SECRET}@host/db",
    "postgresql://ann:x${NAME}s3cr3t@host/db",
    "postgresql://host/db?user=ann&password=s3cr3t",
    "mssql+pyodbc:///?odbc_connect=UID%3Dann%3BPWD%3Ds3cr3t",
    "https://ann:s3cr3t@host/rows.csv",
    "postgresql:///ann:s3cr3t@host/db",
    "postgresql://ann:a\ns3cr3t@host/db",
    "postgresql://host/db?p%61ssword=s3cr3t",
)


@pytest.mark.parametrize("url", URLS)
def test_a_password_in_a_url_is_refused_and_never_shown(url, tmp_path):
    with pytest.raises(ValidationError) as caught:
        opts(train=url)
    assert "s3cr3t" not in str(caught.value) and ("holds a password" in str(caught.value) or "fetch it" in str(caught.value))
    recipe = {"task": "text-classification", "data": {"train": url, "query": QUERY, "text": "text", "label": "label"}, "purpose": {}}
    recipe |= {"purpose": {"intended_use": "tests", "owner": "nobody"}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(RecipeError) as told:
        read_recipe(tmp_path / "r.yaml")
    assert "s3cr3t" not in str(told.value) and "***" in str(told.value)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**recipe, "data": {**recipe["data"], "train": "rows.csv"}}))
    for override in (f"data.train={url}", f"data.validation={url}", f"data.trian={url}", f"data.train.x.y={url}"):
        with pytest.raises(RecipeError) as told:
            read_recipe(tmp_path / "r.yaml", [override])
        assert "s3cr3t" not in str(told.value), override


def test_secrets_are_hidden_and_references_to_them_are_not():
    assert without_secrets(f"override data.train=postgresql://ann:{SECRET}@host/db") == "override data.train=postgresql://ann:***@host/db"
    assert without_secrets("mysql://h/d?charset=utf8&x=1") == "mysql://h/d?charset=***&x=***"
    for plain in ("postgresql://ann:${PW}@host/db", "sqlite:///a@b.db", "no URL: a@b", "postgresql://ann@host:5432/db"):
        assert without_secrets(plain) == plain


def test_a_password_comes_from_the_environment_and_stays_out_of_everything(monkeypatch, tmp_path):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    options = opts(train="postgresql://ann:${DB_PASSWORD}@host/db")
    assert SECRET not in json.dumps(options.model_dump(mode="json")) and "${DB_PASSWORD}" in options.train
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    assert "DB_PASSWORD, which is not set" in str(check_columns(options, tmp_path)[0])
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    url, hidden = database._url(options.train, tmp_path, sqlalchemy.make_url)
    assert url.password == hidden == SECRET and url.host == "host"

    class Broken(sqlalchemy.exc.SQLAlchemyError):
        orig = ValueError(f"connection to ann:{SECRET}@host failed\nfor password={SECRET}")

    monkeypatch.setattr(sqlalchemy, "create_engine", lambda *_, **__: (_ for _ in ()).throw(Broken("x")))
    with pytest.raises(DataError) as caught:
        load(options, root=tmp_path, seed=0)
    assert "***" in str(caught.value) and SECRET not in str(caught.value)
    whole = "".join(traceback.format_exception(caught.value))  # as --debug shows it
    assert SECRET not in whole and "***" in whole


def test_a_bundle_names_neither_host_nor_user():
    recipe = {"data": {"train": "postgresql+psycopg://ann:${PW}@db.bank.example/claims", "query": QUERY}}
    found = yaml.safe_load(
        portable_recipe(yaml.safe_dump(recipe)).partition("\ndata:")[1] + portable_recipe(yaml.safe_dump(recipe)).partition("\ndata:")[2]
    )
    assert found["data"] == {"train": "postgresql:///claims", "query": QUERY}


def test_the_digest_does_not_depend_on_how_many_rows_are_fetched_at_once(filled, monkeypatch):
    first = source_digests(opts(), root=filled)["train"]
    monkeypatch.setattr(database, "_ROWS", 7)
    assert source_digests(opts(), root=filled)["train"] == first
    assert read_table("sqlite:///rows.db", root=filled, query=QUERY).row_numbers.tolist() == list(range(1, 81))
