"""The page of a survey: names are text, and every structure is drawn and listed."""

import dataclasses
import re

import numpy as np
from fake_survey import survey

from symjax.metrics import Survey
from symjax.report.survey_page import survey_html


def test_the_page_has_tables_plots_and_drawings():
    page = survey_html(survey(24, failed=1))
    # For both outputs a histogram, A by size and by force; and the ten worst.
    assert page.count("<svg") == 2 * 3 + 10
    for name in ("errors", "averages", "plots", "worst", "parts", "content", "failed"):
        assert f'<section id="{name}">' in page
    links = set(re.findall(r'href="#([^"]*)"', page))
    assert links
    assert links <= set(re.findall(r'id="([^"]*)"', page))
    assert "gnn_<wbr>layers.<wbr>0.<wbr>node" in page
    assert "symjax &lt;x&gt;" in page
    assert 'class="verdict"' in page


def test_names_are_text():
    page = survey_html(survey(2, names=["=1\n<b>&\u202e", "b"]))
    assert "=1\\n&lt;b&gt;&amp;\\u202e" in page
    assert "<b>&" not in page
    assert "\u202e" not in page


def test_what_was_not_reached_is_loud():
    over = Survey(8, until=0.01)
    assert 'class="verdict bad"' in survey_html(survey(4, over=over, reached=0.5))


def test_what_is_no_number_is_not_drawn():
    report = survey(4)
    columns = dict(report.pool.columns)
    energy = columns["energy", 0]
    columns["energy", 0] = energy._replace(values=np.nan * energy.values)
    pool = dataclasses.replace(report.pool, columns=columns)
    page = survey_html(
        dataclasses.replace(report, found=report.found._replace(pool=pool))
    )
    assert page.count("A of energy in eV: number of structures") == 0
    assert page.count("A of forces in eV/\xc5: number of structures") == 2
