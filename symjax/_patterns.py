"""Names chosen by regular expressions, refusing those that may take forever."""

import re
from collections.abc import Sequence

# Repetitions whose number is not fixed, one after another: the time of a match grows
# with the length of the name to this power.
_MOST_REPEATS = 4
_LONGEST = 500


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """The name that equals a pattern, or the names that it matches in full.

    A repetition of a group, such as ``(a+)+`` or ``(a|ab)*``, may take time that
    doubles with every letter of a name. Such patterns are always refused.

    Args:
      pattern: A name or a regular expression.
      names: The names.

    Returns:
      The matching names, in the same order.

    Raises:
      re.error: The pattern is not a regular expression, or may take forever; the text
        says which.

    Example:
      >>> from symjax._patterns import matching
      >>> matching("a.*", ["ab", "ba"])
      ['ab']
      >>> matching("(a+)+", ["ab", "ba"])
      Traceback (most recent call last):
      ...
      re.error: it repeats a group, and may never end
    """
    if pattern in names:
        return [pattern]
    if len(pattern) > _LONGEST:
        raise re.error(f"it has more than {_LONGEST} characters")
    compiled = re.compile(pattern)
    _check_ends(pattern)
    return [name for name in names if compiled.fullmatch(name)]


def _check_ends(pattern: str) -> None:
    """Raises unless the time of a match is bounded by a small power of the length."""
    # Escaped characters and sets stand for one character.
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern, flags=re.DOTALL)
    # Comments, and spaces of verbose patterns, may stand before a repetition.
    bare = re.sub(r"\(\?#[^)]*\)|\s", "", bare)
    if re.search(r"\)([*+]|\{)", bare):
        raise re.error("it repeats a group, and may never end")
    if len(re.findall(r"[*+]|\{\d*,\d*\}", bare)) > _MOST_REPEATS:
        raise re.error(f"it has more than {_MOST_REPEATS} repetitions")
