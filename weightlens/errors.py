"""Everything that weightlens raises on purpose.

    WeightlensError
    ├── InputError            what was given is at fault; the command line exits with 2
    │   ├── ModelNotFound         neither a folder nor a model that the Hub would hand over
    │   ├── CheckpointError       a folder without weights, a shard missing or damaged
    │   │   └── ReadFailed            a file that was there and could not be read on
    │   ├── TensorMissing         a tensor that one side has and the other lacks
    │   ├── ShapeMismatch         one tensor, two shapes
    │   ├── AdapterMismatch       an adapter that does not fit its base
    │   ├── NonFiniteTensor       NaN or Inf in a source
    │   ├── UnsupportedTensor     a dtype or layout that cannot be read as numbers
    │   ├── RecipeError           a recipe that cannot be carried out as written
    │   ├── OutputError           an output that exists or cannot be written
    │   ├── EvaluationError       a model that cannot be asked
    │   └── PublishError          a folder that should not go out, or that the Hub does not take
    └── CheckFailed           a measured value is beyond what the user allowed; exits with 1

Every message says what was wrong, where, and what to do about it.
"""


class WeightlensError(Exception):
    """Base of all errors that weightlens raises on purpose."""


class InputError(WeightlensError):
    """What the user gave is at fault; nothing was written."""


class ModelNotFound(InputError):
    """A model reference that is neither a local folder nor a model on the Hub."""


class CheckpointError(InputError):
    """A checkpoint that is incomplete or damaged."""


class ReadFailed(CheckpointError):
    """A file of a checkpoint that was there and could not be read on: its disk is at fault."""


class TensorMissing(InputError):
    """A tensor that is present on one side only."""


class ShapeMismatch(InputError):
    """A tensor whose shape differs between two models."""


class AdapterMismatch(InputError):
    """An adapter that does not fit the base it is applied to."""


class NonFiniteTensor(InputError):
    """NaN or Inf where finite numbers are needed."""


class UnsupportedTensor(InputError):
    """A tensor that weightlens cannot read as numbers."""


class RecipeError(InputError):
    """A recipe that cannot be carried out as written."""


class OutputError(InputError):
    """An output folder that exists already, or that cannot be written."""


class EvaluationError(InputError):
    """A model that cannot be asked."""


class PublishError(InputError):
    """A folder that should not be published as it is, or that the Hub does not take."""


class CheckFailed(WeightlensError):
    """A measured value is beyond the limit that the user set."""
