"""A folder's hash: the same whichever of its pieces were read for something else before."""

from pathlib import Path

import pytest
import xxhash
from checkpoints import Folders, llama_tensors, write_model

from weightlens.checkpoint import digests
from weightlens.checkpoint.digests import Piece, ReadDigests, content_hash
from weightlens.checkpoint.read import FolderWeights

NAME = "model.layers.0.mlp.up_proj.weight"


def test_the_hash_is_of_names_and_pieces(tmp_path: Path) -> None:
    # a file that is no safetensors file is one piece
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    expected = xxhash.xxh3_128(b"model.safetensors")
    expected.update(xxhash.xxh3_128_digest(b"weights"))
    assert content_hash(tmp_path) == expected.hexdigest()


@pytest.mark.parametrize("place", [3, 60, -1])
def test_every_byte_counts(folders: Folders, place: int) -> None:
    file = folders.base / "model.safetensors"
    before, raw = content_hash(folders.base), bytearray(file.read_bytes())
    raw[place] ^= 1
    file.write_bytes(raw)
    assert content_hash(folders.base) != before


def test_what_was_read_in_order_is_not_read_again(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = content_hash(folders.base)
    weights = FolderWeights(folders.base)
    weights.digests = ReadDigests()
    for name, info in weights.infos.items():
        weights.read_block(name, 0, 5)  # a look before the pass does not disturb it
        for start in range(0, info.entries, 7):
            weights.read_block(name, start, min(start + 7, info.entries))
    assert len(weights.digests.known) == len(weights.infos)
    read: list[Piece] = []
    plainly = digests.piece_digest
    monkeypatch.setattr(digests, "piece_digest", lambda piece: read.append(piece) or plainly(piece))
    assert content_hash(folders.base, weights.digests.known) == expected
    assert [piece.offset for piece in read] == [0], "the header alone"


def test_what_was_read_in_part_or_out_of_order_does_not_count(tmp_path: Path) -> None:
    weights = FolderWeights(write_model(tmp_path / "model", llama_tensors(0)))
    weights.digests = ReadDigests()
    entries = weights.infos[NAME].entries
    weights.read_block(NAME, 0, 10)
    weights.read_block(NAME, 20, entries)
    weights.read_block(NAME, 10, 20)
    assert not weights.digests.known
    weights.read(NAME)
    assert len(weights.digests.known) == 1
