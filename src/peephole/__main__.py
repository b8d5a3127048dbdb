"""``python -m peephole``."""

from .cli import main

main()
