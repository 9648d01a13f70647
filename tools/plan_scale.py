"""Writes the tables of docs/scale.md: what 1 B, 7 B and 70 B parameters need. Every number follows from the constants below.

Run: python tools/plan_scale.py [--utilisation 0.40]   (a test fails when the page is stale)
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scale.md"

UTILISATION = 0.40  # of the peak: what is asked of a data-centre GPU; give yours, from efficiency.model_flops_utilisation
PEAK = 989e12  # bf16 FLOP/s, dense, of an H100 SXM (NVIDIA's data sheet)
MEMORY = 80e9  # bytes of it
POWER = 700.0  # watts of it, at most (the same data sheet)
OVERHEAD = 1.2  # power of the building over that of the device; an assumption
HOST = 1.5  # power of the server over that of its devices; an assumption
PRICE = 2.5  # US dollars a device-hour; an assumption, rented prices lie between 2 and 4
LINE = 50e9  # bytes/s out of a device between servers: 400 Gbit/s
INNER = 450e9  # bytes/s out of a device to others of its server: NVLink (the same data sheet)
SERVER = 8  # devices of a server
VOCABULARY = 32_000  # words of the table and of the head, which lie outside the layers
CHINCHILLA = 20  # tokens a parameter
CONTEXT = 2048
LOCAL_TOKENS = 8192  # of a device in one batch
DAYS = 30  # the time that the last column asks for


@dataclass(frozen=True)
class Shape:
    """A decoder of the usual form."""

    name: str
    parameters: float
    layers: int
    width: int


SHAPES = (Shape("1 B", 1e9, 22, 2048), Shape("7 B", 7e9, 32, 4096), Shape("70 B", 70e9, 80, 8192))


def tokens(shape: Shape) -> float:
    """Tokens of a training that spends its FLOPs best."""
    return CHINCHILLA * shape.parameters


def flops(shape: Shape) -> float:
    """Of the whole training: 6 a parameter and token, and 12 × layers × width × context a token for attention."""
    return (6 * shape.parameters + 12 * shape.layers * shape.width * CONTEXT) * tokens(shape)


def days(shape: Shape, devices: int, utilisation: float) -> float:
    """Of so many devices."""
    return flops(shape) / (devices * PEAK * utilisation) / 86400


def state(shape: Shape, *, summed: bool) -> float:
    """Bytes of weights, gradients and two moments in fp32, and weights in bf16; where several sum them, of gradients once more."""
    return (22 if summed else 18) * shape.parameters


def activations(shape: Shape, *, again: bool) -> float:
    """Bytes kept for the backward pass of one batch, in 16 bits, without the scores of attention."""
    return (2 if again else 34) * LOCAL_TOKENS * shape.width * shape.layers


def divided(shape: Shape, devices: int) -> float:
    """Bytes of a device's part of weights, gradients and moments in fp32; and of what is whole for a while.

    Whole are table and head with their gradients, one layer with its gradient, and the weights of the next. The 16-bit weights of a layer
    live as long as it is computed, with `gradient_checkpointing`.
    """
    layer, outside = shape.parameters / shape.layers, 2 * VOCABULARY * shape.width
    return 16 * shape.parameters / devices + 8 * outside + 14 * layer


def shards(shape: Shape) -> int:
    """Fewest devices, a power of two, among which the state must be divided; one where it need not be."""
    free, count = 0.9 * MEMORY - activations(shape, again=True), 1
    if state(shape, summed=False) <= free:
        return count
    while divided(shape, count) > free:
        count *= 2
    return count


def fits(shape: Shape) -> str:
    """How this version trains it."""
    if state(shape, summed=True) + activations(shape, again=True) <= 0.9 * MEMORY:
        return "yes, copied"
    return "yes, `shard: true`" if shards(shape) <= SERVER else "no"


def wanted(shape: Shape, utilisation: float) -> int:
    """Devices, a power of two, that end within the month."""
    count = shards(shape)
    while days(shape, count, utilisation) > DAYS:
        count *= 2
    return count


def share_of_sums(shape: Shape, utilisation: float) -> float:
    """Time of one all-reduce of fp32 gradients over the time of one device's batch; not overlapped in this version."""
    sums = 2 * 4 * shape.parameters / LINE
    return sums / (6 * shape.parameters * LOCAL_TOKENS / (PEAK * utilisation))


def share_of_parts(utilisation: float, line: float) -> float:
    """Time of putting fp32 layers together twice and dividing their gradients, over the time of one device's batch; in every batch."""
    return 3 * 4 / line / (6 * LOCAL_TOKENS / (PEAK * utilisation))


def _gb(value: float) -> str:
    return f"{value / 1e9:,.0f}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]


def lines(utilisation: float) -> list[str]:
    """The tables, between the marks of the page."""
    memory = [
        [
            shape.name,
            f"{shape.layers} x {shape.width:,}",
            _gb(state(shape, summed=False)),
            _gb(state(shape, summed=True)),
            _gb(divided(shape, SERVER)),
            _gb(activations(shape, again=False)),
            _gb(activations(shape, again=True)),
            f"{shards(shape)}",
            fits(shape),
        ]
        for shape in SHAPES
    ]
    time = []
    for shape in SHAPES:
        count = wanted(shape, utilisation)
        hours = count * days(shape, count, utilisation) * 24
        time.append(
            [
                shape.name,
                f"{tokens(shape) / 1e9:,.0f}",
                f"{flops(shape):.1e}",
                f"{hours:,.0f}",
                f"{count:,}",
                f"{days(shape, count, utilisation):,.1f}",
                f"{days(shape, count, 0.3):,.1f} / {days(shape, count, 0.5):,.1f}",
                f"{hours * PRICE / 1000:,.1f}",
                f"{hours * POWER * HOST * OVERHEAD / 1e6:,.1f}",
            ]
        )
    sums = [f"At this utilisation and {LOCAL_TOKENS:,} tokens a device and update, summing fp32 gradients over a 400 Gbit/s line takes"]
    sums += [f"{share_of_sums(SHAPES[0], utilisation):.0%} of the time of a batch, whatever the size; with {16 * LOCAL_TOKENS:,} tokens"]
    sums += [
        f"(accumulation 16) {share_of_sums(SHAPES[0], utilisation) / 16:.1%}. Where the state is divided, parts travel in every batch:"
    ]
    sums += [
        f"{share_of_parts(utilisation, INNER):.0%} of its time inside a server, {share_of_parts(utilisation, LINE):.0%} between servers,"
    ]
    sums += ["which a GPU can do beside the work as far as it is less than that."]
    return [
        *_table(
            [
                "parameters", "layers x width", "state of one process, GB", "of one among several, GB",
                f"of one of {SERVER} that divide it, GB", "activations, GB", "with checkpointing, GB", "devices that must share a state",
                "this version, on paper",
            ],
            memory,
        ),
        "",
        f"Utilisation {utilisation:.0%} of {PEAK / 1e12:,.0f} TFLOP/s:",
        "",
        *_table(
            [
                "parameters", "tokens, 10⁹", "FLOPs", "device-hours", f"devices for at most {DAYS} days", "days",
                "days at 30 % / 50 %", "cost, 1,000 USD", "energy, MWh",
            ],
            time,
        ),
        "",
        *sums,
    ]  # fmt: skip


def page(text: str, utilisation: float) -> str:
    """The page with its tables written anew."""
    body = "\n".join(["<!-- tables: tools/plan_scale.py -->", *lines(utilisation), "<!-- end -->"])
    return re.sub(r"<!-- tables.*<!-- end -->", lambda _: body, text, flags=re.DOTALL)


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utilisation", type=float, help="print the tables for this share of the peak, and write nothing")
    options = parser.parse_args()
    if options.utilisation is not None:
        print("\n".join(lines(options.utilisation)))
        return
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), UTILISATION), encoding="utf-8")


if __name__ == "__main__":
    main()
