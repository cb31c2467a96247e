"""Errors that a user can act on."""

from __future__ import annotations

EXIT_CONTINUE = 75
"""Exit status of a job that stopped in time and can be continued (EX_TEMPFAIL of sysexits)."""


class TokalignError(Exception):
    """An error that the user can fix; the message says how.

    Args:
        where: the faulty file, configuration key, line or token, and briefly what is wrong with it.
        found: what was found there.
        expected: what should have been there.
        mend: what the user can do.
    """

    def __init__(self, where: str, *, found: object = None, expected: str | None = None, mend: str | None = None):
        """Compose the message from its parts."""
        self.where = where
        lines = [where]
        if found is not None:
            lines.append(f"  found:    {found}")
        if expected is not None:
            lines.append(f"  expected: {expected}")
        if mend is not None:
            lines.append(f"  to mend:  {mend}")
        super().__init__("\n".join(lines))


class ConfigurationError(TokalignError):
    """A key or value of the configuration is wrong."""


class InputError(TokalignError):
    """A file that the user gave is missing, damaged or not what it should be."""


class ArtifactError(TokalignError):
    """A file that an earlier step made is missing, damaged or belongs to other inputs."""


class StageStoppedError(TokalignError):
    """The job stopped at a time limit or signal and left a state to continue from."""
