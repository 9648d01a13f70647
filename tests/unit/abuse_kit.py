"""Files that were made to do harm, by code: pickles that run, settings that fetch code, archives that write elsewhere."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import pickle
import stat
import struct
import subprocess
import tarfile
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np


class Calls:
    """Pickled, it is a call that writes the canary when it is read."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def payloads(canary: Path) -> dict[str, bytes]:
    """Pickles that write the canary when they are read, each in another way or wrapping."""
    command = f"touch '{canary}'"
    code = f"open({str(canary)!r}, 'w').close()"
    plain = Calls(Path.write_text, canary, "ran")
    made = {f"protocol {number}": pickle.dumps(plain, protocol=number) for number in range(6)}
    made |= {
        "os.system": pickle.dumps(Calls(os.system, command)),
        "subprocess": pickle.dumps(Calls(subprocess.call, ["touch", str(canary)])),
        "exec": pickle.dumps(Calls(exec, code)),
        "eval": pickle.dumps(Calls(eval, f"__import__('pathlib').Path({str(canary)!r}).touch()")),
        "open": pickle.dumps(Calls(open, str(canary), "w")),
        "in a dict": pickle.dumps({"state_dict": {"weight": plain}}),
        "in a list": pickle.dumps([1, [2, [plain]]]),
        "twice": pickle.dumps(Calls(pickle.loads, pickle.dumps(plain))),
        "broken after the call": pickle.dumps(plain)[:-1] + b"\xff\xff",
        "by hand": b"cos\nsystem\n(S'" + command.encode() + b"'\ntR.",
        "zlib": zlib.compress(pickle.dumps(plain)),
        "bz2": bz2.compress(pickle.dumps(plain)),
        "xz": lzma.compress(pickle.dumps(plain)),
        "behind a safetensors header": struct.pack("<Q", 2) + b"{}" + pickle.dumps(plain),
        "behind a Parquet mark": b"PAR1" + pickle.dumps(plain) + b"PAR1",
    }
    array = io.BytesIO()
    np.save(array, np.array([plain], dtype=object), allow_pickle=True)
    made["object array"] = array.getvalue()
    for name, inside in (("torch zip", "archive/data.pkl"), ("keras zip", "model.weights.h5"), ("plain zip", "payload.pkl")):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(inside, pickle.dumps(plain))
            archive.writestr("archive/version", "3\n")
        made[name] = packed.getvalue()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as old:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(pickle.dumps(plain))
        old.addfile(entry, io.BytesIO(pickle.dumps(plain)))
    made["torch tar"] = packed.getvalue()
    return made


def settings_that_run_code() -> Iterator[tuple[str, dict]]:
    """File and keys of settings that ask a loader to run or fetch code."""
    for name in ("config.json", "tokenizer_config.json"):
        for key in ("AutoModel", "AutoConfig", "AutoTokenizer", "AutoModelForSequenceClassification"):
            yield name, {"auto_map": {key: "evil.Evil"}}
        yield name, {"auto_map": {"AutoModel": "someone/repository--evil.Evil"}}
        yield name, {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
        yield name, {"auto_map": "evil.Evil"}
        yield name, {"auto_map": [["AutoModel", "evil.Evil"]]}
        yield name, {"custom_pipelines": {"text-classification": {"impl": "evil.Evil", "pt": ["AutoModel"]}}}
        yield name, {"custom_generate": "someone/repository"}
        yield name, {"trust_remote_code": True}
        yield name, {"trust_remote_code": "yes"}
        yield name, {"trust_remote_code": 1}
        yield name, {"sub": {"deeper": [{"auto_map": {"AutoModel": "evil.Evil"}}]}}
        yield name, {"text_config": {"auto_map": {"AutoConfig": "evil.Evil"}}}
    yield "config.json", {"attn_implementation": "someone/kernel"}
    yield "config.json", {"_attn_implementation": {"": "someone/kernel:evil"}}
    yield "config.json", {"experts_implementation": "someone/kernel"}
    yield "config.json", {"transformers_weights": "pytorch_model.bin"}


ROWS = b"text,label\n" + b"a b,yes\nc d,no\n" * 40
NAMES = {
    "up": "../rows.csv",
    "far up": "../" * 30 + "tmp/rows.csv",
    "inside and up": "a/../../rows.csv",
    "absolute": "/tmp/rows.csv",
    "backslash": "..\\..\\rows.csv",
    "drive": "C:\\rows.csv",
    "drive and slash": "C:/rows.csv",
    "share": "\\\\server\\share\\rows.csv",
    "home": "~/rows.csv",
    "device": "/dev/null.csv",
    "dots": "....//rows.csv",
    "url": "file:///tmp/rows.csv",
    "escape": "rows\x1b[2J.csv",
    "long": "a" * 5_000 + ".csv",
    "hidden": ".bashrc.csv",
    "half a letter": unicodedata.normalize("NFD", "é") + ".csv",
}


def zips(target: Path) -> Iterator[tuple[str, bytes]]:
    """Zip archives whose entries would write elsewhere, hide each other or never end."""
    for title, name in NAMES.items():
        yield f"one entry, {title}", _zip([(name, ROWS)])
        yield f"a second entry, {title}", _zip([("rows.csv", ROWS), (name, ROWS)])
    link = zipfile.ZipInfo("rows.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    yield "symbolic link", _zip([(link, str(target).encode())])
    yield "link, then a file through it", _zip([(link, str(target.parent).encode()), ("rows.csv/x.csv", ROWS)])
    for title, kind in (("device", stat.S_IFCHR), ("pipe", stat.S_IFIFO), ("socket", stat.S_IFSOCK)):
        entry = zipfile.ZipInfo("rows.csv")
        entry.external_attr = (kind | 0o666) << 16
        yield title, _zip([(entry, b"")])
    yield "same name twice", _zip([("rows.csv", ROWS), ("rows.csv", ROWS)])
    yield "names apart by case", _zip([("rows.csv", ROWS), ("ROWS.csv", ROWS)])
    yield "names apart by normal form", _zip([(unicodedata.normalize(form, "é.csv"), ROWS) for form in ("NFC", "NFD")])
    yield "many entries", _zip([(f"{number}.csv", b"") for number in range(20_000)])
    yield "empty", _zip([])
    yield "bomb", _zip([("rows.csv", b"text,label\n" + b"0" * (300 << 20))])
    whole = _zip([("rows.csv", ROWS)])
    yield "cut off", whole[: len(whole) // 2]
    yield "overlapping", whole[:-22] + whole
    yield "wrong size", whole.replace(struct.pack("<L", len(ROWS)), struct.pack("<L", 1 << 30))
    yield "zip in a zip", _zip([("rows.zip", whole)])


def _zip(entries: list) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name given twice
        for name, data in entries:
            archive.writestr(name, data)
    return packed.getvalue()


def tars(target: Path) -> Iterator[tuple[str, bytes]]:
    """Tar archives of the same kinds; Trustbase opens none."""
    kinds = {"symbolic link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
    for title, kind in kinds.items():
        entry = tarfile.TarInfo("rows.csv")
        entry.type, entry.linkname = kind, str(target)
        yield title, _tar([(entry, b"")])
    for title in ("up", "absolute", "inside and up", "drive"):
        yield title, _tar([(tarfile.TarInfo(NAMES[title]), ROWS)])


def _tar(entries: list) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for entry, data in entries:
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def change_json(path: Path, changes: dict) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
