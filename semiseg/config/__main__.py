"""``python -m semiseg.config show FOLDER_OR_FILE [key=value ...]``."""

import sys

from semiseg.config.loading import main

sys.exit(main())
