"""Samples as the model sees them, for `cli-ray data show`: which, what of each, and its print and page"""
