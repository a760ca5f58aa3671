"""The controller, its seam to the plants, the journal of its decisions and the one live loop."""
