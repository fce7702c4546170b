"""Graph to graph, exactly: what is computed stays the same to the byte."""
