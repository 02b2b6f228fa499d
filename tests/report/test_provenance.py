"""Every report says where its numbers come from."""

import dataclasses

import fake_report

from symjax.report import storage
from symjax.report.html import to_html
from symjax.report.tables import to_text
from symjax.runs import Options


def test_provenance_is_complete():
    report = dataclasses.replace(
        fake_report.report(),
        settings=Options(max_degree=2).settings(),
        command="symjax report H2O",
    )
    page, text = to_html(report), to_text(report, 80)
    section = page[page.index('id="provenance"') :]
    value = storage.to_json(report)
    assert value["settings"]["seed"] == 20
    for shown in (
        value["model"]["digest"],
        value["command"],
        value["settings"]["grid"],
        f"symjax {value['software']['symjax']}, JAX {value['software']['jax']}",
        f"{value['settings']['seed']}, of the random elements",
    ):
        assert shown in section
        assert shown in text
    assert max(map(len, text.splitlines())) <= 80
