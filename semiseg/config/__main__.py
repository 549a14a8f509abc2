"""``python -m semiseg.config show FOLDER_OR_FILE [key=value ...]``."""

import sys

from semiseg import cli
from semiseg.config.loading import main

sys.exit(cli.run(main))
