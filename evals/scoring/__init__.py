"""Rules by which replies are scored, as pure functions; a benchmark's `score` calls the one that it follows.

A new rule is a function here and nothing else: no list names the rules. A file says which file of lmms-eval it follows.
"""
