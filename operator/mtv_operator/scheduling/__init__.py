"""MigrationSchedules: plans that are started by the clock, group after group."""
