"""What tests share is in modules that are no tests, and campaigns hold none."""

from __future__ import annotations

from tests.architecture.sources import ROOT, Source, imports, read_source, snippet


def is_test(module: str) -> bool:
    """Whether pytest collects a module of this name."""
    name = module.rpartition(".")[2]
    return name.startswith("test_") or name.endswith("_test")


def every_source() -> list[Source]:
    """All modules below `tests` and `benchmarks`."""
    paths = [path for top in ("benchmarks", "tests") for path in (ROOT / top).rglob("*.py")]
    return [read_source(path, ROOT) for path in sorted(paths)]


def borrowed(source: Source, modules: frozenset[str]) -> list[str]:
    """The imports of a file that come out of test modules."""
    return [
        f"{source.name}:{line} imports {name}"
        for line, name in sorted(imports(source, modules))
        if any(is_test(part) for part in name.split("."))
    ]


def collected(sources: list[Source], folder: str) -> list[str]:
    """The modules of a package that pytest collects."""
    return [
        source.name
        for source in sources
        if source.name.startswith(f"{folder}.") and is_test(source.name)
    ]


def test_no_module_imports_from_a_test() -> None:
    """Neither a test nor a helper: what two of them need has a module of its own."""
    sources = every_source()
    modules = frozenset(source.name for source in sources)
    assert [found for source in sources for found in borrowed(source, modules)] == []


def test_reports_what_is_borrowed_from_a_test() -> None:
    """Of its names, as a module, or relative to it; a helper is none."""
    modules = frozenset({"tests.storage.test_disk", "tests.storage.disk"})
    source = snippet(
        """
        from tests.storage.disk import flip
        from tests.storage.test_disk import flip
        from tests.storage import disk, test_disk
        def f():
            import tests.storage.test_disk as helper
        from . import test_disk
        """,
        "tests.storage.test_damage",
    )
    assert borrowed(source, modules) == [
        f"tests.storage.test_damage:{line} imports tests.storage.test_disk" for line in (3, 4, 6, 7)
    ]


def test_campaigns_are_no_tests() -> None:
    """Pytest collects nothing below `tests/campaigns`: each is a program, and takes minutes."""
    sources = every_source()
    assert any(source.name.startswith("tests.campaigns.") for source in sources)
    assert collected(sources, "tests.campaigns") == []


def test_reports_a_test_among_campaigns() -> None:
    """By any name under which pytest would find it."""
    names = ["tests.campaigns.trace.test_lock", "tests.campaigns.lock_test", "tests.test_it"]
    names += ["tests.campaigns.trace.lock", "tests.campaigns.testing"]
    assert collected([snippet("", name) for name in names], "tests.campaigns") == names[:2]
