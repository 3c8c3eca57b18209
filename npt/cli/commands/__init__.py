"""One command a file: what it is called with, and the table that it shows."""
