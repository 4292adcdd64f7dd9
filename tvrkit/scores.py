"""Files of similarity scores, of any model: read without running what they may hold."""
