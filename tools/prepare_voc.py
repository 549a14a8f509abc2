"""Make SegmentationClassAug from PASCAL VOC 2012 and SBD: python tools/prepare_voc.py --voc DIR --sbd DIR (--help)."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works in a clone that was never installed
    from semiseg.cli import main

    sys.exit(main(["prepare-voc", *sys.argv[1:]]))
