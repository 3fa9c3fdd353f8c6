"""`weightlens mergekit-yaml`: mergekit's own command with our methods."""

import typer

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Settings of the command: every argument, --help too, is for mergekit."""


def mergekit_yaml(context: typer.Context) -> None:
    """Run mergekit's own command, CONFIG OUT and its options, with the methods of weightlens.

    Every native method is there as weightlens_NAME, and weightlens_strip. All arguments go to
    mergekit-yaml as they are.
    """
    from weightlens.merge.mergekit_bridge import run_command_line

    run_command_line(context.args)
