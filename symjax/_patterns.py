"""Names chosen by regular expressions, refusing those that may take forever."""

import re
from collections.abc import Sequence

# Repetitions whose number is not fixed, one after another: the time of a match grows
# with the length of the name to this power.
_MOST_REPEATS = 4
_LONGEST = 500


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """The name that equals a pattern, or the names that it matches in full.

    A repetition of something that varies in length, such as ``(a+)+``, or of
    alternatives, such as ``(a|ab)*``, may take time that doubles with every letter of a
    name. Such patterns are always refused.

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
      re.error: it repeats what is repeated or has alternatives, and may never end
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
    # One pass over a valid pattern; for each open group, whether its length varies.
    varies, repeats, last = [False], 0, False
    position = 0
    while position < len(pattern):
        remaining = pattern[position:]
        literal = re.match(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", remaining, re.DOTALL)
        quantifier = re.match(r"[*+?]|\{(\d*),?(\d*)\}", remaining)
        if literal:
            position, last = position + literal.end(), False
            continue
        if remaining[0] == "(":
            varies.append(False)
            opening = re.match(
                r"\((\?(P<\w+>|[aiLmsux-]*:|<?[=!]|P=\w+|>|#))?", remaining
            )
            position += opening.end() if opening else 1
            last = False
            continue
        if remaining[0] == ")" and len(varies) > 1:
            last = varies.pop()
            varies[-1] |= last
            position += 1
            continue
        if quantifier:
            fixed = quantifier[0] in ("{0}", "{1}", "{0,1}", "{,1}", "?")
            if last and not fixed:
                raise re.error(
                    "it repeats what is repeated or has alternatives, and may never end"
                )
            exact = quantifier[0][0] == "{" and "," not in quantifier[0]
            if not exact:
                varies[-1] = True
                repeats += not fixed
            position, last = position + quantifier.end(), False
            # Lazy or possessive.
            if pattern[position : position + 1] in ("?", "+"):
                position += 1
            continue
        if remaining[0] == "|":
            varies[-1] = True
        position, last = position + 1, False
    if repeats > _MOST_REPEATS:
        raise re.error(f"it has more than {_MOST_REPEATS} repetitions")
