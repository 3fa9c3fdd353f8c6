"""How a command ends: exceptions become one clear line and an exit code."""

import gc
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import typer

from weightlens.errors import CheckFailed, WeightlensError

P = ParamSpec("P")

CHECK_FAILED, INPUT_AT_FAULT, INTERNAL, INTERRUPTED = 1, 2, 3, 130


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Wraps a command: no traceback where the input is at fault."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except CheckFailed as error:
            raise _ended(f"check failed: {error}", CHECK_FAILED) from None
        except WeightlensError as error:
            raise _ended(f"error: {error}", INPUT_AT_FAULT) from None
        except KeyboardInterrupt as interruption:
            raise _ended(str(interruption) or "interrupted", INTERRUPTED) from None
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            raise typer.Exit(0) from None
        except Exception as error:
            if type(error).__module__.startswith(("click", "typer")):
                raise
            traceback.print_exc()
            raise _ended("internal error (see above): please report it", INTERNAL) from None
        finally:
            # the process ends here: looking through all that torch has made for cycles to break
            # would take a third of a second
            gc.freeze()

    return wrapped


def _ended(message: str, code: int) -> typer.Exit:
    print(message, file=sys.stderr)
    return typer.Exit(code)
