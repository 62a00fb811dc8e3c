"""Commands about the tree: create, info, root, head, export, checkpoint, dump."""

from __future__ import annotations

import itertools
import json
import tomllib
from pathlib import Path

import pytest

from rotortree import LeanIMT, RotorTree, TreeHead
from rotortree.cli.application import app
from tests.cli.support import ROOT, hex_lines, leaf, make_tree, run, values


def in_memory(size: int) -> LeanIMT:
    """The same leaves as `make_tree` makes, without a disk."""
    tree = LeanIMT(n=3)
    if size:
        tree.extend([leaf(number) for number in range(size)])
    return tree


def test_create_makes_a_tree_with_the_parameters_given(tmp_path: Path) -> None:
    """And says which; the defaults are those of the library."""
    assert values("create", tmp_path / "a") == {
        "directory": str(tmp_path / "a"),
        "n": 4,
        "max_depth": 20,
        "scheme": "blake3",
        "capacity": 4**20,
    }
    options = ("--n", "2", "--max-depth", "10", "--scheme", "sha256")
    text = run("create", tmp_path / "b", *options).stdout
    assert text == f"created {tmp_path / 'b'}: n = 2, max depth = 10, scheme sha256\n"
    with RotorTree.open(tmp_path / "b", create=False) as tree:
        assert (tree.n, tree.max_depth, tree.hasher.name) == (2, 10, "sha256")


def test_create_refuses_what_is_there(tmp_path: Path) -> None:
    """A tree, another directory's content, a file; and nothing changes there."""
    tree = make_tree(tmp_path / "tree", 0, (3,))
    before = (tree / "COMMIT").read_bytes()
    stderr = run("create", tree, "--n", "3", status=2).stderr
    assert stderr == f"rotortree: {tree}: there is a tree already\n"
    assert (tree / "COMMIT").read_bytes() == before
    assert "'tree'" in run("create", tmp_path, status=2).stderr
    (tmp_path / "file").touch()
    assert "not a directory" in run("create", tmp_path / "file", status=2).stderr
    assert "No such file" in run("create", tmp_path / "no" / "tree", status=2).stderr


@pytest.mark.parametrize(
    "options", [("--n", "1"), ("--n", "256"), ("--max-depth", "0"), ("--scheme", "md5")]
)
def test_create_refuses_impossible_parameters(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A usage error, and no directory."""
    run("create", tmp_path / "tree", *options, status=2)
    assert not (tmp_path / "tree").exists()


def test_info_tells_what_is_there(tmp_path: Path) -> None:
    """JSON with the documented keys; text with a line for each."""
    tree = make_tree(tmp_path / "tree", 30, (4, 7))
    found = values("info", tree)
    assert found.pop("seconds") > 0
    memory = in_memory(41)
    assert memory.root is not None
    assert found == {
        "directory": str(tree),
        "n": 3,
        "max_depth": 20,
        "scheme": "blake3",
        "capacity": 3**20,
        "size": 41,
        "depth": 4,
        "root": memory.root.hex(),
        "checkpoint_size": 30,
        "log_leaves": 11,
        "clean": True,
        "torn_bytes": 0,
        "torn_leaves": 0,
        "damages": [],
    }
    lines = run("info", tree).stdout.splitlines()
    assert lines[5:8] == [
        "size             41",
        "depth            4",
        f"root             {memory.root.hex()}",
    ]
    assert "clean            yes" in lines
    assert "damages          none" in lines


@pytest.mark.evidence("example", "FORMAT-67")
def test_info_tells_what_a_dead_process_left(tmp_path: Path) -> None:
    """Torn bytes are reported, and reading removes nothing."""
    tree = make_tree(tmp_path / "tree", 0, (4, 7))
    segment = next((tree / "wal").iterdir())
    with segment.open("ab") as file:
        file.write(b"torn")
    for _ in range(2):
        found = values("info", tree)
        assert (found["size"], found["clean"], found["torn_bytes"]) == (11, False, 4)


@pytest.mark.parametrize("size", [None, 0, 1, 17, 41])
def test_root_and_head_are_those_of_any_size(tmp_path: Path, size: int | None) -> None:
    """The same as of a tree in memory with so many leaves."""
    tree = make_tree(tmp_path / "tree", 30, (11,))
    options = () if size is None else ("--size", str(size))
    expected = in_memory(41 if size is None else size).head
    root = None if expected.root is None else expected.root.hex()
    assert run("root", tree, *options).stdout == f"{root or 'none'}\n"
    assert values("root", tree, *options) == {"size": expected.size, "root": root}
    assert TreeHead.from_json(run("head", tree, *options).stdout) == expected
    found = values("head", tree, *options, "-o", tmp_path / "head.json")
    assert found == {"output": str(tmp_path / "head.json"), "size": expected.size, "root": root}
    assert TreeHead.from_json((tmp_path / "head.json").read_bytes()) == expected


@pytest.mark.parametrize("command", ["root", "head"])
def test_a_size_that_never_was_is_a_usage_error(tmp_path: Path, command: str) -> None:
    """Larger than the tree, negative, or no number."""
    tree = make_tree(tmp_path / "tree", 0, (3,))
    for size in ("4", "-1", "x", str(2**70), "9" * 3000, "9" * 9000):
        run(command, tree, "--size", size, status=2)


def test_export_is_what_append_reads(tmp_path: Path) -> None:
    """Lines and raw, as a whole and in part, to stdout and to a file."""
    tree = make_tree(tmp_path / "tree", 30, (11,))
    assert run("export", tree).stdout == hex_lines(range(41))
    assert run("export", tree, "--start", "7", "--stop", "35").stdout == hex_lines(range(7, 35))
    assert run("export", tree, "--start", "41").stdout == ""
    raw = b"".join(leaf(number) for number in range(41))
    assert run("export", tree, "--raw").stdout_bytes == raw
    output = tmp_path / "leaves"
    found = values("export", tree, "--raw", "--stop", "2", "-o", output)
    assert found == {"start": 0, "stop": 2, "output": str(output), "bytes": 64}
    assert output.read_bytes() == raw[:64]
    found = values("export", tree, "--start", "40")
    assert found == {"start": 40, "stop": 41, "leaves": [leaf(40).hex()]}
    run("create", tmp_path / "copy", "--n", "3")
    run("append", tmp_path / "copy", stdin=run("export", tree).stdout)
    assert run("root", tmp_path / "copy").stdout == run("root", tree).stdout


@pytest.mark.parametrize(
    "options", [("--stop", "42"), ("--start", "42"), ("--start", "3", "--stop", "2")]
)
def test_export_of_a_range_that_is_not_there_writes_nothing(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Not even the file."""
    tree = make_tree(tmp_path / "tree", 0, (41,))
    run("export", tree, *options, "-o", tmp_path / "leaves", status=2)
    assert not (tmp_path / "leaves").exists()
    assert run("export", tree, "--raw", "--json", status=2).stdout == ""


def test_checkpoint_moves_the_log_to_the_level_files(tmp_path: Path) -> None:
    """The root stays the same; a second one has nothing to do."""
    tree = make_tree(tmp_path / "tree", 30, (11,))
    root = run("root", tree).stdout.strip()
    found = values("checkpoint", tree)
    assert found == {"directory": str(tree), "size": 41, "new": 11, "root": root}
    assert run("checkpoint", tree).stdout == "checkpoint of 41 leaves, 0 of them new\n"
    assert values("info", tree)["log_leaves"] == 0


def test_dump_shows_every_frame_the_commit_record_and_the_levels(tmp_path: Path) -> None:
    """Frames follow one another without a gap, from the header to the end of the file."""
    tree = make_tree(tmp_path / "tree", 30, (4, 7))
    found = values("dump", tree)
    assert found["identity"] | {"tree_id": ""} == {
        "n": 3,
        "max_depth": 20,
        "shard_nodes": 9,
        "tree_id": "",
        "scheme": "blake3",
    }
    commit = found["commit"]
    assert (commit["checkpoint"]["size"], commit["acknowledged"]["size"]) == (30, 41)
    assert found["commit_error"] is None
    (segment,) = found["segments"]
    frames = [(frame["first"], frame["leaves"], frame["promise"]) for frame in segment["frames"]]
    assert frames == [(30, 4, 160), (34, 7, 416)]
    offsets = [frame["offset"] for frame in segment["frames"]]
    assert offsets == [160, 160 + 128 + 4 * 32]
    assert segment["end"] == segment["used"] == segment["bytes"] == 160 + 2 * 128 + 11 * 32
    assert segment["frames"][1]["root"] == run("root", tree).stdout.strip()
    assert [file["nodes"] for file in found["levels"]] == [9, 9, 9, 3, 9, 1, 3, 1]
    text = run("dump", tree).stdout
    assert "offset 160: frame 0, 4 leaves from 30 on, durable below 160" in text
    assert f"level file {tree}/levels/3/00000000.nodes: 160 bytes, 1 nodes" in text


def test_dump_judges_nothing(tmp_path: Path) -> None:
    """A damaged record or segment is shown as such, with exit status 0."""
    tree = make_tree(tmp_path / "tree", 30, (4,))
    segment = next((tree / "wal").iterdir())
    for path in (tree / "COMMIT", segment):
        data = bytearray(path.read_bytes())
        data[70] ^= 1
        path.write_bytes(data)
    found = values("dump", tree)
    assert found["commit"] is None
    assert found["commit_error"].startswith(f"{tree}/COMMIT, offset 160: ")
    assert found["segments"][0]["error"].startswith(f"{segment}, offset 144: ")
    text = run("dump", tree).stdout
    assert f"commit record: {tree}/COMMIT, offset 160: " in text
    assert f"  damaged: {segment}, offset 144: " in text


def test_dump_tells_a_torn_end_from_zeros_ahead(tmp_path: Path) -> None:
    """The torn bytes end with the last one that is not zero."""
    tree = make_tree(tmp_path / "tree", 0, (4,))
    segment = next((tree / "wal").iterdir())
    data = segment.read_bytes()
    for torn, zeros in itertools.product((b"", bytes(60) + b"torn"), (b"", bytes(100))):
        segment.write_bytes(data + torn + zeros)
        lines = run("dump", tree).stdout.splitlines()[9:]
        expected = [f"  offset 416: {len(torn)} torn bytes"] * bool(torn)
        expected += [f"  offset {416 + len(torn)}: {len(zeros)} zeros ahead"] * bool(zeros)
        assert [line for line in lines if "zeros ahead" in line or "torn bytes" in line] == expected
        (found,) = values("dump", tree)["segments"]
        assert (found["end"], found["used"]) == (416, 416 + len(torn))
        assert found["bytes"] == 416 + len(torn) + len(zeros)


def test_zeros_ahead_of_a_dead_process_are_no_damage(tmp_path: Path) -> None:
    """`info` and `check` find nothing wrong that a closed log without them has not."""
    tree = make_tree(tmp_path / "tree", 0, (4, 7))
    segment = next((tree / "wal").iterdir())
    before = values("info", tree) | {"seconds": 0}
    with segment.open("ab") as file:
        file.write(bytes(1000))
    assert values("info", tree) | {"seconds": 0} == before
    assert values("check", tree)["findings"] == []


def test_every_command_but_create_needs_a_tree(tmp_path: Path) -> None:
    """And none makes one."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for words in (
        *(["append"], ["info"], ["root"], ["head"], ["export"], ["checkpoint"], ["check"]),
        *(["dump"], ["prove", "0"], ["prove-consistency", "0"]),
    ):
        for name in ("empty", "missing", "file"):
            stderr = run(words[0], tmp_path / name, *words[1:], status=2).stderr
            assert stderr.startswith(f"rotortree: {tmp_path / name}: "), stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "file"]


def test_every_command_explains_itself_and_its_json(tmp_path: Path) -> None:
    """--help documents the shape of what --json prints."""
    names = [
        str(command.name or command.callback.__name__)
        for command in app.registered_commands
        if command.callback is not None
    ]
    assert len(names) == 13
    for name in names:
        text = run(name.replace("_", "-"), "--help").stdout
        assert "--json" in text
        assert "JSON" in text.partition("Options:")[0]


def test_version_is_that_of_the_project() -> None:
    """Where the package is not installed, it says so."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = (f"rotortree {project['version']}\n", "rotortree (not installed)\n")
    assert run("--version").stdout in known
    assert project["scripts"]["rotortree"] == "rotortree.cli:main"


def test_a_custom_scheme_is_named_not_guessed(tmp_path: Path) -> None:
    """Its hasher is Python code that the command does not have."""
    from rotortree import CustomHasher

    hasher = CustomHasher("mine", lambda children: bytes(32))
    RotorTree.open(tmp_path / "tree", hasher=hasher).close()
    for command in ("info", "check"):
        assert "scheme is 'mine'" in run(command, tmp_path / "tree", status=2).stderr


def test_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A missing folder is a usage error."""
    tree = make_tree(tmp_path / "tree", 0, (4,))
    output = tmp_path / "no" / "head.json"
    for words in (["head"], ["export"], ["prove", "0"], ["prove-consistency", "0"]):
        stderr = run(words[0], tree, *words[1:], "-o", output, status=2).stderr
        assert stderr == f"rotortree: {output}: No such file or directory\n"


def test_json_of_a_strange_name_is_json(tmp_path: Path) -> None:
    """Names with line ends, quotes and bytes that are no text."""
    name = tmp_path / 'a\n"b"\udcff'
    values("create", name)
    assert json.loads(run("check", name, "--json").stdout)["directory"] == str(name)
    stderr = run("create", name, status=2).stderr
    assert 'a\\n"b"\\udcff: there is a tree already' in stderr
