"""The configuration of a run: YAML files and overrides become one frozen, checked ``Config``."""

from semiseg.config.loading import dump, flatten, load, one_line

__all__ = ["dump", "flatten", "load", "one_line"]
