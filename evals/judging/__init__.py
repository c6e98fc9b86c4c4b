"""Verdicts of a language model on replies that rules cannot score: the stage, its endpoint, what is kept."""
