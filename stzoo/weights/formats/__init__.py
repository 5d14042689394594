"""Readers for the weight files of other frameworks, without those frameworks."""
