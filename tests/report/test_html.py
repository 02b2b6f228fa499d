"""The page is valid, holds the numbers of the report, and fetches nothing."""

import dataclasses
import html
import json
import re
from html.parser import HTMLParser

import fake_report
import pytest

from symjax.metrics import Certificate
from symjax.report import schema, storage
from symjax.report._integration import curve_data
from symjax.report.formats import format_fraction, format_value
from symjax.report.html import save_html, to_html
from symjax.runs import Options

# Elements that have no end tag.
VOID = {"meta", "link", "input", "br", "hr", "img", "wbr"}
HOSTILE = "</script><script>alert(1)</script>\"'&<b onload=x>~/%s{0}"


class Page(HTMLParser):
    """Checks nesting and attributes while reading; collects what tests look at."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.tags = [], [], []
        self.data, self.texts, self.scripts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"an attribute of <{tag}> occurs twice"
        values = dict(attributes)
        self.tags.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        if "data-at" in values:
            self.data.append([tag, values, ""])
        if tag not in VOID:
            self.open.append((tag, values))

    def handle_startendtag(self, tag, attributes):
        # In SVG only; elsewhere the slash means nothing.
        assert tag in ("rect",), tag
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert [name for name, _ in self.open[-1:]] == [tag], self.open[-3:]
        self.open.pop()

    def handle_data(self, data):
        if not self.open:
            assert not data.strip()
        elif self.open[-1][0] in ("script", "style"):
            self.scripts.append((self.open[-1], data))
        else:
            self.texts.append(data)
            if self.open[-1][0] == "data":
                self.data[-1][2] += data


def at(value, pointer):
    for step in pointer.removeprefix("/").split("/"):
        step = step.replace("~1", "/").replace("~0", "~")
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def hostile_report():
    report = fake_report.report(layers=2, structures=2, failed=1)
    structures = []
    for structure in report.structures:
        leaves = tuple(
            dataclasses.replace(leaf, name=HOSTILE + leaf.name)
            for leaf in structure.leaves
        )
        changes = {"label": HOSTILE + structure.label, "leaves": leaves}
        if structure.failure:
            changes["failure"] = schema.Failure(HOSTILE, HOSTILE)
        if structure.atoms:
            errors = {HOSTILE + k: v for k, v in structure.atoms.errors.items()}
            changes["atoms"] = dataclasses.replace(structure.atoms, errors=errors)
        structures.append(dataclasses.replace(structure, **changes))
    return dataclasses.replace(
        report,
        model=schema.ModelInfo(HOSTILE, HOSTILE),
        settings=dataclasses.replace(report.settings, layers=HOSTILE),
        structures=tuple(structures),
        command=HOSTILE,
    )


REPORTS = {
    "usual": lambda: fake_report.report(),
    "one structure": lambda: fake_report.report(structures=1),
    "no layers": lambda: fake_report.report(layers=0),
    "unresolved": lambda: fake_report.report(resolved=False),
    "failed": lambda: fake_report.report(failed=2),
    "only failed": lambda: fake_report.report(structures=0, failed=1),
    "degree 0": lambda: fake_report.report(max_degree=0),
    "many": lambda: fake_report.report(structures=45),
    "hostile": hostile_report,
    "certified": lambda: certified_report(),
    "not certified": lambda: certified_report((11, 15), certified=False),
}


@pytest.fixture(scope="module", params=REPORTS)
def pair(request):
    report = REPORTS[request.param]()
    return report, to_html(report)


def test_valid(pair):
    _, text = pair
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert text.isascii()
    assert len(page.ids) == len(set(page.ids))
    known = set(page.ids)
    for tag, values in page.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(values.get(name, "").split()) <= known
        if tag == "a":
            assert values["href"].removeprefix("#") in known
        # Regions that scroll, canvas and drawing can be reached from the keyboard.
        if "scroll" in values.get("class", "").split() and "region" in values.values():
            assert values["tabindex"] == "0"
            assert values["aria-label"]
        if tag in ("svg", "canvas"):
            assert values["tabindex"] == "0"
            assert values["aria-label"]
    assert dict(page.tags[0][1])["lang"] == "en"


def test_every_number_is_the_reports(pair):
    report, text = pair
    value, page = json.loads(storage.dumps(storage.to_json(report))), Page(text)
    pointers = set()
    for _, attributes, shown in page.data:
        found = at(value, attributes["data-at"])
        pointers.add(attributes["data-at"])
        full = attributes["value" if "value" in attributes else "data-value"]
        assert float(full) == found
        if shown:
            forms = {format_value(found), format_fraction(found), f"{found:,}"}
            forms |= {f"{format_value(100 * found)} %", f"{found:.1f} s"}
            if shown.startswith("<"):  # below its round-off
                assert found < float(shown[1:]) <= 1e-6
                continue
            assert shown in forms, (attributes["data-at"], shown)
    for name in value["summary"]:
        base = "/summary/" + name.replace("~", "~0").replace("/", "~1")
        assert f"{base}/equivariance_error" in pointers
        assert f"{base}/content/0/1" in pointers
    assert bool(pointers)


def test_the_scripts_data_are_the_reports(pair):
    report, text = pair
    page = Page(text)
    ((_, payload),) = [
        (element, data)
        for element, data in page.scripts
        if element[1].get("type") == "application/json"
    ]
    data = json.loads(payload)
    leaves = report.aggregate()
    count = report.settings.max_degree + 1
    assert len(data["map"]["columns"]) == 2 * count + 1
    assert set(data["map"]["rows"]) == set(data["curves"]["rows"]) == set(leaves)
    for name, row in zip(
        data["map"]["rows"], data["map"]["sets"][0]["values"], strict=True
    ):
        totals = leaves[name].totals
        assert row[:count] == totals.content[:, 0].tolist()
        assert row[count:-1] == totals.content[:, 1].tolist()
        assert row[-1] == totals.remainder
    several = 1 < len(report.measured) <= 40
    assert len(data["map"]["sets"]) == 1 + several * len(report.measured)
    for entry in data["atoms"]:
        atoms = report.structures[entry["index"]].atoms
        for output in entry["outputs"]:
            assert output["errors"] == atoms.errors[output["name"]].tolist()
            assert output["unit"] in ("eV/\xc5", "")
        assert entry["bonds"] == [[0, 1], [0, 2]]
    assert len(data["atoms"]) == min(len(report.measured), 40)


def test_nothing_is_fetched(pair):
    _, text = pair
    assert not re.search(r"(https?:)?//[\w.-]+\.\w", text)
    page = Page(text)
    for tag, values in page.tags:
        assert "src" not in values, tag
        assert not [name for name in values if name.startswith("on")]
        assert values.get("href", "#").startswith(("#", "data:,"))
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
    for _, script in page.scripts:
        for word in ("fetch(", "XMLHttpRequest", "import(", "@import", "url("):
            assert word not in script
        assert not re.search(r"\b(eval|innerHTML|document\.write)\b", script)
    policy = next(
        values["content"]
        for _, values in page.tags
        if values.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")


def test_hostile_names_stay_text():
    text = to_html(hostile_report())
    page = Page(text)
    assert len([1 for tag, _ in page.tags if tag == "script"]) == 2
    assert not [1 for tag, values in page.tags if "onload" in values]
    assert "alert(1)" in html.unescape(text)
    assert any(HOSTILE in shown for shown in page.texts)


def test_reports_without_atoms_and_without_a_command(tmp_path):
    value = storage.to_json(fake_report.report())
    for structure in value["structures"]:
        structure["atoms"] = None
    report = storage.from_json(value)
    assert report.command == ""
    text = to_html(report)
    Page(text)
    assert "<canvas" not in text
    assert "not recorded" in text
    save_html(report, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("ascii") == text


def test_words_of_the_verdict():
    assert "must not be quoted" in to_html(fake_report.report(resolved=False))
    assert "grid of degree 11" in to_html(fake_report.report(resolved=False))
    assert "Resolved." in to_html(fake_report.report())
    assert "Nothing was measured" in to_html(fake_report.report(structures=0, failed=1))
    failed = to_html(fake_report.report(failed=1))
    # in red is what failed; that the grid resolves the rest is not
    assert '<p class="verdict bad"><strong>1 of 3 structures failed<' in failed
    assert '<p class="verdict"><strong>Resolved.' in failed
    assert "<caption>Outputs</caption>" not in failed
    assert "atoms=&#x27;Si&#x27;: unknown" in failed


def certified_report(degrees=(11, 11), certified=True, projected=5):
    """As of ``--grid auto``: each structure has a rule of its own."""
    report = fake_report.report()
    structures = []
    for structure, degree in zip(report.structures, degrees, strict=True):
        reason = "" if certified else "too coarse"
        certificate = Certificate(
            *(certified, degree, projected, 2e-4, 3e-3, 1e-4, reason, 15),
            excluded=0.005,
            confidence=0.95,
            noise=1e-7,
        )
        leaves = tuple(
            dataclasses.replace(leaf, certificate=certificate)
            for leaf in structure.leaves
        )
        structures.append(
            dataclasses.replace(structure, leaves=leaves, grid=f"adaptive: {degree}")
        )
    settings = Options(max_degree=2, grid="auto").settings()
    return dataclasses.replace(report, settings=settings, structures=tuple(structures))


def curves_of(report):
    return curve_data(report, list(report.aggregate()), 40)["sets"]


def test_grids_that_were_chosen():
    report = certified_report()
    text = to_html(report)
    assert "The accuracy of all 5 responses is certified" in text
    assert "adaptive: 11" in text
    assert "Certificates" in text
    assert "were climbed" in text
    assert curves_of(report)[0]["values"][0]["degrees"] == [3, 11]
    # Sectors that were not projected are not drawn as zeros.
    values = curves_of(certified_report(projected=1))[0]["values"][0]
    assert len(values["sectors"]) == len(values["content"][-1]) == 2
    assert values["tail"] is None or values["tail"]["degrees"][0] == 1
    # Rules of different degrees have no sum, but each structure has its curve.
    report = certified_report(degrees=(11, 15))
    together, *each = curves_of(report)
    assert together["values"][0] is None
    assert [one["values"][0]["degrees"] for one in each] == [[3, 11], [3, 15]]
    assert "curve-structure" in Page(to_html(report)).ids
