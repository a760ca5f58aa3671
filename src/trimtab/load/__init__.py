"""Traffic: traces, arrivals, and an open-loop generator that measures what clients see."""
