"""Verdicts of a language model on replies that rules cannot score: the stage, and what is kept."""
