"""`python -m nankeen` is the `nankeen` command."""

import sys

from nankeen.cli import main

if __name__ == "__main__":
    sys.exit(main())
