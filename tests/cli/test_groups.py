"""Options in groups."""

import re


def test_help_shows_options_by_group(invoke):
    """Each heading once, with its options below; those of no group at the end."""
    parts = re.split(r"\n(\S[^:\n]*):\n", invoke("report", "--help").output)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    names = list(found)
    assert names[:3] == ["Arguments", "Model", "Resolution"]
    assert names[-1] == "Options"
    assert len(names) == len(parts[1::2])
    for name, option in (
        ("Model", "--calculator MODULE"),
        ("Resolution", "--max-degree L"),
        ("Survey", "--until FRACTION"),
        ("Options", "--debug"),
    ):
        assert [one for one in names if option in found[one]] == [name]
