"""``python -m neuroaccel``: the command line."""

import sys

from neuroaccel.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
