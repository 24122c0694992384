"""Renderers: from a Run, Comparison or Verdict to text."""
