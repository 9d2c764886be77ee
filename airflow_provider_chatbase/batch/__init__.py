"""Asking many questions: each is sent once, every answer is kept, and the result is one data set."""
