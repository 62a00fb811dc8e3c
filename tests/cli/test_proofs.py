"""prove, prove-consistency, verify, verify-consistency: files in, a statement out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from blake3 import blake3

from rotortree import ConsistencyProof, InclusionProof
from tests.cli.support import leaf, make_tree, run, values


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of 41 leaves."""
    return make_tree(tmp_path / "tree", 30, (11,))


@pytest.fixture
def files(tree: Path, tmp_path: Path) -> Path:
    """A folder with heads and proofs; the tree is gone."""
    folder = tmp_path / "files"
    folder.mkdir()
    for size in (17, 41):
        run("head", tree, "--size", str(size), "-o", folder / f"head{size}.json")
        run("prove", tree, "5", "--size", str(size), "-o", folder / f"proof{size}.json")
    run("prove", tree, "5", "--binary", "-o", folder / "proof.bin")
    run("prove-consistency", tree, "17", "-o", folder / "consistency.json")
    run("prove-consistency", tree, "17", "41", "--binary", "-o", folder / "consistency.bin")
    shutil.rmtree(tree)
    return folder


def test_the_file_of_a_proof_says_what_it_proves(tree: Path, tmp_path: Path) -> None:
    """The leaf, and the proof as the library writes it; on stdout it is the same."""
    text = run("prove", tree, "5").stdout
    statement = json.loads(text)
    proof = InclusionProof.from_json(json.dumps(statement.pop("proof")))
    assert (proof.n, proof.size, proof.index) == (3, 41, 5)
    assert statement == {
        "type": "rotortree-inclusion-statement",
        "version": 1,
        "leaf": leaf(5).hex(),
    }
    output = tmp_path / "proof.json"
    found = values("prove", tree, "5", "-o", output)
    assert found == {"output": str(output), "index": 5, "size": 41, "leaf": leaf(5).hex()}
    assert output.read_text() == text
    found = values("prove-consistency", tree, "17", "30", "-o", output)
    assert found == {"output": str(output), "old_size": 17, "size": 30}
    assert output.read_text() == run("prove-consistency", tree, "17", "30").stdout
    assert ConsistencyProof.from_json(output.read_text()).old_size == 17


def test_binary_proofs_are_the_canonical_encoding(files: Path) -> None:
    """Byte for byte what encode() returns, on stdout, too."""
    data = (files / "proof.bin").read_bytes()
    assert InclusionProof.decode(data).encode() == data
    data = (files / "consistency.bin").read_bytes()
    assert ConsistencyProof.decode(data).encode() == data
    tree = make_tree(files / "tree", 30, (11,))
    assert run("prove-consistency", tree, "17", "--binary").stdout_bytes == data


@pytest.mark.parametrize("size", [17, 41])
def test_verify_prints_what_is_proven(files: Path, size: int) -> None:
    """Leaf, index, size and root, without a tree."""
    head = files / f"head{size}.json"
    root = json.loads(head.read_text())["root"]
    proof = files / f"proof{size}.json"
    assert values("verify", "--head", head, proof) == {
        "verified": True,
        "leaf": leaf(5).hex(),
        "index": 5,
        "size": size,
        "root": root,
        "n": 3,
        "scheme": "blake3",
    }
    assert run("verify", "--head", head, proof).stdout == (
        f"verified: {leaf(5).hex()}\n"
        f"is leaf 5 of the {size} leaves with root {root} (n = 3, scheme blake3)\n"
    )


def test_verify_takes_the_leaf_from_a_file_or_an_option(files: Path, tmp_path: Path) -> None:
    """They must agree with each other and with the proof's file; binary proofs name no leaf."""
    (tmp_path / "five").write_bytes(b"5")
    assert blake3(b"5").digest() == leaf(5)
    (tmp_path / "six").write_bytes(b"6")
    head = files / "head41.json"
    for proof in (files / "proof41.json", files / "proof.bin"):
        right = ("verify", "--head", head, proof)
        run(*right, "--leaf", leaf(5).hex().upper())
        run(*right, "--file", tmp_path / "five")
        run(*right, "--file", "-", stdin=b"5")
        run(*right, "--file", tmp_path / "five", "--leaf", leaf(5).hex())
        for wrong in (("--leaf", leaf(6).hex()), ("--file", tmp_path / "six")):
            stderr = run(*right, *wrong, status=1).stderr
            assert stderr.startswith(f"rotortree: {proof}: not proven: "), stderr
        both = ("--file", tmp_path / "five", "--leaf", leaf(6).hex())
        assert "disagree" in run(*right, *both, status=2).stderr
        run(*right, "--leaf", "abc", status=2)
        run(*right, "--file", tmp_path / "no", status=2)
    stderr = run("verify", "--head", head, files / "proof.bin", status=2).stderr
    assert "does not name its leaf: give --leaf or --file" in stderr


def test_a_file_that_names_another_leaf_is_not_proven(files: Path) -> None:
    """Even if the proof is right, and the right leaf is given: one of the two is a mistake."""
    text = (files / "proof41.json").read_text()
    (files / "other.json").write_text(text.replace(leaf(5).hex(), leaf(6).hex()))
    right = ("--leaf", leaf(5).hex())
    for options in ((), right):
        run("verify", "--head", files / "head41.json", files / "other.json", *options, status=1)


@pytest.mark.parametrize("key", ["leaf", "hashes", "index"])
def test_a_key_that_is_there_twice_is_not_proven(files: Path, key: str) -> None:
    """Readers of JSON differ in which of the two they take."""
    text = (files / "proof41.json").read_text()
    value = json.dumps((json.loads(text) | json.loads(text)["proof"])[key])
    again = f'"{key}": {value}'
    assert again in text
    (files / "twice.json").write_text(text.replace(again, f"{again}, {again}"))
    stderr = run("verify", "--head", files / "head41.json", files / "twice.json", status=1).stderr
    assert "a key occurs twice" in stderr


def test_verify_takes_a_proof_alone(files: Path) -> None:
    """What InclusionProof.to_json writes, with the leaf from an option."""
    statement = json.loads((files / "proof41.json").read_text())
    (files / "alone.json").write_text(json.dumps(statement["proof"]))
    run("verify", "--head", files / "head41.json", files / "alone.json", "--leaf", leaf(5).hex())


def test_verify_consistency_prints_what_is_proven(files: Path) -> None:
    """Both sizes and roots, from JSON and from binary."""
    old, new = files / "head17.json", files / "head41.json"
    roots = [json.loads(path.read_text())["root"] for path in (old, new)]
    for proof in (files / "consistency.json", files / "consistency.bin"):
        assert values("verify-consistency", old, new, proof) == {
            "verified": True,
            "old_size": 17,
            "old_root": roots[0],
            "size": 41,
            "root": roots[1],
            "n": 3,
            "scheme": "blake3",
        }
        assert run("verify-consistency", old, new, proof).stdout == (
            f"verified: the 41 leaves with root {roots[1]}\n"
            f"begin with the 17 leaves with root {roots[0]} (n = 3, scheme blake3)\n"
        )
        stderr = run("verify-consistency", new, old, proof, status=1).stderr
        assert stderr.startswith(f"rotortree: {proof}: not proven: ")


def test_every_tree_begins_with_the_empty_one(tree: Path, tmp_path: Path) -> None:
    """Whose root is none."""
    for size in ("0", "41"):
        run("head", tree, "--size", size, "-o", tmp_path / size)
    run("prove-consistency", tree, "0", "-o", tmp_path / "proof")
    names = (tmp_path / "0", tmp_path / "41", tmp_path / "proof")
    assert "the 0 leaves with root none" in run("verify-consistency", *names).stdout


def damaged(text: str) -> list[str]:
    """A JSON object with each of its parts changed, removed, or there twice."""
    found = json.loads(text)
    texts = [
        json.dumps(found | {"more": 1}),
        text[:-2],
        "[]",
        "",
        "{",
        '"x"',
        text.strip()[:-1] + ', "type": 1}',
    ]
    for key, value in found.items():
        texts.append(json.dumps({name: found[name] for name in found if name != key}))
        others: tuple[object, ...] = (None, 1.5, "x", [], {"a": 1}, True)
        texts += [json.dumps(found | {key: other}) for other in others if other != value]
        if isinstance(value, str) and len(value) == 64:
            flipped = f"{int(value[0], 16) ^ 1:x}{value[1:]}"
            texts.append(json.dumps(found | {key: flipped}))
    return texts


def test_whatever_is_no_proof_is_not_proven(files: Path) -> None:
    """Exit status 1, one line that names the file, never a traceback."""
    wrong = files / "wrong.json"
    old, new = files / "head17.json", files / "head41.json"
    statement = json.loads((files / "proof41.json").read_text())
    for text in damaged(json.dumps(statement)):
        wrong.write_text(text)
        stderr = run("verify", "--head", new, wrong, status=1).stderr
        assert stderr.startswith(f"rotortree: {wrong}: not proven: "), (text, stderr)
    for text in damaged(json.dumps(statement["proof"])):
        wrong.write_text(json.dumps(statement).replace(json.dumps(statement["proof"]), text or "0"))
        run("verify", "--head", new, wrong, status=1)
    for text in damaged((files / "consistency.json").read_text()):
        wrong.write_text(text)
        stderr = run("verify-consistency", old, new, wrong, status=1).stderr
        assert stderr.startswith(f"rotortree: {wrong}: not proven: "), (text, stderr)


@pytest.mark.parametrize("name", ["proof.bin", "consistency.bin"])
def test_no_flipped_byte_of_a_binary_proof_is_proven(files: Path, name: str) -> None:
    """Of the header each, of the hashes some; nor a shorter or a longer proof."""
    old, new, wrong = files / "head17.json", files / "head41.json", files / "wrong"
    inclusion = ("verify", "--head", new, wrong, "--leaf", leaf(5).hex())
    command = inclusion if name == "proof.bin" else ("verify-consistency", old, new, wrong)
    data = (files / name).read_bytes()
    for at in (*range(24), *range(24, len(data), 13)):
        wrong.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        run(*command, status=1)
    for other in (data[:-1], data + b"\0", b""):
        wrong.write_bytes(other)
        run(*command, status=1)
    wrong.write_bytes(data)
    run(*command)


def test_a_malformed_head_is_a_usage_error(files: Path) -> None:
    """It is what the user trusts, and no part of the proof."""
    wrong, head = files / "wrong.json", files / "head41.json"
    for text in damaged(head.read_text()):
        wrong.write_text(text)
        stderr = run("verify", "--head", wrong, files / "proof41.json", status=_status(text)).stderr
        assert str(files) in stderr
        names = (files / "head17.json", wrong, files / "consistency.json")
        run("verify-consistency", *names, status=_status(text))


def _status(head: str) -> int:
    """A head that is well-formed is one that nothing is proven against."""
    from rotortree import InvalidProofError, TreeHead

    try:
        TreeHead.from_json(head)
    except InvalidProofError:
        return 2
    return 1


def test_missing_files_are_usage_errors(files: Path, tmp_path: Path) -> None:
    """Each is named; so is a directory."""
    head, proof, none = files / "head41.json", files / "proof41.json", tmp_path / "none"
    for words in (
        ("verify", "--head", none, proof),
        ("verify", "--head", head, none),
        ("verify-consistency", none, head, proof),
        ("verify-consistency", head, none, proof),
        ("verify-consistency", head, head, none),
    ):
        stderr = run(*words, status=2).stderr
        assert stderr == f"rotortree: {none}: No such file or directory\n"
    assert "Is a directory" in run("verify", "--head", head, tmp_path, status=2).stderr


def test_what_is_not_in_the_tree_cannot_be_proven(tree: Path) -> None:
    """Leaves and sizes beyond the end, and sizes in the wrong order."""
    for words in (("prove", "41"), ("prove", "17", "--size", "17"), ("prove-consistency", "42")):
        run(words[0], tree, *words[1:], status=2)
    run("prove-consistency", tree, "30", "17", status=2)
    run("prove-consistency", tree, "17", "42", status=2)
    run("prove", tree, "--", "-1", status=2)


@pytest.mark.parametrize("name", ["COMMIT", "LOCK", "wal/00000001.wal", "new", "wal/new"])
@pytest.mark.parametrize("command", [("head",), ("export",), ("prove", "0"), ("link",)])
def test_no_output_is_written_into_the_tree(
    tmp_path: Path, command: tuple[str, ...], name: str
) -> None:
    """It would be destroyed: one line, exit status 2, nothing changed; by way of a link, too."""
    tree = make_tree(tmp_path / "tree", 0, (5,))
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    output = tree / name
    if command == ("link",):
        command, output = ("head",), tmp_path / "link"
        output.symlink_to(tree / name)
    stderr = run(command[0], tree, *command[1:], "-o", output, status=2).stderr
    assert stderr == f"rotortree: {output}: is a file of the tree, or would be one\n"
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before
