"""The one definition of each API kind."""
