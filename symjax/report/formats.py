"""How numbers are written, in tables and on pages."""

import numpy as np


def format_value(value: float) -> str:
    """A quantity of at least 0 with three significant digits, in at most 9 characters.

    Example:
      >>> from symjax.report.formats import format_value
      >>> [format_value(v) for v in (0.0, 0.01234, 12.34, 1.2e-5, 4321.0)]
      ['0', '0.0123', '12.3', '1.20e-05', '4.32e+03']
    """
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e3:
        digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
        return f"{value:.{digits}f}"
    return f"{value:.2e}"


def format_fraction(value: float, floor: float = 0.0) -> str:
    """A fraction in at most eight characters; below ``floor``, ``<floor``.

    Example:
      >>> from symjax.report.formats import format_fraction
      >>> [format_fraction(v) for v in (1.0, 1 - 3e-7, 0.98765, 0.0123, 4.2e-9, 0.0)]
      ['1', '1.0000', '0.9877', '0.0123', '4.2e-09', '0']
      >>> format_fraction(-6.5e-8, floor=4.8e-7)
      '<5e-07'
    """
    if abs(value) < floor:
        return f"<{floor:.0e}"
    if abs(value) < 1e-15:
        return "0"
    if value == 1:
        return "1"
    return f"{value:.4f}" if abs(value) >= 1e-2 else f"{value:.1e}"


def format_bound(value: float) -> str:
    """A quantity of which only an upper bound is known.

    Example:
      >>> from symjax.report.formats import format_bound
      >>> format_bound(5.98e-7)
      '<5.98e-07'
    """
    return f"<{format_value(value)}"


def with_symbols(text: str) -> str:
    """A unit, or a text that contains one, with the symbol for angstrom."""
    return text.replace("angstrom", "\xc5")


def with_unit(text: str, unit: str) -> str:
    """A column heading, with its unit in parentheses if there is one."""
    return f"{text} ({unit})" if unit else text


def format_percent(value: float) -> str:
    """A fraction in percent with one decimal."""
    return f"{100 * value:.1f} %"


def format_seconds(value: float) -> str:
    """Seconds with one decimal."""
    return f"{value:.1f} s"


def format_count(value: float) -> str:
    """An integer with commas between thousands."""
    return f"{value:,}"
