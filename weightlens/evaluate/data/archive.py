"""One file out of a zip with a password, into memory alone."""

import io
import zipfile
import zlib

from weightlens.errors import EvaluationError
from weightlens.evaluate.data.formats import LARGEST

_AES = 99
"""The compression method that stands for AES (WinZip's AE-1 and AE-2)."""


def member_of(content: bytes, member: str, password: str | None, name: str) -> bytes:
    """A file of a zip, whatever folders of the zip it lies in.

    password: None for a zip without one. name: of the zip, for errors. Raises EvaluationError for
    a zip that is damaged, has no such file or two, or does not open with the password.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            info = _entry(archive, member, name)
            if info.compress_type == _AES:
                raise EvaluationError(
                    f"{name}: encrypted with AES, which Python's zipfile cannot read; unpack it "
                    f"yourself and give {member} in --data"
                )
            if info.file_size > LARGEST:
                raise EvaluationError(f"{name}: {member} is larger than {LARGEST >> 20} MiB")
            return archive.read(info, password.encode() if password is not None else None)
    except NotImplementedError as error:
        raise EvaluationError(
            f"{name}: packed in a way that Python's zipfile cannot read ({error}); unpack it "
            f"yourself and give {member} in --data"
        ) from error
    except RuntimeError as error:  # what zipfile raises for a password
        raise EvaluationError(f"{name}: does not open with that password") from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        # one wrong password in 256 passes zipfile's test, and unpacks to noise
        raise EvaluationError(
            f"{name}: damaged, or the password is wrong ({str(error).splitlines()[0]})"
        ) from error


def _entry(archive: zipfile.ZipFile, member: str, name: str) -> zipfile.ZipInfo:
    named = [
        info
        for info in archive.infolist()
        if info.filename == member or info.filename.endswith(f"/{member}")
    ]
    if len(named) != 1:
        what = "no" if not named else "more than one"
        raise EvaluationError(f"{name}: holds {what} {member}")
    return named[0]
