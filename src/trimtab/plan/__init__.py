"""What to do: a planning question in, a plan with its reasons out."""
