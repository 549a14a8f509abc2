"""``ael``: adaptive equalization learning (NeurIPS 2021)."""
