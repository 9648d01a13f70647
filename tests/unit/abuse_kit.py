"""Files that were made to do harm, by code: pickles that run, settings that fetch code, archives that write elsewhere."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import pickle
import struct
import subprocess
import tarfile
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


def change_json(path: Path, changes: dict) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
