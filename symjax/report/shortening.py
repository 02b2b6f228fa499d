"""Names of layers that are shortened to fit a column and stay distinct."""

import collections
from collections.abc import Sequence


def shorten(name: str, width: int) -> str:
    """A name shortened in the middle."""
    if len(name) <= width:
        return name
    tail = (width - 3 + 1) // 2
    head = width - 3 - tail
    # Dots of the name beside the three would be read as more of them.
    return name[:head].rstrip(".") + "..." + name[len(name) - tail :].lstrip(".")


def shorten_all(names: Sequence[str], width: int) -> list[str]:
    """Names shortened to a width so that they stay distinct.

    They are shortened in the middle if that is enough, else to the dotted parts in
    which they differ; if these are too long, a number is added at the end.

    Args:
      names: The names.
      width: Largest number of characters, at least 5.

    Returns:
      The shortened names, in the same order.

    Example:
      >>> from symjax.report.shortening import shorten_all
      >>> names = [f"gnn_layers.{i}.trans.{j}_node" for i in "01" for j in "01"]
      >>> shorten_all(names, 16)
      ['gnn...0...0_node', 'gnn...0...1_node', 'gnn...1...0_node', 'gnn...1...1_node']
      >>> shorten_all(["a" * 9 + "1" + "b" * 9, "a" * 9 + "2" + "b" * 9], 9)
      ['aaa...bbb', 'aa...bb~1']
    """
    width = max(width, 5)
    short = [shorten(name, width) for name in names]
    if len(set(short)) < len(set(names)):
        short = _by_difference(names, width)
    taken: dict[str, str] = {}
    for index, name in enumerate(names):
        number = 0
        text = short[index]
        while taken.setdefault(text, name) != name:
            number += 1
            end = f"~{number}"
            text = shorten(name, max(width - len(end), 5)) + end
        short[index] = text
    return short


def _by_difference(names: Sequence[str], width: int) -> list[str]:
    """The start of each name, and the parts in which it differs from others."""
    clear = collections.Counter(shorten(name, width) for name in dict.fromkeys(names))
    parts = [name.split(".") for name in names]
    found = []
    for name, own in zip(names, parts, strict=True):
        alike = [other for other in parts if len(other) == len(own)]
        told, last = "", 0
        for n in range(1, len(own)):
            if len({other[n] for other in alike}) > 1:
                told += ("." if n == last + 1 else "...") + own[n]
                last = n
        space = width - len(told) - 3
        if told and last < len(own) - 1 and space > 4:
            tail = min(len(own[-1]), space - min(len(own[0]), space // 2))
            told += "..." + own[-1][-tail:]
        room = width - len(told)
        head = own[0][:room]
        # A part that was cut must not look like a whole one.
        if len(own[0]) > room and not told.startswith("..."):
            head = own[0][: room - 2] + ".."
        short = shorten(name, width)
        unclear = clear[short] > 1
        found.append(head + told if unclear and told and room > 2 else short)
    return found
