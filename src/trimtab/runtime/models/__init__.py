"""Models of every kind behind one protocol: `model` says what one is, `registry` finds the runtime that loads it."""
