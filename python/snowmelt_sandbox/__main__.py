"""``python -m snowmelt_sandbox``."""

import sys

from snowmelt_sandbox.cli import main

sys.exit(main())
