"""``python -m kd_embedded`` is ``kd-embedded``."""

from kd_embedded.cli import main

main()
