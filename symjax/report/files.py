"""Names of the files of a report."""

REPORT_FILE, TEXT_FILE, HTML_FILE = "report.json", "report.txt", "report.html"
RESULTS_FILE = "results.h5"
FIGURE_NAMES = ("report_content", "report_errors")
FIGURE_FORMATS = ("png", "svg", "pdf")
