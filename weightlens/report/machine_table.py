"""`weightlens doctor` in the terminal."""

from collections.abc import Mapping

from rich.table import Table

from weightlens.machine import Machine

_GIB = 1 << 30


def machine_table(machine: Machine) -> Table:
    """A line each; of every extra what is missing, and how to get it."""
    table = Table.grid(padding=(0, 2))
    for name, said in _lines(machine).items():
        table.add_row(name, said)
    return table


def _lines(machine: Machine) -> dict[str, str]:
    fast = "computes" if machine.bfloat16 else "does not compute"
    lines = {
        "weightlens": f"{machine.weightlens}, Python {machine.python}, {machine.system}",
        "processors": f"{machine.processors}; {fast} in bfloat16 by instructions of its own",
        "memory": "unknown" if machine.memory is None else (
            f"{machine.memory[1] / _GIB:.1f} of {machine.memory[0] / _GIB:.1f} GiB available"
        ),
        "disk": f"{machine.disk / _GIB:.1f} GiB free in this folder",
        "GPU": "; ".join(
            f"{d.name}, {d.free / _GIB:.1f} of {d.memory / _GIB:.1f} GiB free"
            for d in machine.devices
        ) or "none that torch sees",
        "packages": ", ".join(
            f"{name} {version or 'missing'}" for name, version in machine.core.items()
        ),
    }  # fmt: skip
    for extra, packages in machine.extras.items():
        lines[f"extra {extra}"] = _extra(extra, packages)
    lines["programs"] = "behind bubblewrap" if machine.bubblewrap else (
        "bubblewrap is not installed: behind namespaces alone, where the system allows them"
    )  # fmt: skip
    token = "a token is there" if machine.token else "no token: public models only, no upload"
    lines["Hub"] = token + (", offline by HF_HUB_OFFLINE" if machine.offline else "")
    return lines


def _extra(extra: str, packages: Mapping[str, str | None]) -> str:
    missing = [name for name, version in packages.items() if version is None]
    if missing:
        return f"without {', '.join(missing)}: pip install 'weightlens-toolkit[{extra}]'"
    return ", ".join(f"{name} {version}" for name, version in packages.items())
