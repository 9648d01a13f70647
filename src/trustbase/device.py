"""Which device and number format are used, each with its reason. Imports torch only when asked."""

from __future__ import annotations

from trustbase.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def choose_device() -> str:
    """The device that training and scoring use: `cuda` where there is one, else `mps`, else `cpu`."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def choose_precision(requested: str, device: str) -> tuple[str, str]:
    """The number format of the heavy arithmetic, and why.

    Args:
        requested: `auto`, `fp32`, `bf16` or `fp16`.
        device: `cpu`, `cuda`, `mps` (or `cuda:1` and the like).

    Returns:
        (`fp32`, `bf16` or `fp16`; the reason in words).

    Raises:
        UsageError: the format is unknown, or this device does not really have it.
    """
    kind = device.split(":")[0]
    if requested not in PRECISIONS:
        raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, got '{requested}'")
    if requested == "fp32":
        return "fp32", "asked for"
    if requested == "fp16":
        return _half(kind)
    has, why = bf16_support(kind)
    if requested == "auto":
        return ("bf16", why) if has else ("fp32", f"bf16 would not be faster: {why}")
    if kind == "mps":
        raise UsageError(f"precision bf16 cannot be used here: {why}", hint="set precision: fp32, or leave it at auto")
    return "bf16", "asked for; " + (why if has else f"emulated here, and slow: {why}")


def bf16_support(device: str) -> tuple[bool, str]:
    """Whether bf16 arithmetic is done by the hardware (not emulated), and how that is known."""
    import torch

    if device == "cuda":
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return True, f"{name} has bf16 arithmetic"
        return False, f"{name} has no bf16 arithmetic"
    if device == "mps":
        return False, "bf16 on Apple's GPU was not tried by this version"
    if cpu_flag("_is_amx_tile_supported"):
        return True, "this CPU has AMX tiles with bf16"
    if cpu_flag("_is_avx512_bf16_supported"):
        return True, "this CPU has avx512_bf16"
    return False, "this CPU has neither avx512_bf16 nor AMX"


def cpu_flag(name: str) -> bool:
    """What torch says about a CPU feature; False where this torch does not know the question."""
    import torch

    probe = getattr(torch.cpu, name, None)
    return bool(probe()) if probe is not None else False


def _half(kind: str) -> tuple[str, str]:
    if kind != "cuda":
        raise UsageError(
            f"precision fp16 cannot be used on {kind}: torch silently computes fp32 there, so the setting would mean nothing",
            hint="set precision: auto (bf16 where the CPU has it) or fp32",
        )
    return "fp16", "asked for; losses are scaled against underflow"
