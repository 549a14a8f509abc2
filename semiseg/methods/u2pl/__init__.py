"""``u2pl``: unreliable pixels as negatives (CVPR 2022)."""
