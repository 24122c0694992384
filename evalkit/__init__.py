"""Measure a language model and explain its errors."""
