"""OpenAI-compatible endpoints for chats: the client that judges and models behind an API are asked by."""
