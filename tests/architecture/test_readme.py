"""README.md runs, from the top to the bottom, and prints what it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.architecture.documents import Reader, makefile_targets, steps
from tests.architecture.sources import ROOT

README = ROOT / "README.md"


@pytest.mark.xdist_group("readme")
def test_the_readme_runs(tmp_path: Path) -> None:
    """Every python block and every command of README.md works in a fresh folder."""
    targets = makefile_targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    reader = Reader(tmp_path, targets)
    reader.follow(README.read_text(encoding="utf-8"))
    assert not reader.problems, "\n".join(reader.problems)
    assert reader.run >= 2


def test_the_readme_has_something_to_run() -> None:
    """At least one python block, one command with its output, and `make run`, `make test`."""
    todo = steps(README.read_text(encoding="utf-8"))
    assert any(step.kind in ("python", "doctest") for step in todo)
    assert any(step.kind == "shell" and step.expected.strip() for step in todo)
    assert {"make run", "make test"} <= {step.code.partition("  #")[0].strip() for step in todo}


def test_the_makefile_has_the_documented_targets() -> None:
    """Each of them is also in `make help`."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set("help run test test-long test-kernels check bench bench-quick clean".split())
    targets |= set("crash fuzz kill-score damage scale instructions sanitize cross".split())
    targets |= set("exhaustive fuzz-decoders spec symbolic mutants trace".split())
    assert makefile_targets(text) == targets
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split()[1] for line in helped.stdout.splitlines()} == targets - {"help"}


GOOD = """
```sh
git clone https://example.org/tree && cd tree
make run   # a comment
```

```console
$ mkdir inner; cd inner
$ echo one; \\
>   echo two
o...
two
$ false
$ echo $?
1
$ pwd
.../reader/inner
```

* a list

  ```python
  from pathlib import Path
  Path("made.txt").write_text("hello")
  ```

```console
$ cat made.txt
hello
```

```text
not run
```

```python
>>> 1 + 1
2
```
"""


def test_a_good_document_has_no_problems(tmp_path: Path) -> None:
    """All kinds of blocks, one folder, `cd` and exit status kept."""
    reader = Reader(tmp_path, frozenset({"run"}))
    reader.follow(GOOD)
    assert reader.problems == []
    assert reader.run == 8


@pytest.mark.parametrize(
    ("language", "text", "problem"),
    [
        ("python", "raise ValueError(3)", "line 2: the block fails"),
        ("python", "import warnings\nwarnings.warn('old')", "line 2: the block fails"),
        ("python", ">>> 1 + 1\n3", "line 2: the block fails"),
        ("console", "$ echo one\ntwo", "line 2: `echo one` prints\none"),
        ("console", "$ true\n$ printf 'a\\nb\\n'\na", "line 3: `printf"),
        ("console", "$ rotortree-does-not-exist", "line 2: `rotortree-does-not-exist` fails"),
        ("console", "$ false\n$ true", "line 2: `false` fails"),
        ("sh", "true\nfalse", "line 3: `false` fails"),
        ("sh", "make tea", "line 2: the Makefile has no target tea"),
        ("bash", "make run tea PYTHON=python3.13", "line 2: the Makefile has no target tea"),
    ],
)
def test_reports_what_goes_wrong(tmp_path: Path, language: str, text: str, problem: str) -> None:
    """Failing blocks and commands, other output than promised, targets that are not there."""
    reader = Reader(tmp_path, frozenset({"run"}))
    reader.follow(f"```{language}\n{text}\n```\n")
    assert [message[: len(problem)] for message in reader.problems] == [problem]
