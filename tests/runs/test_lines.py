"""Lines reach the disk one by one, and what an interruption leaves is read again."""

import json

import pytest

from symjax.report import ReportError
from symjax.report.storage import TruncatedError
from symjax.runs.lines import Lines

HEAD = '{"a": 1}'
WHOLE = f'{HEAD}\n{{"b": 2}}\n{{"c": "\u00e9"}}\n'


def opened(path):
    """What a reader of JSON finds, and the file behind it."""
    found = []

    def read(name, line, place):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise TruncatedError("output", name, "is no JSON", "Restore it") from error
        assert place.read() == line
        found.append(value)

    with Lines(path, HEAD, read):
        return found


@pytest.mark.parametrize("rest", ["", '{"d": ', '{"d": 3}', "\0\0\0", "\0\0\n"])
def test_an_interrupted_end_is_dropped(tmp_path, rest):
    path = tmp_path / "a.jsonl"
    path.write_text(WHOLE + rest, encoding="utf-8")
    assert opened(path) == [{"a": 1}, {"b": 2}, {"c": "\u00e9"}]
    assert path.read_text("utf-8") == WHOLE


def test_lines_are_appended(tmp_path):
    path = tmp_path / "a.jsonl"
    with Lines(path, HEAD) as lines:
        lines.append('{"b": 2}')
        # On the disk before the next is begun.
        assert path.read_text() == f'{HEAD}\n{{"b": 2}}\n'
        place = lines.append('{"c": "\u00e9"}')
    assert place.read() == '{"c": "\u00e9"}'
    assert path.read_text("utf-8") == WHOLE


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no complete line.*overwrite"),
        ('{"a": 1', "no complete line"),
        ("no JSON\n", "line 1'?: is no JSON"),
        (f"{HEAD}\n{{\n{HEAD}\n", "line 2'?: is no JSON"),
    ],
)
def test_damage_elsewhere_is_refused(tmp_path, text, match):
    """And the file stays as it is."""
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(ReportError, match=match):
        opened(path)
    assert path.read_text() == text


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ReportError, match="cannot be written"):
        Lines(tmp_path / "none" / "a.jsonl", HEAD)
