"""``symjax html``: the page of a report that exists."""

from fake_model import FAST

from symjax import cli


class TestHtml:
    def test_page_of_an_old_report(self, invoke, tmp_path):
        options = [*FAST, "--no-html"]
        assert invoke("report", "H2O", *options, "-o", "a").exit_code == cli.OK
        page = tmp_path / "a" / "report.html"
        assert not page.exists()
        result = invoke("html", "a")
        assert result.exit_code == cli.OK, result.output
        text = page.read_text("ascii")
        assert text.startswith("<!doctype html>")
        refused = invoke("html", "a/report.json")
        assert refused.exit_code == cli.BAD_INPUT
        assert refused.stderr.startswith("Error: --output=")
        assert "--overwrite" in refused.stderr
        assert invoke("html", "a/report.json", "--overwrite").exit_code == cli.OK
        assert invoke("html", "a", "-o", "other.html").exit_code == cli.OK
        assert (tmp_path / "other.html").read_text("ascii") == text

    def test_bad_paths_and_a_page_of_a_report_that_is_overwritten(
        self, invoke, tmp_path
    ):
        assert invoke("report", "H2O", *FAST, "-o", "a").exit_code == cli.OK
        for arguments, match in (
            (["nowhere"], "REPORT="),
            (["a", "-o", "no/folder/x.html"], "--output="),
        ):
            result = invoke("html", *arguments)
            assert result.exit_code == cli.BAD_INPUT
            assert match in result.stderr
        again = invoke("report", "H2O", *FAST, "--no-html", "--overwrite", "-o", "a")
        assert again.exit_code == cli.OK
        assert not (tmp_path / "a" / "report.html").exists()
