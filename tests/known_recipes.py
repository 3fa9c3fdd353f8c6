"""Recipes of the kinds that people publish for mergekit, for tiny models called BASE and A to E.

The names are replaced by folders; D and E tie their embeddings. All read float32, and outputs are
bfloat16.
"""

_TYPES = "dtype: float32\nout_dtype: bfloat16\n"

TIES_WITH_GRADIENTS = """
merge_method: ties
base_model: BASE
models:
  - model: A
    parameters:
      density: [1, 0.7, 0.1]      # from the first layer to the last
      weight: 1.0
  - model: B
    parameters:
      density: 0.5
      weight: [0, 0.3, 0.7, 1]
  - model: C
    parameters:
      density: 0.33
      weight:
        - filter: mlp
          value: 0.5
        - value: 0
parameters: {normalize: true, int8_mask: true}
"""

SLERP_OVER_SLICES = """
merge_method: slerp
base_model: A
slices:
  - sources:
      - {model: A, layer_range: [0, 6]}
      - {model: B, layer_range: [0, 6]}
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5
"""

STACK = """
merge_method: passthrough
slices:
  - sources: [{model: A, layer_range: [0, 4]}]
  - sources:
      - model: B
        layer_range: [2, 6]
        parameters:
          scale:
            - {filter: o_proj, value: 0.0}
            - {filter: down_proj, value: 0.5}
            - {value: 1.0}
  - sources: [{model: A, layer_range: [3, 6]}]
"""

STACK_OF_44 = "merge_method: passthrough\nslices:\n" + "".join(
    f"  - sources: [{{model: {model}, layer_range: {span}}}]\n"
    for model, span in [("A", [0, 4]), ("B", [2, 6])] * 5 + [("A", [0, 4])]
)
"""Of two models of six layers one of 44, as the large ones of this kind were made."""

SLICES_OF_TWO_AND_THREE = """
merge_method: linear
slices:
  - sources:
      - {model: A, layer_range: [0, 3], parameters: {weight: 0.25}}
      - {model: B, layer_range: [3, 6], parameters: {weight: [0, 1]}}
  - sources:
      - {model: B, layer_range: [2, 4], parameters: {weight: 0.5}}
      - {model: C, layer_range: [4, 6]}
    parameters: {weight: [0.75, 0.25]}
"""

ONE_MODULE = """
merge_method: task_arithmetic
base_model: BASE
modules:
  default:
    slices:
      - sources:
          - {model: BASE, layer_range: [0, 6]}
          - {model: A, layer_range: [0, 6], parameters: {weight: {filter: self_attn, value: 0.2}}}
          - {model: B, layer_range: [0, 6]}
    parameters: {lambda: [0.5, 1]}
parameters: {weight: 0.6, lambda: 3}
"""

BASE_OF_A_SLICE = """
merge_method: slerp
base_model: A
slices:
  - sources: [{model: A, layer_range: [0, 3]}, {model: B, layer_range: [0, 3]}]
  - sources: [{model: C, layer_range: [3, 6]}, {model: B, layer_range: [3, 6]}]
    base_model: C
parameters: {t: [0.2, 0.9]}
"""


def _of(method: str, parameters: str, *sources: str, base: str | None = "BASE") -> str:
    """sources: names, each with its own parameters behind it."""
    listed = "".join(
        f"  - model: {name}\n" + (f"    parameters: {{{own}}}\n" if own else "")
        for name, _, own in (source.partition(" ") for source in sources)
    )
    named = f"base_model: {base}\n" if base else ""
    return f"merge_method: {method}\n{named}models:\n{listed}parameters: {{{parameters}}}\n"


_SPARSE = ("A weight: 0.7, density: 0.4", "B weight: 0.5, density: [0.3, 0.8]")

RECIPES = {name: text.lstrip() + _TYPES for name, text in {
    "ties with gradients": TIES_WITH_GRADIENTS,
    "ties, masks of bytes, sums": _of("ties", "int8_mask: true, normalize: false", *_SPARSE),
    "slerp over slices": SLERP_OVER_SLICES,
    "stack of slices": STACK,
    "stack of 44 layers": STACK_OF_44,
    "slices of two models": SLICES_OF_TWO_AND_THREE,
    "one module": ONE_MODULE,
    "base of a slice": BASE_OF_A_SLICE,
    "linear": _of("linear", "weight: 1", "A", "B weight: 0.3", "C weight: [0, 2]", base=None),
    "linear, sums": _of("linear", "normalize: false", "A weight: 0.6", "B weight: 0.6", base=None),
    "linear with a base": _of("linear", "weight: 0.5", "A", "B weight: 2", base="C"),
    "task arithmetic": _of("task_arithmetic", "lambda: 0.7", "A weight: 1.2", "B weight: -0.4"),
    "task arithmetic, normalized": _of(
        "task_arithmetic", "normalize: true, weight: 0.3", "BASE", "A", "B weight: 1e-1"
    ),
    "dare at density 1": _of("dare_linear", "weight: 0.6, density: 1", "A", "B"),
    "dare ties at density 1": _of("dare_ties", "weight: 0.6, density: 1", "A", "B", "C"),
    "della at density 1": _of("della", "weight: 0.6, density: 1, epsilon: 0.1", "A", "B", "C"),
    "breadcrumbs": _of("breadcrumbs", "gamma: 0.02", *_SPARSE),
    "breadcrumbs ties": _of("breadcrumbs_ties", "gamma: [0, 0.05], rescale: true", *_SPARSE),
    "model stock": _of("model_stock", "filter_wise: false", "A", "B", "C"),
    "model stock by rows": _of("model_stock", "filter_wise: true", "A", "B"),
    "arcee fusion": _of("arcee_fusion", "", "A"),
    "sce": _of("sce", "select_topk: 0.3", "A", "B", "C"),
    "nuslerp of deltas": _of("nuslerp", "", "A weight: 0.7", "B weight: [0.1, 0.9]"),
    "nuslerp of rows": _of(
        "nuslerp", "nuslerp_flatten: false", "A weight: 0.7", "B weight: 0.4", base=None
    ),
    "multislerp": _of("multislerp", "weight: 0.5", "A", "B weight: 0.2", "C", base=None),
    "karcher": _of("karcher", "max_iter: 20", "A", "B", "C", base=None),
    "nearswap": _of("nearswap", "t: 0.001", "A"),
    "ram": _of("ram", "epsilon: 0.002", "A", "B", "C"),
    "tied embeddings": _of("slerp", "t: 0.3", "D", base="E"),
    "a head beside a tied base": _of("task_arithmetic", "weight: 0.6", "A", "E", base="D"),
    "ramplus": _of("ramplus_tl", "epsilon: 0.002, r: 0.2, alpha: 0.3", "A", "B"),
}.items()}  # fmt: skip
"""By what they are."""

SEVERAL = f"""
name: half
{RECIPES["linear"].replace("bfloat16", "float32")}---
merge_method: ties
base_model: BASE
models:
  - model: half
    parameters: {{weight: 1, density: 0.5}}
  - model: B
    parameters: {{weight: 0.5, density: 0.7}}
{_TYPES}""".lstrip()
"""Two recipes in one file: the second merges what the first made, in float32: a rounding that falls
otherwise in the first would be several units in a small sum of the second."""

UNEQUAL_SLICES = f"""
merge_method: linear
slices:
  - sources: [{{model: A, layer_range: [0, 3]}}]
  - sources: [{{model: A, layer_range: [3, 6]}}, {{model: B, layer_range: [3, 6]}}]
parameters: {{weight: 1}}
{_TYPES}""".lstrip()
"""Its last slice has more sources than its first one."""
