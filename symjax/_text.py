"""Names from files and models as text that a terminal, a page or a file can show."""


def visible(text: object) -> str:
    r"""A text with all that would not be seen as itself written as an escape.

    Names come from files and models of others. A line feed in one would forge a line
    of a log, a control character move the cursor, a bidirectional mark turn the order
    of what follows.

    Args:
      text: Any object, as ``str`` writes it.

    Returns:
      The text, in which characters that are not printable (control characters,
      bidirectional and other marks of format, separators but the space, halves of
      surrogate pairs) are escaped as in Python's literals.

    Example:
      >>> from symjax._text import visible
      >>> print(visible("a\n1/1 b: resolved"), visible("\u202egpj.exe"))
      a\n1/1 b: resolved \u202egpj.exe
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def spreadsheet_safe(text: object) -> str:
    r"""A text that a spreadsheet takes for a text, not for a formula.

    Args:
      text: Any object, as ``str`` writes it.

    Returns:
      The text as :func:`visible` writes it, with an apostrophe before a first
      character that starts a formula.

    Example:
      >>> from symjax._text import spreadsheet_safe
      >>> spreadsheet_safe("=1+1"), spreadsheet_safe("energy")
      ("'=1+1", 'energy')
    """
    shown = visible(text)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@") else shown
