"""kd-embedded: distil a teacher into an int8 student and generate proven firmware for it."""

__version__ = "0.1.0"
