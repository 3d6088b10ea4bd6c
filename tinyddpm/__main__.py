"""`python -m tinyddpm` is the command `tinyddpm`."""

import sys

from tinyddpm.cli import main

if __name__ == "__main__":
    sys.exit(main())
