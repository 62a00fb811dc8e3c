"""What is built from this repository, and that it works once installed.

Nothing is downloaded: the build uses the setuptools of this environment, and the fresh environments
borrow the dependencies of this one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from email.parser import HeaderParser
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = PROJECT["version"]
PACKAGES = sorted(
    folder.name
    for source_root in (ROOT, ROOT / "model", ROOT / "faultinject")
    for folder in source_root.glob("rotortree*")
    if (folder / "__init__.py").exists()
)
TOP_LEVEL = frozenset(
    "CHANGELOG.md CONTRIBUTING.md LICENSE-APACHE LICENSE-MIT MANIFEST.in Makefile PKG-INFO "
    "README.md benchmarks docs faultinject model pyproject.toml rotortree setup.cfg setup.py specs "
    "tests .ci rotortree.egg-info".split()
)
"""What a source distribution holds: the project, PKG-INFO, and what setuptools adds."""

KERNEL = "rotortree/kernel/_native.abi3.so"
"""The native kernel in a wheel."""

COMPILER = shutil.which(os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0])
"""What setuptools compiles with, if it is there."""

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")

pytestmark = pytest.mark.xdist_group("packaging")
"""One worker runs all of this module, so that it is built once."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command that must succeed, and return what it prints."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} fails:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, since a build writes next to what it builds."""
    copy = tmp_path_factory.mktemp("checkout") / "rotortree"
    ignored = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*ignored, "dist", ".demo", "*.so"))
    return copy


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, checkout)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The one wheel."""
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to everything that is installed here, but for this project."""
    folder = tmp_path_factory.mktemp("dependencies")
    spec = find_spec("setuptools")
    assert spec is not None, "the test extra is not installed"
    assert spec.origin is not None
    for path in Path(spec.origin).parents[1].iterdir():
        ours = path.name.startswith(("rotortree", "__editable__"))
        if not ours and path.suffix != ".pth" and path.name != "__pycache__":
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def environment(tmp_path: Path, dependencies: Path) -> Callable[..., Path]:
    """Make a fresh environment, install something into it with pip, return its bin folder."""

    def make(*what: str | Path) -> Path:
        folder = tmp_path / "environment"
        run(sys.executable, "-m", "venv", "--without-pip", folder)
        binaries = folder / "bin"
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "dependencies.pth").write_text(f"{dependencies}\n")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        offline = ["--no-deps", "--no-index", "--no-build-isolation"]
        run(*pip, "--python", binaries / "python", "install", "--quiet", *offline, *what)
        return binaries

    return make


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever kernel these tests run on, what they build is built as by default."""
    for name in ("ROTORTREE_NATIVE", "ROTORTREE_REQUIRE_NATIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def build_wheel(checkout: Path, tmp_path: Path) -> Callable[[], Path]:
    """Build a wheel of the checkout, with the environment as it is then; return its path."""

    def build() -> Path:
        shutil.rmtree(checkout / "build", ignore_errors=True)  # what an earlier test compiled
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
        folder = tmp_path / "wheel"
        run(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, checkout)
        (path,) = folder.glob("*.whl")
        return path

    return build


def kernel_name(binaries: Path, elsewhere: Path) -> str:
    """The kernel that an installation uses."""
    code = "import rotortree.kernel; print(rotortree.kernel.NAME)"
    return run(binaries / "python", "-c", code, cwd=elsewhere).strip()


def check_installation(binaries: Path, elsewhere: Path) -> list[Path]:
    """Import every package, run the command; return the files that the packages come from."""
    code = f"import {', '.join(PACKAGES)}\nfor module in ({', '.join(PACKAGES)}, ): "
    printed = run(binaries / "python", "-c", code + "print(module.__file__)", cwd=elsewhere)
    assert run(binaries / "rotortree", "--version", cwd=elsewhere).split()[-1] == VERSION
    return [Path(line) for line in printed.splitlines()]


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    """No tests, no generic names; every package is typed; both licences are there."""
    names = zipfile.ZipFile(wheel).namelist()
    information = f"rotortree-{VERSION}.dist-info"
    assert sorted({name.split("/")[0] for name in names}) == sorted([*PACKAGES, information])
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names), "not typed"
    licences = {f"{information}/licenses/LICENSE-{name}" for name in ("MIT", "APACHE")}
    assert licences <= set(names)
    other = {name for name in names if not name.startswith(information)} - {KERNEL}
    assert {name for name in other if not name.endswith((".py", ".pyi", "/py.typed"))} == set()


def test_the_wheel_holds_every_source_file(wheel: Path) -> None:
    """No module is forgotten, and none is left from an earlier build."""
    built = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    written = {
        path.relative_to(folder).as_posix()
        for folder in (ROOT, ROOT / "model", ROOT / "faultinject")
        for package in folder.glob("rotortree*")
        for path in package.rglob("*.py")
    }
    assert built == written


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    """Name, version, licence, Python and dependencies are those of pyproject.toml."""
    text = zipfile.ZipFile(wheel).read(f"rotortree-{VERSION}.dist-info/METADATA").decode()
    metadata = HeaderParser().parsestr(text)
    assert (metadata["Name"], metadata["Version"]) == ("rotortree", VERSION)
    assert metadata["License-Expression"] == "MIT OR Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    required = [item for item in metadata.get_all("Requires-Dist", []) if "extra ==" not in item]
    assert sorted(required) == sorted(PROJECT["dependencies"])


def test_the_source_distribution_holds_the_project(built: Path) -> None:
    """Tests, specs, docs and benchmarks travel with the source; caches and environments do not."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    top = {name.split("/")[0] for name in names if name}
    assert top == TOP_LEVEL
    assert {
        "tests/README.md",
        ".ci/run",
        "rotortree/kernel/_native.c",
        "rotortree/kernel/_paths.h",
        "rotortree/kernel/_tree.h",
        "rotortree/kernel/_hashing.h",
        "rotortree/kernel/_lanes.h",
        "tests/campaigns/trace/plugin.py",
        "specs/tree.md",
        "tests/packaging/test_install.py",
    } <= set(names)
    assert [name for name in names if name.endswith(".pyc") or "__pycache__" in name] == []


def test_an_installed_wheel_works(
    environment: Callable[..., Path], wheel: Path, tmp_path: Path
) -> None:
    """From its own files."""
    files = check_installation(environment(wheel), tmp_path)
    assert all(path.is_relative_to(tmp_path / "environment") for path in files)


def test_pip_install_works(
    environment: Callable[..., Path], checkout: Path, tmp_path: Path
) -> None:
    """`pip install .` copies the packages."""
    files = check_installation(environment(checkout), tmp_path)
    assert all(path.is_relative_to(tmp_path / "environment") for path in files)


def test_an_editable_installation_works(
    environment: Callable[..., Path], checkout: Path, tmp_path: Path
) -> None:
    """`pip install --editable .` uses the checkout, in all source roots."""
    files = check_installation(environment("--editable", checkout), tmp_path)
    assert all(path.is_relative_to(checkout) for path in files)


@needs_compiler
def test_the_wheel_has_the_native_kernel(
    environment: Callable[..., Path], wheel: Path, tmp_path: Path
) -> None:
    """One for every CPython from 3.11 on, and an installation uses it."""
    assert KERNEL in zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith(f"rotortree-{VERSION}-cp311-abi3-")
    assert kernel_name(environment(wheel), tmp_path).startswith("native")


def test_the_kernel_can_be_left_out(
    environment: Callable[..., Path],
    build_wheel: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wheel is then one of Python alone, and works."""
    monkeypatch.setenv("ROTORTREE_NATIVE", "off")
    path = build_wheel()
    assert path.name == f"rotortree-{VERSION}-py3-none-any.whl"
    assert KERNEL not in zipfile.ZipFile(path).namelist()
    monkeypatch.delenv("ROTORTREE_NATIVE")
    assert kernel_name(environment(path), tmp_path) == "portable"


def test_a_failing_compiler_is_no_error_unless_the_kernel_is_required(
    environment: Callable[..., Path],
    build_wheel: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The portable kernel is used; with ROTORTREE_REQUIRE_NATIVE=1 the build fails."""
    monkeypatch.setenv("CC", "false")
    path = build_wheel()
    assert KERNEL not in zipfile.ZipFile(path).namelist()
    assert kernel_name(environment(path), tmp_path) == "portable"
    monkeypatch.setenv("ROTORTREE_REQUIRE_NATIVE", "1")
    with pytest.raises(AssertionError, match="fails"):
        build_wheel()
