"""A result that is published as soon as it is there."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightlens.publish.record import PushReport


def publish(folder: Path, repo: str, *, private: bool) -> "PushReport":
    """Writes the card where there is none, and pushes.

    Raises PublishError that also says how to go on: the folder stays, whole.
    """
    from weightlens.errors import PublishError
    from weightlens.hub.bars import bars_on_terminals
    from weightlens.publish import carding
    from weightlens.publish.pushing import push

    try:
        carding.write_card(folder, repo)
        with bars_on_terminals():
            return push(folder, repo, private=private)
    except PublishError as error:
        again = f"weightlens push {folder} {repo}" + " --private" * private
        raise PublishError(f"{error} (the folder is whole; to push it: {again})") from error
