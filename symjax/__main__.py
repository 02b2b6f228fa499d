"""Runs the command line as ``python -m symjax``."""

from symjax.cli import main

if __name__ == "__main__":
    main()
