"""Annotations and videos -> manifest. Nothing here knows the model or imports torch."""
