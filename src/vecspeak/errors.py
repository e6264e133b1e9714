"""The errors a user can meet. Each message says what was expected, what came, and what to do next.

VecspeakError
├── SpaceError (ValueError)       a table of vectors that cannot be read, written or trusted
├── PointError (ValueError)       a point that does not fit: dimension, NaN, unknown id or syntax
├── ConceptError (ValueError)     a concept that cannot be fitted, found or used here
├── TaskError (ValueError)        a task file or task name that is not valid
├── PromptError (ValueError)      slots and points that do not match
├── EncoderError (ValueError)     an encoder that is missing or does not match the space
├── ConfigError (ValueError)      a training or run setting that cannot work
├── ModelError (ValueError)       a model that does not load, does not fit or does not answer
├── TeacherError (ValueError)     targets that cannot be asked for: no source, no budget, files that do not fit
└── RatingError (ValueError)      a report that cannot be rated, or ratings that cannot be read
"""


class VecspeakError(Exception):
    """The root of every error vecspeak raises on purpose."""


class SpaceError(VecspeakError, ValueError):
    """A table of vectors that cannot be read, written or trusted."""


class PointError(VecspeakError, ValueError):
    """A point that does not fit: its dimension, a NaN, an unknown id, bad syntax."""


class ConceptError(VecspeakError, ValueError):
    """A concept that cannot be fitted, is not known, or belongs to another space."""


class TaskError(VecspeakError, ValueError):
    """A task file or a task name that is not valid."""


class PromptError(VecspeakError, ValueError):
    """Slots of a prompt and the points given do not match."""


class EncoderError(VecspeakError, ValueError):
    """An encoder that is missing or does not match the space."""


class ConfigError(VecspeakError, ValueError):
    """A training or run setting that cannot work."""


class ModelError(VecspeakError, ValueError):
    """A model that does not load, does not fit or does not answer."""


class TeacherError(VecspeakError, ValueError):
    """Targets that cannot be asked for or kept."""


class RatingError(VecspeakError, ValueError):
    """A report that cannot be rated, or ratings that cannot be read."""
