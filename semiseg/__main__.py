"""``python -m semiseg COMMAND [arguments]``, where the command ``semiseg`` is not on the PATH."""

import sys

from semiseg.cli import main

sys.exit(main())
