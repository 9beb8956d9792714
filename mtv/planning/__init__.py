"""Pure decisions: inventory and maps to what shall be, and what would go wrong."""
