"""Random models: single ops in every corner of their attributes, small graphs with branches; and what runs them.

A case is made from a sequence of drawn numbers, so a seed replays it and a shorter sequence of smaller numbers is a
simpler case. ``models`` gives the same cases to hypothesis.
"""
