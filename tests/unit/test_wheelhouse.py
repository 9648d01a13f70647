"""The offline folder: what is in it, that it installs without a network, and that any change of it is seen."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import trustbase
from trustbase import files
from trustbase.errors import TrustbaseError, UsageError, VerificationError
from trustbase.wheels import describe
from trustbase.wheels.closure import closure
from trustbase.wheels.repack import write_wheel

SMALL = ("typer", "pydantic", "packaging", "platformdirs", "pyyaml")  # what `trustbase --version` and `wheelhouse --check` take
COMMANDS = [line.split(" ") for line in describe.INSTALL]


@pytest.fixture(scope="module")
def house(tmp_path_factory, tiny_folder: Path) -> Path:
    """A small closure: the whole one, torch with it, is gigabytes."""
    folder = tmp_path_factory.mktemp("offline") / "house"
    found = trustbase.wheelhouse(folder, base=[str(tiny_folder)], only=SMALL, installed=True)
    assert found.packages == len(list((folder / "wheels").iterdir())) and found.digest == files.sha256_file(folder / "manifest.json")
    return folder


def test_what_is_in_the_folder(house, tiny_folder):
    manifest = json.loads((house / "manifest.json").read_text())
    names = [package["name"] for package in manifest["packages"]]
    assert {"trustbase", "typer", "click" if "click" in names else "rich", "pydantic-core"} <= set(names) and "torch" not in names
    pins = (house / "requirements.txt").read_text().splitlines()
    assert len(pins) == len(names) and all(" --hash=sha256:" in pin for pin in pins)
    bill = json.loads((house / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.6"
    hashes = {part["name"]: part["hashes"][0]["content"] for part in bill["components"] if part["type"] != "machine-learning-model"}
    assert sorted(hashes) == names and all(f"--hash=sha256:{hashes[pin.split('==')[0]]}" in pin for pin in pins)
    refs = {part["bom-ref"] for part in bill["components"]}
    assert all({row["ref"], *row["dependsOn"]} <= refs for row in bill["dependencies"])
    assert next(row for row in bill["dependencies"] if "pydantic@" in row["ref"])["dependsOn"]
    page = (house / "LICENCES.md").read_text()
    assert "| typer |" in page and "| pyyaml | " in page and "MIT" in page
    assert "Not complete" in (house / "README.md").read_text()
    assert (house / manifest["files"][0]["path"]).is_file() and len(list((house / "bases").iterdir())) == 1


def _without_network() -> list[str]:
    """A network of its own, with nothing in it, where the system lets a user have one."""
    prefix = ["unshare", "--map-root-user", "--net"]
    there = shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if there else []


def test_it_installs_without_a_network_and_checks_itself(house, tmp_path):
    copied = tmp_path / "house"
    shutil.copytree(house, copied)
    venv.create(tmp_path / "trustbase-env", with_pip=False)  # the first command, less the copy of pip that takes ten seconds
    python = [sys.executable, "-m", "pip", "--python", str(tmp_path / "trustbase-env" / "bin" / "python")]
    install = [*python, *COMMANDS[1][3:]]
    assert COMMANDS[1][:3] == ["../trustbase-env/bin/python", "-m", "pip"] and {"--no-index", "--require-hashes"} <= set(install)
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run([*_without_network(), *install], cwd=copied, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    command = str(tmp_path / "trustbase-env" / "bin" / "trustbase")
    told = subprocess.run([*_without_network(), command, "--version"], env=alone, capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"trustbase {trustbase.__version__}"
    checking = [*_without_network(), command, "wheelhouse", ".", "--check"]
    assert "as it was made" in subprocess.run(checking, cwd=copied, env=alone, capture_output=True, text=True, check=True).stdout
    (copied / "requirements.txt").write_text("")
    done = subprocess.run(checking, cwd=copied, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 4 and "requirements.txt: differs from its hash" in done.stderr and "as it was made" not in done.stdout


def test_every_change_is_seen(house, tmp_path):
    def changed(work) -> str:
        copied = tmp_path / "changed"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(house, copied)
        work(copied)
        with pytest.raises(VerificationError) as told:
            trustbase.wheelhouse(copied, check=True)
        return str(told.value)

    wheel = sorted((house / "wheels").iterdir())[0].name

    def flip(folder: Path) -> None:
        data = bytearray((folder / "wheels" / wheel).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / "wheels" / wheel).write_bytes(data)

    def linked(folder: Path) -> None:
        (folder / "wheels" / wheel).unlink()
        (folder / "wheels" / wheel).symlink_to(house / "wheels" / wheel)

    assert f"wheels/{wheel}: differs" in changed(flip)
    assert f"wheels/{wheel}: is a link" in changed(linked)
    assert "sbom.json: is missing" in changed(lambda folder: (folder / "sbom.json").unlink())
    assert "wheels/extra.whl: is not on the list" in changed(lambda folder: (folder / "wheels" / "extra.whl").write_bytes(b""))
    assert "is no wheelhouse" in changed(lambda folder: (folder / "manifest.json").write_text("[]"))
    assert "is no wheelhouse" in changed(lambda folder: (folder / "manifest.json").unlink())


def test_wheels_come_from_pip_in_the_installed_versions(tmp_path, monkeypatch):
    index = tmp_path / "index"
    index.mkdir()
    for package in closure(only=["pyyaml"]):
        write_wheel(package.name, index)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    found = trustbase.wheelhouse(tmp_path / "house", only=["pyyaml"])
    assert found.packages == 2 and {path.name for path in (tmp_path / "house" / "wheels").iterdir()} == {p.name for p in index.iterdir()}
    with pytest.raises(UsageError, match="is there already"):
        trustbase.wheelhouse(tmp_path / "house", only=["pyyaml"])
    with pytest.raises(TrustbaseError, match=r"pip could not get the wheels(.|\n)*annotated-doc"):
        trustbase.wheelhouse(tmp_path / "other", only=["typer"])
    assert not (tmp_path / "other").exists()


def test_a_wheel_of_installed_files_is_that_package(tmp_path):
    path = write_wheel("pyyaml", tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        recorded = {str(file): file for file in metadata.files("pyyaml")}
        assert {name for name in names if name.startswith("yaml/")} == {
            n for n in recorded if n.startswith("yaml/") and "__pycache__" not in n
        }
        assert not {name for name in names if name.endswith(("INSTALLER", "direct_url.json", ".pyc"))}
    assert path.read_bytes() == write_wheel("pyyaml", tmp_path).read_bytes()


def test_a_folder_that_is_no_wheelhouse_is_told_as_one(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "foreign").mkdir()
    files.write_json(tmp_path / "foreign" / "manifest.json", {"schema": "trustbase/manifest/1", "files": []})
    whys = {"empty": "holds no manifest.json", "foreign": "trustbase/manifest/1", "file": "is no folder", "nowhere": "no such folder"}
    for name, why in whys.items():
        with pytest.raises(VerificationError, match=f"is no wheelhouse.*{why}") as told:
            trustbase.wheelhouse(tmp_path / name, check=True)
        assert told.value.exit_code == 4 and "make one" in told.value.hint


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="'nosuchthing' is not installed"):
        trustbase.wheelhouse(tmp_path / "house", only=["nosuchthing"])
    with pytest.raises(UsageError, match="'nosuch' is no extra"):
        trustbase.wheelhouse(tmp_path / "house", extra=["nosuch"])
    assert {"torch", "transformers", "numpy"} <= {package.name for package in closure()}


def test_a_file_that_was_changed_after_installing_is_refused(tmp_path, monkeypatch):
    from trustbase.wheels import repack

    read = repack._read
    monkeypatch.setattr(repack, "_read", lambda name, path: read(name, path) + (b"#" if path.name == "loader.py" else b""))
    with pytest.raises(UsageError, match=r"loader\.py was changed after it was installed"):
        write_wheel("pyyaml", tmp_path)


def test_a_file_without_a_hash_is_refused_and_what_needs_none_is_left_out(tmp_path, monkeypatch):
    """RECORD has none of itself, bytecode none at all, and a signature is of the RECORD that was (the wheel specification)."""
    site, house = tmp_path / "site", tmp_path / "house"
    house.mkdir()
    info = site / "bare-1.0.dist-info"
    info.mkdir(parents=True)
    contents = {
        "bare.py": "",
        "bare-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: bare\nVersion: 1.0\n",
        "bare-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = {}
    for name, text in contents.items():
        (site / name).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines[name] = f"{name},sha256={digest},{len(text)}"
    (info / "RECORD.jws").write_text("{}")
    bare = [f"bare-1.0.dist-info/{name},," for name in ("RECORD", "RECORD.jws")]
    (info / "RECORD").write_text("\n".join([*lines.values(), *bare, "__pycache__/bare.cpython-311.pyc,,"]) + "\n")
    monkeypatch.syspath_prepend(str(site))
    with zipfile.ZipFile(write_wheel("bare", house)) as archive:
        assert set(archive.namelist()) == {*contents, "bare-1.0.dist-info/RECORD"}
    (info / "RECORD").write_text("\n".join([*list(lines.values())[1:], *bare, "bare.py,,0"]) + "\n")
    with pytest.raises(UsageError, match="bare cannot be packed") as told:
        write_wheel("bare", house)
    assert [(problem.where, problem.message.partition(",")[0]) for problem in told.value.problems] == [("bare.py", "has no hash in RECORD")]
