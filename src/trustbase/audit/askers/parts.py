"""Which items are asked about together: a matter of the items alone, so that any number of processes asks in the same batches."""

from __future__ import annotations

from collections.abc import Sequence

LEAST, MOST = 1 << 14, 1 << 18  # cost of a part: some 4,000 tokens of English text at least, which fill a batch
_SHARE = 64  # of what is left: parts shrink towards the end, so that all processes are done at about the same time


def cut(costs: Sequence[int]) -> list[list[int]]:
    """Parts of items of similar cost, the dearest first and ever smaller ones towards the end.

    They do not depend on who answers them: whichever process takes a part, its items go through the model in the same company, and
    scores are those of one process, to the bit where processes have as many threads.

    Args:
        costs: of each item, at least 1, such as the length of a text.

    Returns:
        Positions of the items of each part; each item stands in exactly one.
    """
    order = sorted(range(len(costs)), key=lambda place: (-costs[place], place))
    left = sum(costs)
    parts: list[list[int]] = []
    room = 0
    for place in order:
        if room <= 0:
            room = min(max(left // _SHARE, LEAST), MOST)
            parts.append([])
        parts[-1].append(place)
        room -= costs[place]
        left -= costs[place]
    return parts
