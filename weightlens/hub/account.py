"""Whose token it is that the Hub is asked with, and whether it may write."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Account:
    """name: of the user; may_write: False only where the token surely cannot write to any repo."""

    name: str
    may_write: bool


def account() -> Account:
    """Asks the Hub. Raises what huggingface_hub raises, LocalTokenNotFoundError without a token."""
    from huggingface_hub import HfApi

    said = HfApi().whoami()
    token = said.get("auth", {}).get("accessToken") or {}
    return Account(str(said["name"]), _may_write(token))


def _may_write(token: Mapping[str, Any]) -> bool:
    """role: read, write or fineGrained; the permissions of the last are listed by what they are
    for. A token that the Hub says nothing of may."""
    role = token.get("role")
    if role != "fineGrained":
        return role != "read"
    fine = token.get("fineGrained") or {}
    scopes = [scope.get("permissions") or () for scope in fine.get("scoped") or ()]
    permissions = [*(fine.get("global") or ()), *(p for scope in scopes for p in scope)]
    # discussion.write is what a pull request needs
    return any(p in ("repo.write", "discussion.write", "write") for p in permissions)
