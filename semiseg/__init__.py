"""SemiSeg: semi-supervised semantic segmentation on MindSpore.

The package is silent on import except for three environment variables that MindSpore reads once, at its own import.
"""

import os

# At oneDNN's default, MindSpore's plain NCHW convolutions fall to the reference kernel on AVX-512 CPUs: 50-100x slower.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
# MindSpore's own log: errors only. What it would warn of (names that do not load) is checked and reported by us.
os.environ.setdefault("GLOG_v", "4")

__version__ = "0.1.0"
