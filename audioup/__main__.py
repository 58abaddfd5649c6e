"""``python -m audioup`` is the command line."""

import sys

from audioup.cli import main

sys.exit(main())
