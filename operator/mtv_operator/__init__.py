"""Everything that reconciles and runs."""
