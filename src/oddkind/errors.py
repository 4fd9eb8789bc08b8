"""The exceptions oddkind raises by itself."""


class InputError(ValueError):
    """Data or a parameter that cannot be used: says what was wrong, where, and what would be right."""


class ConcernWarning(UserWarning):
    """Data, labels or what was learnt of them make results doubtful; says what was seen."""
