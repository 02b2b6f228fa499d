"""Names of the files of a report."""

REPORT_FILE, TEXT_FILE, HTML_FILE = "report.json", "report.txt", "report.html"
RESULTS_FILE = "results.h5"
SURVEY_FILE, SURVEY_CSV = "survey.json", "survey.csv"
SURVEY_TEXT, SURVEY_HTML = "survey.txt", "survey.html"
SURVEY_JOURNAL = "survey.jsonl"
SURVEY_CHEMISCOPE = "survey.chemiscope.json.gz"
FIGURE_NAMES = ("report_content", "report_errors")
FIGURE_FORMATS = ("png", "svg", "pdf")
