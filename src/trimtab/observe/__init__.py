"""What was seen: one Observation and one definition of every figure, for every plant."""
