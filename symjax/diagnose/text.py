"""A diagnosis as text."""

import textwrap

from symjax._text import visible
from symjax.diagnose.findings import Diagnosis, Finding, Kind


def to_text(diagnosis: Diagnosis, width: int = 80) -> str:
    """Formats findings and checks of a diagnosis as text.

    Args:
      diagnosis: The diagnosis.
      width: Largest number of columns, which long names may exceed.

    Returns:
      The text, which ends with a line feed.

    Example:
      >>> from symjax.diagnose import Check, Diagnosis, Kind, to_text
      >>> print(to_text(Diagnosis("pet", (), (Check(Kind.LEAKAGE, 1, "energy"),))))
      Diagnosis of model pet
      <BLANKLINE>
      Nothing was found.
      <BLANKLINE>
      Looked for
        leakage: energy
    """
    lines = [f"Diagnosis of model {visible(diagnosis.model)}", ""]
    if not diagnosis.findings:
        judged = next(
            (check for check in diagnosis.checks if check.kind is Kind.UNLEARNED), None
        )
        if judged is None or judged.looked_at:
            lines += ["Nothing was found.", ""]
        else:
            # Nothing is known about the outputs.
            told = "No output could be judged; in the layers nothing was found."
            lines += [*wrapped(width, "", told, ""), ""]
    for number, finding in enumerate(diagnosis.findings, start=1):
        lines += [*_finding_lines(number, finding, width), ""]
    lines.append("Looked for")
    for check in diagnosis.checks:
        state = "" if check.looked_at else " (could not be looked for)"
        lines += wrapped(width, f"  {check.kind.value}{state}: ", check.note, "    ")
    return "\n".join(lines) + "\n"


def _finding_lines(number: int, finding: Finding, width: int) -> list[str]:
    head = f"{number}. {finding.kind.value.upper()}, {finding.severity.name.lower()}"
    rows = [("where", finding.layer)]
    if finding.irrep:
        rows.append(("irrep", finding.irrep))
    rows += [
        ("figure", str(finding.figure)),
        ("effect", f"{finding.effect:.1e} relative error"),
        ("what", finding.sentence),
        ("remedy", f"{finding.remedy}."),
    ]
    lines = [head]
    for name, text in rows:
        lines += wrapped(width, f"   {name:<8}", text, " " * 11)
    return lines


def wrapped(width: int, first: str, text: str, indent: str) -> list[str]:
    """Lines of a text after its first words, the others indented; no word is cut."""
    return textwrap.wrap(
        visible(first + text),
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
