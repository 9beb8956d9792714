"""The files that shall be different after the move, computed without touching any."""
