"""Names from files and models as text for terminals, pages and files."""

import os
from pathlib import Path


def file_text(name: str | os.PathLike[str]) -> str:
    r"""The name of a file as text that can be written to any file or stream.

    POSIX allows names that are not UTF-8, whose bytes Python represents by surrogates,
    which cannot be encoded: they are escaped as in Python's literals.

    Example:
      >>> import os
      >>> from symjax._text import file_text
      >>> print(file_text(os.fsdecode(b"a\xff.xyz")), file_text("é.xyz"))
      a\xff.xyz é.xyz
    """
    text = os.fspath(name)
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # no bytes of a name are behind it
        return text.encode("utf-8", "backslashreplace").decode()


def model_stem(path: Path) -> str:
    """Name of the file of a model, as text, without the suffixes that models have."""
    name = file_text(path.name)
    for ending in (".gz", ".ckpt", ".pt"):
        name = name.removesuffix(ending)
    return name


def visible(text: object) -> str:
    r"""A text with characters that are not printable escaped as in Python's literals.

    Names come from files and models of others. A line feed could forge a line of a log,
    a control character could move the cursor, and a bidirectional mark could reverse
    the text that follows.

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
    r"""A :func:`visible` text that a spreadsheet does not read as a formula.

    Example:
      >>> from symjax._text import spreadsheet_safe
      >>> spreadsheet_safe("=1+1"), spreadsheet_safe("energy")
      ("'=1+1", 'energy')
    """
    shown = visible(text)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@") else shown


def drawn(text: object) -> str:
    r"""A :func:`visible` text for a figure, in which ``$`` starts no formula.

    Example:
      >>> from symjax._text import drawn
      >>> print(drawn("a$b$"))
      a\$b\$
    """
    return visible(text).replace("$", r"\$")
