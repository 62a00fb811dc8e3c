"""Commands that judge the laboratory itself: profiles, litmus."""

import textwrap
from collections.abc import Iterator

import typer

from rotortree_faultinject.cli.errors import FOUND
from rotortree_faultinject.cli.output import print_table
from rotortree_faultinject.disk.profiles import PROFILES, Profile

__all__ = ["litmus", "profiles"]

_WIDTH = 88


def profiles() -> None:
    """The kinds of file systems there are, and what each lets survive a power failure."""
    for profile in PROFILES.values():
        print(profile.name)
        for text in (profile.description, "; ".join(_flags(profile))):
            print(textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  "))
        print()


def _flags(profile: Profile) -> Iterator[str]:
    """What a profile allows besides the order of what survives."""
    words = {"z": "zeros", "g": "garbage", "s": "stale bytes"}
    torn = ", ".join(words[letter] for letter in profile.torn)
    place = "anywhere" if profile.torn_in_place else "in new blocks"
    yield f"torn sectors read as {torn} {place}" if torn else "no torn sectors"
    yield "a rename is atomic" if profile.atomic_rename else "a rename is two names"
    if profile.sync_covers_everything:
        yield "a file's sync covers everything before it"
    elif profile.sync_covers_all_names:
        yield "a file's sync covers all names"
    else:
        yield f"a file's sync covers {'its' if profile.sync_covers_names else 'no'} names"


def litmus() -> None:
    """Run three small programs under every profile, and compare with real file systems.

    Exits with 1 if one surprises where it did not when it was measured, or does not where it did.
    """
    from rotortree_faultinject.subjects.litmus import SOURCE
    from rotortree_faultinject.subjects.litmus import litmus as run

    rows = run()
    words = {False: "as expected", True: "surprising"}
    print_table(
        ("program", "profile", "states", "found", "published", ""),
        [
            (
                row.program,
                row.profile,
                f"{row.states:,}",
                words[row.surprising],
                words[row.published],
                "" if row.ok else "differs",
            )
            for row in rows
        ],
    )
    print(f"published: {SOURCE}; prefix and posix by definition")
    if not all(row.ok for row in rows):
        raise typer.Exit(FOUND)
