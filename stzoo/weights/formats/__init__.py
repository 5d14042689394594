"""Reads weights of other frameworks, without these frameworks."""
