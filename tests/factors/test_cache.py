"""Factorisations on disk: found again by content, whole or absent, within a limit."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from checkpoints import write_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightlens.errors import InputError
from weightlens.factors import FactorCache, default_cache, factorised
from weightlens.factors import cache as module
from weightlens.factors.cache import key_of
from weightlens.merge.engine import run_merge
from weightlens.merge.resolution import parse_recipe
from weightlens.spectral.basis import Factorisation, factorise
from weightlens.spectral.partial import ANGLE_BOUND, factorise_leading
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import Factorisations, OverlapReport

RANK_16, RANK_24 = SubspaceSize("rank", 16), SubspaceSize("rank", 24)


def drawn(m: int, n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, n, generator=generator)


def steep(m: int, n: int, sigma: Tensor | None = None) -> Tensor:
    """A matrix whose leading directions the partial path finds: σ_i = i^-0.5 unless given."""
    index = torch.arange(1, min(m, n) + 1, dtype=torch.float64)
    sigma = index**-0.5 if sigma is None else sigma
    u, v = (torch.linalg.qr(drawn(d, len(sigma), seed=d).double())[0] for d in (m, n))
    return ((u * sigma) @ v.T).float()


def assert_bits(first: Factorisation, second: Factorisation) -> None:
    """The same numbers, bit for bit."""
    for name in ("sigma_squared", "vectors", "residuals"):
        ours, theirs = getattr(first, name), getattr(second, name)
        assert ours.dtype == theirs.dtype == torch.float64
        assert torch.equal(ours, theirs), name
    for name in ("squared_norm", "path", "beyond", "beyond_error", "vector_error", "long"):
        assert getattr(first, name) == getattr(second, name), name


def assert_same(first: Factorisation, second: Factorisation) -> None:
    """The same numbers, and so laid out that what is made of them is the same too: products round
    by how their operands lie in memory."""
    assert_bits(first, second)
    assert first.vectors.stride() == second.vectors.stride()
    k = len(first.sigma_squared)
    one, two = (f.subspace(SubspaceSize("rank", k)) for f in (first, second))
    assert torch.equal(one.u, two.u) and torch.equal(one.v, two.v)
    assert (one.energy, one.gap, one.angle_bound) == (two.energy, two.gap, two.angle_bound)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in files(folder))


@pytest.fixture
def cache(tmp_path: Path) -> FactorCache:
    return FactorCache(tmp_path / "cache" / "factors")


@pytest.mark.parametrize(("m", "n"), [(5, 9), (9, 5), (6, 6), (1, 4)])
def test_what_is_put_is_got_with_vectors_in_float32(m: int, n: int, cache: FactorCache) -> None:
    matrix = drawn(m, n)
    made = factorise(matrix)
    cache.put(key_of(matrix), made)
    found = cache.get(key_of(matrix), matrix)
    assert found is not None
    assert_bits(found, made.rounded())
    assert found.matrix is matrix


def test_a_partial_factorisation_is_kept_with_what_lies_beyond(cache: FactorCache) -> None:
    matrix = steep(520, 600)
    made = factorise_leading(matrix, 16)
    assert made.path == "partial" and made.beyond_error > 0
    cache.put(key_of(matrix), made)
    found = cache.get(key_of(matrix), matrix)
    assert found is not None
    assert_bits(found, made.rounded())


@pytest.mark.parametrize(
    ("matrix", "size", "path"),
    [
        (drawn(256, 300), SubspaceSize(), "exact"),
        (drawn(300, 256), RANK_16, "exact"),
        (steep(520, 600), RANK_16, "partial"),
        (steep(600, 520), RANK_16, "partial"),
        (torch.eye(520, 600), RANK_16, "fallback"),
        (torch.zeros(520, 600), RANK_16, "fallback"),
    ],
)
def test_a_warm_run_gives_the_bits_of_a_cold_one(
    matrix: Tensor, size: SubspaceSize, path: str, cache: FactorCache
) -> None:
    without = factorised(matrix, size)
    cold = factorised(matrix, size, cache=cache)
    warm = factorised(matrix, size, cache=cache)
    assert (without.cached, cold.cached, warm.cached) == (False, False, True)
    assert without.factorisation.path == path
    assert_same(without.factorisation, cold.factorisation)
    assert_same(without.factorisation, warm.factorisation)


def test_the_key_is_the_content() -> None:
    """The same numbers under any dtype that holds them and in any memory layout."""
    matrix = drawn(6, 10).bfloat16()
    key = key_of(matrix.float())
    wider = torch.zeros(12, 13)
    wider[::2, 2:12] = matrix.float()
    for same in (matrix, matrix.double(), matrix.float().T.contiguous().T, wider[::2, 2:12],
                 matrix.float().requires_grad_()):  # fmt: skip
        assert key_of(same) == key


def test_one_bit_another_shape_or_the_transpose_is_another_key() -> None:
    matrix = drawn(6, 10)
    changed = matrix.clone()
    changed[3, 4] = torch.nextafter(changed[3, 4], torch.tensor(10.0))
    swapped = matrix.flip(0)
    keys = [key_of(m) for m in (matrix, changed, swapped, matrix.reshape(10, 6), matrix.T,
                                matrix.reshape(1, 60))]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_the_same_weights_are_found_under_another_name_and_in_another_file(
    tmp_path: Path, cache: FactorCache
) -> None:
    weight = drawn(256, 260).bfloat16()
    names = ("model.layers.0.mlp.up_proj.weight", "transformer.h.3.mlp.fc.weight")
    bases = [
        write_model(tmp_path / "one", {names[0]: weight}),
        write_model(tmp_path / "two", {names[1]: weight.float(), "norm.weight": torch.ones(3)}),
    ]
    found = []
    for base, name in zip(bases, names, strict=True):
        tuned = {name: weight.float() + 0.1, "norm.weight": torch.ones(3)}
        tuned = tuned if base is bases[1] else {name: tuned[name]}
        found.append(measure_overlap(base, [tuned], cache=cache).factorisations)
    assert found == [Factorisations(exact=1), Factorisations(cached=1)]


DAMAGES = [
    "truncated", "one byte short", "a flipped bit", "garbage", "empty", "zeros", "foreign",
    "another format", "no mapping", "no JSON", "fields missing", "another shape",
    "another path", "tensors missing",
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_used_is_absent_and_removed(damage: str, cache: FactorCache) -> None:
    matrix = drawn(20, 30)
    key = key_of(matrix)
    cache.put(key, factorise(matrix))
    (file,) = files(cache.folder)
    whole = file.read_bytes()
    tensors = load_file(file)
    with safe_open(file, "pt") as stored:
        facts = json.loads(stored.metadata()["weightlens"])
    raw = {"truncated": whole[: len(whole) // 2], "one byte short": whole[:-1], "empty": b"",
           "a flipped bit": whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:],
           "garbage": b"\xff" * 500, "zeros": bytes(len(whole))}  # fmt: skip
    described = {
        "foreign": None,
        "another format": json.dumps(facts | {"format": "weightlens.factors/0"}),
        "no mapping": "[1]",
        "no JSON": "{",
        "fields missing": json.dumps({"format": facts["format"]}),
        "another shape": json.dumps(facts | {"shape": [30, 20]}),
        "another path": json.dumps(facts | {"path": "guessed"}),
        "tensors missing": json.dumps(facts),
    }
    if damage in raw:
        file.write_bytes(raw[damage])
    else:
        text = described[damage]
        kept = {"x": torch.zeros(2)} if damage == "tensors missing" else tensors
        save_file(kept, file, None if text is None else {"weightlens": text})
    cache.entries()  # a listing does not stumble over it
    assert cache.get(key, matrix) is None
    assert files(cache.folder) == []
    cache.put(key, factorise(matrix))
    assert cache.get(key, matrix) is not None


def test_a_file_of_the_same_kind_is_read_back_after_all(cache: FactorCache) -> None:
    """What the damages above are made from: the same tensors and facts, saved again."""
    matrix = drawn(20, 30)
    cache.put(key_of(matrix), factorise(matrix))
    (file,) = files(cache.folder)
    with safe_open(file, "pt") as stored:
        metadata = stored.metadata()
    save_file(load_file(file), file, metadata)
    assert cache.get(key_of(matrix), matrix) is not None


def test_a_file_that_may_not_be_read_is_absent_and_left_alone(
    cache: FactorCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that several users share it is somebody else's."""
    matrix = drawn(20, 30)
    cache.put(key_of(matrix), factorise(matrix))

    def refused(*arguments: object, **settings: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "safe_open", refused)
    assert cache.get(key_of(matrix), matrix) is None
    assert len(files(cache.folder)) == 1


def test_files_have_the_permissions_that_the_user_gives_new_ones(cache: FactorCache) -> None:
    before = os.umask(0o027)
    try:
        cache.put("key", factorise(drawn(20, 30)))
    finally:
        os.umask(before)
    (file,) = files(cache.folder)
    assert file.stat().st_mode & 0o777 == 0o640


def test_nothing_but_whole_files_is_left(
    cache: FactorCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by a success, nor by a disk that fills up or a Ctrl-C halfway through."""
    first, second = drawn(20, 30), drawn(20, 30, seed=1)
    cache.put(key_of(first), factorise(first))
    kept = files(cache.folder)
    assert [file.suffix for file in kept] == [".safetensors"]

    def failing(error: BaseException) -> None:
        def save(tensors: object, file: str, metadata: object = None) -> None:
            Path(file).write_bytes(b"half of it")
            raise error

        monkeypatch.setattr(module, "save_file", save)

    failing(OSError(28, "No space left on device"))
    cache.put(key_of(second), factorise(second))
    assert files(cache.folder) == kept
    failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        cache.put(key_of(second), factorise(second))
    assert files(cache.folder) == kept
    assert cache.get(key_of(first), first) is not None


def test_what_was_used_longest_ago_goes_first_and_a_hit_counts_as_use(tmp_path: Path) -> None:
    matrices = [drawn(20, 30, seed=i) for i in range(4)]
    keys = [key_of(matrix) for matrix in matrices]
    cache = FactorCache(tmp_path / "factors")
    for i in range(3):
        cache.put(keys[i], factorise(matrices[i]))
    # headers differ by some digits: room for three of the four, not for all
    cache = FactorCache(tmp_path / "factors", limit=size_of(cache.folder) + 100)
    for i, key in enumerate(keys[:3]):
        os.utime(cache.folder / f"{key}.safetensors", (1000 + i, 1000 + i))
    assert [entry.key for entry in cache.entries()] == keys[:3]
    assert cache.get(keys[0], matrices[0]) is not None
    assert [entry.key for entry in cache.entries()] == [keys[1], keys[2], keys[0]]
    cache.put(keys[3], factorise(matrices[3]))
    assert {entry.key for entry in cache.entries()} == {keys[0], keys[2], keys[3]}
    assert cache.get(keys[1], matrices[1]) is None


def test_what_this_run_has_used_does_not_go(tmp_path: Path) -> None:
    """A model larger than the limit would push its own matrices out before the next run."""
    matrices = [drawn(20, 30, seed=i) for i in range(4)]
    keys = [key_of(matrix) for matrix in matrices]
    room = FactorCache(tmp_path)
    for i in (0, 1):
        room.put(keys[i], factorise(matrices[i]))
    cache = FactorCache(tmp_path, limit=size_of(tmp_path) + 100)
    assert cache.get(keys[0], matrices[0]) is not None
    cache.put(keys[2], factorise(matrices[2]))
    assert {entry.key for entry in cache.entries()} == {keys[0], keys[2]}
    cache.put(keys[3], factorise(matrices[3]))
    assert {entry.key for entry in cache.entries()} == {keys[0], keys[2]}
    FactorCache(tmp_path, limit=cache.limit).put(keys[3], factorise(matrices[3]))
    assert keys[3] in {entry.key for entry in cache.entries()}


def test_the_folder_never_outgrows_the_limit(tmp_path: Path) -> None:
    """Headers count: they are a tenth of these files."""
    for limit in (15_000, 20_000, 25_000):
        cache = FactorCache(tmp_path / str(limit), limit=limit)
        for i in range(6):
            matrix = drawn(20 + 5 * i, 60, seed=i)
            cache.put(key_of(matrix), factorise(matrix))
            assert 0 < size_of(cache.folder) <= limit
        assert len(files(cache.folder)) < 6


def test_putting_the_same_again_costs_nobody_else_their_place(tmp_path: Path) -> None:
    first, second = drawn(20, 30), drawn(20, 30, seed=1)
    cache = FactorCache(tmp_path)
    for matrix in (first, second):
        cache.put(key_of(matrix), factorise(matrix))
    cache = FactorCache(tmp_path, limit=size_of(tmp_path))
    cache.put(key_of(second), factorise(second))
    assert {entry.key for entry in cache.entries()} == {key_of(first), key_of(second)}


def test_an_entry_above_the_limit_is_not_kept_and_drives_nobody_out(tmp_path: Path) -> None:
    small, large = drawn(10, 20), drawn(40, 50)
    cache = FactorCache(tmp_path)
    cache.put(key_of(small), factorise(small))
    # 40 · 40 · 4 bytes of vectors, 2 · 40 · 8 of values, and a header
    for limit in (size_of(tmp_path), 40 * 40 * 4 + 2 * 40 * 8):
        cache = FactorCache(tmp_path, limit=limit)
        cache.put(key_of(large), factorise(large))
        assert [entry.key for entry in cache.entries()] == [key_of(small)]


def test_entries_tell_what_is_there_and_clear_frees_it(cache: FactorCache) -> None:
    assert cache.entries() == []
    assert cache.clear() == 0
    matrix = steep(520, 600)
    factorised(matrix, RANK_16, cache=cache)
    (entry,) = cache.entries()
    assert (entry.key, entry.shape, entry.vectors) == (key_of(matrix), (520, 600), 16)
    assert entry.bytes == size_of(cache.folder)
    assert cache.clear() == entry.bytes
    assert files(cache.folder) == []


def test_a_partial_entry_serves_smaller_ranks_and_gives_way_to_more(cache: FactorCache) -> None:
    matrix = steep(520, 600)
    vectors = []
    for size, cached in ((RANK_16, False), (SubspaceSize("rank", 5), True), (RANK_24, False),
                         (RANK_16, True), (SubspaceSize(), False), (RANK_24, True),
                         (SubspaceSize("rank", 300), True)):  # fmt: skip
        found = factorised(matrix, size, cache=cache)
        assert found.cached == cached, size
        assert found.factorisation.subspace(size).rank >= 1
        (entry,) = cache.entries()
        vectors.append(entry.vectors)
    assert vectors == [16, 16, 24, 24, 520, 520, 520]


def test_the_whole_is_not_taken_from_a_part(cache: FactorCache) -> None:
    matrix = steep(520, 600)
    assert factorised(matrix, RANK_16, cache=cache).factorisation.path == "partial"
    whole = factorised(matrix, RANK_16, whole=True, cache=cache)
    assert not whole.cached
    assert whole.factorisation.complete
    assert factorised(matrix, RANK_16, whole=True, cache=cache).cached


def test_a_partial_entry_does_not_serve_a_rank_that_it_does_not_certify(
    cache: FactorCache,
) -> None:
    """σ_8 = σ_9 to nine digits. U_16 is certain and U_8 is not, whatever lies in the cache."""
    sigma = torch.arange(1, 521, dtype=torch.float64) ** -0.5
    sigma[8] = sigma[7] * (1 - 1e-9)
    matrix, rank_8 = steep(520, 600, sigma), SubspaceSize("rank", 8)
    assert factorised(matrix, RANK_16, cache=cache).factorisation.path == "partial"
    without, found = factorised(matrix, rank_8), factorised(matrix, rank_8, cache=cache)
    assert without.factorisation.path == found.factorisation.path == "fallback"
    assert_same(without.factorisation, found.factorisation)
    served = factorised(matrix, RANK_16, cache=cache)
    assert served.cached
    assert served.factorisation.certificate(16)[1] < ANGLE_BOUND


def test_small_matrices_are_not_worth_a_file(cache: FactorCache) -> None:
    """Below a short side of 256."""
    for m, n, kept in ((255, 300, 0), (300, 255, 0), (256, 256, 1)):
        factorised(drawn(m, n), SubspaceSize(), cache=cache)
        assert len(files(cache.folder)) == kept


def test_a_rank_above_the_matrix_is_refused_with_and_without_a_cache(cache: FactorCache) -> None:
    for kept in (None, cache):
        with pytest.raises(ValueError, match=r"exceeds min\(m, n\) = 256"):
            factorised(drawn(256, 300), SubspaceSize("rank", 257), cache=kept)
    assert files(cache.folder) == []


def test_the_default_is_the_users_cache_of_ten_gibibytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("WEIGHTLENS_CACHE", "WEIGHTLENS_CACHE_GIB", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def found() -> tuple[Path, int]:
        cache = default_cache()
        assert cache is not None
        return cache.folder, cache.limit

    assert found() == (tmp_path / "home" / ".cache" / "weightlens" / "factors", 10 * 2**30)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert found()[0] == tmp_path / "xdg" / "weightlens" / "factors"
    monkeypatch.setenv("WEIGHTLENS_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("WEIGHTLENS_CACHE_GIB", "0.5")
    assert found() == (tmp_path / "own" / "factors", 2**29)
    assert files(tmp_path) == []  # nothing is made before something is put there


@pytest.mark.parametrize("none", ["0", "0.0", "-1", "1e-12"])
def test_a_limit_of_nothing_is_no_cache(none: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTLENS_CACHE_GIB", none)
    assert default_cache() is None


@pytest.mark.parametrize("bad", ["ten", "", "1 GiB", "nan", "inf", "0x10"])
def test_a_limit_that_is_no_number_is_the_inputs_fault(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHTLENS_CACHE_GIB", bad)
    with pytest.raises(InputError, match=r"WEIGHTLENS_CACHE_GIB=.*GiB"):
        default_cache()


def test_threads_that_put_and_get_the_same_key_end_whole(cache: FactorCache) -> None:
    matrix = drawn(64, 90)
    key, made = key_of(matrix), factorise(matrix)
    cache.put(key, made)
    gone: list[int] = []

    def work() -> None:
        for i in range(20):
            cache.put(key, made)
            found = cache.get(key, matrix)
            if found is None or not torch.equal(found.vectors, made.rounded().vectors):
                gone.append(i)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gone == []
    (entry,) = cache.entries()
    assert files(cache.folder) == [cache.folder / f"{entry.key}.safetensors"]


PUTTING = """
import sys, torch
from pathlib import Path
from weightlens.factors import FactorCache
from weightlens.factors.cache import key_of
from weightlens.spectral.basis import factorise
torch.set_num_threads(1)
matrix = torch.arange(3500.0).sin().reshape(50, 70)
made, cache = factorise(matrix), FactorCache(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    cache.put(key_of(matrix), made)
    assert cache.get(key_of(matrix), matrix) is not None
"""


def test_processes_that_put_the_same_key_end_whole(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PUTTING, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:  # both at once
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    matrix = torch.arange(3500.0).sin().reshape(50, 70)
    found = FactorCache(tmp_path).get(key_of(matrix), matrix)
    assert found is not None
    assert_bits(found, factorise(matrix).rounded())
    assert len(files(tmp_path)) == 1


def test_where_nothing_can_be_written_nothing_is_kept_and_nothing_raised(tmp_path: Path) -> None:
    """A file stands where the folder should be: not even root can write there."""
    (tmp_path / "file").write_text("in the way")
    cache = FactorCache(tmp_path / "file" / "factors")
    matrix = drawn(256, 300)
    for _ in range(2):
        assert not factorised(matrix, SubspaceSize(), cache=cache).cached
    assert (cache.entries(), cache.clear()) == ([], 0)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into every folder")
def test_a_folder_without_permission_to_write_is_read_all_the_same(cache: FactorCache) -> None:
    first, second = drawn(256, 300), drawn(256, 300, seed=1)
    factorised(first, SubspaceSize(), cache=cache)
    cache.folder.chmod(0o500)
    try:
        assert factorised(first, SubspaceSize(), cache=cache).cached
        assert not factorised(second, SubspaceSize(), cache=cache).cached
        assert len(files(cache.folder)) == 1
    finally:
        cache.folder.chmod(0o700)


def test_an_entry_whose_time_cannot_be_set_is_a_hit_all_the_same(
    cache: FactorCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system mounted to be read, or another user's file in a shared folder."""
    matrix = drawn(20, 30)
    cache.put(key_of(matrix), factorise(matrix))

    def refused(*arguments: object, **settings: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refused)
    assert cache.get(key_of(matrix), matrix) is not None
    assert len(files(cache.folder)) == 1


def wide_pair() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A base and a fine-tune of matrices large enough to be kept."""
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(2)]
    base = {names[0]: drawn(256, 300, seed=1), names[1]: drawn(290, 260, seed=2)}
    return base, {n: t + 0.1 * drawn(t.shape[0], t.shape[1], seed=3) for n, t in base.items()}


def without_counts(report: OverlapReport) -> OverlapReport:
    return report.model_copy(update={"factorisations": Factorisations()})


@pytest.mark.parametrize("more", [False, True])
def test_a_report_is_the_same_without_a_cache_and_with_a_cold_or_warm_one(
    cache: FactorCache, more: bool
) -> None:
    base, tuned = wide_pair()
    without = measure_overlap(base, [tuned], more=more)
    cold = measure_overlap(base, [tuned], more=more, cache=cache)
    warm = measure_overlap(base, [tuned], more=more, cache=cache)
    assert without.factorisations == cold.factorisations == Factorisations(exact=2)
    assert warm.factorisations == Factorisations(cached=2)
    assert without_counts(without) == without_counts(cold) == without_counts(warm)


def test_another_fine_tune_of_the_same_base_finds_its_factorisations(cache: FactorCache) -> None:
    base, tuned = wide_pair()
    measure_overlap(base, [tuned], cache=cache)
    other = {n: t + 0.1 * drawn(t.shape[0], t.shape[1], seed=8) for n, t in base.items()}
    found = measure_overlap(base, [other, tuned], cache=cache)
    assert found.factorisations == Factorisations(cached=2)
    assert found.models[0].matrices == measure_overlap(base, [other]).models[0].matrices


def test_a_merge_writes_the_same_bytes_without_a_cache_and_with_a_cold_or_warm_one(
    tmp_path: Path, cache: FactorCache
) -> None:
    base, tuned = wide_pair()
    one, two = write_model(tmp_path / "base", base), write_model(tmp_path / "tuned", tuned)
    recipe = parse_recipe(
        f"merge_method: strip\nbase_model: {one}\nmodels: [{{model: {two}}}]\n"
        "parameters: {weight: 1, side: both, rank: 40, target: 0}\ndtype: float32\n"
    )
    written = []
    for number, kept in enumerate((None, cache, cache)):
        out = tmp_path / f"out{number}"
        run_merge(recipe, out, cache=kept)
        written.append({file.name: file.read_bytes() for file in files(out)})
    assert len(cache.entries()) == 2
    assert "model.safetensors" in written[0]
    assert written[0] == written[1] == written[2]


def test_a_merge_writes_the_same_bytes_after_an_analysis_that_kept_a_part(
    tmp_path: Path, cache: FactorCache
) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    base = {name: steep(520, 600)}
    tuned = {name: base[name] + 0.01 * drawn(520, 600)}
    one, two = write_model(tmp_path / "base", base), write_model(tmp_path / "tuned", tuned)
    report = measure_overlap(one, [two], size=RANK_16, cache=cache)
    assert report.factorisations == Factorisations(partial=1)
    recipe = parse_recipe(
        f"merge_method: strip\nbase_model: {one}\nmodels: [{{model: {two}}}]\n"
        "parameters: {weight: 1, side: column, rank: 16, target: 0}\n"
    )
    for out, kept in (("without", None), ("with", cache)):
        run_merge(recipe, tmp_path / out, cache=kept)
    ours, theirs = (tmp_path / out / "model.safetensors" for out in ("without", "with"))
    assert ours.read_bytes() == theirs.read_bytes()
