"""What the package and its child process agree on: file names in the folder they share, and one exit code."""

from __future__ import annotations

REQUEST, RESPONSE = "request.npz", "response.npz"
PROGRESS = "progress"  # of a batch: one byte for each model that is done
REFUSED = 3  # the interpreter raised; its reason is the last line on stderr
