"""Trained models at work, from a folder to replies: for evaluation, conversations and the server."""
