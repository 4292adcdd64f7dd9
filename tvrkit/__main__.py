"""`python -m tvrkit` is `tvrkit`."""

from tvrkit.cli import main

main()
