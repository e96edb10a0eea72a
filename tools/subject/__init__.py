"""Choosing one of several subjects: composed scenes, measures, and the training of the selector."""
