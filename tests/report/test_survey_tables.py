"""Tables of a survey, in a terminal and in its file."""

from fake_survey import survey

from symjax.report.survey_tables import (
    NO_SIZE,
    errors_table,
    left_by_averages,
    parts_table,
    survey_text,
    worst_table,
)


def test_text_has_every_output_and_what_failed():
    report = survey(24, failed=1)
    text = survey_text(report)
    for words in ("Survey of pet", "energy", "gnn_layers.0.node", f"- {NO_SIZE}"):
        assert words in text
    assert "failed: bad 0: atoms='U': unknown" in text
    assert "Largest A of forces in eV/angstrom, measured again" in text


def test_rows_are_outputs_with_their_intervals():
    report = survey(8)
    table = errors_table(report)
    assert table.columns == [
        *("output", "unit", "of this data set", "of its population"),
        *("RMS", "A / RMS"),
    ]
    assert [str(row.cells[0]) for row in table.rows] == list(report.names)
    forces = table.rows[1].cells
    interval = report.pool.error("forces", of="data")
    assert forces[2].ends == (interval.value, interval.low, interval.high)
    # The zero of an energy is a convention.
    assert str(table.rows[0].cells[-1]) == "-"


def test_what_averages_leave_is_shown_where_turns_tell_it():
    table = left_by_averages(survey(8))
    assert {str(row.cells[1]) for row in table.rows} == {"as it is", "Ci"}


def test_parts_and_the_worst():
    report = survey(8)
    parts = parts_table(report, report.file.outputs[1])
    assert [str(row.cells[0]) for row in parts.rows] == [
        *("H", "C", "O", "3 atoms", "5 atoms", "CH4", "OH2"),
    ]
    worst = worst_table(report)
    assert {cell.to for cell in (row.cells[0] for row in worst.rows)} == {
        f"structure-{number}" for number in range(8)
    }
    assert worst_table(survey(4, fresh=False)) is None
