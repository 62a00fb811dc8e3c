"""The matrix as a page of HTML that needs nothing else, and as one of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from tests.campaigns.trace.matrix import FUNCTION, Matrix, Row
from tests.campaigns.trace.records import KINDS, Record
from tests.campaigns.trace.requirements import DOCUMENTS, LEVELS

__all__ = ["FOLDER", "html", "markdown", "write_pages"]

FOLDER = Path("build/trace")
"""Where the pages are, below the folder of the project."""

_UP = "../../"
_COLUMNS = (FUNCTION, *KINDS)
_SIGNS: Mapping[str, str] = {"passed": "✓", "skipped": "–", "failed": "✗"}


def write_pages(root: Path, matrix: Matrix) -> None:
    """Write both pages."""
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    (root / FOLDER / "index.html").write_text(html(matrix, root), encoding="utf-8")
    (root / FOLDER / "index.md").write_text(markdown(matrix, root), encoding="utf-8")


def html(matrix: Matrix, root: Path) -> str:
    """The page of HTML: what was run, what is wrong, the matrix, and each requirement."""
    rows = matrix.rows.values()
    body = [
        "<h1>From requirements to evidence</h1>",
        f"<p>{escape(_summary(matrix))}</p>",
        f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in _run_lines(matrix))}</ul>",
        *_html_problems(matrix.problems),
        _LEGEND,
        _FILTER,
    ]
    for document in DOCUMENTS:
        of_document = [row for row in rows if row.requirement.document == document]
        head = "".join(f"<th><span>{escape(name)}</span></th>" for name in _COLUMNS)
        body.append(f'<h2><a href="{_UP}specs/{document}">{document}</a></h2>')
        body.append(f"<table class=matrix><thead><tr><th>requirement</th>{head}</tr></thead>")
        body += [_html_row(row, root) for row in of_document]
        body.append("</table>")
    return _PAGE.format(style=_STYLE, script=_SCRIPT, body="\n".join(body))


_LEGEND = (
    "<p>A number counts the checks of a kind that passed in this run; ✗ marks those that failed, "
    "– those that were skipped. A <i>model function</i> shows where the executable specification "
    "says the same, and is no evidence. Open a requirement to see its text and its evidence.</p>"
)


_FILTER = (
    "<p><label>Show <input id=filter type=search placeholder='TREE, MUST, log, wrong …'>"
    "</label></p>"
)


def _html_problems(problems: list[str]) -> Iterator[str]:
    if problems:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
        yield f"<details open class=wrong><summary>{len(problems)} wrong</summary>"
        yield f"<ul>{items}</ul></details>"


def _html_row(row: Row, root: Path) -> str:
    requirement = row.requirement
    cells = "".join(f"<td>{_cell(row, column)}</td>" for column in _COLUMNS)
    wrong = "".join(f"<p class=wrong>{escape(problem)}</p>" for problem in row.problems)
    evidence = "".join(
        f"<li><b>{escape(column)}</b> {_html_link(source, line, root)} {escape(note)}</li>"
        for column, source, line, note in _evidence(row)
    )
    text = MarkdownIt("commonmark", {"html": False}).enable("table").render(requirement.markdown)
    text = text.replace('<a href="', f'<a href="{_UP}specs/')
    link = (
        f'<a href="{_UP}specs/{requirement.document}#L{requirement.line}">{requirement.place}</a>'
    )
    return (
        f'<tr id="{requirement.identifier}"{" class=bad" if row.problems else ""}><th>'
        f"<details><summary>{requirement.identifier} <small>{requirement.level}"
        f"{' wrong' if row.problems else ''}</small></summary>"
        f"<div><p><small>{link}, {escape(requirement.section)}</small></p>{text}{wrong}"
        f"<ul>{evidence}</ul></div></details></th>{cells}</tr>"
    )


def _html_link(source: str, line: int | None, root: Path) -> str:
    link = _link(source, line, root)
    name = f"<code>{escape(source)}</code>"
    return f'<a href="{escape(link)}">{name}</a>' if link else name


def _link(source: str, line: int | None, root: Path) -> str:
    """Where the file of a source is, from the page; empty if it is in no file."""
    path = source.partition("::")[0]
    anchor = f"#L{line}" if line else ""
    return f"{_UP}{path}{anchor}" if (root / path).is_file() else ""


def markdown(matrix: Matrix, root: Path) -> str:
    """The same in Markdown."""
    lines = ["# From requirements to evidence", "", _summary(matrix), ""]
    lines += [f"- {line}" for line in _run_lines(matrix)]
    if matrix.problems:
        lines += ["", "## Wrong", "", *(f"- {problem}" for problem in matrix.problems)]
    for document in DOCUMENTS:
        rows = [row for row in matrix.rows.values() if row.requirement.document == document]
        lines += ["", f"## {document}", "", f"| requirement | level | {' | '.join(_COLUMNS)} |"]
        lines.append("|---" * (len(_COLUMNS) + 2) + "|")
        for row in rows:
            cells = " | ".join(_cell(row, column) for column in _COLUMNS)
            name = f"[{row.requirement.identifier}](#{row.requirement.identifier.lower()})"
            lines.append(f"| {name} | {row.requirement.level} | {cells} |")
        for row in rows:
            lines += _markdown_row(row, root)
    return "\n".join(lines) + "\n"


def _markdown_row(row: Row, root: Path) -> Iterator[str]:
    requirement = row.requirement
    link = f"{_UP}specs/{requirement.document}#L{requirement.line}"
    yield from ("", f"### {requirement.identifier}", "")
    yield f"[{requirement.place}]({link}), {requirement.section}, {requirement.level}"
    yield from ("", *(f"> {line}".rstrip() for line in requirement.markdown.splitlines()), "")
    yield from (f"- **wrong**: {problem}" for problem in row.problems)
    for column, source, line, note in _evidence(row):
        target = _link(source, line, root)
        name = f"[`{source}`]({target})" if target else f"`{source}`"
        yield f"- {column}: {name} {note}".rstrip()


def _summary(matrix: Matrix) -> str:
    rows = matrix.rows.values()
    parts = []
    for level in LEVELS:
        of_level = [row for row in rows if row.requirement.level == level]
        count = sum(row.has_evidence for row in of_level)
        parts.append(f"{count} of {len(of_level)} {level}")
    verdict = f"{len(matrix.problems)} problems." if matrix.problems else "Nothing is wrong."
    return f"{len(rows)} requirements; with evidence that passed: {', '.join(parts)}. {verdict}"


def _run_lines(matrix: Matrix) -> Iterator[str]:
    for run in matrix.runs:
        digest = run.inputs.digest[:16]
        count = sum(record.cases for record in run.records)
        kernel = f"; the kernel was {run.inputs.kernel}" if run.inputs.kernel else ""
        yield (
            f"{run.name}: {len(run.records)} checks with {count} cases, of "
            f"{', '.join(run.inputs.paths)} with the digest {digest}{kernel}"
        )


def _cell(row: Row, column: str) -> str:
    """How many checks of a kind passed, and signs of those that did not."""
    if column == FUNCTION:
        return str(len(row.functions) or "")
    records = row.evidence.get(column, [])
    passed = sum(record.outcome == "passed" for record in records)
    others = [_SIGNS[record.outcome] for record in records if record.outcome != "passed"]
    return f"{passed or ''}{''.join(others)}"


def _evidence(row: Row) -> Iterator[tuple[str, str, int | None, str]]:
    """Column, source, line and a note for all that cites a requirement."""
    for citation in row.functions:
        yield FUNCTION, citation.source, citation.line, ""
    for kind in KINDS:
        for record in row.evidence.get(kind, []):
            yield kind, record.source, record.line, _note(record)


def _note(record: Record) -> str:
    cases = f" ({record.cases} cases)" if record.cases > 1 else ""
    return f"{_SIGNS[record.outcome]} {record.outcome}{cases}"


_STYLE = """
:root { color-scheme: light dark; --line: #8886; --bad: #c0392b; --good: #1e8449; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a7a; --good: #7ddc9a; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
.matrix { border-collapse: collapse; width: 100%; }
.matrix > thead th { position: sticky; top: 0; background: Canvas; vertical-align: bottom; }
.matrix > thead span { writing-mode: vertical-rl; font-weight: normal; }
.matrix > * > tr > * { border-bottom: 1px solid var(--line); padding: .2em .4em; }
.matrix > * > tr > td { text-align: center; vertical-align: top; color: var(--good); width: 2.2em; }
.matrix > * > tr > th:first-child { text-align: left; font-weight: normal; }
.matrix div { max-width: 50em; padding: .3em 1em; }
.matrix div table { border-collapse: collapse; }
.matrix div table * { border: 1px solid var(--line); padding: .1em .4em; font-weight: normal; }
tr.bad > td, .wrong, tr.bad summary { color: var(--bad); }
tr:target { background: #ff03; }
code { font-size: 90%; overflow-wrap: anywhere; }
input { font: inherit; min-width: 20em; }
"""

_SCRIPT = """
const rows = document.querySelectorAll(".matrix > * > tr[id]");
const input = document.getElementById("filter");
input.addEventListener("input", () => {
  const wanted = input.value.toLowerCase();
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
});
const show = () => document.querySelector(location.hash + " details")?.setAttribute("open", "");
addEventListener("hashchange", show);
if (location.hash) show();
"""

_PAGE = """<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<title>From requirements to evidence</title>
<style>{style}</style>
{body}
<script>{script}</script>
</html>
"""
